//! The clock that benchmarks go by: processor time of this process, which other processes of a shared machine do not add to.

use std::{
    hint::black_box,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// Processor time of two ways to do the same work in one round: ours, and the raw library's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pair {
    pub(crate) ours: Duration,
    pub(crate) raw: Duration,
}

/// Runs `work` and returns the processor time, user and system, of all threads of this process meanwhile.
///
/// Where the stack begins moves signature checks by up to a fifth, either way, from one start of the program to the next. So
/// each call runs at another depth; rows take many and thus an average over the depths.
pub(crate) fn spent<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    deeper(CALLS.fetch_add(1, Ordering::Relaxed) % DEPTHS, work)
}

/// Depths of the stack. Odd, so that two ways which take turns come by all of them.
const DEPTHS: usize = 15;

/// Bytes from one depth to the next: all of them together span the 4 KiB within which addresses matter.
const DEPTH_LEN: usize = 4_096 / DEPTHS;

#[inline(never)]
fn deeper<T>(levels: usize, work: impl FnOnce() -> T) -> (T, Duration) {
    let room = black_box([0_u8; DEPTH_LEN]);
    let done = if levels == 0 { timed(work) } else { deeper(levels - 1, work) };
    black_box(&room);
    done
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let before = cpu_time();
    let done = work();
    (done, cpu_time().saturating_sub(before))
}

/// `CLOCK_PROCESS_CPUTIME_ID`.
pub(crate) fn cpu_time() -> Duration {
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
