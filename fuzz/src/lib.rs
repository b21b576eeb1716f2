//! What fuzzing checks: one module a target, each a function from bytes to `()` or a [`Verdict`] that panics when a promise is broken.
//!
//! The programs in `fuzz_targets/` hand libFuzzer's bytes to these functions; `tests/corpus.rs` hands them the seeds, without libFuzzer.

pub mod chain_answers;
pub mod fork_proofs;
pub mod frames;
pub mod intake;
mod material;
pub mod operations;
pub mod own_log;
pub mod price_batches;
pub mod seeds;
pub mod steps;
pub mod store_recovery;
pub mod sync_session;
pub mod venue_answers;
pub mod venue_streams;
mod verdict;
mod votes;
mod wire;

pub use verdict::Verdict;
