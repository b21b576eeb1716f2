//! Questions about the past: read from the store by the loop, answered elsewhere, a few at a time.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    pin::Pin,
    sync::Arc,
};

use concurrence_api::{self as dto, NoPast, Past, Question};
use concurrence_crdt::{
    Bucket, Certificate, CertificateConflict, Digest, ForkProof, LogKey, NetworkId, Op, OpError, Time, VerifiedOp,
};
use concurrence_engine::{Explanation, View};
use concurrence_oracle::{
    AVERAGE_MS_MAX, Aggregate, AggregateParams, Conduct, Epoch, Feed, NoAverage, Price, Registry, SLOT_MS, Slot,
    Status, WINDOWS_MAX, Windows, aggregate, conduct, earned_weights, time_weighted_answers,
};
use concurrence_protocol::decode_proof;
use concurrence_store::{READ_AT_ONCE, Store, StoreError};
use tokio::{
    runtime::Handle,
    sync::{Semaphore, mpsc, oneshot},
};

use crate::{
    Resolved,
    driver::{Command, wall_ms},
    explain::{ExplainError, render, text},
    snapshot::status,
};

/// Operations as stored: of each log those of some minutes and the last one before, so that nothing in between can be missing.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// By log, ascending; none is empty.
    logs: Vec<Vec<Arc<[u8]>>>,
    /// The proofs against forked authors, of whose logs only what is certified is there.
    proofs: Vec<Arc<[u8]>>,
}

/// Why the past could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PastError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0} at {1} is unreadable")]
    Unreadable(LogKey, u64),
    #[error("{0} at {1}: {2}")]
    Op(LogKey, u64, OpError),
    #[error("a stored fork proof does not verify")]
    Proof,
    #[error("more than {PAST_BYTES_MAX} bytes of operations are involved; ask about less")]
    TooMuch,
}

/// Most bytes of operations read for one question: some three hours of seven oracles at a batch every five seconds. Reading them takes the
/// loop some tens of milliseconds.
const PAST_BYTES_MAX: usize = 8 << 20;

/// Questions answered at once. Each costs a core for up to a second or two, most of it for verifying signatures.
const QUESTIONS_AT_ONCE: usize = 2;

/// Most candles of an answer: a day of minutes.
const CANDLES_MAX: u64 = 1_440;

/// Reads all operations of some minutes; nothing declared later, and of what is earlier one operation a log.
pub(crate) fn read(store: &dyn Store, network: NetworkId, minutes: (Bucket, Bucket)) -> Result<Reading, PastError> {
    let proofs = store.proofs()?;
    let mut forked = BTreeSet::new();
    for bytes in &proofs {
        forked.insert(decode_proof(bytes, network).map_err(|_| PastError::Proof)?.author());
    }
    let (mut reading, mut bytes_left) = (Reading { logs: Vec::new(), proofs }, PAST_BYTES_MAX);
    let certified = certified(store, network)?;
    for (log, stored) in store.logs()? {
        let is_forked = forked.contains(&log.author);
        let len = if is_forked { certified.get(&log).map_or(0, |&len| len.min(stored)) } else { stored };
        let end = first_at(store, network, (log, len), |minute| minute > minutes.1)?;
        let begin = first_at(store, network, (log, len), |minute| minute >= minutes.0)?.min(end).saturating_sub(1);
        let mut ops = Vec::new();
        while begin + (ops.len() as u64) < end {
            let from = begin + ops.len() as u64;
            let more = store.range(log, from, end, READ_AT_ONCE)?;
            let size: usize = more.iter().map(|op| op.len()).sum();
            bytes_left = bytes_left.checked_sub(size).ok_or(PastError::TooMuch)?;
            if more.is_empty() {
                return Err(PastError::Unreadable(log, from));
            }
            ops.extend(more);
        }
        if !ops.is_empty() {
            reading.logs.push(ops);
        }
    }
    Ok(reading)
}

