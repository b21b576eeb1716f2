//! One oracle node: configuration, keys, tasks and shutdown around an engine.

mod audit;
mod chain_watch;
pub mod config;
mod driver;
mod explain;
mod keys;
mod node;
mod past;
mod peers;
mod registry_file;
mod reload;
mod snapshot;
mod source_test;
mod transport;
mod watch;

pub use audit::{AuditOptions, AuditReport, Finding, audit};
pub use config::{Config, ConfigError, Resolved};
pub use explain::{EXPLANATION_BYTES_MAX, ExplainError, Explained, explain_stored, verify_explanation, with_legs};
pub use keys::{KeyFileError, Keys, PublicKeys};
pub use node::{Exit, Node, Options};
pub use registry_file::{EpochEntry, MemberEntry, RegistryFile, RegistryFileError};
pub use source_test::{LegLook, look};
pub use transport::Transport;

/// The views that a node's snapshots are made of.
pub mod api {
    pub use concurrence_api::explanation;
    pub use concurrence_api::{FeedStatus, FeedView, Legs, OracleStatus, Snapshot};
}

/// What a [`Transport`] speaks of.
pub mod net {
    pub use concurrence_net::{Busy, MessageId, Multiaddr, Net, NetEvent, PeerAddr, PeerId, Verdict};
}
