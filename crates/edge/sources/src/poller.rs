//! Asks a set of (source, symbol) again and again.

use std::{sync::Arc, time::Duration};

use concurrence_oracle::Quote;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::MissedTickBehavior,
};

use crate::{FetchError, Source, StreamState};

/// Polls each target at an interval and yields what came. Dropping it ends every request under way.
///
/// Each target has its own schedule: a venue that answers slowly delays nobody else, as long as the concurrency bound is not reached.
pub struct Poller {
    results: mpsc::Receiver<Polled>,
    /// One task a target; aborted when dropped.
    _tasks: JoinSet<()>,
}

/// What to ask: a source by its index, and a symbol in its venue's spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Index into the sources the poller was started with.
    pub source: usize,
    /// The symbol.
    pub symbol: String,
}

/// One answer, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Polled {
    /// Index into the sources the poller was started with.
    pub source: usize,
    /// The symbol asked for.
    pub symbol: String,
    /// What came.
    pub result: Result<Quote, FetchError>,
}

/// How a poller works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollPolicy {
    /// Time from one request for a target to the next. A late answer skips the polls it missed.
    pub interval: Duration,
    /// Most fetches at once, at least 1.
    pub concurrency_max: usize,
    /// Most results waiting to be taken, at least 1; when full, polling waits for the taker.
    pub queue_max: usize,
}

/// Default of [`PollPolicy::concurrency_max`]: a node asks a few venues for a few dozen symbols.
pub const CONCURRENCY_DEFAULT: usize = 32;

/// Default of [`PollPolicy::queue_max`]: one round of a large configuration.
pub const QUEUE_DEFAULT: usize = 256;

impl PollPolicy {
    /// Default bounds at an interval.
    pub const fn every(interval: Duration) -> Self {
        Self { interval, concurrency_max: CONCURRENCY_DEFAULT, queue_max: QUEUE_DEFAULT }
    }
}

impl Poller {
    /// Starts polling, the first time at once. Targets whose source does not exist are left out.
    ///
    /// Must be called within a Tokio runtime.
    pub fn start(sources: &[Arc<Source>], targets: &[Target], policy: PollPolicy) -> Self {
        Self::start_behind(None, sources, targets, policy)
    }

    /// As [`start`](Self::start), but behind a stream: what it gave within the last interval is not asked for.
    pub fn start_behind(
        stream: Option<Arc<StreamState>>,
        sources: &[Arc<Source>],
        targets: &[Target],
        policy: PollPolicy,
    ) -> Self {
        let (sender, results) = mpsc::channel(policy.queue_max.max(1));
        let places = Arc::new(Semaphore::new(policy.concurrency_max.max(1)));
        // A zero interval would panic in the timer and be a busy loop besides.
        let interval = policy.interval.max(Duration::from_millis(1));
        let mut tasks = JoinSet::new();
        for target in targets {
            let Some(source) = sources.get(target.source) else { continue };
            let stream = stream.clone();
            tasks.spawn(poll(stream, source.clone(), target.clone(), interval, places.clone(), sender.clone()));
        }
        Self { results, _tasks: tasks }
    }

    /// The next result; `None` only if there are no targets. Safe to drop while waiting: nothing is lost.
    pub async fn next(&mut self) -> Option<Polled> {
        self.results.recv().await
    }
}

async fn poll(
    stream: Option<Arc<StreamState>>,
    source: Arc<Source>,
    target: Target,
    interval: Duration,
    places: Arc<Semaphore>,
    sender: mpsc::Sender<Polled>,
) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if stream.as_ref().is_some_and(|stream| stream.covers(&target.symbol, interval)) {
            continue;
        }
        let result = {
            // The semaphore is never closed.
            let Ok(_place) = places.acquire().await else { return };
            source.fetch(&target.symbol).await
        };
        let polled = Polled { source: target.source, symbol: target.symbol.clone(), result };
        if sender.send(polled).await.is_err() {
            return;
        }
    }
}
