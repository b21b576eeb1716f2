//! Drives a [`StreamSession`](super::StreamSession) over real connections.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use concurrence_crdt::Time;
use concurrence_oracle::Quote;
use futures::{SinkExt, StreamExt};
use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
    time::Instant,
};
use tokio_tungstenite::{
    connect_async_with_config,
    tungstenite::{self, Message, Utf8Bytes, http::header::RETRY_AFTER, protocol::WebSocketConfig},
};

use super::{LinkId, Market, StreamCounts, StreamInput, StreamOutput, StreamSession};
use crate::{Channel, Clock};

/// A venue's stream over real connections. Dropping it closes them.
pub struct Stream {
    prices: mpsc::Receiver<Streamed>,
    state: Arc<StreamState>,
    task: JoinHandle<()>,
}

/// A price from a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Streamed {
    /// The market's symbol, as it is known here.
    pub symbol: String,
    /// The price.
    pub quote: Quote,
}

/// What others may know of a stream while it runs.
#[derive(Debug, Default)]
pub struct StreamState {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// When each market was last heard of.
    heard: BTreeMap<String, Instant>,
    halted: bool,
    last_price: Option<Time>,
    counts: StreamCounts,
}

/// Longest message read, in bytes. The longest that matter (dYdX's first, with all markets; Gemini's first of a book) run to
/// hundreds of KiB.
pub const MESSAGE_LEN_MAX: usize = 1024 * 1024;

/// Events of connections waiting for the session, each a message at most: 16 MiB of a hostile venue. When full, connections wait, and
/// the venue's own buffers fill.
const EVENTS_MAX: usize = 16;

/// Prices waiting to be taken; when full, the session waits.
const PRICES_MAX: usize = 256;

/// Texts waiting to be sent on a connection: a session sends one at a time, at its own pace.
const TEXTS_MAX: usize = 16;

/// Longest time to send one text: a connection that takes no text for so long is dead.
const SEND_TIME_MAX: Duration = Duration::from_secs(5);

/// What a connection reports.
enum Event {
    Opened,
    Text(Utf8Bytes, Time),
    Alive,
    Closed,
    Rejected { status: u16, retry_after_ms: Option<u64> },
}

impl Stream {
    /// Starts listening to a channel at an address, `ws` or `wss`, or at the venue's public one. `seed` spreads the attempts of nodes.
    /// `None` for a channel that is no stream. Must be called within a Tokio runtime.
    pub fn start(channel: Channel, url: Option<&str>, markets: Vec<Market>, seed: u64, clock: Clock) -> Option<Self> {
        // Two crypto providers are compiled in; without a choice the first handshake would panic. An earlier choice stands.
        rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
        let url = url.map_or_else(|| Some(channel.stream_rules()?.url.to_owned()), |url| Some(url.to_owned()))?;
        let session = StreamSession::new(channel, markets, seed)?;
        let (sender, prices) = mpsc::channel(PRICES_MAX);
        let state = Arc::new(StreamState::default());
        let task = tokio::spawn(drive(session, url.into(), clock, sender, Arc::clone(&state)));
        Some(Self { prices, state, task })
    }

    /// The next price. Safe to drop while waiting: nothing is lost.
    pub async fn next(&mut self) -> Option<Streamed> {
        self.prices.recv().await
    }

    /// The next price, if one is waiting.
    pub fn try_next(&mut self) -> Option<Streamed> {
        self.prices.try_recv().ok()
    }

