//! Bybit's answers: an envelope whose `retCode` is 0 when all is well, and a list of markets.

use concurrence_crdt::Time;
use concurrence_oracle::Quote;

use crate::{
    ParseError, ParseErrorKind as Kind, Refusal,
    json::{self, Object},
    message::{only, spelled_same},
    time,
};

/// Reads `market/tickers`: bid, ask, last and the day's volume of a market, and the envelope's time, which is that of the answer.
pub(crate) fn parse(body: &[u8], asked: Option<&str>, received: Time) -> Result<Quote, ParseError> {
    let object = json::object(body)?;
    if let Some((refusal, words)) = refused(&object) {
        return Err(ParseError::new(Kind::Refused(refusal), words));
    }
    object.need("retCode")?;
    let result = Object::parse(object.need("result")?.get())?;
    let named = |market| Ok((Object::string(&market, "symbol")?, market));
    let markets: Vec<_> =
        json::objects(result.need("list")?, "list")?.into_iter().map(named).collect::<Result<_, ParseError>>()?;
    let market = only(markets, asked, spelled_same)?;
    let quote = fields(&market, Some(time::ms_number(object.need("time")?, "time")?), received)?;
    if quote.last.is_none() {
        return Err(ParseError::new(Kind::Missing, "lastPrice"));
    }
    json::check_book(quote.bid, quote.ask)?;
    Ok(quote)
}

/// What a market's object says, over REST and in the stream alike; the stream leaves out what did not change.
pub(super) fn fields(market: &Object<'_>, venue_time: Option<Time>, received: Time) -> Result<Quote, ParseError> {
    Ok(Quote {
        bid: market.price_or_empty("bid1Price")?,
        ask: market.price_or_empty("ask1Price")?,
        last: market.price("lastPrice")?,
        volume: market.volume("volume24h")?,
        venue_time,
        received,
    })
}

/// What Bybit's own error body says, if the body is one: `{"retCode":10001,"retMsg":"Not supported symbols"}`.
pub(crate) fn refusal(body: &[u8]) -> Option<(Refusal, String)> {
    refused(&json::object(body).ok()?)
}

/// Codes: Bybit API v5 docs, "Error Codes". They come with HTTP status 200. 10001 is any bad parameter; ours is the symbol.
fn refused(object: &Object<'_>) -> Option<(Refusal, String)> {
    let code = object.get("retCode")?.get();
    let words = object.string("retMsg").unwrap_or_default();
    let refusal = match code {
        "0" => return None,
        "10001" => Refusal::UnknownSymbol,
        "10006" | "10018" => Refusal::RateLimit,
        "10000" | "10016" | "10019" => Refusal::Unavailable,
        "10009" | "10024" => Refusal::Location,
        _ => Refusal::Other,
    };
    Some((refusal, format!("code {code}: {words}")))
}
