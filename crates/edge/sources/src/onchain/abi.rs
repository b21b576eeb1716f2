//! Words of the contract ABI, read strictly: a value that does not fit its type is refused.

use ruint::aliases::U256;

use crate::{ParseError, ParseErrorKind as Kind};

/// Bytes of a word.
pub(super) const WORD_LEN: usize = 32;

/// The words of a return value.
pub(super) struct Words<'a>(&'a [u8]);

impl<'a> Words<'a> {
    /// A return value of whole words.
    pub(super) fn new(data: &'a [u8]) -> Result<Self, ParseError> {
        if data.len().is_multiple_of(WORD_LEN) {
            return Ok(Self(data));
        }
        Err(ParseError::new(Kind::Shape, format_args!("{} bytes are no whole words", data.len())))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len() / WORD_LEN
    }

    /// An unsigned integer of at most `bits`.
    pub(super) fn uint(&self, at: usize, bits: usize) -> Result<U256, ParseError> {
        let word = self.0.get(at * WORD_LEN..(at + 1) * WORD_LEN);
        let word = word.ok_or_else(|| ParseError::new(Kind::Missing, format_args!("word {at}")))?;
        let value = U256::from_be_slice(word);
        if value.bit_len() > bits {
            return Err(ParseError::new(Kind::Range, format_args!("word {at} is {value}, above {bits} bits")));
        }
        Ok(value)
    }

    /// A signed integer of at most `bits`, up to 128, from its sign-extended two's complement.
    pub(super) fn int(&self, at: usize, bits: usize) -> Result<i128, ParseError> {
        let word = self.uint(at, 256)?;
        let (negative, magnitude) = if word.bit(255) { (true, word.wrapping_neg()) } else { (false, word) };
        let limit = U256::from(1u8) << (bits - 1);
        let fits = if negative { magnitude <= limit } else { magnitude < limit };
        let value = i128::try_from(magnitude).ok().filter(|_| fits);
        value
            .map(|value| if negative { -value } else { value })
            .ok_or_else(|| ParseError::new(Kind::Range, format_args!("word {at} does not fit {bits} bits")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(value: U256) -> [u8; 32] {
        value.to_be_bytes()
    }

    #[test]
    fn values_fit_their_types_or_are_refused() {
        let data = word(U256::from(255u8));
        let words = Words::new(&data).unwrap();
        assert_eq!((words.uint(0, 8).unwrap(), words.int(0, 9).unwrap()), (U256::from(255u8), 255));
        assert_eq!(words.uint(0, 7).unwrap_err().kind, Kind::Range);
        assert_eq!(words.int(0, 8).unwrap_err().kind, Kind::Range);
        assert_eq!(words.uint(1, 256).unwrap_err().kind, Kind::Missing);
        let data = word(U256::from(128u8).wrapping_neg());
        let words = Words::new(&data).unwrap();
        assert_eq!(words.int(0, 8).unwrap(), -128);
        assert_eq!(words.int(0, 7).unwrap_err().kind, Kind::Range);
        assert_eq!(Words::new(&[0; 33]).err().map(|error| error.kind), Some(Kind::Shape));
    }
}
