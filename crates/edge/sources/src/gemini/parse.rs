//! Gemini's answers.

use concurrence_crdt::Time;
use concurrence_oracle::{Price, Quote};

use crate::{
    ParseError, ParseErrorKind as Kind, Refusal,
    json::{self, Object},
    message::{check_market, only, spelled_alike},
    time,
};

/// Reads `v1/pubticker`: bid, ask, last, and a volume object with the venue's time and one member for each of the two currencies.
/// The body does not name its market: that rests on the request's path.
pub(crate) fn parse_ticker(body: &[u8], asked: Option<&str>, received: Time) -> Result<Quote, ParseError> {
    let object = object(body)?;
    let need = |key| json::price(object.need(key)?, key);
    let (bid, ask, last) = (Some(need("bid")?), Some(need("ask")?), Some(need("last")?));
    json::check_book(bid, ask)?;
    let volume = Object::parse(object.need("volume")?.get())?;
    let venue_time = Some(time::ms_number(volume.need("timestamp")?, "timestamp")?);
    Ok(Quote { bid, ask, last, volume: base_volume(&volume, asked)?, venue_time, received })
}

/// Reads `v2/ticker`: bid, ask, and the day's close, which is the last price. No time and no volume.
pub(crate) fn parse_day(body: &[u8], asked: Option<&str>, received: Time) -> Result<Quote, ParseError> {
    let object = object(body)?;
    check_market(asked, &object.string("symbol")?, spelled_alike)?;
    let need = |key| json::price(object.need(key)?, key);
    let (bid, ask, last) = (Some(need("bid")?), Some(need("ask")?), Some(need("close")?));
    json::check_book(bid, ask)?;
    Ok(Quote { bid, ask, last, volume: None, venue_time: None, received })
}

/// Reads `v1/pricefeed`: one price of each of some markets.
pub(crate) fn parse_feed(body: &[u8], asked: Option<&str>, received: Time) -> Result<Quote, ParseError> {
    let text = json::text(body)?;
    if let Some((refusal, words)) = refusal(body) {
        return Err(ParseError::new(Kind::Refused(refusal), words));
    }
    let list = serde_json::from_str(text).map_err(|error| ParseError::new(Kind::Syntax, error))?;
    let named = |market| Ok((Object::string(&market, "pair")?, market));
    let markets = json::objects(list, "body")?.into_iter().map(named).collect::<Result<_, ParseError>>()?;
    let market = only(markets, asked, spelled_alike)?;
    let last = Some(json::price(market.need("price")?, "price")?);
    Ok(Quote { bid: None, ask: None, last, volume: None, venue_time: None, received })
}

/// The volume in the base currency: of the two members that are not the time the one that the market's name begins with. Without a
/// name the first, for the venue writes the base first.
fn base_volume(volume: &Object<'_>, asked: Option<&str>) -> Result<Option<Price>, ParseError> {
    let is_base = |name: &str| {
        asked.is_none_or(|asked| asked.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))
    };
    let mut currencies = volume.members().iter().filter(|(name, _)| name != "timestamp");
    let base = currencies.find(|(name, _)| is_base(name));
    base.map(|(name, value)| json::amount(value, name)).transpose()
}

/// What Gemini's own error body says, if the body is one: `{"result":"error","reason":"RateLimit","message":"..."}`.
pub(crate) fn refusal(body: &[u8]) -> Option<(Refusal, String)> {
    refused(&json::object(body).ok()?)
}

fn object(body: &[u8]) -> Result<Object<'_>, ParseError> {
    let object = json::object(body)?;
    match refused(&object) {
        Some((refusal, words)) => Err(ParseError::new(Kind::Refused(refusal), words)),
        None => Ok(object),
    }
}

/// Reasons: Gemini REST docs, "Error codes".
pub(super) fn refused(object: &Object<'_>) -> Option<(Refusal, String)> {
    object.get("result").filter(|result| result.get() == "\"error\"")?;
    let reason = object.string("reason").unwrap_or_default();
    let refusal = match reason.as_str() {
        "InvalidSymbol" => Refusal::UnknownSymbol,
        "RateLimit" | "RateLimited" => Refusal::RateLimit,
        "Maintenance" | "System" => Refusal::Unavailable,
        _ => Refusal::Other,
    };
    Some((refusal, format!("{reason}: {}", object.string("message").unwrap_or_default())))
}
