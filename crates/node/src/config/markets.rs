//! From written feeds and legs to what is priced and how: units compose, nothing leads in a circle, no book counts twice, and no
//! majority is made of other venues' prices. Every refusal names the leg.

use std::collections::{BTreeMap, BTreeSet};

use concurrence_engine::FeedPlan;
use concurrence_oracle::{
    BATCH_FEEDS_MAX, CHAINLINK, ConversionGraph, Currency, Feed, GraphError, HOPS_DEFAULT, Leg, Price, SourceId,
    default_feeds, default_legs,
};
use concurrence_sources::Venue;

use super::{
    ChainRead, ChainSource, Config, ConfigError, FeedSection, LegSection,
    chains::{CHAINS, contract},
    resolve::{Configured, VENUES, within},
};

/// A venue's market and what its prices are used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MarketUse {
    /// Its symbol, in the venue's spelling.
    pub symbol: String,
    /// The stream's spelling of it.
    pub on_stream: String,
    /// The legs that it prices, each once.
    pub legs: Vec<LegUse>,
}

/// How a market's price becomes a leg's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegUse {
    /// The leg's symbol: the market's, or `1/` before it where it is inverted.
    pub symbol: String,
    /// The price is one over the market's.
    pub invert: bool,
    /// Least volume of a day, in units of the market's own base currency.
    pub volume_min: Option<Price>,
}

/// What the markets of each source are used for, by symbol.
type Uses = BTreeMap<SourceId, Vec<MarketUse>>;

/// What each source on a chain is read for.
type Reads = BTreeMap<SourceId, Vec<ChainRead>>;

/// A leg with what the graph does not hold of it.
struct Written {
    leg: Leg,
    from: From,
}

/// Where a leg's price comes from.
enum From {
    Market(MarketUse),
    Chain(ChainRead),
}

/// The configured sources of both kinds.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) exchanges: &'a [Configured<'a>],
    pub(super) chains: &'a [ChainSource],
}

impl Sources<'_> {
    fn weight(&self, source: SourceId) -> Option<u32> {
        let exchange = self.exchanges.iter().find(|(_, exchange)| exchange.source == source);
        let chain = || self.chains.iter().find(|chain| chain.source == source).map(|chain| chain.weight);
        exchange.map(|(section, _)| section.weight).or_else(chain)
    }
}

/// Share of a feed's weight that derived prices must stay below, as a divisor: other venues' prices never make up half.
const DERIVED_SHARE: u64 = 2;

impl Config {
    /// What is priced, what each market is used for, and what is read on chains.
    pub(super) fn feeds(&self, sources: Sources<'_>) -> Result<(Vec<FeedPlan>, Uses, Reads), ConfigError> {
        let defaults: Vec<FeedSection> = default_feeds()
            .into_iter()
            .map(|feed| FeedSection {
                name: feed.to_string(),
                decimals: super::default_decimals(),
                min_groups: super::one_group(),
                legs: Vec::new(),
            })
            .collect();
        let sections = if self.feeds.is_empty() { &defaults } else { &self.feeds };
        let batch_max = self.performance.attestation_batch_size;
        within("performance.attestation_batch_size", batch_max as u64, 1, BATCH_FEEDS_MAX as u64)?;
        within("feeds (their number)", sections.len() as u64, 1, batch_max as u64)?;
        let (mut plans, mut uses, mut reads): (Vec<FeedPlan>, Uses, Reads) = Default::default();
        for section in sections {
            let feed: Feed = section.name.parse().map_err(|e| value(section, "name", format!("{e}")))?;
            if plans.iter().any(|plan| plan.graph.feed() == feed) {
                return Err(value(section, "name", "is configured twice".to_owned()));
            }
            within(&format!("feeds[{}].decimals", section.name), u64::from(section.decimals), 0, 18)?;
            let written = legs_of(section, feed, sources)?;
            check_books(section, &written)?;
            let legs: Vec<Leg> = written.iter().map(|w| w.leg.clone()).collect();
            let graph =
                ConversionGraph::new(feed, legs, HOPS_DEFAULT).map_err(|e| value(section, "legs", e.to_string()))?;
            check_independence(section, &graph)?;
            for Written { leg, from } in written {
                match from {
                    From::Market(market) => add(&mut uses, section, leg.source, market)?,
                    From::Chain(read) => add_read(&mut reads, section, leg.source, read)?,
                }
            }
            let expo = -i8::try_from(section.decimals).unwrap_or(18); // bounded to 18 above
            plans.push(FeedPlan { graph, expo });
        }
        uses.values_mut().for_each(|markets| markets.sort_by(|a, b| a.symbol.cmp(&b.symbol)));
        Ok((plans, uses, reads))
    }
}

