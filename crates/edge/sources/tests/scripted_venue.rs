//! A scripted venue that disconnects, lags, repeats, reorders, leaves gaps, refuses, and sends HTML and half messages for ten minutes
//! of virtual time, and holds its clients to its own limits: the stream recovers each time, is never banned, and never gives a
//! wrong price (SRC-2).

use std::collections::{BTreeMap, VecDeque};

use concurrence_crdt::Time;
use concurrence_oracle::Price;
use concurrence_sources::{Channel, LinkId, Market, StreamInput, StreamOutput, StreamSession};

/// Virtual time begins here, so that times have the digits of real ones.
const EPOCH_MS: u64 = 1_719_792_000_000;

/// The venue's price changes with every message, twice a second.
const STEP_MS: u64 = 500;

/// What the venue can do. A script has [`IN_A_SCRIPT`] of them, another choice and order for each seed.
const TROUBLES: [Trouble; 14] = [
    Trouble::Disconnect,
    Trouble::Lag,
    Trouble::Repeat,
    Trouble::Reorder,
    Trouble::Gap,
    Trouble::Refuse(429),
    Trouble::Html,
    Trouble::Half,
    Trouble::Silence,
    Trouble::Closing,
    Trouble::Replay,
    Trouble::Refuse(418),
    Trouble::NeverOpens,
    Trouble::Maintenance,
];
/// Troubles of one script, each for [`TROUBLE_MS`]; then the venue behaves for [`CALM_MS`].
const IN_A_SCRIPT: usize = 8;
const TROUBLE_MS: u64 = 8_000;
const CALM_MS: u64 = 66_000;

/// A script begins with as much calm as a trouble takes, and lasts ten minutes.
const SCRIPT_MS: u64 = TROUBLE_MS + IN_A_SCRIPT as u64 * (TROUBLE_MS + CALM_MS);

/// How long after a trouble a price must flow again, in milliseconds: the longest wait that is drawn by lot, and a few messages.
const RECOVERY_MS: u64 = 62_000;

/// A wait that the venue asks for, in milliseconds.
const RETRY_AFTER_MS: u64 = 12_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Disconnect,
    Lag,
    Repeat,
    Reorder,
    Gap,
    Refuse(u16),
    Html,
    Half,
    Silence,
    Closing,
    Replay,
    NeverOpens,
    Maintenance,
}

