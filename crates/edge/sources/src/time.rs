//! The forms in which venues write times: each is read in its own unit, and another unit is refused instead of read as another century.

use concurrence_crdt::Time;
use serde_json::value::RawValue;

use crate::{ParseError, ParseErrorKind as Kind, json};

/// Digits of an instant between 2001 and 2286, by unit.
const MS_DIGITS: usize = 13;
const SECONDS_DIGITS: usize = 10;
const MICROSECONDS_DIGITS: usize = 16;

/// A JSON number of milliseconds.
pub(crate) fn ms_number(value: &RawValue, field: &str) -> Result<Time, ParseError> {
    digits(value.get(), MS_DIGITS).map(Time::from_ms).ok_or_else(|| refused(value, field, "13 digits of milliseconds"))
}

/// A JSON string of milliseconds.
pub(crate) fn ms_text(value: &RawValue, field: &str) -> Result<Time, ParseError> {
    let text = json::string(value, field)?;
    digits(&text, MS_DIGITS)
        .map(Time::from_ms)
        .ok_or_else(|| refused(value, field, "13 digits of milliseconds in a string"))
}

/// A JSON string of seconds.
pub(crate) fn seconds_text(value: &RawValue, field: &str) -> Result<Time, ParseError> {
    let text = json::string(value, field)?;
    let seconds = digits(&text, SECONDS_DIGITS);
    seconds.map(|s| Time::from_ms(s * 1_000)).ok_or_else(|| refused(value, field, "10 digits of seconds in a string"))
}

/// A JSON string of microseconds, cut to milliseconds.
pub(crate) fn microseconds_text(value: &RawValue, field: &str) -> Result<Time, ParseError> {
    let text = json::string(value, field)?;
    let micros = digits(&text, MICROSECONDS_DIGITS);
    micros
        .map(|us| Time::from_ms(us / 1_000))
        .ok_or_else(|| refused(value, field, "16 digits of microseconds in a string"))
}

/// A JSON string with an ISO 8601 instant.
pub(crate) fn iso_text(value: &RawValue, field: &str) -> Result<Time, ParseError> {
    iso(&json::string(value, field)?).ok_or_else(|| refused(value, field, "an instant in UTC"))
}

fn refused(value: &RawValue, field: &str, wanted: &str) -> ParseError {
    ParseError::new(Kind::Time, format_args!("{field} is {}, not {wanted}", value.get()))
}

/// A number of exactly so many digits; at most 16 of them, so that a thousandfold still fits.
fn digits(text: &str, len: usize) -> Option<u64> {
    (text.len() == len && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

/// An ISO 8601 instant in UTC, `2023-06-16T02:26:52.037760Z`, with up to nine decimals, cut to milliseconds.
fn iso(text: &str) -> Option<Time> {
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
            assert_eq!(iso(text), want.map(Time::from_ms), "{text}");
        }
    }

    #[test]
    fn each_unit_is_read_as_itself_only() {
        type Reader = fn(&RawValue, &str) -> Result<Time, ParseError>;
        let readers: [(Reader, &str, u64); 4] = [
            (ms_number, "1719792000123", 1_719_792_000_123),
            (ms_text, "\"1719792000123\"", 1_719_792_000_123),
            (seconds_text, "\"1719792000\"", 1_719_792_000_000),
            (microseconds_text, "\"1719792000123456\"", 1_719_792_000_123),
        ];
        for (at, (read, _, _)) in readers.iter().enumerate() {
            for (other, (_, raw, want)) in readers.iter().enumerate() {
                let value: &RawValue = serde_json::from_str(raw).unwrap();
                let got = read(value, "t").ok();
                assert_eq!(got, (at == other).then(|| Time::from_ms(*want)), "reader {at} of {raw}");
            }
        }
        for raw in ["null", "-719792000123", "1.7e12", "\"+719792000123\"", "\"1719792000.12\"", "[]"] {
            let value: &RawValue = serde_json::from_str(raw).unwrap();
            assert!(readers.iter().all(|(read, _, _)| read(value, "t").is_err()), "{raw}");
        }
    }
}
