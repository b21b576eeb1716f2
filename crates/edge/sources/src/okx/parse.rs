//! OKX's answers: an envelope whose `code` is "0" when all is well, and a list of markets.

use concurrence_crdt::Time;
use concurrence_oracle::Quote;

use crate::{
    ParseError, ParseErrorKind as Kind, Refusal,
    json::{self, Object},
    message::{only, spelled_same},
    time,
};

/// Reads `market/ticker`: bid, ask, last, the day's volume in the base currency and the venue's time.
pub(crate) fn parse_ticker(body: &[u8], asked: Option<&str>, received: Time) -> Result<Quote, ParseError> {
    ticker(&market(&json::object(body)?, asked)?, received)
}

/// Reads `market/index-tickers`: OKX's index of several venues, a price at which nobody trades; for cross-checks.
pub(crate) fn parse_index(body: &[u8], asked: Option<&str>, received: Time) -> Result<Quote, ParseError> {
    let market = market(&json::object(body)?, asked)?;
    let last = Some(json::price(market.need("idxPx")?, "idxPx")?);
    let venue_time = Some(time::ms_text(market.need("ts")?, "ts")?);
    Ok(Quote { bid: None, ask: None, last, volume: None, venue_time, received })
}

/// One market of a list, over REST and in the stream alike. A side of the book that is empty is an empty string.
pub(super) fn ticker(market: &Object<'_>, received: Time) -> Result<Quote, ParseError> {
    let (bid, ask) = (market.price_or_empty("bidPx")?, market.price_or_empty("askPx")?);
    json::check_book(bid, ask)?;
    let last = Some(json::price(market.need("last")?, "last")?);
    let venue_time = Some(time::ms_text(market.need("ts")?, "ts")?);
    Ok(Quote { bid, ask, last, volume: market.volume("vol24h")?, venue_time, received })
}

/// What OKX's own error body says, if the body is one: `{"code":"50011","msg":"Too Many Requests"}`.
pub(crate) fn refusal(body: &[u8]) -> Option<(Refusal, String)> {
    refused(&json::object(body).ok()?)
}

/// Codes: OKX API v5 docs, "Error code". They are strings, and come with HTTP status 200 too.
pub(super) fn refused(object: &Object<'_>) -> Option<(Refusal, String)> {
    let code = object.string("code").ok().filter(|code| code != "0")?;
    let words = object.string("msg").unwrap_or_default();
    let refusal = match code.as_str() {
        "51001" | "60018" => Refusal::UnknownSymbol,
        "50011" | "50040" | "50061" | "60014" => Refusal::RateLimit,
        "50001" | "50004" | "50013" | "50026" | "63999" => Refusal::Unavailable,
        _ => Refusal::Other,
    };
    Some((refusal, format!("code {code}: {words}")))
}

fn market<'a>(object: &Object<'a>, asked: Option<&str>) -> Result<Object<'a>, ParseError> {
    if let Some((refusal, words)) = refused(object) {
        return Err(ParseError::new(Kind::Refused(refusal), words));
    }
    object.need("code")?;
    let named = |market: Object<'a>| Ok((market.string("instId")?, market));
    let markets = json::objects(object.need("data")?, "data")?.into_iter().map(named).collect::<Result<_, _>>()?;
    only(markets, asked, spelled_same)
}