/// How much of each log is certified; of a frozen one what its two chains share. A fact that does not read certifies nothing.
fn certified(store: &dyn Store, network: NetworkId) -> Result<BTreeMap<LogKey, u64>, PastError> {
    let mut lens = BTreeMap::new();
    for fact in store.facts()? {
        let (head, parted) = match fact.split_first_chunk::<9>() {
            Some((conflict, rest)) if conflict[0] == CertificateConflict::KIND => {
                let [_, parted @ ..] = *conflict;
                (Certificate::peek(rest, network), Some(u64::from_be_bytes(parted)))
            }
            _ => (Certificate::peek(&fact, network), None),
        };
        if let Ok(head) = head {
            lens.insert(head.log, parted.unwrap_or(head.len));
        }
    }
    Ok(lens)
}

/// The first position of a log whose minute is past a limit; the length if none is. Minutes never fall along a log, so halving finds it.
fn first_at(
    store: &dyn Store,
    network: NetworkId,
    (log, len): (LogKey, u64),
    is_past: impl Fn(Bucket) -> bool,
) -> Result<u64, PastError> {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        let ops = store.range(log, middle, middle + 1, 1)?;
        let bytes = ops.first().ok_or(PastError::Unreadable(log, middle))?;
        let op = Op::decode(bytes, network).map_err(|error| PastError::Op(log, middle, error))?;
        if is_past(op.header().declared.bucket()) { high = middle } else { low = middle + 1 }
    }
    Ok(low)
}

impl Reading {
    /// The operations, trusted as the own store is.
    pub(crate) fn ops(&self, network: NetworkId) -> Result<Vec<Vec<VerifiedOp>>, OpError> {
        let op = |bytes: &Arc<[u8]>| Op::decode_shared(Arc::clone(bytes), network).map(VerifiedOp::from_own_store);
        self.logs.iter().map(|ops| ops.iter().map(op).collect()).collect()
    }

    /// The proofs, by author.
    pub(crate) fn proofs(&self, network: NetworkId) -> Result<Vec<ForkProof>, PastError> {
        let proof = |bytes: &Arc<[u8]>| decode_proof(bytes, network).map_err(|_| PastError::Proof);
        let mut proofs = self.proofs.iter().map(proof).collect::<Result<Vec<_>, _>>()?;
        proofs.sort_by_key(ForkProof::author);
        Ok(proofs)
    }
}

/// The minutes that an answer as of an instant depends on.
pub(crate) fn minutes_of(as_of: Time, params: &AggregateParams) -> (Bucket, Bucket) {
    (Explanation::window_start(as_of, params).bucket(), as_of.bucket())
}

/// Asks the loop, and works on what it read.
#[derive(Clone)]
pub(crate) struct Archive {
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) registry: Registry,
    pub(crate) params: AggregateParams,
    pub(crate) feeds: BTreeSet<Feed>,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) runtime: Handle,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("permits", &self.permits.available_permits()).finish_non_exhaustive()
    }
}

impl Past for Archive {
    fn ask(&self, question: Question) -> Pin<Box<dyn Future<Output = Result<String, NoPast>> + Send>> {
        let archive = self.clone();
        Box::pin(async move {
            let permit = Arc::clone(&archive.permits).try_acquire_owned().map_err(|_| NoPast::Busy)?;
            let runtime = archive.runtime.clone();
            // Whoever asked may go away: the permit stays with the work.
            let work = runtime.spawn(async move {
                let answer = archive.answer(question).await;
                drop(permit);
                answer
            });
            work.await.map_err(|error| NoPast::Failed(error.to_string()))?
        })
    }
}

impl Archive {
    pub(crate) fn new(commands: mpsc::Sender<Command>, registry: Registry, config: &Resolved) -> Self {
        let permits = Arc::new(Semaphore::new(QUESTIONS_AT_ONCE));
        let feeds = config.feeds.iter().map(|plan| plan.graph.feed()).collect();
        Self { commands, registry, params: config.aggregation, feeds, permits, runtime: Handle::current() }
    }

