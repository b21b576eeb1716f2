//! Streams: whatever a venue says on its connections, in whatever order these open and close, prices of a market never go back, are sane,
//! and the session stays within its bounds (SRC-1, SRC-2).
//!
//! The first byte chooses the stream, each line after it is one event: a single letter for what happens to the newest connection, anything
//! else is said on it.

use std::collections::BTreeMap;

use concurrence_crdt::Time;
use concurrence_sources::{Channel, LinkId, Market, StreamInput, StreamOutput, StreamSession};

/// When the events begin, by the wall clock: shortly after the recorded messages of 2024.
const BEGIN_MS: u64 = 1_719_792_001_000;

/// Markets that the recorded messages are about.
const MARKETS: [&str; 6] = ["BTCUSDT", "BTC-USD", "BTC/USD", "BTC-USDT", "btcusd", "BNBBTC"];

/// Most events of one input: more would only repeat.
const EVENTS_MAX: usize = 512;

/// Runs one input.
pub fn check(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first() else { return };
    let streams: Vec<_> = Channel::all().filter(|channel| channel.stream_rules().is_some()).collect();
    let channel = streams[usize::from(*first) % streams.len()];
    let markets =
        MARKETS.iter().map(|name| Market { symbol: (*name).to_owned(), on_stream: (*name).to_owned() }).collect();
    let mut session = StreamSession::new(channel, markets, u64::from(*first)).expect("a stream");
    let mut run = Run { now_ms: 0, newest: BTreeMap::new(), open: Vec::new() };
    session.handle(0, StreamInput::Tick);
    run.drain(&mut session);
    for event in rest.split(|byte| *byte == b'\n').take(EVENTS_MAX) {
        let link = run.open.last().copied().unwrap_or(LinkId(1));
        let (step_ms, input) = match event {
            b"o" => (20, StreamInput::Opened(link)),
            b"c" => (0, StreamInput::Closed(link)),
            b"a" => (0, StreamInput::Alive(link)),
            b"l" => (0, StreamInput::Rejected { link, status: 429, retry_after_ms: Some(1) }),
            b"b" => (0, StreamInput::Rejected { link, status: 418, retry_after_ms: None }),
            b"t" => (500, StreamInput::Tick),
            b"T" => (61_000, StreamInput::Tick),
            body => (10, StreamInput::Message { link, body, received: Time::from_ms(BEGIN_MS + run.now_ms) }),
        };
        run.now_ms += step_ms;
        session.handle(run.now_ms, input);
        run.drain(&mut session);
    }
}

struct Run {
    now_ms: u64,
    /// The greatest venue time of each market.
    newest: BTreeMap<usize, Time>,
    /// Connections asked for and not closed.
    open: Vec<LinkId>,
}

impl Run {
    fn drain(&mut self, session: &mut StreamSession) {
        while let Some(output) = session.poll() {
            match output {
                StreamOutput::Connect(link) => self.open.push(link),
                StreamOutput::Close(link) => self.open.retain(|open| *open != link),
                StreamOutput::Send(_, text) => assert!(!text.is_empty()),
                StreamOutput::Price(market, quote) => {
                    assert!(market < MARKETS.len());
                    let prices = [quote.bid, quote.ask, quote.last];
                    assert!(prices.into_iter().flatten().all(|price| price.is_positive()), "SRC-1: {quote:?}");
                    assert!(quote.bid.is_none() || quote.bid <= quote.ask, "SRC-1: {quote:?}");
                    if let Some(time) = quote.venue_time {
                        let before = self.newest.insert(market, time);
                        assert!(before.is_none_or(|before| before <= time), "SRC-2: back in time");
                    }
                }
            }
        }
        // A connection that ended by itself is not closed by the session; of those that live there are two at most.
        self.open.sort_unstable();
        let spare = self.open.len().saturating_sub(2);
        self.open.drain(..spare);
        assert!(session.next_wake_ms(self.now_ms) > self.now_ms, "SRC-2: a busy loop");
    }
}
