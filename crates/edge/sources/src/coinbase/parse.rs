//! Coinbase's answers for one product.

use concurrence_crdt::Time;
use concurrence_oracle::Quote;

use crate::{
    ParseError, ParseErrorKind as Kind, Refusal,
    json::{self, Object},
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
    let time = object.string("time")?;
    let venue_time =
        Some(iso_time(&time).ok_or_else(|| ParseError::new(Kind::Time, format_args!("time is {time:?}")))?);
    Ok(Quote { bid, ask, last, volume: object.volume("volume")?, venue_time, received })
}

/// Reads a v2 spot price: one price, no book, no time. `symbol` is `BASE-QUOTE`.
pub(crate) fn parse_spot(body: &[u8], symbol: &str, received: Time) -> Result<Quote, ParseError> {
    let data = Object::parse(object(body)?.need("data")?.get())?;
    let named = format!("{}-{}", data.string("base")?, data.string("currency")?);
    if named != symbol {
        return Err(ParseError::new(Kind::Symbol, format_args!("asked for {symbol}, answered {named}")));
    }
    let last = Some(json::price(data.need("amount")?, "amount")?);
    Ok(Quote { bid: None, ask: None, last, volume: None, venue_time: None, received })
}

/// What Coinbase's own error body says, if the body is one: `{"message":"NotFound"}`, or v2's `{"errors":[{"id":...}]}`.
pub(crate) fn refusal(body: &[u8]) -> Option<(Refusal, String)> {
    refused(&Object::parse(json::text(body).ok()?).ok()?)
}

fn object(body: &[u8]) -> Result<Object<'_>, ParseError> {
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

/// An ISO 8601 instant in UTC, `2023-06-16T02:26:52.037760Z`, with up to nine decimals, cut to milliseconds.
fn iso_time(text: &str) -> Option<Time> {
    let bytes = text.strip_suffix('Z')?.as_bytes();
    let number = |from: usize, to: usize, separator: Option<u8>| -> Option<u64> {
        let digits = bytes.get(from..to)?;
        let separated = separator.is_none_or(|s| bytes.get(to) == Some(&s));
        (separated && digits.iter().all(u8::is_ascii_digit))
            .then(|| digits.iter().fold(0, |sum, d| sum * 10 + u64::from(d - b'0')))
    };
    let (year, month, day) = (number(0, 4, Some(b'-'))?, number(5, 7, Some(b'-'))?, number(8, 10, Some(b'T'))?);
    let (hour, minute, second) = (number(11, 13, Some(b':'))?, number(14, 16, Some(b':'))?, number(17, 19, None)?);
    let ms = match bytes.get(19..)? {
        [] => 0,
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit) => {
            digits.iter().chain(b"00").take(3).fold(0, |sum, d| sum * 10 + u64::from(d - b'0'))
        }
        _ => return None,
    };
    let days = days_since_epoch(year, month, day)?;
    (hour < 24 && minute < 60 && second < 60)
        .then(|| Time::from_ms((((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000 + ms))
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, years 1970 to 9999.
fn days_since_epoch(year: u64, month: u64, day: u64) -> Option<u64> {
    const DAYS: [u64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let leap = |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
    let index = usize::try_from(month.checked_sub(1)?).ok()?;
    let longest = DAYS.get(index)? + u64::from(month == 2 && leap(year));
    if year < 1970 || !(1..=longest).contains(&day) {
        return None;
    }
    // Leap days before a year: every fourth year less the centuries, except every fourth century; 477 of them lie before 1970.
    let before = year - 1;
    let leap_days = before / 4 - before / 100 + before / 400 - 477;
    let months: u64 = DAYS.iter().take(index).sum::<u64>() + u64::from(month > 2 && leap(year));
    Some((year - 1970) * 365 + leap_days + months + day - 1)
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
        parse_spot(body.as_bytes(), symbol, NOW).expect_err(body).kind
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
        assert_eq!(parse_spot(SPOT.as_bytes(), "BTC-USD", NOW).unwrap().last.unwrap().to_string(), "48691.23");
        let old = include_bytes!("../../../../../data/venues/coinbase/rest_v2_prices_spot_2016.json");
        assert_eq!(parse_spot(old, "BTC-USD", NOW).unwrap().last.unwrap().to_string(), "755.96");
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

    #[test]
    fn iso_times() {
        for (text, want) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00.5Z", Some(951_825_600_500)),
            ("2023-06-16T02:26:52.037760Z", Some(1_686_882_412_037)),
            ("2024-12-31T23:59:59.999999999Z", Some(1_735_689_599_999)),
            ("9999-12-31T23:59:59Z", Some(253_402_300_799_000)),
            ("2023-02-29T00:00:00Z", None),
            ("2100-02-29T00:00:00Z", None),
            ("2023-13-01T00:00:00Z", None),
            ("2023-00-01T00:00:00Z", None),
            ("2023-06-16T24:00:00Z", None),
            ("2023-06-16T02:26:60Z", None),
            ("1969-12-31T00:00:00Z", None),
            ("2023-06-16T02:26:52.Z", None),
            ("2023-06-16T02:26:52.0000000000Z", None),
            ("2023-06-16T02:26:52", None),
            ("2023-06-16T02:26:52+00:00", None),
            ("2023-06-1éT02:26:52Z", None),
            ("", None),
        ] {
            assert_eq!(iso_time(text), want.map(Time::from_ms), "{text}");
        }
    }
}
