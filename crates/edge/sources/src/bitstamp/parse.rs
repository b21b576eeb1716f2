//! Bitstamp's answers.

use concurrence_crdt::Time;
use concurrence_oracle::Quote;

use crate::{
    ParseError, ParseErrorKind as Kind, Refusal,
    json::{self, Object},
    message::{check_market, only, spelled_alike},
    time,
};

/// Reads a ticker: bid, ask, last, the day's volume and the venue's time in seconds. An answer for one market may leave its name out,
/// which then rests on the request's path; the answer for all markets is a list.
pub(crate) fn parse(body: &[u8], asked: Option<&str>, received: Time) -> Result<Quote, ParseError> {
    let text = json::text(body)?;
    if text.trim_ascii_start().starts_with('[') {
        let list = serde_json::from_str(text).map_err(|error| ParseError::new(Kind::Syntax, error))?;
        let named = |market| Ok((Object::string(&market, "pair")?, market));
        let markets = json::objects(list, "body")?.into_iter().map(named).collect::<Result<_, _>>()?;
        return ticker(&only(markets, asked, spelled_alike)?, received);
    }
    let object = Object::parse(text)?;
    if let Some((refusal, words)) = refused(&object) {
        return Err(ParseError::new(Kind::Refused(refusal), words));
    }
    if object.get("pair").is_some() {
        check_market(asked, &object.string("pair")?, spelled_alike)?;
    }
    ticker(&object, received)
}

fn ticker(market: &Object<'_>, received: Time) -> Result<Quote, ParseError> {
    let need = |key| json::price(market.need(key)?, key);
    let (bid, ask, last) = (Some(need("bid")?), Some(need("ask")?), Some(need("last")?));
    json::check_book(bid, ask)?;
    let venue_time = Some(time::seconds_text(market.need("timestamp")?, "timestamp")?);
    Ok(Quote { bid, ask, last, volume: market.volume("volume")?, venue_time, received })
}

/// What Bitstamp's own error body says, if the body is one. There are several shapes: `status` with a `reason` that is a string or an
/// object, `error` that is a string or an object, and a bare `code`.
pub(crate) fn refusal(body: &[u8]) -> Option<(Refusal, String)> {
    refused(&json::object(body).ok()?)
}

/// Codes: Bitstamp API docs, "Error codes".
fn refused(object: &Object<'_>) -> Option<(Refusal, String)> {
    let code = object.string("code").unwrap_or_default();
    let failed = object.get("status").is_some_and(|status| status.get() == "\"error\"");
    let reason = object.get("reason").or_else(|| object.get("error")).or_else(|| object.get("response_explanation"));
    if !failed && reason.is_none() && code.is_empty() {
        return None;
    }
    let words = reason.map(|reason| json::string(reason, "reason").unwrap_or_else(|_| reason.get().to_owned()));
    let words = words.unwrap_or_default();
    let refusal = if code == "400.002" || words.to_ascii_lowercase().contains("rate limit") {
        Refusal::RateLimit
    } else if code == "400.067" || words.contains("Invalid currency pair") || words.contains("not found") {
        Refusal::UnknownSymbol
    } else if words.contains("unavailable") || words.contains("maintenance") {
        Refusal::Unavailable
    } else {
        Refusal::Other
    };
    Some((refusal, format!("code {code}: {words}")))
}