fn value(section: &FeedSection, key: &str, detail: String) -> ConfigError {
    ConfigError::Value { field: format!("feeds[{}].{key}", section.name), detail }
}

/// A leg as configuration errors name it.
fn named(leg: &Leg) -> String {
    format!("leg {} of {}", leg.symbol, leg.venue)
}

/// Joins what one feed makes of a market to what others make of it. A leg's symbol stands for one price: two feeds cannot give it
/// different floors.
fn add(uses: &mut Uses, section: &FeedSection, source: SourceId, market: MarketUse) -> Result<(), ConfigError> {
    let markets = uses.entry(source).or_default();
    let Some(known) = markets.iter_mut().find(|known| known.symbol == market.symbol) else {
        markets.push(market);
        return Ok(());
    };
    for leg in market.legs {
        match known.legs.iter().find(|other| other.symbol == leg.symbol) {
            None => known.legs.push(leg),
            Some(other) if *other == leg => {}
            Some(_) => {
                let detail = format!("leg {} has another min_volume in another feed", leg.symbol);
                return Err(value(section, "legs", detail));
            }
        }
    }
    if known.on_stream != market.on_stream {
        let detail = format!("leg {} has another ws_symbol in another feed", market.symbol);
        return Err(value(section, "legs", detail));
    }
    Ok(())
}

/// As [`add`], for a contract.
fn add_read(reads: &mut Reads, section: &FeedSection, source: SourceId, read: ChainRead) -> Result<(), ConfigError> {
    let known = reads.entry(source).or_default();
    match known.iter().find(|other| other.symbol == read.symbol) {
        None => known.push(read),
        Some(other) if *other == read => {}
        Some(_) => {
            let detail = format!("leg {} has another contract in another feed", read.symbol);
            return Err(value(section, "legs", detail));
        }
    }
    Ok(())
}

/// A feed's legs over the configured sources: those written, or the known ones. A source's weight multiplies its legs'.
fn legs_of(section: &FeedSection, feed: Feed, sources: Sources<'_>) -> Result<Vec<Written>, ConfigError> {
    let legs: Vec<Written> = match section.legs.is_empty() {
        true => default_legs(feed).into_iter().map(known).collect(),
        false => section.legs.iter().map(|leg| written(section, leg, sources)).collect::<Result<_, _>>()?,
    };
    if legs.is_empty() {
        let detail = "has no legs, and none are known for this feed: write [[feeds.legs]]".to_owned();
        return Err(value(section, "legs", detail));
    }
    let weighted = legs.into_iter().filter_map(|Written { leg, from }| {
        let leg = Leg { weight: leg.weight.saturating_mul(sources.weight(leg.source)?), ..leg };
        Some(Written { leg, from })
    });
    let weighted: Vec<_> = weighted.collect();
    if weighted.is_empty() {
        let detail = "none of the known legs belongs to a configured exchange (binance, coinbase, kraken)".to_owned();
        return Err(value(section, "legs", detail));
    }
    // Written legs are taken as they are: one that cannot be converted is an error that names it.
    Ok(if section.legs.is_empty() { reachable(feed, weighted) } else { weighted })
}

/// A default leg.
fn known(leg: Leg) -> Written {
    let from = From::Market(market(&leg, None, false, None));
    Written { leg, from }
}

