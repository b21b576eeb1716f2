//! Binance's answers for one symbol. All three endpoints name their fields apart, so one reader serves them.

use concurrence_crdt::Time;
use concurrence_oracle::Quote;

use crate::{
    ParseError, ParseErrorKind as Kind, Refusal,
    json::{self, Object},
    message::{check_market, spelled_same},
    time,
};

/// Reads an answer of `ticker/24hr` (bid, ask, last, volume, time), `ticker/bookTicker` (bid, ask) or `ticker/price` (last).
///
/// `lastPrice`, or `price`, is needed unless both sides of the book are there; one side alone is refused.
pub(crate) fn parse(body: &[u8], asked: Option<&str>, received: Time) -> Result<Quote, ParseError> {
    let object = Object::parse(json::text(body)?)?;
    if let Some((refusal, message)) = refused(&object) {
        return Err(ParseError::new(Kind::Refused(refusal), message));
    }
    check_market(asked, &object.string("symbol")?, spelled_same)?;
    let (bid, ask) = (object.price("bidPrice")?, object.price("askPrice")?);
    json::check_uncrossed(bid, ask)?;
    let last = match object.price("lastPrice")? {
        Some(last) => Some(last),
        None => object.price("price")?,
    };
    match (bid, ask, last) {
        (Some(_), None, _) => return Err(ParseError::new(Kind::Missing, "askPrice")),
        (None, Some(_), _) => return Err(ParseError::new(Kind::Missing, "bidPrice")),
        (None, None, None) => return Err(ParseError::new(Kind::Missing, "lastPrice")),
        _ => {}
    }
    let volume = object.volume("volume")?;
    let venue_time = object.get("closeTime").map(|value| time::ms_number(value, "closeTime")).transpose()?;
    Ok(Quote { bid, ask, last, volume, venue_time, received })
}

/// What Binance's own error body says, if the body is one: `{"code":-1121,"msg":"Invalid symbol."}`.
pub(crate) fn refusal(body: &[u8]) -> Option<(Refusal, String)> {
    refused(&Object::parse(json::text(body).ok()?).ok()?)
}

/// Codes: Binance spot API docs, errors.md.
pub(super) fn refused(object: &Object<'_>) -> Option<(Refusal, String)> {
    let code = object.get("code")?.get();
    let message = object.string("msg").ok()?;
    let refusal = match code {
        // The answer of status 451 has code 0 and these words.
        "0" if message.contains("restricted location") => Refusal::Location,
        "-1121" => Refusal::UnknownSymbol,
        "-1003" | "-1015" => Refusal::RateLimit,
        "-1000" | "-1001" | "-1006" | "-1007" | "-1008" | "-1016" => Refusal::Unavailable,
        _ => Refusal::Other,
    };
    Some((refusal, format!("code {code}: {message}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_ms(5);

    fn kind(body: &str, symbol: &str) -> Kind {
        parse(body.as_bytes(), Some(symbol), NOW).expect_err(body).kind
    }

    #[test]
    fn a_day_ticker_gives_every_field() {
        let body = include_bytes!("../../../../../data/venues/binance/rest_ticker_24hr_BTCUSDT.json");
        let quote = parse(body, Some("BTCUSDT"), NOW).unwrap();
        let text = |price: Option<concurrence_oracle::Price>| price.unwrap().to_string();
        assert_eq!(text(quote.bid), "62099.56");
        assert_eq!(text(quote.ask), "62099.57");
        assert_eq!(text(quote.last), "62099.57");
        assert_eq!(text(quote.volume), "18734.55012");
        assert_eq!(quote.venue_time, Some(Time::from_ms(1_719_792_000_123)));
        assert_eq!(quote.received, NOW);
    }

    #[test]
    fn the_smaller_answers_give_what_they_have() {
        let book = include_bytes!("../../../../../data/venues/binance/rest_book_ticker_LTCBTC.json");
        let quote = parse(book, Some("LTCBTC"), NOW).unwrap();
        assert_eq!((quote.bid.is_some(), quote.ask.is_some(), quote.last, quote.venue_time), (true, true, None, None));
        let price = include_bytes!("../../../../../data/venues/binance/rest_ticker_price_LTCBTC.json");
        let quote = parse(price, Some("LTCBTC"), NOW).unwrap();
        assert_eq!((quote.bid, quote.ask, quote.last.unwrap().to_string().as_str()), (None, None, "0.001187"));
    }

    #[test]
    fn hostile_answers_are_refused_each_with_its_kind() {
        assert_eq!(kind(r#"{"symbol":"ETHUSDT","price":"1"}"#, "BTCUSDT"), Kind::Symbol);
        assert_eq!(kind(r#"{"price":"1"}"#, "A"), Kind::Missing);
        assert_eq!(kind(r#"{"symbol":"A"}"#, "A"), Kind::Missing);
        assert_eq!(kind(r#"{"symbol":"A","bidPrice":"1","price":"1"}"#, "A"), Kind::Missing);
        assert_eq!(kind(r#"{"symbol":"A","askPrice":"1"}"#, "A"), Kind::Missing);
        assert_eq!(kind(r#"{"symbol":"A","bidPrice":"0","askPrice":"1"}"#, "A"), Kind::Zero);
        assert_eq!(kind(r#"{"symbol":"A","price":"1","price":"2"}"#, "A"), Kind::DuplicateKey);
        assert_eq!(kind(r#"{"symbol":7,"price":"1"}"#, "7"), Kind::Shape);
        assert_eq!(kind(r#"{"symbol":"A","price":"1","volume":"-3"}"#, "A"), Kind::Negative);
        for time in ["1719792000", "1719792000123000", "\"1719792000123\"", "-719792000123", "null", "1.7e12"] {
            let body = format!(r#"{{"symbol":"A","price":"1","closeTime":{time}}}"#);
            assert_eq!(kind(&body, "A"), Kind::Time, "{time}");
        }
        let list = include_str!("../../../../../data/venues/binance/rest_ticker_price_multi.json");
        assert_eq!(kind(list, "BTCUSDT"), Kind::Shape);
        let time = include_str!("../../../../../data/venues/binance/rest_server_time.json");
        assert_eq!(kind(time, "BTCUSDT"), Kind::Missing);
    }

    #[test]
    fn binance_errors_are_told_apart() {
        for (body, want) in [
            (include_str!("../../../../../data/venues/binance/error_400_invalid_symbol.json"), Refusal::UnknownSymbol),
            (include_str!("../../../../../data/venues/binance/error_400_mandatory_param.json"), Refusal::Other),
            (include_str!("../../../../../data/venues/binance/error_400_illegal_chars.json"), Refusal::Other),
            (include_str!("../../../../../data/venues/binance/error_429_too_many_requests.json"), Refusal::RateLimit),
            (include_str!("../../../../../data/venues/binance/error_418_ip_banned.json"), Refusal::RateLimit),
            (include_str!("../../../../../data/venues/binance/error_503_unknown.json"), Refusal::Unavailable),
        ] {
            assert_eq!(refusal(body.as_bytes()).unwrap().0, want, "{body}");
            assert_eq!(kind(body, "BTCUSDT"), Kind::Refused(want), "the same inside a 200: {body}");
        }
        assert_eq!(refusal(b"<html>"), None);
    }
}
