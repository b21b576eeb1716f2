//! What venues say: HTTP requests in each venue's own format, made within its limits, and answers parsed without trust.
//!
//! Layers, each usable alone:
//! - [`Channel::parse`]: pure, bytes to [`Quote`](concurrence_oracle::Quote) or [`ParseError`]. One folder a venue.
//! - [`StreamSession`]: one venue's stream as a state machine, without sockets or clocks.
//! - [`Source`]: one configured venue with its request budget, circuit breaker, waits and caps.
//! - [`Poller`]: asks a set of (source, symbol) at an interval and yields what came, unless a stream already did.
//! - [`Stream`]: drives a [`StreamSession`] over real connections.
//!
//! A venue is hostile until its answer has parsed: every body, header, redirect and delay has a bound, and nothing here panics on one.
//!
//! The last three need the feature `transport`, which is on by default; without it the crate has no sockets.
#![cfg_attr(
    not(feature = "transport"),
    allow(dead_code, reason = "what only the transport uses stays beside what it belongs to")
)]

mod binance;
mod bitstamp;
mod breaker;
mod budget;
mod bybit;
mod channel;
mod coinbase;
mod dydx;
#[cfg(feature = "transport")]
mod fetch_error;
mod gemini;
mod json;
mod kraken;
mod message;
mod okx;
pub mod onchain;
mod parse_error;
#[cfg(feature = "transport")]
mod poller;
mod pyth;
#[cfg(feature = "transport")]
mod source;
mod stream;
mod time;
#[cfg(feature = "transport")]
mod transport;
mod venue;

pub use breaker::{Breaker, BreakerPolicy, BreakerState, Permit, Verdict};
pub use budget::Budget;
pub use channel::{Channel, SYMBOL_LEN_MAX};
#[cfg(feature = "transport")]
pub use fetch_error::FetchError;
pub use json::{DEPTH_MAX, MEMBERS_MAX};
pub use message::{Message, Says, Ticker};
pub use parse_error::{DETAIL_LEN_MAX, ParseError, ParseErrorKind, Refusal};
#[cfg(feature = "transport")]
pub use poller::{CONCURRENCY_DEFAULT, PollPolicy, Polled, Poller, QUEUE_DEFAULT, Target};
#[cfg(feature = "transport")]
pub use source::{Clock, Source, SourceConfig, SourceConfigError, SourceStatus, TIMEOUT_DEFAULT};
pub use stream::{
    LinkId, MARKETS_MAX, Market, Ping, StreamCounts, StreamInput, StreamOutput, StreamRules, StreamSession,
};
#[cfg(feature = "transport")]
pub use stream::{MESSAGE_LEN_MAX, Stream, StreamState, Streamed};
#[cfg(feature = "transport")]
pub use transport::BODY_LEN_MAX;
pub use venue::Venue;

/// The address type that [`Channel::for_url`] and [`Channel::request_url`] speak of.
#[cfg(feature = "transport")]
pub use reqwest::Url;