fn market(leg: &Leg, on_stream: Option<&String>, invert: bool, volume_min: Option<Price>) -> MarketUse {
    let symbol = leg.symbol.clone();
    // Kraken's stream names markets by its own currency codes, all others as their requests do.
    let (base, quote) = if invert { (leg.quote, leg.base) } else { (leg.base, leg.quote) };
    let spelled = if leg.venue == Venue::Kraken.name() { format!("{base}/{quote}") } else { symbol.clone() };
    let on_stream = on_stream.cloned().unwrap_or(spelled);
    let of_leg = if invert { format!("1/{symbol}") } else { symbol.clone() };
    MarketUse { symbol, on_stream, legs: vec![LegUse { symbol: of_leg, invert, volume_min }] }
}

fn written(section: &FeedSection, written: &LegSection, sources: Sources<'_>) -> Result<Written, ConfigError> {
    let LegSection { source: venue, symbol, base, quote, weight, mirror, .. } = written.clone();
    let refused = |detail: String| value(section, "legs", format!("leg {symbol} of {venue}: {detail}"));
    let known = VENUES.iter().chain(&CHAINS).find(|(name, _)| *name == venue);
    let &(_, source) =
        known.ok_or_else(|| refused(format!("source {venue:?} is no known exchange or chain source")))?;
    if sources.weight(source).is_none() {
        let section = if CHAINS.iter().any(|(name, _)| *name == venue) {
            "data_sources.on_chain or data_sources.oracles with two rpc addresses"
        } else {
            "data_sources.exchanges"
        };
        return Err(refused(format!("source {venue:?} is not among {section}")));
    }
    let currency = |text: &str| text.parse::<Currency>().map_err(|e| refused(e.to_string()));
    let (base, quote) = (currency(&base)?, currency(&quote)?);
    within(&format!("feeds[{}].legs[{symbol}].weight", section.name), u64::from(weight), 1, 10_000)?;
    let leg = Leg { source, venue: venue.clone(), symbol: symbol.clone(), base, quote, weight, mirror };
    if CHAINS.iter().any(|(name, _)| *name == venue) {
        let read = contract(source, written).map_err(refused)?;
        return Ok(Written { leg, from: From::Chain(read) });
    }
    if written.contract.is_some() {
        return Err(refused("an exchange has no contract".to_owned()));
    }
    let floor = |text: &String| {
        let price = Price::parse(text).ok().filter(|price| price.is_positive());
        price.ok_or_else(|| refused(format!("min_volume {text:?} is no decimal above zero")))
    };
    let volume_min = written.min_volume.as_ref().map(floor).transpose()?;
    let mut market = market(&leg, written.ws_symbol.as_ref(), written.invert, volume_min);
    if let Some(id) = &written.venue_id {
        market.symbol.clone_from(id);
    }
    let leg = Leg { symbol: market.legs[0].symbol.clone(), ..leg }; // `market` gives one
    Ok(Written { leg, from: From::Market(market) })
}

/// Coinbase sells one book under two names: a product in USDC shows the orders and prices of the one in USD.
fn check_books(section: &FeedSection, written: &[Written]) -> Result<(), ConfigError> {
    let coinbase = || written.iter().map(|w| &w.leg).filter(|leg| leg.venue == Venue::Coinbase.name());
    for leg in coinbase().filter(|leg| leg.quote.as_str() == "USDC") {
        let twin = coinbase().find(|other| other.base == leg.base && other.quote.as_str() == "USD");
        if let Some(twin) = twin.filter(|twin| leg.mirror.is_none() || leg.mirror != twin.mirror) {
            let detail = format!(
                "{} is the book of {} under another name: give both the same mirror number, or leave one out",
                named(leg),
                twin.symbol
            );
            return Err(value(section, "legs", detail));
        }
    }
    Ok(())
}

