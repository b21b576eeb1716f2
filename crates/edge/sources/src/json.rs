//! Reading foreign JSON: bounded depth and width, duplicate keys refused, numbers kept as their text.

use std::fmt;

use concurrence_oracle::{Price, PriceError};
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::{error::Category, value::RawValue};

use crate::{ParseError, ParseErrorKind as Kind};

/// One JSON object, its values unparsed: what is not asked for is never built.
pub(crate) struct Object<'a> {
    /// Members in the order they came, each key once.
    members: Vec<(String, &'a RawValue)>,
}

/// Deepest nesting of arrays and objects accepted. The venues' answers nest four deep; serde_json's own limit is 128, but values
/// that are skipped do not count toward it, so depth is checked before parsing.
pub const DEPTH_MAX: usize = 16;

/// Most members accepted in one object. The widest answer asked for (Binance `ticker/24hr`) has 21.
pub const MEMBERS_MAX: usize = 64;

/// Most markets accepted in one message. dYdX, whose first message has them all, lists about three hundred.
const MARKETS_MAX: usize = 1_024;

/// Longest text accepted for one scalar, in bytes with quotes and escapes; a price's text is at most 64.
const SCALAR_LEN_MAX: usize = 512;

/// A body as text, if it may be JSON at all: not empty, UTF-8, not nested too deep.
pub(crate) fn text(body: &[u8]) -> Result<&str, ParseError> {
    let text = std::str::from_utf8(body).map_err(|error| ParseError::new(Kind::Utf8, error))?;
    if text.trim_ascii().is_empty() {
        return Err(ParseError::new(Kind::Empty, format_args!("{} bytes", body.len())));
    }
    check_depth(body)?;
    Ok(text)
}

impl<'a> Object<'a> {
    /// Reads a text that must be exactly one object.
    pub(crate) fn parse(text: &'a str) -> Result<Self, ParseError> {
        Self::parse_bounded(text, MEMBERS_MAX)
    }

    /// Reads a text that must be exactly one object with a member for every market of a venue.
    pub(crate) fn parse_markets(text: &'a str) -> Result<Self, ParseError> {
        Self::parse_bounded(text, MARKETS_MAX)
    }

    fn parse_bounded(text: &'a str, members_max: usize) -> Result<Self, ParseError> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let members = deserializer.deserialize_map(Members { max: members_max });
        let members = members.and_then(|members| deserializer.end().map(|()| members)).map_err(|error| {
            let kind = if error.classify() == Category::Data { Kind::Shape } else { Kind::Syntax };
            ParseError::new(kind, error)
        })?;
        let mut keys: Vec<&str> = members.iter().map(|(key, _)| key.as_str()).collect();
        keys.sort_unstable();
        match keys.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(ParseError::new(Kind::DuplicateKey, pair[0])),
            None => Ok(Self { members }),
        }
    }

    /// A member, if present.
    pub(crate) fn get(&self, key: &str) -> Option<&'a RawValue> {
        self.members.iter().find(|(name, _)| name == key).map(|(_, value)| *value)
    }

    /// A member that must be present.
    pub(crate) fn need(&self, key: &str) -> Result<&'a RawValue, ParseError> {
        self.get(key).ok_or_else(|| ParseError::new(Kind::Missing, key))
    }

    /// All members.
    pub(crate) fn members(&self) -> &[(String, &'a RawValue)] {
        &self.members
    }

    /// A price member, if present: a string that is a positive decimal.
    pub(crate) fn price(&self, key: &str) -> Result<Option<Price>, ParseError> {
        self.get(key).map(|value| price(value, key)).transpose()
    }

    /// A volume member, if present: as a price, but zero is a volume.
    pub(crate) fn volume(&self, key: &str) -> Result<Option<Price>, ParseError> {
        self.get(key).map(|value| amount(value, key)).transpose()
    }

    /// A price member whose venue writes an empty string for none.
    pub(crate) fn price_or_empty(&self, key: &str) -> Result<Option<Price>, ParseError> {
        self.get(key).filter(|value| value.get() != "\"\"").map(|value| price(value, key)).transpose()
    }

    /// A price member that must be present and a JSON number.
    pub(crate) fn number(&self, key: &str) -> Result<Price, ParseError> {
        positive(amount_number(self.need(key)?, key)?, key)
    }

    /// A text member that must be present.
    pub(crate) fn string(&self, key: &str) -> Result<String, ParseError> {
        string(self.need(key)?, key)
    }
}

/// A price: a JSON string holding a decimal number above zero.
pub(crate) fn price(value: &RawValue, field: &str) -> Result<Price, ParseError> {
    positive(amount(value, field)?, field)
}

