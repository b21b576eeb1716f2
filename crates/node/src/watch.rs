//! One exchange watched: its stream, requests for what the stream does not give, and what a market's price is used for.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use concurrence_crdt::Time;
use concurrence_oracle::{Price, Quote, SourceId};
use concurrence_sources::{
    FetchError, Market, PollPolicy, Polled, Poller, Source, Stream, StreamState, Streamed, Target,
};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::{
    config::{ExchangeSource, LegUse},
    driver::{Command, wall_ms},
    node,
};

/// An exchange, its stream already listened to.
pub(crate) struct Watch {
    exchange: ExchangeSource,
    source: Arc<Source>,
    stream: Option<Stream>,
}

/// What the snapshot shows of an exchange.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) id: SourceId,
    pub(crate) source: Arc<Source>,
    pub(crate) stream: Option<Arc<StreamState>>,
}

/// How long a market's last known volume stands in for one that a message does not give, in milliseconds: it is that of a day.
const VOLUME_KEPT_MS: u64 = 600_000;

/// Most prices of a stream taken at once, so that a venue that never stops is handed on too.
const NEWS_MAX: usize = 256;

impl Watch {
    /// All exchanges, ready. `seed` differs from node to node. Must be called within a Tokio runtime.
    pub(crate) fn all(exchanges: &[ExchangeSource], seed: u64) -> anyhow::Result<Vec<Self>> {
        let watch = |(exchange, source): (ExchangeSource, Arc<Source>)| {
            let stream = stream(&exchange, seed ^ u64::from(exchange.source.index()));
            Self { exchange, source, stream }
        };
        Ok(node::sources(exchanges)?.into_iter().map(watch).collect())
    }

    pub(crate) fn seen(&self) -> Seen {
        let stream = self.stream.as_ref().map(Stream::state);
        Seen { id: self.exchange.source, source: Arc::clone(&self.source), stream }
    }

