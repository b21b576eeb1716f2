//! The oracle: feeds, quotes, conversion, attestations and aggregation.
//!
//! On a node: quotes of [legs](Leg) -> [`observe`] -> [`Attestation`] -> [`BatchDraft`] -> signed [`PriceBatch`].
//! Over the network: batches -> [`Cells`] -> [`aggregate`](fn@aggregate) -> an answer with a status, whose members anyone can recount.
//!
//! Everything here is a pure function of its arguments, in integers.

mod aggregate;
mod attestation;
mod batch;
mod cells;
mod convert;
mod diversity;
mod eip712;
mod feed;
#[cfg(test)]
mod fixtures;
mod gate;
mod legs;
mod markets;
pub mod mean;
pub mod median;
mod observe;
mod pace;
mod price;
mod quote;
mod registry;
mod reputation;
mod sanity;
mod strategy;
mod time_weighted;

pub use aggregate::{
    Aggregate, AggregateParams, Anomaly, Counted, LeftOut, OUTLIER_PPM, Shortfall, Status, aggregate, outliers, quorum,
    result_id,
};
pub use attestation::{
    Attestation, AttestationError, EXPO_DEFAULT, EXPO_MAX, EXPO_MIN, HALF_WIDTH_UNITS, SLOT_MS, Slot, WORD_LEN,
};
pub use batch::{
    BATCH_FEEDS_MAX, BATCH_GROUPS_MAX, BatchDraft, BatchError, GROUP_FEEDS_MAX, KIND_PRICE_BATCH, PriceBatch,
};
pub use cells::{Cell, Cells, Joined};
pub use convert::{
    ConversionGraph, GraphError, HOPS_DEFAULT, HOPS_MAX, LEGS_MAX, Leg, SOURCES_MAX, SYMBOL_LEN_MAX, SourceId,
};
pub use eip712::{Address, AddressError, Domain, EvmSignature, PriceGroup, SignatureError, recover, sign};
pub use feed::{Currency, Feed, NameError};
pub use gate::{MAD_FLOOR_PPM, Point, gate};
pub use legs::{FeedLegs, LegRecord, LegsError, LegsRecord, Verdict};
pub use markets::{
    BINANCE, BITSTAMP, BYBIT, CHAINLINK, COINBASE, CURVE, DYDX, GEMINI, KRAKEN, OKX, PYTH, UNISWAP_V3, default_feeds,
    default_legs,
};
pub use observe::{Doubt, Observation, ObserveParams, Observed, Prior, Refused, observe};
pub use pace::Pace;
pub use price::{PRICE_DECIMALS, PRICE_TEXT_LEN_MAX, Price, PriceError};
pub use quote::Quote;
pub use registry::{
    EPOCHS_MAX, Epoch, MEMBERS_FAULT_TOLERANT_MIN, MEMBERS_MAX, Member, NAME_LEN_MAX, PEER_LEN_MAX, Registry,
    RegistryError, WEIGHT_MAX, cap_weights,
};
pub use reputation::{Conduct, SETTLE_MS, WINDOWS_MAX, Windows, conduct, earned_weights};
pub use sanity::{LegPrice, SKEW_MAX_MS, leg_price};
pub use strategy::{Strategy, UnknownStrategy, VOLATILE_PPM, dispersion_ppm};
pub use time_weighted::{AVERAGE_MS_MAX, NoAverage, time_weighted, time_weighted_answers};