/// Prices that a venue took from others make up less than half of the weight, and the groups that are independent are enough.
fn check_independence(section: &FeedSection, graph: &ConversionGraph) -> Result<(), ConfigError> {
    let is_derived = |leg: &&Leg| leg.source == CHAINLINK || leg.venue.parse().is_ok_and(Venue::is_derived);
    let priced = || graph.legs().iter().filter(|leg| graph.is_price_leg(leg));
    let weight = |legs: &mut dyn Iterator<Item = &Leg>| legs.map(|leg| u64::from(leg.weight)).sum::<u64>();
    let (derived, all) = (weight(&mut priced().filter(is_derived)), weight(&mut priced()));
    if let Some(leg) = priced().find(is_derived).filter(|_| derived * DERIVED_SHARE >= all) {
        let detail = format!(
            "{} is a price made of other venues' prices: it has {derived} of {all} of the weight, and \
                              must stay below half",
            named(leg)
        );
        return Err(value(section, "legs", detail));
    }
    // A mirror group is one source however many venues it spans; a venue is one however many books it has.
    let groups: BTreeSet<_> = priced()
        .filter(|leg| !is_derived(leg))
        .map(|leg| leg.mirror.map_or((0, leg.source.index()), |mirror| (1, mirror)))
        .collect();
    within(&format!("feeds[{}].min_groups", section.name), u64::from(section.min_groups), 1, 16)?;
    if groups.len() < usize::from(section.min_groups) {
        let detail =
            format!("{} independent groups are asked for, the legs make up {}", section.min_groups, groups.len());
        return Err(value(section, "min_groups", detail));
    }
    Ok(())
}