    /// Hands prices on until the driver is gone.
    pub(crate) async fn run(self, commands: mpsc::Sender<Command>) {
        let Self { exchange, source, mut stream } = self;
        let mut poller = poller(&exchange, source, stream.as_ref());
        let mut uses = Uses::new(&exchange);
        loop {
            let news = tokio::select! {
                news = next(&mut stream) => news,
                polled = poller.next() => match polled {
                    Some(Polled { symbol, result: Ok(quote), .. }) => [(symbol, quote)].into(),
                    Some(Polled { symbol, result: Err(error), .. }) => {
                        tell(&exchange.name, &symbol, &error);
                        continue;
                    }
                    // No market is asked for, and none is listened to.
                    None => return,
                },
            };
            for (symbol, quote) in news {
                for (leg, quote) in uses.of(&symbol, &quote) {
                    if commands.send(Command::Quote(exchange.source, leg, quote)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

fn stream(exchange: &ExchangeSource, seed: u64) -> Option<Stream> {
    let stream = exchange.stream.as_ref().filter(|_| !exchange.markets.is_empty())?;
    let market = |m: &crate::config::MarketUse| Market { symbol: m.symbol.clone(), on_stream: m.on_stream.clone() };
    let markets = exchange.markets.iter().map(market).collect();
    let clock: concurrence_sources::Clock = Arc::new(|| Time::from_ms(wall_ms()));
    Stream::start(stream.channel, stream.url.as_deref(), markets, seed, clock)
}

fn poller(exchange: &ExchangeSource, source: Arc<Source>, stream: Option<&Stream>) -> Poller {
    let targets: Vec<_> = exchange.symbols.iter().map(|symbol| Target { source: 0, symbol: symbol.clone() }).collect();
    // A venue that allows few requests is asked more slowly, rather than in vain.
    let per_minute = exchange.requests_per_minute.unwrap_or(source.channel().budget().per_minute);
    let affordable_ms = targets.len() as u64 * 60_000 / u64::from(per_minute.max(1));
    let policy = PollPolicy::every(Duration::from_millis(exchange.poll_interval_ms.max(affordable_ms)));
    Poller::start_behind(stream.map(Stream::state), &[source], &targets, policy)
}

/// The newest price of each market that a stream has; never any, where there is none. What waited while the driver was busy is
/// overtaken: a venue that says much costs the driver no more than one that says little.
async fn next(stream: &mut Option<Stream>) -> BTreeMap<String, Quote> {
    let mut news = BTreeMap::new();
    if let Some(listening) = stream {
        let first = listening.next().await;
        let waiting = std::iter::from_fn(|| listening.try_next()).take(NEWS_MAX);
        // Nothing waits where nothing came.
        news.extend(first.into_iter().chain(waiting).map(|Streamed { symbol, quote }| (symbol, quote)));
    }
    if news.is_empty() {
        *stream = None;
        std::future::pending::<()>().await;
    }
    news
}

fn tell(exchange: &str, symbol: &str, error: &FetchError) {
    match error {
        // Nothing was sent: what came before has been told.
        FetchError::BreakerOpen(_) | FetchError::Waiting(_) | FetchError::Budget(_) => {
            debug!(source = exchange, symbol, %error, "not asked");
        }
        error => warn!(source = exchange, symbol, %error, "no quote"),
    }
}

/// What the prices of an exchange's markets are used for.
pub(crate) struct Uses {
    markets: BTreeMap<String, Known>,
}

struct Known {
    legs: Vec<LegUse>,
    /// The greatest venue time handed on: what a request brings may be older than what the stream gave before.
    newest: Option<Time>,
    /// The last volume, and when it came.
    volume: Option<(Price, Time)>,
}

impl Uses {
    pub(crate) fn new(exchange: &ExchangeSource) -> Self {
        let known = |legs: &Vec<LegUse>| Known { legs: legs.clone(), newest: None, volume: None };
        Self { markets: exchange.markets.iter().map(|market| (market.symbol.clone(), known(&market.legs))).collect() }
    }

    /// The legs that a market's quote prices, each with its price; none if a newer one is known or its volume is below the floor.
    pub(crate) fn of(&mut self, symbol: &str, quote: &Quote) -> Vec<(String, Quote)> {
        let Some(known) = self.markets.get_mut(symbol) else { return Vec::new() };
        if quote.venue_time.is_some() && quote.venue_time < known.newest {
            return Vec::new();
        }
        known.newest = quote.venue_time.max(known.newest);
        if let Some(volume) = quote.volume {
            known.volume = Some((volume, quote.received));
        }
        let recent = known.volume.filter(|(_, at)| quote.received.since_ms(*at) <= VOLUME_KEPT_MS);
        let enough = |leg: &&LegUse| leg.volume_min.is_none_or(|min| recent.is_some_and(|(volume, _)| volume >= min));
        let priced = |leg: &LegUse| {
            let quote = if leg.invert { inverted(quote)? } else { quote.clone() };
            Some((leg.symbol.clone(), quote))
        };
        known.legs.iter().filter(enough).filter_map(priced).collect()
    }
}

/// The same market seen from the other currency: bid and ask change places. Its volume would be in another unit, and is left out.
fn inverted(quote: &Quote) -> Option<Quote> {
    let over =
        |price: Option<Price>| price.map(|price| Price::ONE.over(price).ok()).map_or(Some(None), |p| p.map(Some));
    let quote =
        Quote { bid: over(quote.ask)?, ask: over(quote.bid)?, last: over(quote.last)?, volume: None, ..quote.clone() };
    let positive = [quote.bid, quote.ask, quote.last].into_iter().flatten().all(Price::is_positive);
    positive.then_some(quote)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(text: &str) -> Option<Price> {
        Price::parse(text).ok()
    }

    fn quote(received_ms: u64, venue_ms: Option<u64>, volume: Option<Price>) -> Quote {
        Quote {
            bid: price("4"),
            ask: price("5"),
            last: price("4"),
            volume,
            venue_time: venue_ms.map(Time::from_ms),
            received: Time::from_ms(received_ms),
        }
    }

    fn uses(legs: Vec<LegUse>) -> Uses {
        Uses { markets: [("M".to_owned(), Known { legs, newest: None, volume: None })].into() }
    }

    fn plain(symbol: &str) -> LegUse {
        LegUse { symbol: symbol.to_owned(), invert: false, volume_min: None }
    }

    #[test]
    fn an_inverted_market_changes_its_sides() {
        let mut uses = uses(vec![plain("M"), LegUse { invert: true, ..plain("1/M") }]);
        let legs = uses.of("M", &quote(1, None, price("9")));
        assert_eq!(legs[0], ("M".to_owned(), quote(1, None, price("9"))));
        let (symbol, other) = &legs[1];
        assert_eq!(
            (symbol.as_str(), other.bid, other.ask, other.last),
            ("1/M", price("0.2"), price("0.25"), price("0.25"))
        );
        assert_eq!(other.volume, None);
        assert!(uses.of("N", &quote(1, None, None)).is_empty());
        let huge = Quote { last: Some(Price::MAX), ..quote(1, None, None) };
        assert_eq!(inverted(&huge), None, "one over it is zero");
    }

    #[test]
    fn a_request_does_not_take_back_what_the_stream_gave() {
        let mut uses = uses(vec![plain("M")]);
        assert_eq!(uses.of("M", &quote(10, Some(9), None)).len(), 1);
        assert!(uses.of("M", &quote(11, Some(8), None)).is_empty());
        assert_eq!(uses.of("M", &quote(12, Some(9), None)).len(), 1);
        assert_eq!(uses.of("M", &quote(13, None, None)).len(), 1, "a venue without times gives what it has");
    }

    /// Mango, 11 October 2022: thin venues moved by few orders. A market below its floor is silent.
    #[test]
    fn mango_2022_a_thin_market_is_silent() {
        let mut uses = uses(vec![LegUse { volume_min: price("100"), ..plain("M") }]);
        assert!(uses.of("M", &quote(0, None, None)).is_empty(), "unknown is not enough");
        assert!(uses.of("M", &quote(1, None, price("99"))).is_empty());
        assert_eq!(uses.of("M", &quote(2, None, price("100"))).len(), 1);
        assert_eq!(uses.of("M", &quote(2 + VOLUME_KEPT_MS, None, None)).len(), 1, "the day's volume is still known");
        assert!(uses.of("M", &quote(3 + VOLUME_KEPT_MS, None, None)).is_empty());
    }
}
