//! What a node hears of the venues: recorded bodies, asked for at its own times, sometimes lost, read by the real parsers.

use std::collections::BTreeMap;

use concurrence_crdt::Time;
use concurrence_exchanges::{Endpoint, FORWARD_FILL_MS, Moment, Tape, Venue};
use concurrence_oracle::{Leg, Quote, SourceId};
use concurrence_sources::Channel;

use super::dice::Dice;

/// A node's view of the venues.
pub(super) struct Venues {
    targets: Vec<Target>,
    dice: Dice,
    loss_percent: u8,
    /// The newest quote of each leg.
    pub(super) quotes: Quotes,
    /// Requests made.
    pub(super) polls: u64,
    /// Requests whose answer was lost.
    pub(super) lost: u64,
}

/// The newest quote of each leg, by source and symbol: what an engine holds too.
pub(super) type Quotes = BTreeMap<(SourceId, String), Quote>;

/// Greatest age of a quote, milliseconds: for as long the reference fills missing bars forward, too.
pub(super) const QUOTE_AGE_MS_MAX: u64 = FORWARD_FILL_MS;

struct Target {
    source: SourceId,
    symbol: String,
    endpoint: Endpoint,
    channel: Channel,
    price_ppm: u32,
}

impl Venues {
    /// The venues of these legs. `price_ppm_of` says by how much a leg's prices are scaled, in millionths.
    pub(super) fn new(legs: &[Leg], price_ppm_of: impl Fn(&Leg) -> u32, dice: Dice, loss_percent: u8) -> Self {
        let target = |leg: &Leg| {
            let (endpoint, channel) = asked(leg.venue.parse().ok()?);
            let (source, symbol) = (leg.source, leg.symbol.clone());
            Some(Target { source, symbol, endpoint, channel, price_ppm: price_ppm_of(leg) })
        };
        let targets = legs.iter().filter_map(target).collect();
        Self { targets, dice, loss_percent, quotes: Quotes::new(), polls: 0, lost: 0 }
    }

    /// Asks for every leg once; what came.
    pub(super) fn poll(&mut self, tape: &Tape, now: Time) -> Vec<(SourceId, String, Quote)> {
        let mut came = Vec::with_capacity(self.targets.len());
        for target in &self.targets {
            self.polls += 1;
            if self.dice.happens(self.loss_percent) {
                self.lost += 1;
            } else if let Some(quote) = target.ask(tape, now) {
                self.quotes.insert((target.source, target.symbol.clone()), quote.clone());
                came.push((target.source, target.symbol.clone(), quote));
            }
        }
        came
    }
}

impl Target {
    /// The quote at an instant, if the venue has one.
    fn ask(&self, tape: &Tape, now: Time) -> Option<Quote> {
        let close = tape.close_at(self.endpoint.venue(), &self.symbol, now.ms())?;
        let answer = tape.answer(self.endpoint, &self.symbol, Moment::replayed(now.ms()), self.price_ppm);
        if answer.status != 200 {
            return None;
        }
        let mut quote = self.channel.parse(&answer.body, &self.symbol, now).ok()?;
        if quote.venue_time.is_none() {
            // Kraken's answers carry no time, so a close that is repeated would look fresh for ever. It counts as received when
            // its bar ended: then no close, of whichever venue, outlives its bar by more than the forward fill.
            quote.received = Time::from_ms(close.bar_end_ms);
        }
        Some(quote)
    }
}

/// The endpoint a node asks by default, as the simulated venue and the real client name it.
const fn asked(venue: Venue) -> (Endpoint, Channel) {
    match venue {
        Venue::Binance => (Endpoint::BinanceTicker24hr, Channel::BinanceTicker24hr),
        Venue::Coinbase => (Endpoint::CoinbaseTicker, Channel::CoinbaseTicker),
        Venue::Kraken => (Endpoint::KrakenTicker, Channel::KrakenTicker),
    }
}

#[cfg(test)]
mod tests {
    use concurrence_oracle::{Feed, default_legs, leg_price};

    use super::*;

    fn legs() -> Vec<Leg> {
        let feed: Feed = "BTC/USD".parse().expect("a feed");
        default_legs(feed)
    }

    #[test]
    fn every_default_leg_is_on_the_tape_and_parses() {
        let (tape, legs) = (Tape::usdc_depeg(), legs());
        let mut venues = Venues::new(&legs, |_| 1_000_000, Dice::new(1, "test"), 0);
        assert_eq!(venues.poll(&tape, Time::from_ms(tape.start_ms())).len(), legs.len());
        assert!(venues.poll(&tape, Time::from_ms(tape.start_ms() - 1)).is_empty());
    }

    #[test]
    fn no_close_outlives_its_bar_by_more_than_the_forward_fill() {
        let (tape, legs) = (Tape::usdc_depeg(), legs());
        let mut venues = Venues::new(&legs, |_| 1_000_000, Dice::new(1, "test"), 0);
        let end = tape.end_ms();
        for (at, usable) in [(end, legs.len()), (end + QUOTE_AGE_MS_MAX + 1, 0)] {
            let quotes = venues.poll(&tape, Time::from_ms(at));
            let fresh = |(_, _, quote): &&(SourceId, String, Quote)| {
                leg_price(quote, Time::from_ms(at), QUOTE_AGE_MS_MAX).is_ok()
            };
            assert_eq!(quotes.iter().filter(fresh).count(), usable);
        }
    }

    #[test]
    fn answers_are_lost_as_often_as_asked() {
        let tape = Tape::usdc_depeg();
        let mut venues = Venues::new(&legs(), |_| 1_000_000, Dice::new(1, "test"), 10);
        (0..1_000).for_each(|_| drop(venues.poll(&tape, Time::from_ms(tape.start_ms()))));
        assert_eq!(venues.polls, 11_000);
        assert!((900..1_300).contains(&venues.lost), "{}", venues.lost);
    }
}