    /// What others may know of it.
    pub fn state(&self) -> Arc<StreamState> {
        Arc::clone(&self.state)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl StreamState {
    /// Whether a market needs no request now: the stream gave its price within `time`, or says that the venue does not trade.
    pub fn covers(&self, symbol: &str, time: Duration) -> bool {
        let inner = self.inner();
        inner.halted || inner.heard.get(symbol).is_some_and(|heard| heard.elapsed() < time)
    }

    /// When a price last came, by the node's clock.
    pub fn last_price(&self) -> Option<Time> {
        self.inner().last_price
    }

    /// Counters as of a moment ago.
    pub fn counts(&self) -> StreamCounts {
        self.inner().counts.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while holding it; if something did, plain counters are still good.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries events in and outputs out, until nobody takes prices any more.
async fn drive(
    mut session: StreamSession,
    url: Arc<str>,
    clock: Clock,
    prices: mpsc::Sender<Streamed>,
    state: Arc<StreamState>,
) {
    let started = Instant::now();
    let now_ms = || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (sender, mut events) = mpsc::channel(EVENTS_MAX);
    let (mut links, mut told) = (Links::default(), 0);
    session.handle(now_ms(), StreamInput::Tick);
    loop {
        while let Some(output) = session.poll() {
            match output {
                StreamOutput::Connect(id) => links.open(id, Arc::clone(&url), sender.clone(), Arc::clone(&clock)),
                StreamOutput::Send(id, text) => links.send(id, text),
                StreamOutput::Close(id) => links.close(id),
                StreamOutput::Price(at, quote) => {
                    let symbol = session.markets()[at].symbol.clone(); // an index of the session's own
                    {
                        let mut inner = state.inner();
                        inner.last_price = Some(quote.received);
                        inner.heard.insert(symbol.clone(), Instant::now());
                    }
                    if prices.send(Streamed { symbol, quote }).await.is_err() {
                        return;
                    }
                }
            }
        }
        {
            let mut inner = state.inner();
            inner.halted = !session.is_trading();
            inner.counts.clone_from(session.counts());
        }
        let ended: u64 = session.counts().ended.values().sum();
        if ended > std::mem::replace(&mut told, ended) {
            tracing::info!(venue = %session.channel().venue(), ended = ?session.counts().ended, "a stream's connection ended");
        }
        let pause = Duration::from_millis(session.next_wake_ms(now_ms()).saturating_sub(now_ms()).max(1));
        let event = tokio::time::timeout(pause, events.recv()).await;
        let input = match &event {
            Ok(Some((id, Event::Opened))) => StreamInput::Opened(*id),
            Ok(Some((id, Event::Text(text, received)))) => {
                StreamInput::Message { link: *id, body: text.as_ref(), received: *received }
            }
            Ok(Some((id, Event::Alive))) => StreamInput::Alive(*id),
            Ok(Some((id, Event::Closed))) => StreamInput::Closed(*id),
            Ok(Some((id, Event::Rejected { status, retry_after_ms }))) => {
                StreamInput::Rejected { link: *id, status: *status, retry_after_ms: *retry_after_ms }
            }
            Ok(None) | Err(_) => StreamInput::Tick,
        };
        session.handle(now_ms(), input);
    }
}

/// The connections that are open or being opened: at most two, as the session has it.
#[derive(Default)]
struct Links {
    texts: BTreeMap<LinkId, (mpsc::Sender<String>, tokio::task::AbortHandle)>,
    tasks: JoinSet<()>,
}

impl Links {
    fn open(&mut self, id: LinkId, url: Arc<str>, events: mpsc::Sender<(LinkId, Event)>, clock: Clock) {
        while self.tasks.try_join_next().is_some() {}
        let (sender, texts) = mpsc::channel(TEXTS_MAX);
        let task = self.tasks.spawn(async move {
            let last = converse(id, &url, texts, &events, clock).await;
            events.send((id, last)).await.ok();
        });
        self.texts.insert(id, (sender, task));
    }

    fn send(&mut self, id: LinkId, text: String) {
        let full = self.texts.get(&id).is_some_and(|(texts, _)| texts.try_send(text).is_err());
        if full {
            // It takes nothing any more: the session will find it silent.
            tracing::debug!(link = id.0, "a stream's connection takes no text");
        }
    }

    fn close(&mut self, id: LinkId) {
        if let Some((_, task)) = self.texts.remove(&id) {
            task.abort();
        }
    }
}

/// One connection from its opening to its end; gives the last event. Ping frames are answered by the library while reading.
async fn converse(
    id: LinkId,
    url: &str,
    mut texts: mpsc::Receiver<String>,
    events: &mpsc::Sender<(LinkId, Event)>,
    clock: Clock,
) -> Event {
    let limits =
        WebSocketConfig::default().max_message_size(Some(MESSAGE_LEN_MAX)).max_frame_size(Some(MESSAGE_LEN_MAX));
    let socket = match connect_async_with_config(url, Some(limits), true).await {
        Ok((socket, _)) => socket,
        Err(error) => return refused(&error),
    };
    if events.send((id, Event::Opened)).await.is_err() {
        return Event::Closed;
    }
    let (mut sink, mut stream) = socket.split();
    loop {
        let event = tokio::select! {
            text = texts.recv() => {
                let Some(text) = text else { return Event::Closed };
                match tokio::time::timeout(SEND_TIME_MAX, sink.send(Message::text(text))).await {
                    Ok(Ok(())) => continue,
                    _ => return Event::Closed,
                }
            }
            message = stream.next() => match message {
                Some(Ok(Message::Text(text))) => Event::Text(text, clock()),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => Event::Alive,
                // No venue here sends binary messages; one that does says nothing we could read.
                Some(Ok(Message::Binary(_) | Message::Frame(_))) => continue,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Event::Closed,
            },
        };
        if events.send((id, event)).await.is_err() {
            return Event::Closed;
        }
    }
}

/// An upgrade that was refused by a status, or a connection that could not be made.
fn refused(error: &tungstenite::Error) -> Event {
    let tungstenite::Error::Http(response) = error else {
        tracing::debug!(%error, "a stream's connection was not opened");
        return Event::Closed;
    };
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let retry_after_ms = retry_after.map(|seconds: u64| seconds.saturating_mul(1_000));
    Event::Rejected { status: response.status().as_u16(), retry_after_ms }
}
