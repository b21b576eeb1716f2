//! Many engines in one thread and virtual time: links that lose and reorder, disks that forget, actors that lie, and checkers
//! that compare all replicas with one another and with a plain model. What is simulated is what ships: the engine and the
//! store's own request loop.
//!
//! A seed reproduces everything: `cargo run -p concurrence-sim -- --seed N`.

mod actors;

pub use actors::Equivocator;