    async fn answer(&self, question: Question) -> Result<String, NoPast> {
        match question {
            Question::Explain { feed, at_ms } => {
                self.explain(named(&feed)?, Time::from_ms(at_ms.unwrap_or_else(wall_ms))).await
            }
            Question::At { feed, at_ms } => self.at(named(&feed)?, Time::from_ms(at_ms)).await,
            Question::Candles { feed, from_ms, until_ms, step_ms } => {
                self.candles(named(&feed)?, (from_ms, until_ms), step_ms).await
            }
            Question::Average { feed, until_ms, window_ms } => self.average(named(&feed)?, until_ms, window_ms).await,
            Question::Conduct { windows } => self.conduct(windows).await,
            Question::Legs { hash } => self.legs(hash).await,
        }
    }

    async fn explain(&self, feed: Feed, as_of: Time) -> Result<String, NoPast> {
        let reading = self.read(minutes_of(as_of, &self.params)).await?;
        let explanation = self.explanation(feed, as_of, &reading)?;
        let registry = self.registry.clone();
        let (explanation, derived) = blocking(move || {
            let derived = explanation.derive(&registry).map_err(|error| NoPast::Failed(error.to_string()))?;
            Ok((explanation, derived))
        })
        .await?;
        let hashes = derived.statements.iter().filter_map(|s| s.said.map(|(_, legs)| legs)).collect();
        let legs = self.kept_legs(hashes).await?;
        Ok(text(&render(&explanation, &derived, &self.registry, &legs)))
    }

    async fn at(&self, feed: Feed, as_of: Time) -> Result<String, NoPast> {
        let reading = self.read(minutes_of(as_of, &self.params)).await?;
        let explanation = self.explanation(feed, as_of, &reading)?;
        let registry = self.registry.clone();
        blocking(move || {
            let derived = explanation.derive(&registry).map_err(|error| NoPast::Failed(error.to_string()))?;
            let answer = derived.answer;
            json(&dto::PastPrice {
                feed: feed.to_string(),
                as_of_ms: as_of.ms(),
                price: answer.price.map(|p| p.to_string()),
                interval: answer.interval.map(|(low, high)| [low.to_string(), high.to_string()]),
                status: status(answer.status),
                newest_ms: answer.newest.map(Time::ms),
                counted_weight: answer.counted_weight,
                total_weight: answer.total_weight,
                cut: derived.cut.to_string(),
                result_id: derived.result_id.to_string(),
            })
        })
        .await
    }

    async fn candles(&self, feed: Feed, (from_ms, until_ms): (u64, u64), step_ms: u64) -> Result<String, NoPast> {
        let span_ms = until_ms.checked_sub(from_ms).filter(|&span| span > 0);
        let span_ms = span_ms.ok_or_else(|| NoPast::Question("until_ms must be after from_ms".to_owned()))?;
        if step_ms < SLOT_MS || span_ms.div_ceil(step_ms.max(1)) > CANDLES_MAX || span_ms > AVERAGE_MS_MAX {
            let asked = format!(
                "step_ms must be at least {SLOT_MS}, the range at most {CANDLES_MAX} steps and {AVERAGE_MS_MAX} ms"
            );
            return Err(NoPast::Question(asked));
        }
        let archive = self.clone();
        let view = self.view(feed, Time::from_ms(from_ms), Time::from_ms(until_ms)).await?;
        blocking(move || {
            let first = Slot::of(Time::from_ms(from_ms.saturating_add(SLOT_MS - 1))).number();
            let instants = (first..).map(|slot| slot.saturating_mul(SLOT_MS)).take_while(|&ms| ms < until_ms);
            let mut candles: BTreeMap<u64, Vec<Price>> = BTreeMap::new();
            for ms in instants {
                let answer = archive.aggregate(&view, feed, Time::from_ms(ms));
                if let Some(price) = answer.price.filter(|_| answer.status == Status::Ok) {
                    candles.entry((ms - from_ms) / step_ms).or_default().push(price);
                }
            }
            let candles = candles.iter().filter_map(|(&at, prices)| candle(from_ms + at * step_ms, prices)).collect();
            json(&dto::Candles { feed: feed.to_string(), step_ms, candles })
        })
        .await
    }