fn positive(price: Price, field: &str) -> Result<Price, ParseError> {
    if price.is_positive() { Ok(price) } else { Err(ParseError::new(Kind::Zero, field)) }
}

/// An amount: a JSON string holding a decimal number of at least zero.
pub(crate) fn amount(value: &RawValue, field: &str) -> Result<Price, ParseError> {
    let refuse = |kind| ParseError::new(kind, format_args!("{field} is {}", value.get()));
    match value.get().as_bytes().first() {
        Some(b'"') => {}
        Some(b'n') => return Err(refuse(Kind::Null)),
        Some(b'-' | b'0'..=b'9') => return Err(refuse(Kind::NotText)),
        _ => return Err(refuse(Kind::Shape)),
    }
    decimal(&string(value, field)?, field)
}

/// An amount where the venue sends JSON numbers (Kraken's WebSocket): read from the number's text, never through floating point.
pub(crate) fn amount_number(value: &RawValue, field: &str) -> Result<Price, ParseError> {
    let raw = value.get();
    match raw.as_bytes().first() {
        Some(b'-' | b'0'..=b'9') => decimal(raw, field),
        Some(b'n') => Err(ParseError::new(Kind::Null, format_args!("{field} is null"))),
        _ => Err(ParseError::new(Kind::Shape, format_args!("{field} is {raw}, not a number"))),
    }
}

fn decimal(text: &str, field: &str) -> Result<Price, ParseError> {
    let refuse = |kind| ParseError::new(kind, format_args!("{field} is {text:?}"));
    let amount = Price::parse(text).map_err(|error| refuse(kind_of(error, text)))?;
    if text.starts_with('-') { Err(refuse(Kind::Negative)) } else { Ok(amount) }
}

/// A JSON number that counts something, such as a message's place.
pub(crate) fn count(value: &RawValue) -> Option<u64> {
    value.get().parse().ok()
}

/// A JSON string of bounded length.
pub(crate) fn string(value: &RawValue, field: &str) -> Result<String, ParseError> {
    let raw = value.get();
    if raw.len() > SCALAR_LEN_MAX {
        return Err(ParseError::new(Kind::Range, format_args!("{field} has {} bytes", raw.len())));
    }
    serde_json::from_str(raw).map_err(|_| ParseError::new(Kind::Shape, format_args!("{field} is {raw}, not a string")))
}

/// A body that must be exactly one object.
pub(crate) fn object(body: &[u8]) -> Result<Object<'_>, ParseError> {
    Object::parse(text(body)?)
}

/// The elements of a JSON array of objects.
pub(crate) fn objects<'a>(value: &'a RawValue, field: &str) -> Result<Vec<Object<'a>>, ParseError> {
    array(value, field)?.into_iter().map(|item| Object::parse(item.get())).collect()
}

/// The elements of a JSON array, unparsed.
pub(crate) fn array<'a>(value: &'a RawValue, field: &str) -> Result<Vec<&'a RawValue>, ParseError> {
    let items: Vec<&RawValue> = serde_json::from_str(value.get())
        .map_err(|_| ParseError::new(Kind::Shape, format_args!("{field} is not an array")))?;
    if items.len() > MEMBERS_MAX {
        return Err(ParseError::new(Kind::Shape, format_args!("{field} has {} elements", items.len())));
    }
    Ok(items)
}

/// Both sides of a book or neither: one side alone gives no middle, and a market that lacks one is not priced by the other.
pub(crate) fn check_book(bid: Option<Price>, ask: Option<Price>) -> Result<(), ParseError> {
    match (bid, ask) {
        (Some(_), None) => Err(ParseError::new(Kind::Missing, "ask")),
        (None, Some(_)) => Err(ParseError::new(Kind::Missing, "bid")),
        _ => check_uncrossed(bid, ask),
    }
}

/// Refuses a book whose best bid is above its best ask.
pub(crate) fn check_uncrossed(bid: Option<Price>, ask: Option<Price>) -> Result<(), ParseError> {
    match (bid, ask) {
        (Some(bid), Some(ask)) if bid > ask => {
            Err(ParseError::new(Kind::Crossed, format_args!("bid {bid} is above ask {ask}")))
        }
        _ => Ok(()),
    }
}

/// What is wrong with a price's text, by what it looks like.
fn kind_of(error: PriceError, text: &str) -> Kind {
    let word = text.trim_start_matches(['-', '+']).to_ascii_lowercase();
    match error {
        PriceError::Length(1..) | PriceError::Overflow | PriceError::DivisionByZero => Kind::Range,
        _ if matches!(word.as_str(), "nan" | "inf" | "infinity") => Kind::NotFinite,
        _ if word.starts_with(|c: char| c.is_ascii_digit()) && word.contains([',', '_', '\'', ' ']) => Kind::Separator,
        _ => Kind::NotDecimal,
    }
}

