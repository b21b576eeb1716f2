//! Prices that contracts hold, read by plain JSON-RPC and integer mathematics; the full EVM client stays in `edge/chain`.
//!
//! - [`uniswap`]: the mean over a whole window, with a floor of liquidity; the price of this moment is a diagnostic only.
//! - [`curve`]: a pool's moving average, pools with the known fault refused.
//! - [`chainlink`]: another oracle's answer, for cross-checks.
//!
//! Whatever is read is read at one block, named by its hash.

mod abi;
#[cfg(feature = "transport")]
mod chain;
pub mod chainlink;
mod contract;
pub mod curve;
mod rpc;
pub mod uniswap;

#[cfg(feature = "transport")]
pub use chain::{Chain, ChainConfigError, ChainError};
pub use contract::Contract;
pub use rpc::{BlockHead, block_request, call_request, number_request, parse_block, parse_call};