/// Of known legs, those that the configured exchanges can convert: a missing venue takes the legs that need its rates with it.
fn reachable(feed: Feed, mut legs: Vec<Written>) -> Vec<Written> {
    let graph =
        |legs: &[Written]| ConversionGraph::new(feed, legs.iter().map(|w| w.leg.clone()).collect(), HOPS_DEFAULT);
    while let Err(GraphError::Unconvertible { symbol, .. }) = graph(&legs) {
        let before = legs.len();
        legs.retain(|w| w.leg.symbol != symbol);
        if legs.len() == before {
            break;
        }
    }
    legs
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const HEAD: &str = r#"
[oracle]
id = "a"
key_file = "./k.json"
[network]
listen_addr = "127.0.0.1:0"
[submission]
min_sources = 1
"#;

    /// Venue, symbol, base, quote, and further keys.
    type Row = (&'static str, &'static str, &'static str, &'static str, &'static str);

    fn resolved(feed: &str, keys: &str, rows: &[Row]) -> Result<super::super::Resolved, String> {
        let mut text = HEAD.to_owned();
        let venues: BTreeSet<_> = rows.iter().map(|row| row.0).collect();
        for venue in venues {
            text.push_str(&format!("[[data_sources.exchanges]]\nname = \"{venue}\"\n"));
        }
        text.push_str(&format!("[[feeds]]\nname = \"{feed}\"\n{keys}\n"));
        for (venue, symbol, base, quote, more) in rows {
            text.push_str(&format!(
                "[[feeds.legs]]\nsource = \"{venue}\"\nsymbol = \"{symbol}\"\nbase = \"{base}\"\nquote = \"{quote}\"\n{more}\n"
            ));
        }
        let config = Config::parse(&text, &|_| None).and_then(|config| config.resolve(Path::new(".")));
        config.map_err(|error| error.to_string())
    }

    fn refused(feed: &str, keys: &str, rows: &[Row]) -> String {
        resolved(feed, keys, rows).err().unwrap_or_default()
    }

    const KRAKEN_USD: Row = ("kraken", "XBTUSD", "BTC", "USD", "");

    /// Moonwell, 15 February 2026: a ratio published as a price in dollars. A graph whose units do not reach the feed's is refused.
    #[test]
    fn moonwell_2026_units_that_do_not_compose_are_refused() {
        let ratio = ("coinbase", "CBETH-ETH", "CBETH", "ETH", "");
        let said = refused("CBETH/USD", "", &[ratio]);
        assert!(
            said.contains("feeds[CBETH/USD].legs: leg CBETH-ETH is priced in ETH, which no leg converts to USD"),
            "{said}"
        );
        assert_eq!(refused("CBETH/USD", "", &[ratio, ("kraken", "ETHUSD", "ETH", "USD", "")]), "");
    }

    /// Ribbon, December 2025: decimals that no price can have are refused at the start.
    #[test]
    fn ribbon_2025_decimals_beyond_the_type_are_refused() {
        assert!(refused("BTC/USD", "decimals = 19", &[KRAKEN_USD]).contains("feeds[BTC/USD].decimals: 19"));
    }

    #[test]
    fn circles_and_legs_of_absent_venues_are_refused_by_name() {
        let circle = [KRAKEN_USD, ("okx", "A", "USDT", "EUR", ""), ("okx", "B", "EUR", "USDT", "")];
        assert!(refused("BTC/USD", "", &circle).contains("goes in a circle"));
        let said = refused("BTC/USD", "", &[("mtgox", "X", "BTC", "USD", "")]);
        assert!(said.contains("leg X of mtgox: source \"mtgox\" is no known exchange or chain source"), "{said}");
        let said = refused("BTC/USD", "", &[("okx", "BTC-USDT", "BTC", "usd t", "")]);
        assert!(said.contains("leg BTC-USDT of okx"), "{said}");
        let said = refused("BTC/USD", "", &[("kraken", "XBTUSD", "BTC", "USD", "min_volume = \"0\"")]);
        assert!(said.contains("leg XBTUSD of kraken: min_volume \"0\""), "{said}");
    }

    /// A venue's USDC book that shows its USD book is one source.
    #[test]
    fn one_book_under_two_names_counts_once() {
        let usdc = |mirror| ("coinbase", "BTC-USDC", "BTC", "USDC", mirror);
        let rate = ("kraken", "USDCUSD", "USDC", "USD", "");
        let twin = |mirror| ("coinbase", "BTC-USD", "BTC", "USD", mirror);
        let said = refused("BTC/USD", "", &[twin(""), usdc(""), rate]);
        assert!(said.contains("leg BTC-USDC of coinbase is the book of BTC-USD under another name"), "{said}");
        assert!(!refused("BTC/USD", "", &[twin("mirror = 1"), usdc("mirror = 2"), rate]).is_empty());
        assert_eq!(refused("BTC/USD", "", &[twin("mirror = 1"), usdc("mirror = 1"), rate]), "");
        assert_eq!(refused("BTC/USD", "", &[usdc(""), rate]), "", "alone it is a source");
    }

    /// UwU Lend, 10 June 2024: eleven sources of which five were one. What is correlated is counted as one group.
    #[test]
    fn uwu_2024_correlated_sources_are_one_group() {
        let rows = [
            ("kraken", "XBTUSD", "BTC", "USD", "mirror = 3"),
            ("bitstamp", "btcusd", "BTC", "USD", "mirror = 3"),
            ("gemini", "btcusd", "BTC", "USD", ""),
        ];
        assert_eq!(refused("BTC/USD", "min_groups = 2", &rows), "");
        let said = refused("BTC/USD", "min_groups = 3", &rows);
        assert!(
            said.contains("feeds[BTC/USD].min_groups: 3 independent groups are asked for, the legs make up 2"),
            "{said}"
        );
    }

    #[test]
    fn other_venues_prices_are_never_the_majority() {
        let dydx = ("dydx", "BTC-USD", "BTC", "USD", "");
        let said = refused("BTC/USD", "", &[KRAKEN_USD, dydx]);
        assert!(
            said.contains("leg BTC-USD of dydx is a price made of other venues' prices: it has 25 of 50"),
            "{said}"
        );
        assert_eq!(refused("BTC/USD", "", &[KRAKEN_USD, dydx, ("gemini", "btcusd", "BTC", "USD", "")]), "");
    }

    #[test]
    fn markets_know_their_stream_and_their_legs() {
        let inverted = ("binance", "USDCUSDT", "USDT", "USDC", "invert = true\nmin_volume = \"1000\"");
        let rows =
            [KRAKEN_USD, ("kraken", "USDCUSD", "USDC", "USD", ""), inverted, ("binance", "BTCUSDT", "BTC", "USDC", "")];
        let config = resolved("BTC/USD", "", &rows).unwrap();
        let of = |name: &str| config.exchanges.iter().find(|exchange| exchange.name == name).unwrap();
        assert_eq!(of("kraken").symbols, ["USDCUSD", "XBTUSD"]);
        assert_eq!(of("kraken").markets[1].on_stream, "BTC/USD");
        let [_, usdc] = &of("binance").markets[..] else { panic!("two markets") };
        let floor = Price::parse("1000").ok();
        assert_eq!(usdc.legs, [LegUse { symbol: "1/USDCUSDT".into(), invert: true, volume_min: floor }]);
        assert!(config.feeds[0].graph.legs().iter().any(|leg| leg.symbol == "1/USDCUSDT"));
        assert!(of("kraken").stream.is_some(), "the public address has a stream");
    }

    /// Legs on a chain, each with what is wrong named; `{}` is what stands in the contract.
    fn on_chain(source: &str, contract: &str) -> String {
        let section = if source == "chainlink" { "oracles" } else { "on_chain" };
        let text = format!(
            r#"{HEAD}
[[data_sources.exchanges]]
name = "kraken"
[[data_sources.{section}]]
name = "{source}"
chain = "ethereum"
rpc_url = "http://127.0.0.1:1/secret"
second_rpc_url = "http://127.0.0.1:2/secret"
weight = 5
[[feeds]]
name = "ETH/USD"
[[feeds.legs]]
source = "kraken"
symbol = "ETHUSD"
base = "ETH"
quote = "USD"
[[feeds.legs]]
source = "kraken"
symbol = "USDCUSD"
base = "USDC"
quote = "USD"
[[feeds.legs]]
source = "{source}"
symbol = "P"
base = "ETH"
quote = "{quote}"
contract = {{ {contract} }}
"#,
            quote = if source == "chainlink" { "USD" } else { "USDC" },
        );
        let config = Config::parse(&text, &|_| None).and_then(|config| config.resolve(Path::new(".")));
        config.err().map(|error| error.to_string()).unwrap_or_default()
    }

    const ADDRESS: &str = "address = \"0x88e6A0c2dDD26FEEb64F039a2c41296FcB3f5640\"";

    #[test]
    fn contracts_are_complete_or_refused_by_name() {
        let pool = "decimals0 = 6, decimals1 = 18, min_liquidity = \"1000\"";
        assert_eq!(on_chain("uniswap_v3", &format!("{ADDRESS}, {pool}")), "");
        assert!(on_chain("uniswap_v3", pool).contains("missing field `address`"));
        let said = on_chain("uniswap_v3", ADDRESS);
        assert!(said.contains("leg P of uniswap_v3: contract has no min_liquidity"), "{said}");
        let said = on_chain("uniswap_v3", &format!("{ADDRESS}, {pool}, window_seconds = 12"));
        assert!(said.contains("window_seconds 12 is not within 60 and 86400"), "{said}");
        let said = on_chain("uniswap_v3", &format!("address = \"0x12\", {pool}"));
        assert!(said.contains("contract address \"0x12\""), "{said}");
        assert_eq!(on_chain("chainlink", ADDRESS), "");
        let said = on_chain("chainlink", &format!("{ADDRESS}, min_answer = \"1\""));
        assert!(said.contains("min_answer and max_answer come together"), "{said}");
    }

    /// December 2023: stableswap-ng pools of before whose `price_oracle` jumps are refused when the configuration is loaded.
    #[test]
    fn curve_2023_a_pool_with_the_known_fault_is_refused() {
        let pool = |created: u64, plain: bool| {
            on_chain("curve", &format!("{ADDRESS}, created_seconds = {created}, stableswap_ng = true, plain = {plain}"))
        };
        assert!(pool(1_702_373_974, false).contains("leg P of curve: a stableswap-ng pool made before 2023-12-12"));
        assert_eq!(pool(1_702_373_975, false), "");
        assert_eq!(pool(1_702_373_974, true), "");
    }

    #[test]
    fn a_long_id_is_asked_by_and_the_leg_keeps_its_name() {
        let pyth = ("pyth", "BTC/USD", "BTC", "USD", "venue_id = \"e62d\"");
        let rows = [KRAKEN_USD, ("gemini", "btcusd", "BTC", "USD", ""), pyth];
        let config = resolved("BTC/USD", "", &rows).unwrap();
        let exchange = config.exchanges.iter().find(|exchange| exchange.name == "pyth").unwrap();
        assert_eq!(exchange.symbols, ["e62d"]);
        assert_eq!(exchange.markets[0].legs[0].symbol, "BTC/USD");
        assert!(exchange.stream.is_none());
    }
}
