//! Every leg of every feed as the venues have it now: what an operator looks at before trusting a configuration.

use std::collections::BTreeMap;

use concurrence_crdt::Time;
use concurrence_oracle::{Leg, LegRecord, Observation, Prior, Quote, SourceId, observe};
use serde::Serialize;
use tokio::task::JoinSet;

use crate::{Resolved, chain_watch, driver::wall_ms, node::sources, watch::Uses};

/// One leg, looked at now.
#[derive(Clone, Debug, Serialize)]
pub struct LegLook {
    /// The feed.
    pub feed: String,
    /// The exchange.
    pub source: String,
    /// The market's symbol; `1/` before it where it is inverted.
    pub symbol: String,
    /// What it prices, as `BTC/USDT`.
    pub market: String,
    /// Its price in its own quote currency.
    pub raw: Option<String>,
    /// Its price in the feed's quote currency.
    pub converted: Option<String>,
    /// How old the venue says it is, in milliseconds; null where the venue gives no time.
    pub age_ms: Option<u64>,
    /// What it would count as: `counted`, `rate`, or the reason why not.
    pub verdict: &'static str,
    /// Why there is no quote.
    pub error: Option<String>,
}

/// What each leg of an exchange said, or why it said nothing.
type Said = BTreeMap<(SourceId, String), Result<Quote, String>>;

/// Asks every exchange for every market once and shows each leg of the feeds chosen; none chosen means all. An exchange chosen shows its
/// legs only, but all are asked, since the others convert.
pub async fn look(config: &Resolved, source: Option<&str>, feed: Option<&str>) -> anyhow::Result<Vec<LegLook>> {
    let known = |name: &str| {
        config.exchanges.iter().any(|exchange| exchange.name == name) || config.chains.iter().any(|c| c.name == name)
    };
    if let Some(name) = source.filter(|name| !known(name)) {
        anyhow::bail!("source {name:?} is not configured");
    }
    let plans: Vec<_> =
        config.feeds.iter().filter(|plan| feed.is_none_or(|feed| plan.graph.feed().to_string() == feed)).collect();
    if plans.is_empty() {
        anyhow::bail!("feed {:?} is not configured", feed.unwrap_or_default());
    }
    let said = ask(config).await?;
    let now = Time::from_ms(wall_ms());
    let mut looks = Vec::new();
    for plan in plans {
        let quote_of = |leg: &Leg| said.get(&(leg.source, leg.symbol.clone()))?.as_ref().ok();
        let observation = observe(&plan.graph, now, quote_of, &Prior::default(), &config.submission.observe);
        let Observation { feed, legs, .. } = &observation;
        for (leg, record) in plan.graph.legs().iter().zip(&legs.legs) {
            if source.is_none_or(|source| leg.venue == source) {
                looks.push(shown(&feed.to_string(), leg, record, &said, now));
            }
        }
    }
    Ok(looks)
}

fn shown(feed: &str, leg: &Leg, record: &LegRecord, said: &Said, now: Time) -> LegLook {
    let quote = said.get(&(leg.source, leg.symbol.clone()));
    let stated = quote.and_then(|quote| quote.as_ref().ok()?.venue_time);
    LegLook {
        feed: feed.to_owned(),
        source: leg.venue.clone(),
        symbol: leg.symbol.clone(),
        market: format!("{}/{}", leg.base, leg.quote),
        raw: record.raw.map(|price| price.to_string()),
        converted: record.converted.map(|price| price.to_string()),
        age_ms: stated.map(|time| now.since_ms(time)),
        verdict: record.verdict.as_str(),
        error: match quote {
            Some(Err(error)) => Some(error.clone()),
            Some(Ok(_)) => None,
            None => Some("its volume is below min_volume".to_owned()),
        },
    }
}

/// Exchanges side by side, the markets of each one after another: budgets are an exchange's own.
async fn ask(config: &Resolved) -> anyhow::Result<Said> {
    let mut tasks = JoinSet::new();
    for (exchange, source) in sources(&config.exchanges)? {
        tasks.spawn(async move {
            let (mut uses, mut said) = (Uses::new(&exchange), Said::new());
            for market in &exchange.markets {
                match source.fetch(&market.symbol).await {
                    Ok(quote) => {
                        for (leg, quote) in uses.of(&market.symbol, &quote) {
                            said.insert((exchange.source, leg), Ok(quote));
                        }
                    }
                    Err(error) => {
                        for leg in &market.legs {
                            said.insert((exchange.source, leg.symbol.clone()), Err(error.to_string()));
                        }
                    }
                }
            }
            said
        });
    }
    for source in config.chains.clone() {
        let chain = chain_watch::chain(&source)?;
        tasks.spawn(async move {
            let read = chain_watch::read(&source, &chain).await;
            let key = |symbol: &String| (source.source, symbol.clone());
            read.iter().map(|(read, said)| (key(&read.symbol), said.clone().map_err(|e| e.to_string()))).collect()
        });
    }
    let mut all = Said::new();
    while let Some(said) = tasks.join_next().await {
        all.extend(said?);
    }
    Ok(all)
}
