//! One node on a real transport: `edge/net`, a replica and a redb store, driven as a node's loop drives them. No view, no API.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, UNIX_EPOCH},
};

use bytes::Bytes;
use concurrence_crdt::{AuthorKey, LogKey, Op, SigningKey, Time};
use concurrence_net::{Net, NetEvent, PeerId};
use concurrence_protocol::{Config, Event, Input, MessageId, Now, Output, OwnStart, Peer, Replica, Verdict};
use concurrence_store::{RedbStore, StoreError, serve_all};
use tokio::sync::mpsc;

/// Bytes of an operation with a price batch of 16 feeds: one signing group.
pub(crate) const OP_LEN: usize = 840;

/// Payload that makes an operation of [`OP_LEN`] bytes.
const PAYLOAD: [u8; OP_LEN - concurrence_crdt::HEADER_LEN_MIN - concurrence_crdt::Signature::LEN] = [0x5a; _];

/// A kind that no view reads.
const KIND: u16 = 0xbe;

/// Most inputs taken before outputs are carried out: as the node's loop.
const INPUTS_AT_ONCE: usize = 256;

/// When an operation came to count at a node.
pub(crate) struct Admitted {
    pub(crate) log: LogKey,
    pub(crate) seq: u64,
    pub(crate) at: Instant,
}

/// A node's loop and all it touches.
pub(crate) struct Node {
    net: Net,
    events: mpsc::Receiver<NetEvent>,
    replica: Replica,
    store: RedbStore,
    key: SigningKey,
    started: Instant,
    authors: BTreeMap<PeerId, AuthorKey>,
    numbers: Vec<PeerId>,
    /// When the next operation is due, and the time from one to the next.
    due: Instant,
    interval: Duration,
    admitted: Vec<Admitted>,
}

/// What all nodes share while they run.
#[derive(Default)]
pub(crate) struct Course {
    writing: Mutex<Writing>,
    /// Operations admitted, at all nodes together.
    admitted: AtomicU64,
    is_over: AtomicBool,
}

#[derive(Default)]
struct Writing {
    is_on: bool,
    /// Operations that were begun.
    begun: u64,
}

impl Course {
    /// From now on operations are written, or no more.
    pub(crate) fn set_writing(&self, is_on: bool) {
        self.writing().is_on = is_on;
    }

    /// Whether all of so many nodes hold all that was written.
    pub(crate) fn is_everywhere(&self, nodes: u64) -> bool {
        self.admitted.load(Ordering::Relaxed) == self.writing().begun * nodes
    }

