//! Prices: signed 128-bit integers in units of 1e-18 of the quote currency, checked arithmetic, products through 256 bits.

use std::fmt;

use ruint::aliases::U256;

/// A price, or a difference of prices, in units of 1e-18 of the quote currency.
///
/// The range is that of `i128`: about ±1.7e20 units of the quote currency. Every operation that could leave it returns an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(i128);

/// Decimal places of [`Price`]: EVM tooling's "wad".
pub const PRICE_DECIMALS: u32 = 18;

/// Longest decimal text accepted: sign, 39 digits of an `i128`, point, and an exponent, with room for padding zeros.
pub const PRICE_TEXT_LEN_MAX: usize = 64;

/// Why a price could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// The text is empty or longer than [`PRICE_TEXT_LEN_MAX`].
    #[error("price text has {0} bytes, accepted are 1 to {PRICE_TEXT_LEN_MAX}")]
    Length(usize),
    /// The text is not a plain decimal number (`-12.5`, `4.67e4`).
    #[error("price text is not a decimal number")]
    NotDecimal,
    /// The value, or a result of arithmetic, does not fit the type.
    #[error("price does not fit 128 bits of 1e-18 units")]
    Overflow,
    /// Division by a zero price.
    #[error("division by a zero price")]
    DivisionByZero,
}

impl Price {
    /// Zero.
    pub const ZERO: Self = Self(0);
    /// One unit of the quote currency.
    pub const ONE: Self = Self(1_000_000_000_000_000_000);
    /// The greatest representable price.
    pub const MAX: Self = Self(i128::MAX);

    /// A price from its count of 1e-18 units.
    pub const fn from_units(units: i128) -> Self {
        Self(units)
    }

    /// The count of 1e-18 units.
    pub const fn units(self) -> i128 {
        self.0
    }

    /// Whether the price is above zero; only such prices are ever attested.
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }

    /// Sum, checked.
    pub fn plus(self, other: Self) -> Result<Self, PriceError> {
        self.0.checked_add(other.0).map(Self).ok_or(PriceError::Overflow)
    }

    /// Difference, checked.
    pub fn minus(self, other: Self) -> Result<Self, PriceError> {
        self.0.checked_sub(other.0).map(Self).ok_or(PriceError::Overflow)
    }

    /// Distance between two prices, never negative.
    pub fn distance(self, other: Self) -> Result<Self, PriceError> {
        self.0.checked_sub(other.0).and_then(i128::checked_abs).map(Self).ok_or(PriceError::Overflow)
    }

    /// Product with a dimensionless or converting price, rounded toward zero.
    pub fn times(self, other: Self) -> Result<Self, PriceError> {
        mul_div(self.0, other.0, Self::ONE.0)
    }

    /// Quotient, rounded toward zero.
    pub fn over(self, other: Self) -> Result<Self, PriceError> {
        mul_div(self.0, Self::ONE.0, other.0)
    }

    /// `self * numerator / denominator`, rounded toward zero, the product in 256 bits.
    pub fn scaled(self, numerator: i128, denominator: i128) -> Result<Self, PriceError> {
        mul_div(self.0, numerator, denominator)
    }

    /// The point halfway between two prices, rounded toward negative infinity; never overflows.
    pub fn midpoint(self, other: Self) -> Self {
        // Halving each first cannot overflow; the last term restores the unit lost when both are odd.
        Self((self.0 >> 1) + (other.0 >> 1) + (self.0 & other.0 & 1))
    }

    /// `|self - reference| / reference` in parts per million, saturating; `None` for a reference that is not positive.
    pub fn deviation_ppm(self, reference: Self) -> Option<u64> {
        if !reference.is_positive() {
            return None;
        }
        let distance = U256::from(self.0.abs_diff(reference.0));
        let ppm = distance * U256::from(1_000_000u64) / U256::from(reference.0.unsigned_abs());
        Some(u64::try_from(ppm).unwrap_or(u64::MAX))
    }

    /// Parses a decimal number without going through floating point: optional sign, digits with an optional point, optional
    /// exponent. Digits beyond 18 decimals are cut off. Separators, signs of currency, `NaN` and the like are refused.
    pub fn parse(text: &str) -> Result<Self, PriceError> {
        if text.is_empty() || text.len() > PRICE_TEXT_LEN_MAX {
            return Err(PriceError::Length(text.len()));
        }
        let (number, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..].parse::<i8>().map_err(|_| PriceError::NotDecimal)?),
            None => (text, 0),
        };
        let (negative, digits) = match number.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, number),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let plain = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !plain(whole) || !plain(fraction) || (fraction.is_empty() && digits.contains('.')) {
            return Err(PriceError::NotDecimal);
        }
        let units = assemble(whole, fraction, i32::from(exponent))?;
        Ok(Self(if negative { -units } else { units }))
    }
}

