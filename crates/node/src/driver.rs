//! The loop that drives one engine: inputs in, outputs carried out, everything else in between is the engine's.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use concurrence_api::Snapshot;
use concurrence_crdt::{AuthorKey, Bucket, Digest, Time};
use concurrence_engine::{Engine, Event, Halt, Input, Output, SignRequest, Signed};
use concurrence_net::{NetEvent, RefusalReason};
use concurrence_oracle::{Quote, SourceId};
use concurrence_protocol::{self as protocol, MessageId, Now, StoreRequest, Verdict, Write};
use concurrence_store::{Sidecar, SidecarError, Store, StoreError, serve_all};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{error, info, warn};

use crate::{
    Keys,
    past::{PastError, Reading, read},
    peers::Peers,
    reload::Reload,
    snapshot::Scribe,
    transport::Transport,
};

/// What reaches the loop.
pub(crate) enum Command {
    /// Something happened on the network.
    Net(NetEvent),
    /// A venue answered.
    Quote(SourceId, String, Quote),
    /// Legs and conditions are these from now on.
    Reload(Box<Reload>),
    /// Read the operations of some minutes from the store.
    Read {
        /// The first and the last of them.
        minutes: (Bucket, Bucket),
        /// Who asked.
        reply: oneshot::Sender<Result<Reading, PastError>>,
    },
    /// Give the own records of legs with these hashes that are still kept.
    Legs {
        /// The hashes.
        hashes: BTreeSet<Digest>,
        /// Who asked.
        reply: oneshot::Sender<BTreeMap<Digest, Vec<u8>>>,
    },
    /// Admit only these peers from now on.
    SetAdmitted(BTreeSet<concurrence_net::PeerId>),
    /// End. The sender is told when everything is written.
    Shutdown(oneshot::Sender<()>),
}

/// Most inputs taken before outputs are carried out: one group commit of the store serves them all.
const INPUTS_AT_ONCE: usize = 256;

/// How often a snapshot is published while nothing else happens, in milliseconds.
const SNAPSHOT_INTERVAL_MS: u64 = 250;

/// Everything that one engine touches.
pub(crate) struct Driver {
    pub(crate) engine: Engine,
    pub(crate) store: Box<dyn Store>,
    pub(crate) sidecar: Sidecar,
    pub(crate) key_file: PathBuf,
    pub(crate) keys: Arc<Keys>,
    pub(crate) transport: Box<dyn Transport>,
    pub(crate) peers: Peers,
    pub(crate) scribe: Scribe,
    pub(crate) snapshots: watch::Sender<Arc<Snapshot>>,
    pub(crate) clock: Clock,
    pub(crate) own: AuthorKey,
}

/// Why the loop ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It was asked to.
    Shutdown,
    /// The engine must not go on.
    Halt(Halt),
    /// The store failed: state and disk would part ways.
    Store(String),
}

/// What was to be kept could not be.
#[derive(Debug, thiserror::Error)]
enum DiskError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Sidecar(#[from] SidecarError),
}

/// The two clocks of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
    /// Milliseconds added to the wall clock, to show what a wrong clock does.
    pub(crate) offset_ms: i64,
}

impl Clock {
    pub(crate) fn new(offset_ms: i64) -> Self {
        Self { started: Instant::now(), offset_ms }
    }

    pub(crate) fn now(&self) -> Now {
        let mono_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let wall_ms = wall_ms().saturating_add_signed(self.offset_ms);
        Now { mono_ms, wall: Time::from_ms(wall_ms) }
    }
}

