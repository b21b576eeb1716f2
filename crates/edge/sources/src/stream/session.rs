//! The stream of one venue: connections opened, replaced and given up; messages read, prices handed on in the order of their time.

use std::collections::{BTreeMap, VecDeque};

use concurrence_crdt::Time;
use concurrence_oracle::Quote;

use super::{
    LinkId, StreamRules,
    link::{Failure, Heard, Link},
    newest::{LeftOut, Newest},
    pace::Pace,
};
use crate::{Channel, Refusal, Says, Ticker, message::spelled_alike};

/// The state machine of one venue's stream.
///
/// One connection is used; a second one is opened beside it when the venue announces that it will close the first, or before the
/// first grows too old, and takes over with its first price. A price is handed on only if nothing newer of its market was: repeated,
/// reordered and replayed messages change nothing.
pub struct StreamSession {
    channel: Channel,
    rules: &'static StreamRules,
    markets: Vec<Market>,
    newest: Vec<Newest>,
    /// The connection in use, and the one that will replace it.
    links: VecDeque<Link>,
    pace: Pace,
    /// Whether the venue trades, as far as it says.
    trading: bool,
    opened: u64,
    counts: StreamCounts,
    outputs: VecDeque<StreamOutput>,
}

/// A market of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Market {
    /// The symbol by which it is known here.
    pub symbol: String,
    /// The stream's spelling of it, if that differs: Kraken's `BTC/USD` for `XBTUSD`.
    pub on_stream: String,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamInput<'a> {
    /// Time passed.
    Tick,
    /// A connection is open.
    Opened(LinkId),
    /// A connection said something.
    Message {
        /// The connection.
        link: LinkId,
        /// What it said.
        body: &'a [u8],
        /// When, by this node's wall clock.
        received: Time,
    },
    /// A connection showed life without saying anything: a ping or pong frame.
    Alive(LinkId),
    /// A connection broke, was closed, or could not be opened.
    Closed(LinkId),
    /// A connection was refused by an HTTP status.
    Rejected {
        /// The connection.
        link: LinkId,
        /// The status.
        status: u16,
        /// How long the venue asks to wait, in milliseconds.
        retry_after_ms: Option<u64>,
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamOutput {
    /// Open a connection.
    Connect(LinkId),
    /// Send a text.
    Send(LinkId, String),
    /// Close a connection; what it still says is ignored.
    Close(LinkId),
    /// A new price of a market, by its index.
    Price(usize, Quote),
}

/// What became of a stream so far, for metrics. All labels are of bounded sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamCounts {
    /// Messages heard.
    pub messages: u64,
    /// Prices handed on.
    pub prices: u64,
    /// Connections opened.
    pub connects: u64,
    /// Connections that ended, by reason.
    pub ended: BTreeMap<&'static str, u64>,
    /// Messages that could not be read, by kind.
    pub unreadable: BTreeMap<&'static str, u64>,
    /// Prices left out, by reason.
    pub left_out: BTreeMap<&'static str, u64>,
    /// Requests that the venue refused, by kind.
    pub refused: BTreeMap<&'static str, u64>,
}

/// Most markets of one stream: a node prices a few dozen feeds; Binance, which allows the most, takes 1,024 a connection.
pub const MARKETS_MAX: usize = 256;

/// How long a connection with prices must have lasted for its end to begin the waits anew, in milliseconds: three connections a minute
/// are within every venue's limit.
const HEALTHY_MS: u64 = 20_000;

/// How long a replacement may be without a price before it takes over regardless, in milliseconds: in a thin market none comes.
const REPLACE_MS: u64 = 30_000;

/// Wait after a refusal that names none, in milliseconds: as for requests, a minute for a limit and ten for a ban.
const LIMITED_MS: u64 = 60_000;
const BANNED_MS: u64 = 600_000;

impl StreamSession {
    /// A stream of some markets, nothing opened yet. `seed` spreads the attempts of nodes. Of more than [`MARKETS_MAX`] markets the
    /// rest is left out; `None` for a channel that is no stream.
    pub fn new(channel: Channel, mut markets: Vec<Market>, seed: u64) -> Option<Self> {
        let rules = channel.stream_rules()?;
        markets.truncate(MARKETS_MAX);
        Some(Self {
            channel,
            rules,
            newest: markets.iter().map(|_| Newest::default()).collect(),
            markets,
            links: VecDeque::new(),
            pace: Pace::new(rules, seed),
            trading: true,
            opened: 0,
            counts: StreamCounts::default(),
            outputs: VecDeque::new(),
        })
    }