/// Counts brackets outside strings; what is not JSON is left for the parser to refuse.
fn check_depth(body: &[u8]) -> Result<(), ParseError> {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for byte in body {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => depth += 1,
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(ParseError::new(Kind::TooDeep, format_args!("more than {DEPTH_MAX} levels")));
        }
    }
    Ok(())
}

/// Collects the members of an object, no more than `max`.
struct Members {
    max: usize,
}

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            if members.len() == self.max {
                return Err(de::Error::custom(format_args!("more than {} members", self.max)));
            }
            members.push(member);
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(body: &str) -> Result<usize, Kind> {
        text(body.as_bytes()).and_then(Object::parse).map(|o| o.members().len()).map_err(|e| e.kind)
    }

    #[test]
    fn objects_are_bounded_and_unambiguous() {
        assert_eq!(kind(r#" {"a":1,"b":[{"c":"]"}]} "#), Ok(2));
        assert_eq!(kind(" \n"), Err(Kind::Empty));
        assert_eq!(kind(r#"{"a":1,"b":2,"a":3}"#), Err(Kind::DuplicateKey));
        assert_eq!(kind(r#"{"a":1,"\u0061":3}"#), Err(Kind::DuplicateKey), "the same key, written differently");
        assert_eq!(kind(r#"{"a":1,}"#), Err(Kind::Syntax));
        assert_eq!(kind(r#"{"a":1"#), Err(Kind::Syntax));
        assert_eq!(kind(r#"{"a":1} x"#), Err(Kind::Syntax));
        assert_eq!(kind("[]"), Err(Kind::Shape));
        assert_eq!(kind("\"{\""), Err(Kind::Shape));
    }

    #[test]
    fn depth_is_checked_before_anything_is_parsed() {
        let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        assert_eq!(kind(&nested(DEPTH_MAX)), Ok(1));
        assert_eq!(kind(&nested(DEPTH_MAX + 1)), Err(Kind::TooDeep));
        assert_eq!(kind(&format!(r#"{{"a":"{}\"["}}"#, "[".repeat(99))), Ok(1), "brackets in strings are text");
    }

    #[test]
    fn width_is_bounded() {
        let wide = |members: usize| {
            let all: Vec<String> = (0..members).map(|i| format!("\"k{i}\":0")).collect();
            format!("{{{}}}", all.join(","))
        };
        assert_eq!(kind(&wide(MEMBERS_MAX)), Ok(MEMBERS_MAX));
        assert_eq!(kind(&wide(MEMBERS_MAX + 1)), Err(Kind::Shape));
    }

    #[test]
    fn each_way_a_price_can_be_wrong_has_its_kind() {
        let long = format!("\"{}\"", "1".repeat(65));
        let longer = format!("\"{}\"", "1".repeat(SCALAR_LEN_MAX));
        for (raw, want) in [
            (r#""46707.03""#, Ok("46707.03")),
            (r#""4.670703e4""#, Ok("46707.03")),
            (r#""\u0031""#, Ok("1")),
            ("null", Err(Kind::Null)),
            ("46707.03", Err(Kind::NotText)),
            ("-1", Err(Kind::NotText)),
            ("true", Err(Kind::Shape)),
            ("[\"1\"]", Err(Kind::Shape)),
            (r#""""#, Err(Kind::NotDecimal)),
            (r#""$1""#, Err(Kind::NotDecimal)),
            (r#"" 1""#, Err(Kind::NotDecimal)),
            (r#""NaN""#, Err(Kind::NotFinite)),
            (r#""-Infinity""#, Err(Kind::NotFinite)),
            (r#""46,707.03""#, Err(Kind::Separator)),
            (r#""46 707.03""#, Err(Kind::Separator)),
            (r#""0.000""#, Err(Kind::Zero)),
            (r#""1e-19""#, Err(Kind::Zero)),
            (r#""-46707.03""#, Err(Kind::Negative)),
            (r#""-0""#, Err(Kind::Negative)),
            (r#""9e30""#, Err(Kind::Range)),
            (r#""1e999""#, Err(Kind::NotDecimal)),
            (&long, Err(Kind::Range)),
            (&longer, Err(Kind::Range)),
        ] {
            let value: &RawValue = serde_json::from_str(raw).unwrap();
            let got = price(value, "p").map(|p| p.to_string()).map_err(|e| e.kind);
            assert_eq!(got, want.map(str::to_owned), "{raw}");
        }
    }
}