/// Milliseconds since the Unix epoch by the system's clock; zero before it.
pub(crate) fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Driver {
    /// Runs until something ends it.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>) -> Ended {
        let mut next_snapshot_ms = 0;
        loop {
            let wake_ms = self.engine.next_wake_ms().min(next_snapshot_ms);
            let pause = Duration::from_millis(wake_ms.saturating_sub(self.clock.now().mono_ms));
            let first = tokio::time::timeout(pause, commands.recv()).await;
            let mut taken = first.ok().flatten();
            for _ in 0..INPUTS_AT_ONCE {
                let Some(command) = taken.take() else { break };
                if let Command::Shutdown(done) = command {
                    self.publish_snapshot();
                    drop(self.store);
                    done.send(()).ok();
                    return Ended::Shutdown;
                }
                self.take(command);
                taken = commands.try_recv().ok();
            }
            let now = self.clock.now();
            self.engine.handle(now, Input::Net(protocol::Input::Tick));
            match self.carry_out() {
                Ok(None) => {}
                Ok(Some(halt)) => {
                    // The key's log goes on elsewhere: the next start must ask for it before it appends, or it would fork it.
                    if matches!(halt, Halt::KeyInUse(_))
                        && let Err(error) = Sidecar::remove(&self.key_file)
                    {
                        error!(%error, "remove the sidecar by hand before the next start");
                    }
                    self.publish_snapshot();
                    return Ended::Halt(halt);
                }
                Err(error) => {
                    error!(%error, "the store failed");
                    return Ended::Store(error.to_string());
                }
            }
            if now.mono_ms >= next_snapshot_ms {
                next_snapshot_ms = now.mono_ms + SNAPSHOT_INTERVAL_MS;
                self.publish_snapshot();
            }
        }
    }

    fn take(&mut self, command: Command) {
        let now = self.clock.now();
        match command {
            Command::Net(event) => self.net(now, event),
            Command::Quote(source, symbol, quote) => self.engine.handle(now, Input::Quote { source, symbol, quote }),
            Command::Reload(reload) => {
                self.scribe.reloaded(&reload);
                self.engine.handle(now, Input::Plans(reload.feeds, reload.submission));
            }
            // Who asked may have gone away; nobody misses the answer then.
            Command::Read { minutes, reply } => {
                let network = self.engine.view().registry().network_id();
                reply.send(read(self.store.as_ref(), network, minutes)).ok();
            }
            Command::Legs { hashes, reply } => {
                let kept = |hash: Digest| Some((hash, self.engine.legs(&hash)?.to_vec()));
                reply.send(hashes.into_iter().filter_map(kept).collect()).ok();
            }
            Command::SetAdmitted(peers) => self.transport.set_admitted(peers),
            Command::Shutdown(_) => {} // ends the loop before it gets here
        }
    }

    fn net(&mut self, now: Now, event: NetEvent) {
        let Some(event) = self.transport.arrived(event) else { return };
        let number = event.peer().and_then(|id| self.peers.find(id));
        if let Some(known) = number.and_then(|number| self.peers.known_mut(number)) {
            known.last_seen = Some(now.wall);
        }
        let input = match event {
            NetEvent::Connected(id) => {
                let peer = self.connection(id, true);
                let author = self.peers.known(peer).and_then(|known| known.author);
                protocol::Input::Connected { peer, author }
            }
            NetEvent::Disconnected(id) => protocol::Input::Disconnected(self.connection(id, false)),
            NetEvent::Frame { peer, frame } => {
                protocol::Input::Frame { peer: self.peers.number(peer), bytes: frame.to_vec() }
            }
            NetEvent::Gossip { peer, id, message } => protocol::Input::Broadcast {
                peer: self.peers.number(peer),
                id: MessageId(id.0),
                bytes: message.to_vec(),
            },
            NetEvent::Refused {
                reason: reason @ (RefusalReason::Malformed(_) | RefusalReason::FrameTooLarge { .. }),
                ..
            } => {
                self.scribe.refused_connection(&reason);
                let Some(number) = number else { return };
                protocol::Input::Malformed(number)
            }
            NetEvent::Refused { reason, .. } => {
                self.scribe.refused_connection(&reason);
                let known = number.and_then(|number| self.peers.known(number));
                // Strangers can cause this at will, and would fill the log; the transport names those that an operator must put right.
                let Some(known) = known.filter(|known| known.author.is_some()) else { return };
                warn!(peer = %known.id, name = known.name, %reason, "connection refused");
                protocol::Input::TurnedAway
            }
        };
        self.engine.handle(now, Input::Net(input));
    }

    fn connection(&mut self, id: concurrence_net::PeerId, is_connected: bool) -> protocol::Peer {
        let peer = self.peers.number(id);
        if let Some(known) = self.peers.known_mut(peer) {
            known.is_connected = is_connected;
            info!(peer = %id, name = known.name, is_connected, "peer");
        }
        peer
    }

    /// Carries out outputs until there are none. Requests to the store are gathered and served in one go, so that many
    /// operations share one commit.
    fn carry_out(&mut self) -> Result<Option<Halt>, DiskError> {
        let mut halt = None;
        loop {
            let mut requests = Vec::new();
            while let Some(output) = self.engine.poll() {
                match output {
                    Output::Store(request) => requests.push(request),
                    Output::Halt(why) => halt = Some(why),
                    other => self.effect(other),
                }
            }
            if requests.is_empty() {
                return Ok(halt);
            }
            let next_own = self.own_rows(&requests);
            let replies = serve_all(self.store.as_mut(), requests)?;
            self.record_own(&next_own)?;
            let now = self.clock.now();
            replies.into_iter().for_each(|reply| self.engine.handle(now, Input::Net(protocol::Input::Store(reply))));
        }
    }

    fn effect(&mut self, output: Output) {
        match output {
            Output::Send(peer, frame) => {
                if let Some(id) = self.peers.known(peer).map(|known| known.id)
                    && let Err(busy) = self.transport.send(id, Bytes::from(frame))
                {
                    self.scribe.dropped_frame(&busy);
                }
            }
            Output::Broadcast(frame) => {
                if let Err(busy) = self.transport.broadcast(Bytes::from(frame)) {
                    self.scribe.dropped_frame(&busy);
                }
            }
            Output::Verdict(id, verdict) => {
                let verdict = match verdict {
                    Verdict::Accept => concurrence_net::Verdict::Accept,
                    Verdict::Ignore => concurrence_net::Verdict::Ignore,
                    Verdict::Reject => concurrence_net::Verdict::Reject,
                };
                self.transport.report(concurrence_net::MessageId(id.0), verdict);
            }
            Output::Sign(request) => {
                let signed = match request {
                    SignRequest::Groups(digests) => {
                        Signed::Groups(digests.iter().map(|digest| self.keys.sign_group(digest)).collect())
                    }
                    SignRequest::Op(id) => Signed::Op(self.keys.sign_op(id)),
                    SignRequest::Heads(heads) => {
                        Signed::Heads(heads.iter().map(|digest| self.keys.sign_head(digest)).collect())
                    }
                };
                self.engine.handle(self.clock.now(), Input::Signed(signed));
            }
            Output::Ban(peer, ban) => self.ban(peer, ban),
            Output::Event(event) => self.event(&event),
            Output::Store(_) | Output::Halt(_) => {} // taken by the caller
        }
    }

    fn ban(&mut self, peer: protocol::Peer, ban: protocol::Ban) {
        let Some(id) = self.peers.known(peer).map(|known| known.id) else { return };
        let seconds = ban.for_ms / 1_000;
        warn!(peer = %id, fault = ban.fault.name(), seconds, "peer banned");
        self.scribe.banned(ban);
        self.transport.ban(id, Duration::from_millis(ban.for_ms));
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Convicted(author) => warn!(%author, "author is forked: only what is certified of it counts"),
            Event::DoubleVoter(voter) => warn!(%voter, "member voted for two heads of one length"),
            Event::Frozen(log) => {
                error!(%log, "two certified heads contradict one another: log is frozen where they part")
            }
            Event::PeerRefused(peer, refusal) => {
                let name = self.peers.known(*peer).map(|known| known.id.to_string());
                warn!(peer = name, %refusal, "peer refused");
            }
            _ => {}
        }
        self.scribe.event(event, self.clock.now().wall, self.engine.view());
    }

    /// The next position of each own log after these requests. Only what this node appends is durable; own operations that peers
    /// gave back are not, and leave the sidecar as it is: a node that stops while it recovers must recover again.
    fn own_rows(&self, requests: &[StoreRequest]) -> BTreeMap<u8, u64> {
        let commits = requests.iter().filter_map(|request| match request {
            StoreRequest::Commit { writes, durable: true, .. } => Some(writes),
            _ => None,
        });
        let own = commits.flatten().filter_map(|write| match write {
            Write::Op { log, seq, .. } if log.author == self.own => Some((log.index, seq + 1)),
            _ => None,
        });
        own.collect()
    }

    /// Own operations are in the store now: note it beside the key before anyone is told.
    fn record_own(&mut self, next: &BTreeMap<u8, u64>) -> Result<(), SidecarError> {
        if next.is_empty() {
            return Ok(());
        }
        for (&log, &seq) in next {
            if let Some(slot) = self.sidecar.next.get_mut(usize::from(log)) {
                *slot = (*slot).max(seq);
            }
        }
        self.sidecar.save(&self.key_file)
    }

    fn publish_snapshot(&mut self) {
        let now = self.clock.now();
        let snapshot = self.scribe.snapshot(&mut self.engine, &self.peers, self.store.as_ref(), now);
        self.snapshots.send_replace(Arc::new(snapshot));
    }
}