    /// Takes what happened. `now_ms` is monotonic, from any fixed start.
    pub fn handle(&mut self, now_ms: u64, input: StreamInput<'_>) {
        match input {
            StreamInput::Tick => {}
            StreamInput::Opened(id) => {
                if let Some(link) = self.links.iter_mut().find(|link| link.id == id) {
                    link.opened(now_ms, self.rules, &self.markets);
                }
            }
            StreamInput::Message { link, body, received } => self.message(now_ms, link, body, received),
            StreamInput::Alive(id) => {
                if let Some(link) = self.links.iter_mut().find(|link| link.id == id) {
                    link.alive(now_ms);
                }
            }
            StreamInput::Closed(id) => self.end(now_ms, id, "closed"),
            StreamInput::Rejected { link, status, retry_after_ms } => {
                self.rejected(now_ms, link, status, retry_after_ms)
            }
        }
        self.tick(now_ms);
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<StreamOutput> {
        self.outputs.pop_front()
    }

    /// When to call [`handle`](Self::handle) again if nothing happens.
    pub fn next_wake_ms(&self, now_ms: u64) -> u64 {
        let links = self.links.iter().map(|link| link.next_wake_ms(self.rules)).min().unwrap_or(u64::MAX);
        let connect = match self.links.front() {
            None => self.pace.next_ms(now_ms),
            Some(first)
                if self.links.len() == 1 && (first.closing || first.age_ms(now_ms) >= self.rules.age_ms_max) =>
            {
                self.pace.next_ms(now_ms)
            }
            Some(first) if self.links.len() == 1 => first.aged_at_ms(self.rules.age_ms_max),
            Some(_) => self.links.back().map_or(u64::MAX, |second| second.aged_at_ms(REPLACE_MS)),
        };
        links.min(connect)
    }

    /// The channel listened to.
    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// The markets, in the order of their indices.
    pub fn markets(&self) -> &[Market] {
        &self.markets
    }

    /// Whether the venue trades, as far as its stream says. While it does not, what it answers elsewhere is no price either.
    pub fn is_trading(&self) -> bool {
        self.trading
    }

    /// Counters as of now.
    pub fn counts(&self) -> &StreamCounts {
        &self.counts
    }

    fn message(&mut self, now_ms: u64, id: LinkId, body: &[u8], received: Time) {
        let Some(at) = self.links.iter().position(|link| link.id == id) else { return };
        self.counts.messages += 1;
        match self.links[at].heard(now_ms, self.channel.read_message(body, received)) {
            Ok(Heard::News(says)) => self.news(now_ms, id, says),
            Ok(Heard::Repeated) => count(&mut self.counts.left_out, "repeated"),
            Ok(Heard::Unreadable(error)) => count(&mut self.counts.unreadable, error.kind.label()),
            Err(failure) => self.give_up(now_ms, id, failure),
        }
    }

    fn news(&mut self, now_ms: u64, id: LinkId, says: Says) {
        match says {
            Says::Prices(tickers) => {
                // The replacement speaks: the connection before it has done its work.
                while self.links.front().is_some_and(|link| link.id < id) {
                    self.close_first("replaced");
                }
                for ticker in tickers {
                    self.price(now_ms, id, ticker);
                }
            }
            Says::Trading(trading) => self.trading = trading,
            Says::Refused(refusal, _) => {
                count(&mut self.counts.refused, refusal_label(refusal));
                match refusal {
                    Refusal::RateLimit => {
                        self.pace.hold_until(now_ms + LIMITED_MS);
                        self.outputs.push_back(StreamOutput::Close(id));
                        self.end(now_ms, id, "rate_limited");
                    }
                    Refusal::Location => {
                        self.pace.hold_until(u64::MAX);
                        self.outputs.push_back(StreamOutput::Close(id));
                        self.end(now_ms, id, "location");
                    }
                    // A market that does not exist there is found by the requests, and said by name.
                    Refusal::UnknownSymbol | Refusal::Unavailable | Refusal::Other => {}
                }
            }
            Says::Subscribed | Says::Alive | Says::Closing | Says::Nothing => {}
        }
    }

    fn price(&mut self, now_ms: u64, id: LinkId, ticker: Ticker) {
        let same = |market: &Market| spelled_alike(&market.on_stream, &ticker.symbol);
        let Some(at) = self.markets.iter().position(same) else { return };
        let left_out = match self.newest[at].take(id, ticker) {
            Ok(quote) if self.trading => {
                self.counts.prices += 1;
                self.outputs.push_back(StreamOutput::Price(at, quote));
                return;
            }
            Ok(_) => "not_trading",
            Err(LeftOut::Future) => "future",
            Err(LeftOut::Older) => "older",
            Err(LeftOut::Insane) => "insane",
            Err(LeftOut::Baseless) => {
                self.give_up(now_ms, id, Failure::Gap);
                "baseless"
            }
        };
        count(&mut self.counts.left_out, left_out);
    }

    /// Refused before it was open: by what the status says of us, not of the venue.
    fn rejected(&mut self, now_ms: u64, id: LinkId, status: u16, retry_after_ms: Option<u64>) {
        let wait = |without: u64| now_ms + retry_after_ms.unwrap_or(without).clamp(1_000, BANNED_MS);
        let reason = match status {
            429 => {
                self.pace.hold_until(wait(LIMITED_MS));
                "rate_limited"
            }
            403 | 418 => {
                self.pace.hold_until(wait(BANNED_MS));
                "banned"
            }
            451 => {
                self.pace.hold_until(u64::MAX);
                "location"
            }
            _ => {
                if let Some(ms) = retry_after_ms {
                    self.pace.hold_until(wait(ms));
                }
                "rejected"
            }
        };
        self.end(now_ms, id, reason);
    }

    fn tick(&mut self, now_ms: u64) {
        for at in (0..self.links.len()).rev() {
            let id = self.links[at].id;
            match self.links[at].tick(now_ms, self.rules) {
                Ok(Some(text)) => self.outputs.push_back(StreamOutput::Send(id, text)),
                Ok(None) => {}
                Err(failure) => self.give_up(now_ms, id, failure),
            }
        }
        if self.links.len() == 2 && self.links[1].age_ms(now_ms) >= REPLACE_MS {
            self.close_first("replaced");
        }
        let wanted = match self.links.front() {
            None => true,
            Some(first) => self.links.len() == 1 && (first.closing || first.age_ms(now_ms) >= self.rules.age_ms_max),
        };
        if wanted && !self.markets.is_empty() && self.pace.next_ms(now_ms) <= now_ms {
            self.pace.opened(now_ms);
            self.opened += 1;
            self.counts.connects += 1;
            let id = LinkId(self.opened);
            self.links.push_back(Link::new(id, now_ms));
            self.outputs.push_back(StreamOutput::Connect(id));
        }
    }

    fn give_up(&mut self, now_ms: u64, id: LinkId, failure: Failure) {
        self.outputs.push_back(StreamOutput::Close(id));
        self.end(now_ms, id, failure.label());
    }

    /// The first connection is no longer needed: no failure, and no wait.
    fn close_first(&mut self, reason: &'static str) {
        if let Some(link) = self.links.pop_front() {
            count(&mut self.counts.ended, reason);
            self.outputs.push_back(StreamOutput::Close(link.id));
        }
    }

    fn end(&mut self, now_ms: u64, id: LinkId, reason: &'static str) {
        let Some(at) = self.links.iter().position(|link| link.id == id) else { return };
        let Some(link) = self.links.remove(at) else { return };
        count(&mut self.counts.ended, reason);
        self.pace.failed(now_ms, link.priced && link.age_ms(now_ms) >= HEALTHY_MS);
        // What a new connection does not repeat must not silence it.
        if self.links.is_empty() {
            self.trading = true;
        }
    }
}

fn count(counts: &mut BTreeMap<&'static str, u64>, label: &'static str) {
    *counts.entry(label).or_default() += 1;
}

const fn refusal_label(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::UnknownSymbol => "unknown_symbol",
        Refusal::RateLimit => "rate_limit",
        Refusal::Unavailable => "unavailable",
        Refusal::Location => "location",
        Refusal::Other => "other",
    }
}