    async fn average(&self, feed: Feed, until_ms: u64, window_ms: u64) -> Result<String, NoPast> {
        let until = Time::from_ms(until_ms);
        let from = Time::from_ms(until_ms.saturating_sub(window_ms).saturating_sub(self.params.max_age_ms));
        if !(1..=AVERAGE_MS_MAX).contains(&window_ms) {
            return Err(NoPast::Question(format!("window_ms is {window_ms}; it may be 1 to {AVERAGE_MS_MAX}")));
        }
        let archive = self.clone();
        let view = self.view(feed, from, until).await?;
        blocking(move || {
            let epoch = archive.registry.newest().1;
            let price = time_weighted_answers(view.cells(), epoch, feed, (window_ms, until), &archive.params);
            let price = price.map_err(|why: NoAverage| NoPast::Unavailable(why.to_string()))?;
            json(&dto::Average { feed: feed.to_string(), until_ms, window_ms, price: price.to_string() })
        })
        .await
    }

    async fn conduct(&self, count: u64) -> Result<String, NoPast> {
        if !(1..=WINDOWS_MAX).contains(&count) {
            return Err(NoPast::Question(format!("windows is {count}; it may be 1 to {WINDOWS_MAX}")));
        }
        let as_of = Time::from_ms(wall_ms());
        let windows = Windows::closed(as_of, self.params.window_ms, count);
        let ends: Vec<Time> = windows.ends().collect();
        let (Some(&first), Some(&last)) = (ends.first(), ends.last()) else {
            return Err(NoPast::Unavailable("no window has closed".to_owned()));
        };
        let reading = self.read((minutes_of(first, &self.params).0, last.bucket())).await?;
        let archive = self.clone();
        blocking(move || {
            let view = archive.view_of(archive.feeds.clone(), &reading, last)?;
            let network = archive.registry.network_id();
            let proofs = reading.proofs(network).map_err(|error| NoPast::Failed(error.to_string()))?;
            let forked = proofs.iter().map(ForkProof::author).collect();
            let epoch = archive.registry.newest().1;
            let conduct = conduct(view.cells(), epoch, &forked, windows, &archive.params);
            let earned = earned_weights(epoch, &conduct);
            let oracles = conduct.iter().map(|c| shown(c, epoch, earned.get(&c.author).copied())).collect();
            let (windows, window_ms) = (ends.len() as u64, archive.params.window_ms);
            json(&dto::Conducts { as_of_ms: as_of.ms(), window_ms, windows, oracles })
        })
        .await
    }

    async fn legs(&self, hash: String) -> Result<String, NoPast> {
        let bytes = hex::decode(&hash).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        let digest = bytes
            .map(Digest::from_bytes)
            .ok_or_else(|| NoPast::Question("a hash has 64 hexadecimal digits".to_owned()))?;
        let kept = self.kept_legs(BTreeSet::from([digest])).await?;
        let record = kept
            .get(&digest)
            .ok_or_else(|| NoPast::Unavailable(format!("no own record of legs has the hash {digest}")))?;
        json(&dto::Legs { hash: digest.to_string(), record: hex::encode(record) })
    }

    fn explanation(&self, feed: Feed, as_of: Time, reading: &Reading) -> Result<Explanation, NoPast> {
        explanation(&self.registry, (feed, as_of, self.params), reading)
            .map_err(|error| NoPast::Failed(error.to_string()))
    }

    /// A view of one feed over a range: everything that an answer as of any instant in it depends on.
    async fn view(&self, feed: Feed, from: Time, until: Time) -> Result<View, NoPast> {
        let reading = self.read((minutes_of(from, &self.params).0, until.bucket())).await?;
        let archive = self.clone();
        blocking(move || archive.view_of(BTreeSet::from([feed]), &reading, until)).await
    }

