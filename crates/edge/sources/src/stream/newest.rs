//! The newest price of one market: what was said before never replaces what was said after.

use concurrence_crdt::Time;
use concurrence_oracle::{Quote, SKEW_MAX_MS};

use super::LinkId;
use crate::{Ticker, json};

/// What is remembered of a market, over all connections.
#[derive(Default)]
pub(super) struct Newest {
    /// The venue's time of the newest price.
    time: Option<Time>,
    /// The connection and place of the newest price. Places of different connections are not compared: a venue may begin anew.
    order: Option<(LinkId, u64)>,
    /// The whole quote as of the newest message, to be completed by changes.
    whole: Option<(LinkId, Quote)>,
}

/// Why a price was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeftOut {
    /// Its venue time is ahead of our clock.
    Future,
    /// A newer price is known: it was repeated, came late, or was replayed after a reconnect.
    Older,
    /// A change of a quote that this connection never gave whole.
    Baseless,
    /// The change gives no sane quote.
    Insane,
}

impl Newest {
    /// The quote of a ticker, if it is news.
    pub(super) fn take(&mut self, link: LinkId, ticker: Ticker) -> Result<Quote, LeftOut> {
        let Ticker { quote, order, partial, .. } = ticker;
        if quote.venue_time.is_some_and(|time| time > quote.received.after_ms(SKEW_MAX_MS)) {
            return Err(LeftOut::Future);
        }
        let repeated = order.zip(self.order).is_some_and(|(new, (on, old))| on == link && new <= old);
        // A market whose prices have times gives none without one that could be placed among them.
        if repeated || quote.venue_time < self.time {
            return Err(LeftOut::Older);
        }
        let quote = if partial { self.completed(link, quote)? } else { quote };
        self.time = quote.venue_time;
        self.order = order.map(|order| (link, order));
        self.whole = Some((link, quote.clone()));
        Ok(quote)
    }

    fn completed(&self, link: LinkId, change: Quote) -> Result<Quote, LeftOut> {
        let (_, base) = self.whole.as_ref().filter(|(on, _)| *on == link).ok_or(LeftOut::Baseless)?;
        let (bid, ask) = (change.bid.or(base.bid), change.ask.or(base.ask));
        json::check_book(bid, ask).map_err(|_| LeftOut::Insane)?;
        Ok(Quote { bid, ask, last: change.last.or(base.last), volume: change.volume.or(base.volume), ..change })
    }
}

#[cfg(test)]
mod tests {
    use concurrence_oracle::Price;

    use super::*;

    const NOW: Time = Time::from_ms(1_000_000);

    fn ticker(last: i128, time_ms: Option<u64>, order: Option<u64>) -> Ticker {
        let quote = Quote {
            bid: None,
            ask: None,
            last: Some(Price::from_units(last)),
            volume: None,
            venue_time: time_ms.map(Time::from_ms),
            received: NOW,
        };
        Ticker { symbol: "A".into(), quote, order, partial: false }
    }

    #[test]
    fn what_was_said_before_never_replaces_what_was_said_after() {
        let (one, two) = (LinkId(1), LinkId(2));
        let mut newest = Newest::default();
        assert!(newest.take(one, ticker(1, Some(1_000_000), Some(5))).is_ok());
        assert_eq!(newest.take(one, ticker(1, Some(1_000_000), Some(5))), Err(LeftOut::Older), "repeated");
        assert_eq!(
            newest.take(one, ticker(2, Some(999_000), Some(6))),
            Err(LeftOut::Older),
            "later on the wire, earlier in time"
        );
        assert_eq!(
            newest.take(two, ticker(2, Some(999_000), Some(1))),
            Err(LeftOut::Older),
            "replayed after a reconnect"
        );
        assert_eq!(newest.take(two, ticker(2, None, None)), Err(LeftOut::Older), "without a time among such with one");
        assert!(newest.take(two, ticker(3, Some(1_000_000), Some(1))).is_ok(), "places begin anew with a connection");
        assert_eq!(newest.take(two, ticker(4, Some(1_002_001), Some(2))), Err(LeftOut::Future));
        assert!(newest.take(two, ticker(5, Some(1_002_000), Some(2))).is_ok(), "and what was refused left no trace");

        let mut timeless = Newest::default();
        assert!(timeless.take(one, ticker(1, None, None)).is_ok());
        assert!(timeless.take(two, ticker(2, None, None)).is_ok());
    }

    #[test]
    fn changes_complete_the_quote_of_their_own_connection() {
        let (one, two) = (LinkId(1), LinkId(2));
        let change = |bid: Option<i128>, ask: Option<i128>, time_ms| {
            let mut ticker = ticker(0, Some(time_ms), None);
            ticker.quote.last = None;
            ticker.quote.bid = bid.map(Price::from_units);
            ticker.quote.ask = ask.map(Price::from_units);
            Ticker { partial: true, ..ticker }
        };
        let mut newest = Newest::default();
        assert_eq!(newest.take(one, change(Some(8), None, 1)), Err(LeftOut::Baseless));
        let mut whole = change(Some(8), Some(9), 2);
        whole.partial = false;
        whole.quote.last = Some(Price::from_units(7));
        newest.take(one, whole).unwrap();
        let quote = newest.take(one, change(None, Some(10), 3)).unwrap();
        assert_eq!(
            quote.bid.zip(quote.ask).zip(quote.last).map(|((b, a), l)| (b.units(), a.units(), l.units())),
            Some((8, 10, 7))
        );
        assert_eq!(newest.take(one, change(Some(11), None, 4)), Err(LeftOut::Insane), "crossed");
        assert_eq!(newest.take(two, change(None, Some(12), 5)), Err(LeftOut::Baseless));
    }
}
