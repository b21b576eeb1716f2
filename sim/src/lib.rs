//! Many engines in one thread and virtual time: links that lose and reorder, disks that tear and rot, clocks that jump, actors that
//! lie, and checkers that compare all replicas with one another and with a plain model. What is simulated is what ships: the
//! engine, the redb store on a simulated disk, and the store's own request loop.
//!
//! A seed reproduces everything: `cargo xtask sim --seed N`.

mod actors;
mod carry;
mod certified;
mod check;
mod clock;
mod dice;
mod disk;
mod evidence;
mod faults;
mod file;
mod link;
mod market;
mod node;
mod reference;
mod run;
mod scenario;
mod swarm;
mod trace;
mod watch;
mod world;

pub use actors::{Actor, ActorKind, Equivocator};
pub use check::{SETTLE_MS_MAX, Violation};
pub use evidence::{Admission, FRAME_KINDS, Traffic};
pub use file::{FileError, scenario_from_toml};
pub use link::{Cut, DELAY_MS_MAX, LinkConfig, QUEUE_MS_MAX};
pub use node::Role;
pub use run::{Failure, Report};
pub use scenario::{Expect, Fault, ScenarioConfig};
pub use world::World;
