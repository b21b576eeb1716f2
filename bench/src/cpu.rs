//! The clock that benchmarks go by: processor time of this process, which other processes of a shared machine do not add to.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Processor time of two ways to do the same work in one round: ours, and the raw library's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pair {
    pub(crate) ours: Duration,
    pub(crate) raw: Duration,
}

/// Runs `work` and returns the processor time, user and system, of all threads of this process meanwhile.
pub(crate) fn spent<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let before = cpu_time();
    let done = work();
    (done, cpu_time().saturating_sub(before))
}

/// `CLOCK_PROCESS_CPUTIME_ID`.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = u64::try_from(time.tv_sec).expect("processor time is not negative");
    let nanoseconds = u32::try_from(time.tv_nsec).expect("below 1e9");
    Duration::new(seconds, nanoseconds)
}

impl Pair {
    /// How fast ours is in units of the raw library: 1 is as fast.
    pub(crate) fn ratio(&self) -> f64 {
        self.raw.as_secs_f64() / self.ours.as_secs_f64()
    }
}