/// Joins the digits around the point into 1e-18 units, shifted by `exponent` decimal places.
fn assemble(whole: &str, fraction: &str, exponent: i32) -> Result<i128, PriceError> {
    // Lengths are at most PRICE_TEXT_LEN_MAX and exponents below 128, so the sum cannot overflow.
    let len = i32::try_from(whole.len()).map_err(|_| PriceError::Overflow)?;
    let point = len + exponent + PRICE_DECIMALS.cast_signed();
    let digits = whole.bytes().chain(fraction.bytes());
    let mut units: i128 = 0;
    for (at, digit) in (0i32..).zip(digits.chain(std::iter::repeat_n(b'0', usize::try_from(point.max(0)).unwrap_or(0))))
    {
        if at >= point {
            break;
        }
        units =
            units.checked_mul(10).and_then(|u| u.checked_add(i128::from(digit - b'0'))).ok_or(PriceError::Overflow)?;
    }
    Ok(units)
}

/// `a * b / c` rounded toward zero, with a 256-bit product.
fn mul_div(a: i128, b: i128, c: i128) -> Result<Price, PriceError> {
    if c == 0 {
        return Err(PriceError::DivisionByZero);
    }
    // Most rates are exactly one: then there is nothing to divide.
    if b == c {
        return Ok(Price(a));
    }
    if a == c {
        return Ok(Price(b));
    }
    let negative = (a < 0) ^ (b < 0) ^ (c < 0);
    let product = U256::from(a.unsigned_abs()) * U256::from(b.unsigned_abs());
    let magnitude = i128::try_from(product / U256::from(c.unsigned_abs())).map_err(|_| PriceError::Overflow)?;
    Ok(Price(if negative { -magnitude } else { magnitude }))
}

impl fmt::Display for Price {
    /// The shortest exact decimal: `46707.03`, `-0.5`, `1`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let (whole, fraction) = (magnitude / Self::ONE.0.unsigned_abs(), magnitude % Self::ONE.0.unsigned_abs());
        if self.0 < 0 {
            f.write_str("-")?;
        }
        write!(f, "{whole}")?;
        if fraction != 0 {
            let digits = format!("{fraction:018}");
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: Result<&str, PriceError>) {
        assert_eq!(Price::parse(text).map(|p| p.to_string()), want.map(str::to_owned), "{text}");
    }

    #[test]
    fn decimal_text() {
        for (text, want) in [
            ("46707.03", "46707.03"),
            ("4.670703e4", "46707.03"),
            ("0.00000000", "0"),
            ("-46707.03", "-46707.03"),
            ("1e-18", "0.000000000000000001"),
            ("1e-19", "0"),
            ("0001.50", "1.5"),
            ("106824", "106824"),
        ] {
            check(text, Ok(want));
        }
        for text in ["NaN", "46,707.03", "$1", "1.", ".5", "+1", " 1", "1e", "1e999", "0x10", "1.2.3", "--1", "inf"] {
            check(text, Err(PriceError::NotDecimal));
        }
        check("", Err(PriceError::Length(0)));
        check(&"9".repeat(65), Err(PriceError::Length(65)));
        check("9e30", Err(PriceError::Overflow));
        check("170141183460469231731.687303715884105727", Ok("170141183460469231731.687303715884105727"));
        check("170141183460469231731.687303715884105728", Err(PriceError::Overflow));
    }

    #[test]
    fn arithmetic_goes_through_256_bits_and_is_checked() {
        let big = Price::parse("100000000000000").unwrap();
        assert_eq!(big.times(Price::parse("0.5").unwrap()).unwrap().to_string(), "50000000000000");
        assert_eq!(big.times(big), Err(PriceError::Overflow));
        assert_eq!(Price::ONE.over(Price::ZERO), Err(PriceError::DivisionByZero));
        assert_eq!(Price::ONE.over(Price::parse("3").unwrap()).unwrap().to_string(), "0.333333333333333333");
        // Nothing is divided where a factor is the divisor, not even at the ends of the range.
        let least = Price::from_units(i128::MIN);
        assert_eq!((least.times(Price::ONE), Price::ONE.times(least)), (Ok(least), Ok(least)));
        assert_eq!((least.scaled(7, 7), least.over(least)), (Ok(least), Ok(Price::ONE)));
        assert_eq!(Price::MAX.midpoint(Price::MAX), Price::MAX);
        assert_eq!(Price::from_units(3).midpoint(Price::from_units(5)).units(), 4);
        assert_eq!(Price::from_units(i128::MIN).distance(Price::MAX), Err(PriceError::Overflow));
        assert_eq!(Price::parse("1.2").unwrap().deviation_ppm(Price::ONE), Some(200_000));
        assert_eq!(Price::from_units(i128::MIN).deviation_ppm(Price::from_units(1)), Some(u64::MAX));
    }
}
