//! Coinbase's answers for one product.

use concurrence_crdt::Time;
use concurrence_oracle::Quote;

use crate::{
    ParseError, ParseErrorKind as Kind, Refusal,
    json::{self, Object},
    message::{check_market, spelled_same},
    time,
};

/// Reads an Exchange ticker: bid, ask, last, volume and the time of the last trade.
///
/// The body does not name its product: that it is the one asked for rests on the request's path.
pub(crate) fn parse_ticker(body: &[u8], received: Time) -> Result<Quote, ParseError> {
    let object = object(body)?;
    let (bid, ask, last) = (object.price("bid")?, object.price("ask")?, object.price("price")?);
    json::check_uncrossed(bid, ask)?;
    for (value, field) in [(bid, "bid"), (ask, "ask"), (last, "price")] {
        if value.is_none() {
            return Err(ParseError::new(Kind::Missing, field));
        }
    }
    let venue_time = Some(time::iso_text(object.need("time")?, "time")?);
    Ok(Quote { bid, ask, last, volume: object.volume("volume")?, venue_time, received })
}

/// Reads a v2 spot price: one price, no book, no time. Markets are `BASE-QUOTE`.
pub(crate) fn parse_spot(body: &[u8], asked: Option<&str>, received: Time) -> Result<Quote, ParseError> {
    let data = Object::parse(object(body)?.need("data")?.get())?;
    let named = format!("{}-{}", data.string("base")?, data.string("currency")?);
    check_market(asked, &named, spelled_same)?;
    let last = Some(json::price(data.need("amount")?, "amount")?);
    Ok(Quote { bid: None, ask: None, last, volume: None, venue_time: None, received })
}

/// What Coinbase's own error body says, if the body is one: `{"message":"NotFound"}`, or v2's `{"errors":[{"id":...}]}`.
pub(crate) fn refusal(body: &[u8]) -> Option<(Refusal, String)> {
    refused(&Object::parse(json::text(body).ok()?).ok()?)
}

pub(super) fn object(body: &[u8]) -> Result<Object<'_>, ParseError> {
    let object = Object::parse(json::text(body)?)?;
    match refused(&object) {
        Some((refusal, message)) => Err(ParseError::new(Kind::Refused(refusal), message)),
        None => Ok(object),
    }
}

fn refused(object: &Object<'_>) -> Option<(Refusal, String)> {
    let text = match object.get("errors") {
        Some(errors) => {
            let first = Object::parse(json::array(errors, "errors").ok()?.first()?.get()).ok()?;
            format!("{}: {}", first.string("id").ok()?, first.string("message").unwrap_or_default())
        }
        None => object.string("message").ok()?,
    };
    let word = text.to_ascii_lowercase();
    let refusal = if word.starts_with("notfound") || word.starts_with("not_found") {
        Refusal::UnknownSymbol
    } else if word.contains("rate limit") || word.starts_with("rate_limit") {
        Refusal::RateLimit
    } else if word.starts_with("internal") || word.contains("unavailable") {
        Refusal::Unavailable
    } else {
        Refusal::Other
    };
    Some((refusal, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_ms(5);
    const TICKER: &str = include_str!("../../../../../data/venues/coinbase/rest_exchange_ticker_BTC-USD.json");
    const SPOT: &str = include_str!("../../../../../data/venues/coinbase/rest_v2_prices_BTC-USD_spot.json");

    fn ticker_kind(body: &str) -> Kind {
        parse_ticker(body.as_bytes(), NOW).expect_err(body).kind
    }

    fn spot_kind(body: &str, symbol: &str) -> Kind {
        parse_spot(body.as_bytes(), Some(symbol), NOW).expect_err(body).kind
    }

    #[test]
    fn an_exchange_ticker_gives_every_field() {
        let quote = parse_ticker(TICKER.as_bytes(), NOW).unwrap();
        let text = |price: Option<concurrence_oracle::Price>| price.unwrap().to_string();
        assert_eq!((text(quote.bid), text(quote.ask)), ("62104.19".into(), "62104.2".into()));
        assert_eq!((text(quote.last), text(quote.volume)), ("62104.19".into(), "8120.45117003".into()));
        assert_eq!(quote.venue_time, Some(Time::from_ms(1_719_792_000_417)));

        let old = include_bytes!("../../../../../data/venues/coinbase/rest_exchange_ticker_2020.json");
        let quote = parse_ticker(old, NOW).unwrap();
        assert_eq!(text(quote.last), "0.997999");
        assert_eq!(quote.venue_time, Some(Time::from_ms(1_580_177_613_012)));
    }

    #[test]
    fn a_spot_price_is_checked_against_its_symbol() {
        assert_eq!(parse_spot(SPOT.as_bytes(), Some("BTC-USD"), NOW).unwrap().last.unwrap().to_string(), "48691.23");
        let old = include_bytes!("../../../../../data/venues/coinbase/rest_v2_prices_spot_2016.json");
        assert_eq!(parse_spot(old, Some("BTC-USD"), NOW).unwrap().last.unwrap().to_string(), "755.96");
        assert_eq!(spot_kind(SPOT, "ETH-USD"), Kind::Symbol);
        assert_eq!(spot_kind(r#"{"data":{"base":"BTC","currency":"USD","amount":1}}"#, "BTC-USD"), Kind::NotText);
        assert_eq!(spot_kind(r#"{"data":{"base":"BTC","currency":"USD"}}"#, "BTC-USD"), Kind::Missing);
        assert_eq!(
            spot_kind(r#"{"data":{"base":"BTC","currency":"USD","amount":"1","amount":"2"}}"#, "BTC-USD"),
            Kind::DuplicateKey
        );
        assert_eq!(spot_kind(r#"{"data":[]}"#, "BTC-USD"), Kind::Shape);
    }

    #[test]
    fn hostile_tickers_are_refused_each_with_its_kind() {
        assert_eq!(ticker_kind(&TICKER.replace("\"62104.2\"", "\"62104.1\"")), Kind::Crossed);
        assert_eq!(ticker_kind(&TICKER.replace("\"62104.2\"", "\"\"")), Kind::NotDecimal);
        assert_eq!(ticker_kind(&TICKER.replace("\"62104.2\"", "null")), Kind::Null);
        assert_eq!(ticker_kind(&TICKER.replace("\"bid\"", "\"bud\"")), Kind::Missing);
        assert_eq!(ticker_kind(&TICKER.replace("\"time\"", "\"tome\"")), Kind::Missing);
        assert_eq!(ticker_kind(&TICKER.replace("2024-07-01T", "2024-07-01 ")), Kind::Time);
        assert_eq!(ticker_kind(SPOT), Kind::Missing, "the other API's answer is not a ticker");
    }

    #[test]
    fn coinbase_errors_are_told_apart() {
        for (body, want) in [
            (include_str!("../../../../../data/venues/coinbase/rest_exchange_error_404.json"), Refusal::UnknownSymbol),
            (include_str!("../../../../../data/venues/coinbase/rest_exchange_error_429.json"), Refusal::RateLimit),
            (include_str!("../../../../../data/venues/coinbase/rest_v2_error_404.json"), Refusal::UnknownSymbol),
            (r#"{"message":"Internal server error"}"#, Refusal::Unavailable),
            (r#"{"message":"no"}"#, Refusal::Other),
        ] {
            assert_eq!(refusal(body.as_bytes()).unwrap().0, want, "{body}");
            assert_eq!(ticker_kind(body), Kind::Refused(want), "the same inside a 200: {body}");
            assert_eq!(spot_kind(body, "BTC-USD"), Kind::Refused(want), "the same inside a 200: {body}");
        }
    }
}
