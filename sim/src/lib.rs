//! Many engines in one thread and virtual time: links that lose and reorder, disks that forget, actors that lie, and checkers
//! that compare all replicas with one another and with a plain model. What is simulated is what ships: the engine and the
//! store's own request loop.
//!
//! A seed reproduces everything: `cargo run -p concurrence-sim -- --seed N`.

mod actors;
mod check;
mod dice;
mod disk;
mod evidence;
mod link;
mod market;
mod node;
mod reference;
mod scenario;
mod trace;
mod world;

pub use actors::Equivocator;
pub use check::{SETTLE_MS_MAX, Violation};
pub use evidence::{FRAME_KINDS, Traffic};
pub use link::{Cut, DELAY_MS_MAX, LinkConfig};
pub use node::Role;
pub use scenario::{Failure, Fault, Report, ScenarioConfig};
pub use world::World;
