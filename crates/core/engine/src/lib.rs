//! One whole node without I/O: a replica, the oracle's view of it, and the node's own publisher.
//!
//! Driven by `node` with sockets, disks and clocks, and by `sim` with simulated ones.

mod engine;
mod explanation;
mod publisher;
mod view;
mod voter;

pub use engine::{
    Engine, EngineConfig, Event, FRESH_LISTEN_MS, Halt, Input, META_WATERMARK, Output, SignRequest, Signed,
};
pub use explanation::{Derived, Explanation, Fate, Statement, Underivable};
pub use publisher::{FeedPlan, SubmissionParams};
pub use view::{Answer, CELLS_KEPT_MS, Evidence, Finding, FindingKind, View};
pub use voter::{VOTE_DELAY_MS, VOTE_INTERVAL_MS};