/// One venue's own words.
#[derive(Clone, Copy)]
struct Words {
    channel: Channel,
    symbol: &'static str,
    /// A price with bid, ask, last, its time in milliseconds since the epoch, and the message's number on the connection.
    price: fn(&Quoted, u64) -> String,
    /// What it says once a connection is open, before anything is asked; numbered from 0 where messages are.
    greeting: Option<&'static str>,
    /// The answer to a subscription.
    ack: fn(u64) -> String,
    /// A sign of life each second, where there is one.
    heartbeat: Option<fn(u64) -> String>,
    /// The answer to a ping of ours.
    pong: Option<&'static str>,
    /// That it will close.
    closing: Option<&'static str>,
    /// That it is in maintenance, and that it is online.
    maintenance: Option<[&'static str; 2]>,
    /// Most connections in a window of so many milliseconds; above it, a ban.
    connects: (usize, u64),
    /// Most messages of ours in any second; above it, a ban.
    messages_a_second: usize,
}

struct Quoted {
    time_ms: u64,
    bid: String,
    ask: String,
    last: String,
}

/// The price at a time: every message has another one, so that a wrong one would be seen.
fn last_at(time_ms: u64) -> Price {
    let step = (time_ms - EPOCH_MS) / STEP_MS;
    Price::parse(&format!("{}.25", 60_000 + step)).unwrap()
}

fn quoted(time_ms: u64) -> Quoted {
    let whole = 60_000 + (time_ms - EPOCH_MS) / STEP_MS;
    Quoted { time_ms, bid: format!("{whole}.2"), ask: format!("{whole}.3"), last: format!("{whole}.25") }
}

fn iso(time_ms: u64) -> String {
    // The script stays within ten minutes after midnight of 2024-07-01.
    let ms = time_ms - EPOCH_MS;
    format!("2024-07-01T00:{:02}:{:02}.{:03}Z", ms / 60_000, ms / 1_000 % 60, ms % 1_000)
}

const BINANCE: Words = Words {
    channel: Channel::BinanceStream,
    symbol: "BTCUSDT",
    price: |q, _| {
        format!(
            r#"{{"e":"24hrTicker","E":{},"s":"BTCUSDT","b":"{}","B":"1","a":"{}","A":"1","c":"{}","C":86400000,"v":"1"}}"#,
            q.time_ms, q.bid, q.ask, q.last
        )
    },
    greeting: None,
    ack: |_| r#"{"result":null,"id":1}"#.to_owned(),
    heartbeat: None,
    pong: None,
    closing: Some(r#"{"e":"serverShutdown","E":1770123456789}"#),
    maintenance: None,
    connects: (300, 300_000),
    messages_a_second: 5,
};

const KRAKEN: Words = Words {
    channel: Channel::KrakenStream,
    symbol: "BTC/USD",
    price: |q, _| {
        format!(
            r#"{{"channel":"ticker","type":"update","data":[{{"symbol":"BTC/USD","bid":{},"ask":{},"last":{},"volume":1,"timestamp":"{}"}}]}}"#,
            q.bid,
            q.ask,
            q.last,
            iso(q.time_ms)
        )
    },
    greeting: Some(r#"{"channel":"status","type":"update","data":[{"system":"online","api_version":"v2"}]}"#),
    ack: |_| r#"{"method":"subscribe","result":{"channel":"ticker","symbol":"BTC/USD"},"success":true}"#.to_owned(),
    heartbeat: Some(|_| r#"{"channel":"heartbeat"}"#.to_owned()),
    pong: Some(r#"{"method":"pong","req_id":1}"#),
    closing: None,
    maintenance: Some([
        r#"{"channel":"status","type":"update","data":[{"system":"maintenance"}]}"#,
        r#"{"channel":"status","type":"update","data":[{"system":"online"}]}"#,
    ]),
    connects: (150, 600_000),
    messages_a_second: 10,
};

const COINBASE: Words = Words {
    channel: Channel::CoinbaseAdvancedStream,
    symbol: "BTC-USD",
    price: |q, number| {
        format!(
            r#"{{"channel":"ticker","timestamp":"{}","sequence_num":{number},"events":[{{"type":"update","tickers":[{{"product_id":"BTC-USD","price":"{}","volume_24_h":"1","best_bid":"{}","best_ask":"{}"}}]}}]}}"#,
            iso(q.time_ms),
            q.last,
            q.bid,
            q.ask
        )
    },
    greeting: None,
    ack: |number| {
        format!(
            r#"{{"channel":"subscriptions","timestamp":"2024-07-01T00:00:00Z","sequence_num":{number},"events":[]}}"#
        )
    },
    heartbeat: Some(|number| {
        format!(r#"{{"channel":"heartbeats","timestamp":"2024-07-01T00:00:00Z","sequence_num":{number},"events":[]}}"#)
    }),
    pong: None,
    closing: None,
    maintenance: None,
    connects: (8 * 600, 600_000),
    messages_a_second: 8,
};

const OKX: Words = Words {
    channel: Channel::OkxStream,
    symbol: "BTC-USDT",
    price: |q, _| {
        format!(
            r#"{{"arg":{{"channel":"tickers","instId":"BTC-USDT"}},"data":[{{"instId":"BTC-USDT","last":"{}","askPx":"{}","bidPx":"{}","vol24h":"1","ts":"{}"}}]}}"#,
            q.last, q.ask, q.bid, q.time_ms
        )
    },
    greeting: None,
    ack: |_| r#"{"event":"subscribe","arg":{"channel":"tickers","instId":"BTC-USDT"}}"#.to_owned(),
    heartbeat: None,
    pong: Some("pong"),
    closing: Some(r#"{"event":"notice","code":"64008","msg":"The connection will soon be closed"}"#),
    maintenance: None,
    connects: (3 * 600, 600_000),
    messages_a_second: 3,
};

/// A message on its way to the client.
struct Sent {
    at_ms: u64,
    link: LinkId,
    body: String,
}

/// One connection as the venue sees it.
#[derive(Default)]
struct Client {
    subscribed: bool,
    numbered: u64,
    held: Option<String>,
    closes_at_ms: Option<u64>,
}

struct Venue {
    words: Words,
    clients: BTreeMap<LinkId, Client>,
    wire: VecDeque<Sent>,
    connects_ms: Vec<u64>,
    messages_ms: Vec<u64>,
    /// No connection is welcome before this.
    refused_until_ms: u64,
    said: Vec<String>,
}

/// What the session is told.
enum Told {
    Opened(LinkId),
    Closed(LinkId),
    Rejected(LinkId, u16),
    Message(LinkId, String),
}

impl Venue {
    fn new(words: Words) -> Self {
        Self {
            words,
            clients: BTreeMap::new(),
            wire: VecDeque::new(),
            connects_ms: Vec::new(),
            messages_ms: Vec::new(),
            refused_until_ms: 0,
            said: Vec::new(),
        }
    }

    fn connect(&mut self, now_ms: u64, link: LinkId, trouble: Option<Trouble>) -> Option<Told> {
        assert!(now_ms >= self.refused_until_ms, "connected {} ms early", self.refused_until_ms - now_ms);
        self.connects_ms.push(now_ms);
        let (most, window) = self.words.connects;
        let recent = self.connects_ms.iter().rev().take_while(|t| **t + window > now_ms).count();
        assert!(recent <= most, "banned: {recent} connections in {window} ms");
        match trouble {
            Some(Trouble::Refuse(status)) => {
                self.refused_until_ms = now_ms + RETRY_AFTER_MS;
                Some(Told::Rejected(link, status))
            }
            Some(Trouble::NeverOpens) => None,
            Some(Trouble::Disconnect) => Some(Told::Closed(link)),
            _ => {
                self.clients.insert(link, Client::default());
                if let Some(greeting) = self.words.greeting {
                    self.wire.push_back(Sent { at_ms: now_ms + 20, link, body: greeting.to_owned() });
                }
                Some(Told::Opened(link))
            }
        }
    }

    fn receive(&mut self, now_ms: u64, link: LinkId, text: &str) {
        self.messages_ms.push(now_ms);
        let recent = self.messages_ms.iter().rev().take_while(|t| **t + 1_000 > now_ms).count();
        assert!(recent <= self.words.messages_a_second, "banned: {recent} messages in a second, {text}");
        let Some(client) = self.clients.get_mut(&link) else { return };
        let body = if text.contains("ping") {
            self.words.pong.map(str::to_owned)
        } else {
            client.subscribed = true;
            let number = client.numbered;
            client.numbered += 1;
            Some((self.words.ack)(number))
        };
        self.wire.extend(body.map(|body| Sent { at_ms: now_ms + 20, link, body }));
    }

    /// What the venue says at a step of its price.
    fn speak(&mut self, now_ms: u64, trouble: Option<Trouble>, began: bool) {
        let quoted = quoted(EPOCH_MS + now_ms);
        for (&link, client) in &mut self.clients {
            if !client.subscribed {
                continue;
            }
            let mut send = |at_ms: u64, body: String| self.wire.push_back(Sent { at_ms, link, body });
            if let (true, Some([maintenance, _])) = (trouble == Some(Trouble::Maintenance), self.words.maintenance) {
                send(now_ms + 20, maintenance.to_owned());
                continue;
            }
            if let Some([_, online]) = self.words.maintenance.filter(|_| trouble.is_none() && began) {
                send(now_ms + 20, online.to_owned());
            }
            if trouble == Some(Trouble::Silence) {
                continue;
            }
            if trouble == Some(Trouble::Gap) {
                client.numbered += 1;
            }
            if let Some(heartbeat) = self.words.heartbeat.filter(|_| now_ms.is_multiple_of(1_000)) {
                send(now_ms + 20, heartbeat(client.numbered));
                client.numbered += 1;
            }
            let body = (self.words.price)(&quoted, client.numbered);
            client.numbered += 1;
            match trouble {
                Some(Trouble::Lag) => send(now_ms + 3_000, body),
                Some(Trouble::Repeat) => (0..3).for_each(|n| send(now_ms + 20 + n, body.clone())),
                Some(Trouble::Reorder) => match client.held.take() {
                    Some(held) => {
                        send(now_ms + 20, body);
                        send(now_ms + 21, held);
                    }
                    None => client.held = Some(body),
                },
                Some(Trouble::Html) => send(now_ms + 20, "<html><body>502 Bad Gateway 1.00</body></html>".to_owned()),
                Some(Trouble::Half) => {
                    send(now_ms + 20, body[..body.len() / 2].to_owned());
                    send(now_ms + 21, body[body.len() / 2..].to_owned());
                }
                Some(Trouble::Replay) => {
                    self.said.iter().rev().take(20).for_each(|old| send(now_ms + 20, old.clone()));
                    send(now_ms + 21, body);
                }
                Some(Trouble::Closing) if began => {
                    self.words.closing.into_iter().for_each(|closing| send(now_ms + 20, closing.to_owned()));
                    client.closes_at_ms = self.words.closing.map(|_| now_ms + 5_000);
                    send(now_ms + 20, body);
                }
                _ => {
                    self.said.push(body.clone());
                    send(now_ms + 20, body);
                }
            }
        }
    }

    /// What reaches the client by now.
    fn deliver(&mut self, now_ms: u64, trouble: Option<Trouble>) -> Vec<Told> {
        let mut told = Vec::new();
        let ended: Vec<LinkId> = self
            .clients
            .iter()
            .filter(|(_, client)| {
                trouble == Some(Trouble::Disconnect)
                    || client.closes_at_ms.is_some_and(|at_ms| at_ms <= now_ms)
                    || matches!(trouble, Some(Trouble::Refuse(_) | Trouble::NeverOpens))
            })
            .map(|(link, _)| *link)
            .collect();
        for link in ended {
            self.clients.remove(&link);
            told.push(Told::Closed(link));
        }
        let mut later = VecDeque::new();
        for sent in std::mem::take(&mut self.wire) {
            if sent.at_ms > now_ms {
                later.push_back(sent);
            } else if self.clients.contains_key(&sent.link) {
                told.push(Told::Message(sent.link, sent.body));
            }
        }
        self.wire = later;
        told
    }
}

/// What a run gave.
struct Run {
    /// When prices were handed on, in milliseconds from the start, each checked.
    priced_ms: Vec<u64>,
    session: StreamSession,
}

/// The troubles of a seed's script.
fn script(seed: u64) -> Vec<Trouble> {
    let first = usize::try_from(seed * 5).unwrap() % TROUBLES.len(); // 5 and 14 have no common factor: every trouble comes first once
    TROUBLES.iter().cycle().skip(first).take(IN_A_SCRIPT).copied().collect()
}

/// The trouble at a time, and whether trouble or calm has just begun.
fn trouble_at(script: &[Trouble], now_ms: u64) -> (Option<Trouble>, bool) {
    let Some(since) = now_ms.checked_sub(TROUBLE_MS) else { return (None, now_ms == 0) };
    let (at, within) = (since / (TROUBLE_MS + CALM_MS), since % (TROUBLE_MS + CALM_MS));
    let trouble = usize::try_from(at).ok().and_then(|at| script.get(at)).copied();
    if within < TROUBLE_MS { (trouble, within < STEP_MS) } else { (None, within < TROUBLE_MS + STEP_MS) }
}

fn run(words: Words, seed: u64) -> Run {
    let market = Market { symbol: "ours".to_owned(), on_stream: words.symbol.to_owned() };
    let mut session = StreamSession::new(words.channel, vec![market], seed).unwrap();
    let (mut venue, script) = (Venue::new(words), script(seed));
    let (mut priced_ms, mut newest) = (Vec::new(), Time::from_ms(0));
    for now_ms in (0..SCRIPT_MS).step_by(10) {
        let (trouble, began) = trouble_at(&script, now_ms);
        if now_ms.is_multiple_of(STEP_MS) {
            venue.speak(now_ms, trouble, began);
        }
        let mut told = VecDeque::from(venue.deliver(now_ms, trouble));
        loop {
            let received = Time::from_ms(EPOCH_MS + now_ms);
            let event = told.pop_front();
            let idle = event.is_none();
            let input = match &event {
                None => StreamInput::Tick,
                Some(Told::Opened(link)) => StreamInput::Opened(*link),
                Some(Told::Closed(link)) => StreamInput::Closed(*link),
                Some(Told::Rejected(link, status)) => {
                    StreamInput::Rejected { link: *link, status: *status, retry_after_ms: Some(RETRY_AFTER_MS) }
                }
                Some(Told::Message(link, body)) => {
                    StreamInput::Message { link: *link, body: body.as_bytes(), received }
                }
            };
            session.handle(now_ms, input);
            while let Some(output) = session.poll() {
                match output {
                    StreamOutput::Connect(link) => told.extend(venue.connect(now_ms, link, trouble)),
                    StreamOutput::Send(link, text) => venue.receive(now_ms, link, &text),
                    StreamOutput::Close(link) => drop(venue.clients.remove(&link)),
                    StreamOutput::Price(market, quote) => {
                        assert_eq!(market, 0);
                        let time = quote.venue_time.expect("these venues give their time");
                        assert_eq!(quote.last, Some(last_at(time.ms())), "SRC-2: a wrong price at {now_ms}");
                        assert!(time >= newest, "SRC-2: back in time at {now_ms}");
                        assert!(quote.bid.unwrap() < quote.last.unwrap() && quote.last.unwrap() < quote.ask.unwrap());
                        assert_ne!(
                            trouble.filter(|_| words.maintenance.is_some() && !began),
                            Some(Trouble::Maintenance)
                        );
                        newest = time;
                        priced_ms.push(now_ms);
                    }
                }
            }
            if idle && told.is_empty() {
                break;
            }
        }
        assert!(session.next_wake_ms(now_ms) > now_ms, "a busy loop at {now_ms}");
    }
    Run { priced_ms, session }
}

/// Every trouble ends with prices flowing, within the time that it may take.
fn check_recoveries(words: Words, seed: u64, run: &Run) {
    for (at, trouble) in (0..).zip(script(seed)) {
        let over_ms = TROUBLE_MS + at * (TROUBLE_MS + CALM_MS) + TROUBLE_MS;
        let end_ms = over_ms + CALM_MS;
        let again = run.priced_ms.iter().find(|ms| **ms > over_ms).copied().unwrap_or(u64::MAX);
        assert!(again <= over_ms + RECOVERY_MS, "{:?} seed {seed}: no price after {trouble:?}", words.channel);
        let last = run.priced_ms.iter().rev().find(|ms| **ms <= end_ms).copied().unwrap_or(0);
        assert!(last + 2 * STEP_MS >= end_ms, "{:?} seed {seed}: prices stopped after {trouble:?}", words.channel);
    }
}

#[test]
fn ten_minutes_of_trouble() {
    for words in [BINANCE, KRAKEN, COINBASE, OKX] {
        let (mut unreadable, mut left_out) = (0, 0);
        for seed in 0..28 {
            let run = run(words, seed);
            check_recoveries(words, seed, &run);
            let counts = run.session.counts();
            assert!(counts.connects >= 2, "{:?}: the troubles cost connections: {counts:?}", words.channel);
            unreadable += counts.unreadable.values().sum::<u64>();
            left_out += counts.left_out.values().sum::<u64>();
        }
        assert!(unreadable > 0 && left_out > 0, "{:?}: the troubles had effects", words.channel);
    }
}

/// An announced end costs no price: the replacement is there before the first connection is closed.
#[test]
fn an_announced_end_costs_no_price() {
    for words in [BINANCE, OKX] {
        let run = run(words, 13);
        assert_eq!(script(13)[0], Trouble::Closing);
        let began_ms = TROUBLE_MS;
        let during: Vec<u64> =
            run.priced_ms.iter().filter(|ms| (began_ms..began_ms + TROUBLE_MS).contains(*ms)).copied().collect();
        let longest = during.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(longest <= 2 * STEP_MS, "{:?}: {longest} ms without a price", words.channel);
        assert_eq!(run.session.counts().ended.get("replaced"), Some(&1));
    }
}

/// Numbered messages: one that is lost ends the connection, since what it said is unknown.
#[test]
fn a_gap_is_noticed_where_messages_are_numbered() {
    assert_eq!(script(12)[0], Trouble::Gap);
    assert!(run(COINBASE, 12).session.counts().ended["gap"] > 0);
    assert_eq!(run(OKX, 12).session.counts().ended.get("gap"), None);
}

/// The same seed gives the same run.
#[test]
fn runs_are_reproducible() {
    let (one, other) = (run(KRAKEN, 3), run(KRAKEN, 3));
    assert_eq!((one.priced_ms, one.session.counts()), (other.priced_ms, other.session.counts()));
}
