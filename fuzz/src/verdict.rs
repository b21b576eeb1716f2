//! What became of bytes, in the words by which seeds are named.

use std::fmt;

use concurrence_crdt::{CodecError, OpError};
use concurrence_protocol::FrameError;

/// What a decoder said. A seed's file name begins with it: `accepted-hello`, `refused-truncated-pull`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The bytes are the canonical form of something.
    Accepted,
    /// They are not, for a reason of this class.
    Refused(&'static str),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::Refused(class) => write!(f, "refused-{class}"),
        }
    }
}

impl From<CodecError> for Verdict {
    fn from(error: CodecError) -> Self {
        Self::Refused(match error {
            CodecError::Truncated { .. } => "truncated",
            CodecError::Trailing(_) => "trailing",
            CodecError::OverCap { .. } => "over-cap",
            CodecError::NotCanonical(_) => "not-canonical",
        })
    }
}

impl From<FrameError> for Verdict {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::TooLong(_) => Self::Refused("too-long"),
            FrameError::Tag(_) => Self::Refused("tag"),
            FrameError::Codec(error) => error.into(),
        }
    }
}

impl From<OpError> for Verdict {
    fn from(error: OpError) -> Self {
        match error {
            OpError::Codec(error) => error.into(),
            OpError::Version(_) => Self::Refused("version"),
            OpError::OtherNetwork(_) => Self::Refused("other-network"),
            OpError::PayloadHash => Self::Refused("payload-hash"),
            OpError::Key(_) => Self::Refused("signature"),
        }
    }
}
