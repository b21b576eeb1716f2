//! Simulated venues: HTTP servers on loopback that speak Binance's, Coinbase's and Kraken's formats on their real paths, replay recorded
//! history at a chosen speed, and fail on demand. They share no code with the clients they are asked by.
//!
//! What is real and what is not: closes are those of the tape (by default the USDC de-peg of 10 to 13 March 2023: eleven markets of three
//! venues by the minute). Bid, ask, volume and every other field are synthetic: the book is one basis point wide around the close.
//! Only markets on the tape exist; there is no ETH. The tape is embedded: nothing is read from disk.
//!
//! - [`Tape`]: the history, and [`Tape::answer`]: pure, the very bytes a venue would send at a moment.
//! - [`Exchange`]: one venue's server.

mod answer;
mod exchange;
mod fault;
mod moment;
mod tape;
mod tape_file;
mod venue;

pub use answer::{Answer, SPREAD_PPM};
pub use exchange::{Exchange, ExchangeConfig, ExchangeError, IN_FLIGHT_MAX};
pub use fault::{Fault, LAG_MS_MAX};
pub use moment::{Moment, ReplayClock, TimeMode};
pub use tape::{BAR_MS, Close, FORWARD_FILL_MS, Market, Tape, UNIT_DECIMALS, decimal};
pub use tape_file::{MARKETS_MAX, ROWS_MAX, TapeError, UNPACKED_LEN_MAX};
pub use venue::{Endpoint, Venue};
