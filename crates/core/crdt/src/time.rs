//! Time as a number that callers pass in. Nothing in `core` reads a clock.

use std::fmt;

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

/// A minute of declared time: what quotas count in. `declared_ms / 60,000`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(u64);

/// Length of a [`Bucket`] in milliseconds. A minute: long enough that one retry storm does not exhaust a quota, short enough
/// that an author who exhausted it is back soon.
pub const BUCKET_MS: u64 = 60_000;

impl Time {
    /// A time from milliseconds since the Unix epoch.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn ms(self) -> u64 {
        self.0
    }

    /// The bucket the time lies in.
    pub const fn bucket(self) -> Bucket {
        Bucket(self.0 / BUCKET_MS)
    }

    /// This time moved forward, saturating at the end of the type.
    pub const fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this time; zero if `earlier` is later.
    pub const fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Bucket {
    /// The first minute.
    pub const ZERO: Self = Self(0);

    /// The count of whole minutes since the Unix epoch.
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}
