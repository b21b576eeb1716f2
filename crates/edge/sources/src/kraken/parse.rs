//! Kraken's answer for one pair.

use concurrence_crdt::Time;
use concurrence_oracle::{Price, Quote};
use serde_json::value::RawValue;

use super::ANSWER_KEYS;
use crate::{
    ParseError, ParseErrorKind as Kind, Refusal,
    json::{self, Object},
    message::check_market,
};

/// Reads a `Ticker` answer for one requested pair: best bid `b[0]`, best ask `a[0]`, last trade `c[0]` and the day's volume `v[1]`.
/// No time: Kraken's REST answers carry none. `p` is a weighted average, not a price anyone can trade at, and is not read.
///
/// Errors come with HTTP status 200; entries that start with `W` are warnings and come with data.
pub(crate) fn parse(body: &[u8], asked: Option<&str>, received: Time) -> Result<Quote, ParseError> {
    let object = Object::parse(json::text(body)?)?;
    if let Some((refusal, message)) = refused(&object)? {
        return Err(ParseError::new(Kind::Refused(refusal), message));
    }
    let result = Object::parse(object.need("result")?.get())?;
    let [(named, ticker)] = result.members() else {
        return Err(ParseError::new(Kind::Symbol, format_args!("{} pairs for one", result.members().len())));
    };
    check_market(asked, named, |asked, named| asked == named || ANSWER_KEYS.contains(&(asked, named)))?;
    let ticker = Object::parse(ticker.get())?;
    let bid = Some(json::price(element(&ticker, "b", 2..=3, 0)?, "b[0]")?);
    let ask = Some(json::price(element(&ticker, "a", 2..=3, 0)?, "a[0]")?);
    json::check_uncrossed(bid, ask)?;
    let last: Option<Price> = Some(json::price(element(&ticker, "c", 2..=2, 0)?, "c[0]")?);
    let volume = Some(json::amount(element(&ticker, "v", 2..=2, 1)?, "v[1]")?);
    Ok(Quote { bid, ask, last, volume, venue_time: None, received })
}

/// What Kraken's own error body says, if the body is one: `{"error":["EQuery:Unknown asset pair"]}`.
pub(crate) fn refusal(body: &[u8]) -> Option<(Refusal, String)> {
    refused(&Object::parse(json::text(body).ok()?).ok()?).ok()?
}

/// The first entry of `error` that is not a warning. Classes: Kraken API docs, "Errors".
fn refused(object: &Object<'_>) -> Result<Option<(Refusal, String)>, ParseError> {
    for entry in json::array(object.need("error")?, "error")? {
        let text = json::string(entry, "error[]")?;
        if text.starts_with('W') {
            continue;
        }
        let refusal = if text.starts_with("EQuery:Unknown asset pair") {
            Refusal::UnknownSymbol
        } else if text.starts_with("EGeneral:Too many requests") || text.starts_with("EAPI:Rate limit exceeded") {
            Refusal::RateLimit
        } else if text.starts_with("EService:") || text.starts_with("EGeneral:Internal error") {
            Refusal::Unavailable
        } else {
            Refusal::Other
        };
        return Ok(Some((refusal, text)));
    }
    Ok(None)
}

