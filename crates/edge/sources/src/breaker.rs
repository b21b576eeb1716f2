//! A circuit breaker: a venue that keeps failing is left alone for a while, then probed by one request.
//!
//! Time is an argument, milliseconds from any fixed start that never go back. Waiting because a venue said so (`Retry-After`) is not
//! the breaker's business.

/// The state machine: closed → open after so many failures in a row → half-open, one probe → closed or open for longer.
#[derive(Clone, Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    inner: Inner,
    /// Counts transitions, so that a report about a request let through before one is not mistaken for the probe's.
    generation: u64,
}

/// When a breaker opens and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Failures in a row that open it, at least 1.
    pub failures_to_open: u32,
    /// How long it first stays open, milliseconds. Doubled by every failed probe.
    pub open_ms_min: u64,
    /// The longest it stays open, milliseconds.
    pub open_ms_max: u64,
    /// How long a probe may go unreported before another is let through, milliseconds: a caller that gives up must not keep the
    /// breaker half-open for ever.
    pub probe_ms: u64,
}

/// A breaker's state, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests pass.
    Closed,
    /// No request passes.
    Open,
    /// One probe is out, or due.
    HalfOpen,
}

/// Leave for one request, to be handed back with what became of it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "report what became of the request"]
pub struct Permit {
    generation: u64,
    /// Whether this request is the probe of a half-open breaker.
    pub probe: bool,
}

/// What became of a request, as far as the venue's health goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The venue answered as it should.
    Up,
    /// It did not.
    Down,
    /// The request says nothing about its health: not sent, or told to wait.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
enum Inner {
    Closed { failures: u32 },
    Open { until_ms: u64, open_ms: u64 },
    Probing { until_ms: u64, open_ms: u64 },
}

impl Default for BreakerPolicy {
    /// Five failures: at the default interval of 5 s, half a minute of trouble. Ten seconds to two minutes open: two polls at first, and a
    /// venue back from maintenance is used again within two minutes. Both are guesses to be tuned by experience.
    fn default() -> Self {
        Self { failures_to_open: 5, open_ms_min: 10_000, open_ms_max: 120_000, probe_ms: 30_000 }
    }
}

impl Breaker {
    /// A closed breaker.
    pub const fn new(policy: BreakerPolicy) -> Self {
        Self { policy, inner: Inner::Closed { failures: 0 }, generation: 0 }
    }

    /// The state as of `now_ms`.
    pub const fn state(&self, now_ms: u64) -> BreakerState {
        match self.inner {
            Inner::Closed { .. } => BreakerState::Closed,
            Inner::Open { until_ms, .. } if now_ms < until_ms => BreakerState::Open,
            Inner::Open { .. } | Inner::Probing { .. } => BreakerState::HalfOpen,
        }
    }

    /// Asks leave for a request; refused with the milliseconds until it is worth asking again.
    pub fn admit(&mut self, now_ms: u64) -> Result<Permit, u64> {
        match self.inner {
            Inner::Closed { .. } => Ok(Permit { generation: self.generation, probe: false }),
            Inner::Open { until_ms, .. } | Inner::Probing { until_ms, .. } if now_ms < until_ms => {
                Err(until_ms - now_ms)
            }
            Inner::Open { open_ms, .. } | Inner::Probing { open_ms, .. } => {
                self.turn(Inner::Probing { until_ms: now_ms.saturating_add(self.policy.probe_ms), open_ms });
                Ok(Permit { generation: self.generation, probe: true })
            }
        }
    }

    /// Takes back a permit with what became of its request. One from before the last transition changes nothing.
    pub fn report(&mut self, permit: Permit, verdict: Verdict, now_ms: u64) {
        if permit.generation != self.generation {
            return;
        }
        match (self.inner, verdict) {
            (Inner::Closed { .. }, Verdict::Up) => self.inner = Inner::Closed { failures: 0 },
            (Inner::Closed { failures }, Verdict::Down) if failures + 1 < self.policy.failures_to_open => {
                self.inner = Inner::Closed { failures: failures + 1 };
            }
            (Inner::Closed { .. }, Verdict::Down) => self.open(self.policy.open_ms_min, now_ms),
            (Inner::Probing { .. }, Verdict::Up) => self.turn(Inner::Closed { failures: 0 }),
            (Inner::Probing { open_ms, .. }, Verdict::Down) => {
                self.open(open_ms.saturating_mul(2).min(self.policy.open_ms_max), now_ms);
            }
            (Inner::Probing { open_ms, .. }, Verdict::Unknown) => self.turn(Inner::Open { until_ms: now_ms, open_ms }),
            (Inner::Closed { .. }, Verdict::Unknown) | (Inner::Open { .. }, _) => {}
        }
    }