    fn view_of(&self, feeds: BTreeSet<Feed>, reading: &Reading, until: Time) -> Result<View, NoPast> {
        let logs = reading.ops(self.registry.network_id()).map_err(|error| NoPast::Failed(error.to_string()))?;
        let mut view = View::new(self.registry.clone(), feeds, self.params);
        logs.iter().flatten().for_each(|op| view.admitted(op, until));
        Ok(view)
    }

    fn aggregate(&self, view: &View, feed: Feed, as_of: Time) -> Aggregate {
        aggregate(view.cells(), self.registry.newest().1, feed, as_of, &self.params)
    }

    async fn read(&self, minutes: (Bucket, Bucket)) -> Result<Reading, NoPast> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Read { minutes, reply }).await?;
        match answer.await {
            Ok(Ok(reading)) => Ok(reading),
            Ok(Err(error @ PastError::TooMuch)) => Err(NoPast::Question(error.to_string())),
            Ok(Err(error)) => Err(NoPast::Failed(error.to_string())),
            Err(_) => Err(NoPast::Failed("the node has ended".to_owned())),
        }
    }

    async fn kept_legs(&self, hashes: BTreeSet<Digest>) -> Result<BTreeMap<Digest, Vec<u8>>, NoPast> {
        let (reply, answer) = oneshot::channel();
        self.command(Command::Legs { hashes, reply }).await?;
        answer.await.map_err(|_| NoPast::Failed("the node has ended".to_owned()))
    }

    async fn command(&self, command: Command) -> Result<(), NoPast> {
        self.commands.send(command).await.map_err(|_| NoPast::Failed("the node has ended".to_owned()))
    }
}

/// The explanation that a reading makes of a feed's answer.
pub(crate) fn explanation(
    registry: &Registry,
    (feed, as_of, params): (Feed, Time, AggregateParams),
    reading: &Reading,
) -> Result<Explanation, ExplainError> {
    let network = registry.network_id();
    let logs = reading.ops(network)?;
    let proofs = reading.proofs(network).map_err(|_| ExplainError::Proof)?;
    Ok(Explanation { feed, as_of, params, logs, proofs })
}

fn shown(of: &Conduct, epoch: &Epoch, earned_weight: Option<u64>) -> dto::Conduct {
    dto::Conduct {
        oracle: of.author.to_string(),
        name: epoch.member(&of.author).map(|member| member.name.clone()).unwrap_or_default(),
        chances: of.chances,
        counted: of.counted,
        doubtful: of.doubtful,
        conflicts: of.conflicts,
        outliers: of.outliers,
        deviation_ppm: of.deviation_ppm(),
        deviation_ppm_max: of.deviation_ppm_max,
        forked: of.forked,
        uptime_ppm: of.uptime_ppm(),
        score_ppm: of.score_ppm(),
        weight: epoch.committee().weight(&of.author),
        earned_weight: earned_weight.unwrap_or(0),
    }
}

fn candle(from_ms: u64, prices: &[Price]) -> Option<dto::Candle> {
    Some(dto::Candle {
        from_ms,
        open: prices.first()?.to_string(),
        high: prices.iter().max()?.to_string(),
        low: prices.iter().min()?.to_string(),
        close: prices.last()?.to_string(),
        answers: prices.len() as u64,
    })
}

fn named(feed: &str) -> Result<Feed, NoPast> {
    feed.parse().map_err(|_| NoPast::Question(format!("{feed:?} is no feed")))
}

fn json(answer: &impl serde::Serialize) -> Result<String, NoPast> {
    serde_json::to_string(answer).map_err(|error| NoPast::Failed(error.to_string()))
}

/// Runs what takes a core for long where it holds up no socket.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, NoPast> + Send + 'static) -> Result<T, NoPast> {
    tokio::task::spawn_blocking(work).await.map_err(|error| NoPast::Failed(error.to_string()))?
}
