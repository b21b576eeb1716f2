//! What can be made to go wrong.

use serde::{Deserialize, Serialize};

/// A fault of a simulated venue. As JSON, for `POST /_sim/fault`: `{"fault":"lag","ms":500}`, `{"fault":"none"}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Answers as it should.
    #[default]
    None,
    /// Answers late.
    Lag {
        /// By how much, milliseconds, at most [`LAG_MS_MAX`].
        ms: u64,
    },
    /// Answers 429 with the vendor's body.
    Status429 {
        /// The `Retry-After` header, seconds.
        retry_after_s: u32,
    },
    /// Answers with another status, an HTML page as a proxy would send.
    Status {
        /// 500 to 599.
        status: u16,
    },
    /// Answers 200 and JSON's content type with bytes that are not JSON.
    Garbage,
    /// Accepts the request and never answers.
    Nothing,
    /// Answers as at the moment this fault was set, for ever: same price, same time.
    Freeze,
}

/// Longest lag, milliseconds: ten minutes, beyond any client's patience.
pub const LAG_MS_MAX: u64 = 600_000;

impl Fault {
    /// Whether its numbers are within their bounds; if not, what is wrong.
    pub(crate) fn check(self) -> Result<Self, &'static str> {
        match self {
            Self::Lag { ms } if ms > LAG_MS_MAX => Err("ms is at most 600000"),
            Self::Status { status } if !(500..=599).contains(&status) => Err("status is 500 to 599"),
            fault => Ok(fault),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_as_json() {
        for (text, want) in [
            (r#"{"fault":"none"}"#, Fault::None),
            (r#"{"fault":"lag","ms":500}"#, Fault::Lag { ms: 500 }),
            (r#"{"fault":"status429","retry_after_s":3}"#, Fault::Status429 { retry_after_s: 3 }),
            (r#"{"fault":"status","status":503}"#, Fault::Status { status: 503 }),
            (r#"{"fault":"garbage"}"#, Fault::Garbage),
            (r#"{"fault":"nothing"}"#, Fault::Nothing),
            (r#"{"fault":"freeze"}"#, Fault::Freeze),
        ] {
            assert_eq!(serde_json::from_str::<Fault>(text).unwrap().check(), Ok(want));
        }
        assert!(serde_json::from_str::<Fault>(r#"{"fault":"lag"}"#).is_err());
        assert!(serde_json::from_str::<Fault>(r#"{"fault":"lag","ms":1,"s":2}"#).is_err());
        assert!(Fault::Lag { ms: LAG_MS_MAX + 1 }.check().is_err());
        assert!(Fault::Status { status: 200 }.check().is_err());
    }
}