    fn open(&mut self, open_ms: u64, now_ms: u64) {
        self.turn(Inner::Open { until_ms: now_ms.saturating_add(open_ms), open_ms });
    }

    fn turn(&mut self, inner: Inner) {
        self.inner = inner;
        self.generation += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: BreakerPolicy =
        BreakerPolicy { failures_to_open: 3, open_ms_min: 100, open_ms_max: 350, probe_ms: 50 };

    fn run(breaker: &mut Breaker, verdict: Verdict, now_ms: u64) {
        let permit = breaker.admit(now_ms).expect("admitted");
        breaker.report(permit, verdict, now_ms);
    }

    fn opened_at(now_ms: u64) -> Breaker {
        let mut breaker = Breaker::new(POLICY);
        for _ in 0..3 {
            run(&mut breaker, Verdict::Down, now_ms);
        }
        breaker
    }

    #[test]
    fn only_failures_in_a_row_open_it() {
        let mut breaker = Breaker::new(POLICY);
        for verdict in [Verdict::Down, Verdict::Down, Verdict::Up, Verdict::Down, Verdict::Unknown, Verdict::Down] {
            run(&mut breaker, verdict, 0);
            assert_eq!(breaker.state(0), BreakerState::Closed);
        }
        run(&mut breaker, Verdict::Down, 0);
        assert_eq!((breaker.state(99), breaker.state(100)), (BreakerState::Open, BreakerState::HalfOpen));
        assert_eq!(breaker.admit(40), Err(60));
    }

    #[test]
    fn one_probe_decides() {
        let mut breaker = opened_at(0);
        let probe = breaker.admit(100).unwrap();
        assert!(probe.probe);
        assert_eq!(breaker.admit(100), Err(50), "one probe at a time");
        breaker.report(probe, Verdict::Up, 110);
        assert_eq!(breaker.state(110), BreakerState::Closed);
        assert!(!breaker.admit(110).unwrap().probe);
    }

    #[test]
    fn failed_probes_double_the_wait_up_to_the_limit() {
        let (mut breaker, mut now) = (opened_at(0), 100);
        for open_ms in [200, 350, 350] {
            run(&mut breaker, Verdict::Down, now);
            assert_eq!(breaker.admit(now), Err(open_ms));
            now += open_ms;
        }
        run(&mut breaker, Verdict::Up, now);
        for _ in 0..3 {
            run(&mut breaker, Verdict::Down, now);
        }
        assert_eq!(breaker.admit(now), Err(100), "a success starts the waits anew");
    }

    #[test]
    fn a_probe_that_says_nothing_or_never_returns_frees_its_place() {
        let mut breaker = opened_at(0);
        run(&mut breaker, Verdict::Unknown, 100);
        let lost = breaker.admit(100).expect("another probe at once");
        assert_eq!(breaker.admit(149), Err(1));
        let second = breaker.admit(150).expect("the lease of the lost probe is over");
        breaker.report(lost, Verdict::Down, 151);
        assert_eq!(breaker.state(151), BreakerState::HalfOpen, "the lost probe no longer decides");
        breaker.report(second, Verdict::Up, 152);
        assert_eq!(breaker.state(152), BreakerState::Closed);
    }

    #[test]
    fn late_reports_change_nothing() {
        let mut breaker = Breaker::new(POLICY);
        let early = breaker.admit(0).unwrap();
        for _ in 0..3 {
            run(&mut breaker, Verdict::Down, 0);
        }
        breaker.report(early, Verdict::Up, 1);
        assert_eq!(breaker.state(1), BreakerState::Open);
    }
}
