//! Sources on a chain: which contracts are read, through which two nodes.

use concurrence_crdt::Time;
use concurrence_oracle::{CHAINLINK, CURVE, SourceId, UNISWAP_V3};
use concurrence_sources::onchain::{Contract, chainlink::ChainlinkFeed, curve::CurvePool, uniswap::UniswapPool};

use super::{Config, ConfigError, ContractSection, LegSection, Secret, resolve::Unsupported, resolve::within};

/// A source on a chain and what is read of it.
#[derive(Clone, Debug)]
pub struct ChainSource {
    /// Its network-wide index.
    pub source: SourceId,
    /// Its name.
    pub name: String,
    /// Two nodes of its chain.
    pub rpc_urls: [Secret; 2],
    /// How many blocks below the newest one is read.
    pub depth: u64,
    /// Time between two readings, in milliseconds.
    pub poll_interval_ms: u64,
    /// Its weight against other sources.
    pub weight: u32,
    /// What is read, by leg.
    pub reads: Vec<ChainRead>,
}

/// A contract that prices a leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainRead {
    /// The leg's symbol.
    pub symbol: String,
    /// The contract's address.
    pub address: String,
    /// What kind it is.
    pub contract: Contract,
}

/// Sources on a chain, with their network-wide index.
pub(super) const CHAINS: [(&str, SourceId); 3] =
    [("uniswap_v3", UNISWAP_V3), ("curve", CURVE), ("chainlink", CHAINLINK)];

/// Unless written otherwise: half an hour, over which holding a price costs more than a block's proposer can take.
const WINDOW_S_DEFAULT: u32 = 1_800;

/// Unless written otherwise: the heartbeat of ETH/USD on Ethereum.
const HEARTBEAT_S_DEFAULT: u64 = 3_600;

impl Config {
    /// The sources that two nodes can be asked for, nothing read of them yet; and the others.
    pub(super) fn chains(&self) -> Result<(Vec<ChainSource>, Vec<Unsupported>), ConfigError> {
        let on_chain = self.data_sources.on_chain.iter().map(|s| {
            let urls = s.second_rpc_url.clone().map(|second| [s.rpc_url.clone(), second]);
            ("data_sources.on_chain", &s.name, urls, s.depth, s.poll_interval_ms, s.weight)
        });
        let oracles = self.data_sources.oracles.iter().map(|s| {
            let urls = s.rpc_url.clone().zip(s.second_rpc_url.clone()).map(|(first, second)| [first, second]);
            ("data_sources.oracles", &s.name, urls, s.depth, s.poll_interval_ms, s.weight)
        });
        let (mut known, mut unsupported): (Vec<ChainSource>, Vec<Unsupported>) = Default::default();
        for (section, name, urls, depth, poll_interval_ms, weight) in on_chain.chain(oracles) {
            let field = |key: &str| format!("{section}[{name}].{key}");
            within(&field("weight"), u64::from(weight), 1, 10_000)?;
            within(&field("depth"), depth, 0, 64)?;
            within(&field("poll_interval_ms"), poll_interval_ms, 1_000, 600_000)?;
            let source = CHAINS.iter().find(|(chain, _)| chain == name).map(|(_, source)| *source);
            let (Some(source), Some(rpc_urls)) = (source, urls) else {
                unsupported.push(Unsupported { section, name: name.clone() });
                continue;
            };
            if known.iter().any(|other| other.source == source) {
                return Err(ConfigError::Value { field: field("name"), detail: "is configured twice".to_owned() });
            }
            let name = name.clone();
            known.push(ChainSource { source, name, rpc_urls, depth, poll_interval_ms, weight, reads: Vec::new() });
        }
        Ok((known, unsupported))
    }
}

/// The contract of a leg, complete and in bounds; or what is wrong with it.
pub(super) fn contract(source: SourceId, leg: &LegSection) -> Result<ChainRead, String> {
    let written = leg.contract.as_ref().ok_or("has no contract = { address = ... }")?;
    let digits = written.address.strip_prefix("0x").filter(|hex| hex.len() == 40);
    if !digits.is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit())) {
        return Err(format!("contract address {:?} is not 0x and 40 hexadecimal digits", written.address));
    }
    let contract = match source {
        UNISWAP_V3 => uniswap(written, leg.invert)?,
        CURVE => curve(written, leg.invert)?,
        _ if leg.invert => return Err("a Chainlink answer cannot be inverted".to_owned()),
        _ => chainlink(written)?,
    };
    Ok(ChainRead { symbol: leg.symbol.clone(), address: written.address.clone(), contract })
}

fn uniswap(written: &ContractSection, invert: bool) -> Result<Contract, String> {
    let window_s = written.window_seconds.unwrap_or(WINDOW_S_DEFAULT);
    let liquidity = needed(written.min_liquidity.as_ref(), "min_liquidity")?;
    Ok(Contract::Uniswap(UniswapPool {
        decimals0: bounded(needed(written.decimals0, "decimals0")?, 0, 18, "decimals0")?,
        decimals1: bounded(needed(written.decimals1, "decimals1")?, 0, 18, "decimals1")?,
        invert,
        window_s: bounded(window_s, 60, 86_400, "window_seconds")?,
        liquidity_min: integer(liquidity, "min_liquidity")?,
    }))
}

fn curve(written: &ContractSection, invert: bool) -> Result<Contract, String> {
    let created_s = needed(written.created_seconds, "created_seconds")?;
    let pool = CurvePool {
        created: Time::from_ms(created_s.saturating_mul(1_000)),
        is_stableswap_ng: needed(written.stableswap_ng, "stableswap_ng")?,
        is_plain: needed(written.plain, "plain")?,
        coin: written.coin.map(|coin| bounded(coin, 0, 7, "coin")).transpose()?,
        invert,
    };
    pool.check().map_err(|faulty| faulty.to_string())?;
    Ok(Contract::Curve(pool))
}

fn chainlink(written: &ContractSection) -> Result<Contract, String> {
    let heartbeat_s = written.heartbeat_seconds.unwrap_or(HEARTBEAT_S_DEFAULT);
    let bounds = match (&written.min_answer, &written.max_answer) {
        (None, None) => None,
        (Some(min), Some(max)) => Some((integer(min, "min_answer")?, integer(max, "max_answer")?)),
        _ => return Err("min_answer and max_answer come together".to_owned()),
    };
    Ok(Contract::Chainlink(ChainlinkFeed {
        decimals: bounded(written.decimals.unwrap_or(8), 0, 18, "decimals")?,
        heartbeat_s: bounded(heartbeat_s, 1, 172_800, "heartbeat_seconds")?,
        bounds,
    }))
}

fn needed<T>(value: Option<T>, key: &str) -> Result<T, String> {
    value.ok_or_else(|| format!("contract has no {key}"))
}

fn bounded<T: PartialOrd + std::fmt::Display>(value: T, low: T, high: T, key: &str) -> Result<T, String> {
    if (&low..=&high).contains(&&value) {
        Ok(value)
    } else {
        Err(format!("{key} {value} is not within {low} and {high}"))
    }
}

fn integer<T: std::str::FromStr>(text: &str, key: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("{key} {text:?} is no integer in range"))
}
