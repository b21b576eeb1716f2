//! Hermes' answer for one price feed.

use concurrence_crdt::Time;
use concurrence_oracle::{Price, Quote};

use crate::{
    ParseError, ParseErrorKind as Kind, Refusal,
    json::{self, Object},
    message::only,
};

/// Widest confidence interval of a price that is used, as a divisor of the price: five percent, below which consumers of 20 September
/// 2021 would not have taken a BTC of $5,402. A guess.
const CONFIDENCE_SHARE: i128 = 20;

/// Reads an update: the aggregate price as a whole number and a power of ten, its confidence, and when it was published. The moving
/// average beside it is not read.
pub(crate) fn parse(body: &[u8], asked: Option<&str>, received: Time) -> Result<Quote, ParseError> {
    let object = json::object(body)?;
    let feeds = json::objects(object.need("parsed")?, "parsed")?;
    let named = |feed| Ok((Object::string(&feed, "id")?, feed));
    let feeds = feeds.into_iter().map(named).collect::<Result<_, ParseError>>()?;
    let feed = only(feeds, asked, same_id)?;
    let price = Object::parse(feed.need("price")?.get())?;
    let (last, confidence) = (scaled(&price, "price")?, scaled(&price, "conf")?);
    if !last.is_positive() {
        return Err(ParseError::new(Kind::Zero, "price"));
    }
    if confidence.units() > last.units() / CONFIDENCE_SHARE {
        return Err(ParseError::new(Kind::Thin, format_args!("price {last}, confidence {confidence}")));
    }
    let seconds = json::count(price.need("publish_time")?).filter(|s| (1_000_000_000..10_000_000_000).contains(s));
    let seconds = seconds.ok_or_else(|| ParseError::new(Kind::Time, "publish_time is no time in seconds"))?;
    let venue_time = Some(Time::from_ms(seconds * 1_000));
    Ok(Quote { bid: None, ask: None, last: Some(last), volume: None, venue_time, received })
}

/// A whole number in a string, times ten to the power of `expo`.
fn scaled(price: &Object<'_>, key: &str) -> Result<Price, ParseError> {
    let (digits, expo) = (price.string(key)?, price.need("expo")?.get());
    let refuse = |kind| ParseError::new(kind, format_args!("{key} is {digits}, expo {expo}"));
    if digits.starts_with('-') {
        return Err(refuse(Kind::Negative));
    }
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(refuse(Kind::NotDecimal));
    }
    let expo: i8 = expo.parse().map_err(|_| refuse(Kind::Range))?;
    Price::parse(&format!("{digits}e{expo}")).map_err(|_| refuse(Kind::Range))
}

/// Ids are hexadecimal; the request may carry `0x`.
fn same_id(asked: &str, named: &str) -> bool {
    let digits = |text: &str| text.strip_prefix("0x").unwrap_or(text).to_ascii_lowercase();
    digits(asked) == digits(named)
}

/// Hermes' errors are plain text with a status; none is JSON.
pub(crate) fn refusal(_: &[u8]) -> Option<(Refusal, String)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = include_str!("../../../../../data/venues/pyth/rest_hermes_latest_BTC_USD.json");
    const NOW: Time = Time::from_ms(1_719_792_001_000);

    fn read(from: &str, to: &str) -> Result<String, Kind> {
        assert!(GOOD.contains(from));
        let body = GOOD.replacen(from, to, 1);
        parse(body.as_bytes(), None, NOW).map(|q| q.last.unwrap().to_string()).map_err(|error| error.kind)
    }

    #[test]
    fn prices_are_whole_numbers_and_powers_of_ten() {
        assert_eq!(read("-8", "-8").as_deref(), Ok("62103.88123456"));
        assert_eq!(read("\"6210388123456\"", "\"-6210388123456\""), Err(Kind::Negative));
        assert_eq!(read("\"6210388123456\"", "\"0\""), Err(Kind::Zero));
        assert_eq!(read("\"6210388123456\"", "\"62.1\""), Err(Kind::NotDecimal));
        assert_eq!(read("\"6210388123456\"", "6210388123456"), Err(Kind::Shape));
        assert_eq!(read("1719792000", "1719792000000"), Err(Kind::Time));
        assert_eq!(read("\"2484155000\"", "\"310519406173\""), Err(Kind::Thin));
    }

    /// Pyth, 20 September 2021: a publisher's exponent of 0 in place of -8. No exponent makes a price of what is out of range.
    #[test]
    fn pyth_2021_exponents_are_checked() {
        for expo in ["40", "127", "128", "-128", "-129", "1e3", "\"-8\"", "null"] {
            let result = read("\"expo\": -8", &format!("\"expo\": {expo}"));
            assert!(matches!(result, Err(Kind::Range | Kind::Zero)), "{expo}: {result:?}");
        }
        // In range it is what it says; that no other source agrees is the gate's to see.
        assert_eq!(read("\"expo\": -8", "\"expo\": 0").as_deref(), Ok("6210388123456"));
    }

    #[test]
    fn another_feed_is_refused() {
        let id = "e62df6c8b4a85fe1a67db44dc12de5db330f7ac66b72dc658afedf0f4a415b43";
        assert!(parse(GOOD.as_bytes(), Some(&format!("0x{}", id.to_ascii_uppercase())), NOW).is_ok());
        assert_eq!(parse(GOOD.as_bytes(), Some(&id.replace('e', "f")), NOW).unwrap_err().kind, Kind::Symbol);
    }
}
