//! What venues say: HTTP requests in each venue's own format, made within its limits, and answers parsed without trust.
//!
//! Three layers, each usable alone:
//! - [`Channel::parse`]: pure, bytes to [`Quote`](concurrence_oracle::Quote) or [`ParseError`]. One folder a venue.
//! - [`Source`]: one configured venue with its request budget, circuit breaker, waits and caps.
//! - [`Poller`]: asks a set of (source, symbol) at an interval and yields what came.
//!
//! A venue is hostile until its answer has parsed: every body, header, redirect and delay has a bound, and nothing here panics on one.

mod binance;
mod breaker;
mod budget;
mod coinbase;
mod fetch_error;
mod json;
mod kraken;
mod parse_error;
mod poller;
mod source;
mod transport;
mod venue;

pub use breaker::{Breaker, BreakerPolicy, BreakerState, Permit, Verdict};
pub use budget::Budget;
pub use fetch_error::FetchError;
pub use json::{DEPTH_MAX, MEMBERS_MAX};
pub use parse_error::{DETAIL_LEN_MAX, ParseError, ParseErrorKind, Refusal};
pub use poller::{CONCURRENCY_DEFAULT, PollPolicy, Polled, Poller, QUEUE_DEFAULT, Target};
pub use source::{Clock, Source, SourceConfig, SourceConfigError, SourceStatus, TIMEOUT_DEFAULT};
pub use transport::BODY_LEN_MAX;
pub use venue::{Channel, SYMBOL_LEN_MAX, Venue};

/// The address type that [`Channel::for_url`] and [`Channel::request_url`] speak of.
pub use reqwest::Url;
