//! A venue's stream: a state machine without sockets or clocks, and the rules of each venue that it follows.
//!
//! [`StreamSession::handle`] takes what happened, [`StreamSession::poll`] says what to do, [`StreamSession::next_wake_ms`] when to call
//! again. Who drives it opens connections, carries texts and answers ping frames; a test does so in virtual time.

#[cfg(feature = "transport")]
mod client;
mod link;
mod newest;
mod pace;
mod rules;
mod session;

#[cfg(feature = "transport")]
pub use client::{MESSAGE_LEN_MAX, Stream, StreamState, Streamed};
pub use link::LinkId;
pub use rules::{Ping, StreamRules};
pub use session::{MARKETS_MAX, Market, StreamCounts, StreamInput, StreamOutput, StreamSession};
