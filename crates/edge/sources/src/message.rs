//! What one message of a venue's stream says, in words common to all venues.

use concurrence_oracle::Quote;

use crate::{ParseError, ParseErrorKind as Kind, Refusal};

/// A message of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its number on this connection, where the venue counts every message by one: a gap is a lost message.
    pub number: Option<u64>,
    /// What it says.
    pub says: Says,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// Prices, at least one.
    Prices(Vec<Ticker>),
    /// A subscription stands.
    Subscribed,
    /// A request was refused, with the venue's words.
    Refused(Refusal, String),
    /// The connection lives: a heartbeat, or the answer to our ping.
    Alive,
    /// The venue will close this connection soon: a new one is to be opened.
    Closing,
    /// Whether the venue as a whole trades: prices of one that does not are not prices to trade at.
    Trading(bool),
    /// Nothing that matters here.
    Nothing,
}

/// The price of one market in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticker {
    /// The market, in the stream's spelling.
    pub symbol: String,
    /// What is said of it.
    pub quote: Quote,
    /// Place among the market's messages on this connection, where the venue counts: greater is newer, numbers may be left out.
    pub order: Option<u64>,
    /// Only what changed: absent fields are as they were before.
    pub partial: bool,
}

impl Message {
    /// A message that is not counted.
    pub(crate) const fn of(says: Says) -> Self {
        Self { number: None, says }
    }

    /// A message with one whole price.
    pub(crate) fn price(symbol: String, quote: Quote, order: Option<u64>) -> Self {
        Self::of(Says::Prices(vec![Ticker { symbol, quote, order, partial: false }]))
    }

    /// The price of one market, for who reads a single message and no stream: the market asked for, or the only one.
    pub(crate) fn into_quote(self, asked: Option<&str>) -> Result<Quote, ParseError> {
        let tickers = match self.says {
            Says::Prices(tickers) => tickers,
            Says::Refused(refusal, words) => return Err(ParseError::new(Kind::Refused(refusal), words)),
            Says::Trading(false) => return Err(ParseError::new(Kind::Halted, "the venue does not trade")),
            other => return Err(ParseError::new(Kind::NoPrice, format_args!("a message of kind {other:?}"))),
        };
        if let Some(ticker) = tickers.iter().find(|ticker| ticker.partial) {
            return Err(ParseError::new(Kind::Missing, format_args!("{}: only what changed", ticker.symbol)));
        }
        let mut markets: Vec<_> = tickers.into_iter().map(|ticker| (ticker.symbol, ticker.quote)).collect();
        // Of several prices of one market, trades for instance, the last one stands.
        markets.reverse();
        markets.dedup_by(|later, kept| later.0 == kept.0);
        only(markets, asked, |asked, named| asked == named)
    }
}

/// Of the markets that an answer is about the one asked for; with none asked for, the only one.
pub(crate) fn only<T>(
    mut markets: Vec<(String, T)>,
    asked: Option<&str>,
    same: impl Fn(&str, &str) -> bool,
) -> Result<T, ParseError> {
    let names: Vec<&str> = markets.iter().map(|(name, _)| name.as_str()).collect();
    let found = match asked {
        Some(asked) => names.iter().position(|name| same(asked, name)),
        None => (names.len() == 1).then_some(0),
    };
    let Some(at) = found else {
        let wanted = asked.map_or_else(|| "no market was named".to_owned(), |asked| format!("asked for {asked}"));
        return Err(ParseError::new(Kind::Symbol, format_args!("{wanted}, answered [{}]", names.join(", "))));
    };
    Ok(markets.swap_remove(at).1)
}

/// Refuses an answer about another market than the one asked for, if one was.
pub(crate) fn check_market(
    asked: Option<&str>,
    named: &str,
    same: impl Fn(&str, &str) -> bool,
) -> Result<(), ParseError> {
    only(vec![(named.to_owned(), ())], asked, same)
}

/// Whether two spellings are of one market where the venue minds neither case nor a slash: `btcusd` and `BTC/USD`.
pub(crate) fn spelled_alike(one: &str, other: &str) -> bool {
    let letters = |text: &str| text.bytes().filter(|b| *b != b'/').map(|b| b.to_ascii_lowercase()).collect::<Vec<_>>();
    letters(one) == letters(other)
}

/// Whether two spellings are the same.
pub(crate) fn spelled_same(one: &str, other: &str) -> bool {
    one == other
}
