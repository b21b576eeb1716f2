//! What an oracle states about one feed in one slot, in the form that is signed and that contracts read.

use std::fmt;

use concurrence_crdt::Time;
use ruint::aliases::U256;

use crate::{Feed, PRICE_DECIMALS, Price};

/// An oracle's statement about one feed. A value that exists is in range: its price is positive and fits 63 bits of mantissa.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attestation {
    feed: Feed,
    mantissa: u64,
    expo: i8,
    half_width: u16,
    sources: u16,
    doubtful: bool,
}

/// A second of declared time, `declared_ms / 1,000`: an oracle states one price for a feed in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u64);

/// Why an attestation could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttestationError {
    /// The price is zero or below.
    #[error("price {0} is not positive")]
    NotPositive(Price),
    /// The price is smaller than half a unit of the mantissa, so that it would round to zero.
    #[error("price {0} rounds to a mantissa of zero")]
    Vanishes(Price),
    /// The price needs a mantissa of more than 63 bits.
    #[error("price {0} needs more than 63 bits of mantissa")]
    TooLarge(Price),
    /// The mantissa is zero or has more than 63 bits.
    #[error("mantissa {0} is outside 1..2^63")]
    Mantissa(u64),
    /// The exponent is outside [`EXPO_MIN`]`..=`[`EXPO_MAX`].
    #[error("exponent {0} is outside {EXPO_MIN}..={EXPO_MAX}")]
    Expo(i8),
}

/// Length of a [`Slot`] in milliseconds, a constant of the network. The fastest sensible tick of a node that polls by HTTP.
pub const SLOT_MS: u64 = 1_000;

/// Least exponent: [`Price`] holds 18 decimals.
pub const EXPO_MIN: i8 = -18;

/// Greatest exponent: with it, the greatest mantissa is 9.2e18, which still fits a [`Price`]; with 1 it might not.
pub const EXPO_MAX: i8 = 0;

/// Exponent of a feed that configures none: 8 decimals, as USD feeds have on chain by custom (Chainlink's `decimals()`).
pub const EXPO_DEFAULT: i8 = -8;

/// Unit of the half-width: a hundred-thousandth of the price (0.1 basis points).
pub const HALF_WIDTH_UNITS: u64 = 100_000;

/// Bytes of an attestation's word: mantissa and flag, half-width, sources.
pub const WORD_LEN: usize = 12;

/// Bit 63 of a word's first eight bytes.
const DOUBTFUL: u64 = 1 << 63;

impl Attestation {
    /// An attestation from its fields as signed. `half_width` is in units of 1e-5 of the price, 0xFFFF being that or more; bit i
    /// of `sources` is the source with network-wide index i.
    pub fn new(
        feed: Feed,
        (mantissa, expo): (u64, i8),
        half_width: u16,
        sources: u16,
        doubtful: bool,
    ) -> Result<Self, AttestationError> {
        if mantissa == 0 || mantissa >= DOUBTFUL {
            return Err(AttestationError::Mantissa(mantissa));
        }
        if !(EXPO_MIN..=EXPO_MAX).contains(&expo) {
            return Err(AttestationError::Expo(expo));
        }
        Ok(Self { feed, mantissa, expo, half_width, sources, doubtful })
    }

    /// An attestation of an observed price: the mantissa rounded half to even, the half-width rounded up and saturating.
    pub fn of_price(
        feed: Feed,
        (price, half_width): (Price, Price),
        expo: i8,
        sources: u16,
        doubtful: bool,
    ) -> Result<Self, AttestationError> {
        let mantissa = mantissa_of(price, expo)?;
        Self::new(feed, (mantissa, expo), half_width_of(half_width, price), sources, doubtful)
    }

    /// From the 12 bytes of its word and the feed and exponent that belong to it.
    pub fn from_word(feed: Feed, expo: i8, word: [u8; WORD_LEN]) -> Result<Self, AttestationError> {
        let [p0, p1, p2, p3, p4, p5, p6, p7, h0, h1, s0, s1] = word;
        let first = u64::from_be_bytes([p0, p1, p2, p3, p4, p5, p6, p7]);
        let (half_width, sources) = (u16::from_be_bytes([h0, h1]), u16::from_be_bytes([s0, s1]));
        Self::new(feed, (first & !DOUBTFUL, expo), half_width, sources, first & DOUBTFUL != 0)
    }

    /// The 12 bytes that are signed: price u64 with the doubtful flag in bit 63, half-width u16, sources u16, big-endian.
    pub fn word(&self) -> [u8; WORD_LEN] {
        let mut word = [0; WORD_LEN];
        let flag = if self.doubtful { DOUBTFUL } else { 0 };
        word[..8].copy_from_slice(&(self.mantissa | flag).to_be_bytes());
        word[8..10].copy_from_slice(&self.half_width.to_be_bytes());
        word[10..].copy_from_slice(&self.sources.to_be_bytes());
        word
    }

    /// What is priced.
    pub const fn feed(&self) -> Feed {
        self.feed
    }

    /// The price as signed is `mantissa * 10^expo`; 1 <= mantissa < 2^63.
    pub const fn mantissa(&self) -> u64 {
        self.mantissa
    }

    /// The price as signed is `mantissa * 10^expo`; between [`EXPO_MIN`] and [`EXPO_MAX`].
    pub const fn expo(&self) -> i8 {
        self.expo
    }

    /// The price, exact: at most 63 bits times 10^18, below 2^123.
    pub fn price(&self) -> Price {
        Price::from_units(i128::from(self.mantissa) * unit_of(self.expo))
    }

    /// How far off the price may be, in units of 1e-5 of it; 0xFFFF is that or more.
    pub const fn half_width(&self) -> u16 {
        self.half_width
    }

