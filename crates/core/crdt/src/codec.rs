//! Fixed, big-endian, canonical bytes: a reader that refuses everything a writer would not have written.

/// Why bytes could not be read. The offset is where reading stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end before the field does.
    #[error("truncated: {wanted} bytes wanted at offset {offset}, {left} left")]
    Truncated {
        /// Where the field begins.
        offset: usize,
        /// Length of the field.
        wanted: usize,
        /// Bytes that were left.
        left: usize,
    },
    /// Bytes follow the last field.
    #[error("{0} bytes follow the end")]
    Trailing(usize),
    /// A length or count exceeds its cap.
    #[error("{field} is {value}, at most {max} is allowed")]
    OverCap {
        /// Which field.
        field: &'static str,
        /// What was claimed.
        value: u64,
        /// The cap.
        max: u64,
    },
    /// A field holds a value that the canonical form never has.
    #[error("{0} is not in canonical form")]
    NotCanonical(&'static str),
}

/// Reads fixed-width big-endian fields from a slice; never allocates by a claimed length.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// How far reading has come.
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// Bytes not read yet.
    pub const fn left(&self) -> usize {
        self.bytes.len() - self.offset
    }

    /// The next `len` bytes.
    pub fn slice(&mut self, len: usize) -> Result<&'a [u8], CodecError> {
        let (offset, left) = (self.offset, self.left());
        let end = offset.checked_add(len).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or(CodecError::Truncated { offset, wanted: len, left })?;
        self.offset = end;
        Ok(&self.bytes[offset..end])
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], CodecError> {
        let mut out = [0; N];
        out.copy_from_slice(self.slice(N)?);
        Ok(out)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, CodecError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, CodecError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, CodecError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, CodecError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    /// A four-byte count, refused above `max`.
    pub fn count(&mut self, field: &'static str, max: usize) -> Result<usize, CodecError> {
        let value = self.u32()?;
        let over = CodecError::OverCap { field, value: u64::from(value), max: max as u64 };
        usize::try_from(value).ok().filter(|&v| v <= max).ok_or(over)
    }

    /// Ends reading; anything left is an error.
    pub fn finish(self) -> Result<(), CodecError> {
        if self.left() == 0 { Ok(()) } else { Err(CodecError::Trailing(self.left())) }
    }
}

/// A `u32` count for the wire. Every collection written is capped far below 2^32, so saturation is never reached.
pub fn count_u32(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes()
}