    /// Ends all nodes.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Counts one more operation, if any may be written.
    fn begin(&self) -> bool {
        let mut writing = self.writing();
        writing.begun += u64::from(writing.is_on);
        writing.is_on
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// A node with an empty store in a directory. `due` is when it may first write.
    pub(crate) fn new(
        (net, events): (Net, mpsc::Receiver<NetEvent>),
        config: Config,
        key: SigningKey,
        authors: BTreeMap<PeerId, AuthorKey>,
        dir: &Path,
        (due, interval): (Instant, Duration),
    ) -> Result<Self, StoreError> {
        let (store, started) = (RedbStore::open(dir)?, Instant::now());
        let replica = Replica::new(config, OwnStart::Append, Now { mono_ms: 0, wall: wall() });
        let (numbers, admitted) = (Vec::new(), Vec::new());
        Ok(Self { net, events, replica, store, key, started, authors, numbers, due, interval, admitted })
    }

    /// Runs until the course is over; everything that was admitted, and when.
    pub(crate) async fn run(mut self, course: Arc<Course>) -> Result<Vec<Admitted>, StoreError> {
        while !course.is_over.load(Ordering::Relaxed) {
            let mono_ms = self.now().mono_ms;
            let wake = Duration::from_millis(self.replica.next_wake_ms().saturating_sub(mono_ms));
            let pause = wake.min(self.due.saturating_duration_since(Instant::now()));
            let mut taken = tokio::time::timeout(pause, self.events.recv()).await.ok().flatten();
            for _ in 0..INPUTS_AT_ONCE {
                let Some(event) = taken.take() else { break };
                self.take(event);
                taken = self.events.try_recv().ok();
            }
            if Instant::now() >= self.due {
                self.due += self.interval;
                if course.begin() {
                    self.append();
                }
            }
            self.replica.handle(self.now(), Input::Tick);
            let before = self.admitted.len();
            self.carry_out()?;
            course.admitted.fetch_add((self.admitted.len() - before) as u64, Ordering::Relaxed);
        }
        self.net.shutdown().await;
        Ok(self.admitted)
    }

    fn take(&mut self, event: NetEvent) {
        let input = match event {
            NetEvent::Connected(id) => {
                Input::Connected { peer: self.number(id), author: self.authors.get(&id).copied() }
            }
            NetEvent::Disconnected(id) => Input::Disconnected(self.number(id)),
            NetEvent::Frame { peer, frame } => Input::Frame { peer: self.number(peer), bytes: frame.to_vec() },
            NetEvent::Gossip { peer, id, message } => {
                Input::Broadcast { peer: self.number(peer), id: MessageId(id.0), bytes: message.to_vec() }
            }
            NetEvent::Refused { .. } => return,
        };
        self.replica.handle(self.now(), input);
    }

    fn append(&mut self) {
        let header = self.replica.next_header(KIND, &PAYLOAD, wall());
        let header = header.expect("one operation in a second is far below the quota, and clocks are one");
        let op = Op::sign(header, &PAYLOAD, &self.key).verify().expect("it was just signed");
        self.replica.append(op).expect("the header was made for it");
    }

    fn carry_out(&mut self) -> Result<(), StoreError> {
        loop {
            let mut requests = Vec::new();
            while let Some(output) = self.replica.poll() {
                match output {
                    Output::Store(request) => requests.push(request),
                    other => self.effect(other),
                }
            }
            if requests.is_empty() {
                return Ok(());
            }
            let replies = serve_all(&mut self.store, requests)?;
            let now = self.now();
            replies.into_iter().for_each(|reply| self.replica.handle(now, Input::Store(reply)));
        }
    }

    fn effect(&mut self, output: Output) {
        match output {
            // A frame that finds its queue full is lost: sync repairs, and the figures show it.
            Output::Send(peer, frame) => self.net.send(self.numbers[peer.0 as usize], Bytes::from(frame)).unwrap_or(()),
            Output::Broadcast(frame) => self.net.broadcast(Bytes::from(frame)).unwrap_or(()),
            Output::Verdict(id, verdict) => {
                let verdict = match verdict {
                    Verdict::Accept => concurrence_net::Verdict::Accept,
                    Verdict::Ignore => concurrence_net::Verdict::Ignore,
                    Verdict::Reject => concurrence_net::Verdict::Reject,
                };
                self.net.report(concurrence_net::MessageId(id.0), verdict);
            }
            Output::Event(Event::Admitted(op)) => {
                let header = op.op().header();
                self.admitted.push(Admitted { log: header.log, seq: header.seq, at: Instant::now() });
            }
            Output::Ban(peer, ban) => panic!("an honest node bans {}: {ban:?}", self.numbers[peer.0 as usize]),
            Output::Event(_) | Output::Store(_) => {} // the caller takes requests to the store
        }
    }

    fn number(&mut self, id: PeerId) -> Peer {
        let at = self.numbers.iter().position(|known| *known == id).unwrap_or_else(|| {
            self.numbers.push(id);
            self.numbers.len() - 1
        });
        Peer(u32::try_from(at).expect("there are a few dozen nodes"))
    }

    fn now(&self) -> Now {
        let mono_ms = u64::try_from(self.started.elapsed().as_millis()).expect("runs take minutes");
        Now { mono_ms, wall: wall() }
    }
}

fn wall() -> Time {
    let since = UNIX_EPOCH.elapsed().unwrap_or_default();
    Time::from_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