    /// Bitmap of the sources that counted, by network-wide index.
    pub const fn sources(&self) -> u16 {
        self.sources
    }

    /// Whether the oracle itself doubts the price: it is published for the record and counts nowhere.
    pub const fn is_doubtful(&self) -> bool {
        self.doubtful
    }
}

impl Slot {
    /// The slot a time lies in.
    pub const fn of(time: Time) -> Self {
        Self(time.ms() / SLOT_MS)
    }

    /// A slot from its number.
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// Whole seconds since the Unix epoch.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// When the slot begins; saturates at the end of time.
    pub const fn start(self) -> Time {
        Time::from_ms(self.0.saturating_mul(SLOT_MS))
    }
}

/// Units of [`Price`] in one unit of a mantissa with this exponent; exponents out of range are taken to the nearer end.
fn unit_of(expo: i8) -> i128 {
    let places = i32::from(expo.clamp(EXPO_MIN, EXPO_MAX)) + PRICE_DECIMALS.cast_signed();
    10i128.pow(places.unsigned_abs())
}

fn mantissa_of(price: Price, expo: i8) -> Result<u64, AttestationError> {
    if !(EXPO_MIN..=EXPO_MAX).contains(&expo) {
        return Err(AttestationError::Expo(expo));
    }
    if !price.is_positive() {
        return Err(AttestationError::NotPositive(price));
    }
    let unit = unit_of(expo);
    let (floor, rest) = (price.units() / unit, price.units() % unit);
    // rest < unit <= 1e18, so doubling it cannot overflow.
    let up = rest * 2 > unit || (rest * 2 == unit && floor % 2 == 1);
    let mantissa = u64::try_from(floor + i128::from(up)).ok().filter(|&m| m < DOUBTFUL);
    match mantissa {
        Some(0) => Err(AttestationError::Vanishes(price)),
        Some(mantissa) => Ok(mantissa),
        None => Err(AttestationError::TooLarge(price)),
    }
}

fn half_width_of(half_width: Price, price: Price) -> u16 {
    let scaled = U256::from(half_width.units().unsigned_abs()) * U256::from(HALF_WIDTH_UNITS);
    let units = scaled.div_ceil(U256::from(price.units().unsigned_abs().max(1)));
    u16::try_from(units).unwrap_or(u16::MAX)
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn btc() -> Feed {
        "BTC/USD".parse().unwrap()
    }

    fn of(text: &str, expo: i8) -> Result<u64, AttestationError> {
        let price = Price::parse(text).unwrap();
        Attestation::of_price(btc(), (price, Price::ZERO), expo, 0, false).map(|a| a.mantissa())
    }

    #[test]
    fn mantissas_round_half_to_even() {
        assert_eq!(of("46707.03", -8), Ok(4_670_703_000_000));
        for (text, want) in
            [("0.5", None), ("1.5", Some(2)), ("2.5", Some(2)), ("2.500000000000000001", Some(3)), ("3.5", Some(4))]
        {
            assert_eq!(of(text, 0).ok(), want, "{text}");
        }
        assert_eq!(of("0.000000000000000001", -18), Ok(1));
    }

    #[test]
    fn limits_are_refused() {
        for text in ["0", "-1", "-0.000000000000000001"] {
            assert!(matches!(of(text, -8), Err(AttestationError::NotPositive(_))), "{text}");
        }
        assert!(matches!(of("0.000000001", -8), Err(AttestationError::Vanishes(_))));
        assert_eq!(of("9223372036854775807", 0), Ok((1 << 63) - 1));
        assert!(matches!(of("9223372036854775807.5", 0), Err(AttestationError::TooLarge(_))));
        assert!(matches!(of("9223372036854775808", 0), Err(AttestationError::TooLarge(_))));
        assert!(matches!(
            Attestation::of_price(btc(), (Price::MAX, Price::MAX), -8, 0, false),
            Err(AttestationError::TooLarge(_))
        ));
        assert_eq!(of("1", 1), Err(AttestationError::Expo(1)));
        assert_eq!(of("1", -19), Err(AttestationError::Expo(-19)));
        assert_eq!(Attestation::new(btc(), (0, -8), 0, 0, false), Err(AttestationError::Mantissa(0)));
        assert_eq!(Attestation::new(btc(), (1 << 63, -8), 0, 0, false), Err(AttestationError::Mantissa(1 << 63)));
    }

    #[test]
    fn half_width_rounds_up_and_saturates() {
        let width = |half: &str| {
            let half = Price::parse(half).unwrap();
            Attestation::of_price(btc(), (Price::ONE, half), -8, 0, false).unwrap().half_width()
        };
        assert_eq!(width("0"), 0);
        assert_eq!(width("0.00001"), 1);
        assert_eq!(width("0.0000100000001"), 2);
        assert_eq!(width("0.65534"), 65_534);
        assert_eq!(width("3"), u16::MAX);
    }

    #[test]
    fn slots_at_the_limits_of_time() {
        assert_eq!(Slot::of(Time::from_ms(1_999)), Slot::from_number(1));
        assert_eq!(Slot::from_number(u64::MAX).start(), Time::from_ms(u64::MAX));
    }

    proptest! {
        #[test]
        fn words_round_trip(m in 1u64..1 << 63, expo in EXPO_MIN..=EXPO_MAX, half: u16, sources: u16, doubtful: bool) {
            let made = Attestation::new(btc(), (m, expo), half, sources, doubtful).unwrap();
            prop_assert_eq!(Attestation::from_word(btc(), expo, made.word()), Ok(made));
            let again = Attestation::of_price(btc(), (made.price(), Price::ZERO), expo, sources, doubtful).unwrap();
            prop_assert_eq!(again.mantissa(), m);
        }
    }
}