/// One element of an array of strings whose length is checked: fields have gained elements over the years.
fn element<'a>(
    ticker: &Object<'a>,
    field: &str,
    lengths: std::ops::RangeInclusive<usize>,
    at: usize,
) -> Result<&'a RawValue, ParseError> {
    let items = json::array(ticker.need(field)?, field)?;
    match items.get(at) {
        Some(item) if lengths.contains(&items.len()) => Ok(item),
        _ => Err(ParseError::new(Kind::Shape, format_args!("{field} has {} elements", items.len()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_ms(5);
    const XBTUSD: &str = include_str!("../../../../../data/venues/kraken/rest_Ticker_XBTUSD.json");

    fn kind(body: &str, symbol: &str) -> Kind {
        parse(body.as_bytes(), Some(symbol), NOW).expect_err(body).kind
    }

    #[test]
    fn a_ticker_gives_the_last_trade_and_not_the_average() {
        let quote = parse(XBTUSD.as_bytes(), Some("XBTUSD"), NOW).unwrap();
        let text = |price: Option<Price>| price.unwrap().to_string();
        assert_eq!((text(quote.bid), text(quote.ask)), ("62109.9".into(), "62110".into()));
        assert_eq!((text(quote.last), text(quote.volume)), ("62109.9".into(), "2480.10933571".into()));
        assert_eq!(quote.venue_time, None);

        let usdt = include_str!("../../../../../data/venues/kraken/rest_Ticker_XBTUSDT.json");
        assert_eq!(text(parse(usdt.as_bytes(), Some("XBTUSDT"), NOW).unwrap().last), "62098.7");
        let warned = include_str!("../../../../../data/venues/kraken/rest_Ticker_XBTUSDT_warning.json");
        assert_eq!(text(parse(warned.as_bytes(), Some("XBTUSDT"), NOW).unwrap().last), "62098.7");
        let old = include_str!("../../../../../data/venues/kraken/rest_Ticker_XXBTZEUR_2014.json");
        for symbol in ["XBTEUR", "XXBTZEUR"] {
            assert_eq!(text(parse(old.as_bytes(), Some(symbol), NOW).unwrap().last), "560.87711");
        }
    }

    #[test]
    fn answers_about_other_pairs_are_refused() {
        assert_eq!(kind(XBTUSD, "ETHUSD"), Kind::Symbol);
        assert_eq!(kind(XBTUSD, "XBTUSDT"), Kind::Symbol);
        let two = include_str!("../../../../../data/venues/kraken/rest_Ticker_ETHUSD_XBTUSD.json");
        assert_eq!(kind(two, "XBTUSD"), Kind::Symbol);
        assert_eq!(kind(r#"{"error":[],"result":{}}"#, "XBTUSD"), Kind::Symbol);
    }

    #[test]
    fn hostile_tickers_are_refused_each_with_its_kind() {
        assert_eq!(kind(&XBTUSD.replace("\"62110.00000\"", "\"62109.80000\""), "XBTUSD"), Kind::Crossed);
        assert_eq!(kind(&XBTUSD.replace("\"62110.00000\"", "62110.0"), "XBTUSD"), Kind::NotText);
        assert_eq!(kind(&XBTUSD.replace("[\"62110.00000\", \"2\", \"2.000\"]", "[\"1\"]"), "XBTUSD"), Kind::Shape);
        assert_eq!(kind(&XBTUSD.replace("[\"62110.00000\", \"2\", \"2.000\"]", "{}"), "XBTUSD"), Kind::Shape);
        assert_eq!(kind(&XBTUSD.replace("\"c\":", "\"d\":"), "XBTUSD"), Kind::Missing);
        assert_eq!(kind(&XBTUSD.replace("\"c\":", "\"b\":"), "XBTUSD"), Kind::DuplicateKey);
        assert_eq!(kind(r#"{"result":{}}"#, "XBTUSD"), Kind::Missing);
        assert_eq!(kind(r#"{"error":[]}"#, "XBTUSD"), Kind::Missing);
        assert_eq!(kind(r#"{"error":"E"}"#, "XBTUSD"), Kind::Shape);
    }

    #[test]
    fn kraken_errors_are_told_apart() {
        for (body, want) in [
            (include_str!("../../../../../data/venues/kraken/rest_error_unknown_pair.json"), Refusal::UnknownSymbol),
            (include_str!("../../../../../data/venues/kraken/rest_error_rate_limit.json"), Refusal::RateLimit),
            (include_str!("../../../../../data/venues/kraken/rest_error_unavailable.json"), Refusal::Unavailable),
            (r#"{"error":["WSlow","EAPI:Rate limit exceeded"],"result":{}}"#, Refusal::RateLimit),
            (r#"{"error":["EGeneral:Invalid arguments"]}"#, Refusal::Other),
        ] {
            assert_eq!(refusal(body.as_bytes()).unwrap().0, want, "{body}");
            assert_eq!(kind(body, "XBTUSD"), Kind::Refused(want), "{body}");
        }
    }
}
