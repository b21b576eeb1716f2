//! The dYdX indexer's answers.

use concurrence_crdt::Time;
use concurrence_oracle::{Price, Quote};

use crate::{
    ParseError, ParseErrorKind as Kind, Refusal,
    json::{self, Object},
    message::{only, spelled_same},
};

/// Reads `perpetualMarkets`: the oracle price of a market that is active. No time: the height of the chain would tell.
pub(crate) fn parse_markets(body: &[u8], asked: Option<&str>, received: Time) -> Result<Quote, ParseError> {
    let object = object(body)?;
    let markets = Object::parse(object.need("markets")?.get())?;
    let markets = markets.members().iter().map(|(name, market)| (name.clone(), *market)).collect();
    let market = Object::parse(only(markets, asked, spelled_same)?.get())?;
    check_active(&market)?;
    let last = Some(json::price(market.need("oraclePrice")?, "oraclePrice")?);
    Ok(Quote { bid: None, ask: None, last, volume: None, venue_time: None, received })
}

/// Reads an order book: best bid and ask. The body does not name its market: that rests on the request's path.
pub(crate) fn parse_book(body: &[u8], received: Time) -> Result<Quote, ParseError> {
    let object = object(body)?;
    let best = |side: &str| -> Result<Option<Price>, ParseError> {
        let levels = json::array(object.need(side)?, side)?;
        levels.first().map(|level| json::price(Object::parse(level.get())?.need("price")?, side)).transpose()
    };
    let (bid, ask) = (best("bids")?, best("asks")?);
    if bid.is_none() && ask.is_none() {
        return Err(ParseError::new(Kind::Missing, "bids"));
    }
    json::check_book(bid, ask)?;
    Ok(Quote { bid, ask, last: None, volume: None, venue_time: None, received })
}

/// Refuses a market that is paused, only cancelling, or settled.
pub(super) fn check_active(market: &Object<'_>) -> Result<(), ParseError> {
    let status = market.string("status")?;
    if status == "ACTIVE" { Ok(()) } else { Err(ParseError::new(Kind::Halted, status)) }
}

/// What the indexer's own error body says, if the body is one: `{"errors":[{"msg":"Too many requests"}]}`.
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

fn refused(object: &Object<'_>) -> Option<(Refusal, String)> {
    let first = Object::parse(json::array(object.get("errors")?, "errors").ok()?.first()?.get()).ok()?;
    let words = first.string("msg").ok()?;
    let refusal = if words.ends_with("not found") {
        Refusal::UnknownSymbol
    } else if words.starts_with("Too many requests") {
        Refusal::RateLimit
    } else if words.starts_with("Internal") {
        Refusal::Unavailable
    } else {
        Refusal::Other
    };
    Some((refusal, words))
}
