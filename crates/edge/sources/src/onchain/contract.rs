//! A contract that is read, of whichever kind.

use concurrence_crdt::Time;
use concurrence_oracle::Quote;

use super::{
    BlockHead,
    chainlink::{self, ChainlinkFeed},
    curve::CurvePool,
    uniswap::UniswapPool,
};
use crate::ParseError;

/// A contract that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contract {
    /// The mean over a window of a Uniswap v3 pool.
    Uniswap(UniswapPool),
    /// The moving average of a Curve pool.
    Curve(CurvePool),
    /// The answer of a Chainlink feed.
    Chainlink(ChainlinkFeed),
}

impl Contract {
    /// The call that gives its price.
    pub fn call(&self) -> String {
        match self {
            Self::Uniswap(pool) => pool.observe_call(),
            Self::Curve(pool) => pool.call(),
            Self::Chainlink(_) => chainlink::LATEST_ROUND_DATA.to_owned(),
        }
    }

    /// Reads its price as of a block.
    ///
    /// A pool's price is as old as the block. A Chainlink answer is held to its own heartbeat here and then as good as new: it stands until
    /// it is replaced, which is why it has no time of its own.
    pub fn parse(&self, body: &[u8], block: &BlockHead, received: Time) -> Result<Quote, ParseError> {
        match self {
            Self::Uniswap(pool) => pool.parse_observe(body, block.time, received),
            Self::Curve(pool) => pool.parse(body, block.time, received),
            Self::Chainlink(feed) => {
                let (quote, _) = chainlink::parse_round(body, feed, received)?;
                Ok(Quote { venue_time: None, ..quote })
            }
        }
    }

    /// Whether its price is other venues' prices: fit to check against, never to make up a majority.
    pub const fn is_derived(&self) -> bool {
        matches!(self, Self::Chainlink(_))
    }
}
