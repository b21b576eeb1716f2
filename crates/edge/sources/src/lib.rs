//! What venues say: HTTP requests in each venue's own format, made within its limits, and answers parsed without trust.
//!
//! Three layers, each usable alone:
//! - [`Channel::parse`]: pure, bytes to [`Quote`](concurrence_oracle::Quote) or [`ParseError`]. One folder a venue.
//! - [`Source`]: one configured venue with its request budget, circuit breaker, waits and caps.
//! - [`Poller`]: asks a set of (source, symbol) at an interval and yields what came.
//!
//! A venue is hostile until its answer has parsed: every body, header, redirect and delay has a bound, and nothing here panics on one.
//!
//! The last two need the feature `transport`, which is on by default; without it the crate has no sockets.
#![cfg_attr(
    not(feature = "transport"),
    allow(dead_code, reason = "what only the transport uses stays beside what it belongs to")
)]

mod binance;
mod breaker;
mod budget;
mod coinbase;
#[cfg(feature = "transport")]
mod fetch_error;
mod json;
mod kraken;
mod parse_error;
#[cfg(feature = "transport")]
mod poller;
#[cfg(feature = "transport")]
mod source;
#[cfg(feature = "transport")]
mod transport;
mod venue;

pub use breaker::{Breaker, BreakerPolicy, BreakerState, Permit, Verdict};
pub use budget::Budget;
#[cfg(feature = "transport")]
pub use fetch_error::FetchError;
pub use json::{DEPTH_MAX, MEMBERS_MAX};
pub use parse_error::{DETAIL_LEN_MAX, ParseError, ParseErrorKind, Refusal};
#[cfg(feature = "transport")]
pub use poller::{CONCURRENCY_DEFAULT, PollPolicy, Polled, Poller, QUEUE_DEFAULT, Target};
#[cfg(feature = "transport")]
pub use source::{Clock, Source, SourceConfig, SourceConfigError, SourceStatus, TIMEOUT_DEFAULT};
#[cfg(feature = "transport")]
pub use transport::BODY_LEN_MAX;
pub use venue::{Channel, SYMBOL_LEN_MAX, Venue};

/// The address type that [`Channel::for_url`] and [`Channel::request_url`] speak of.
#[cfg(feature = "transport")]
pub use reqwest::Url;
