//! `GET /v1/stream`: the newest state as server-sent events, until the client, the day or the server ends.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{OriginalUri, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};

use crate::answer::LiveView;
use crate::problem::{Problem, ProblemKind};
use crate::routes::Shared;
use crate::server::told_to_stop;
use crate::snapshot::Snapshot;

/// Most streams at once: half of the connections, so that streams never crowd out requests.
pub(crate) const STREAMS_MAX: usize = 64;

/// Least time between two events of a stream: faster than anyone reads.
const EVENT_INTERVAL: Duration = Duration::from_millis(500);

/// A comment is sent after this much silence; under the 15 s after which proxies commonly take a stream for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A stream ends after a day and its client comes back: what else was forgotten ends with it.
const STREAM_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// What clients are told to wait before they connect again.
const RETRY: Duration = Duration::from_secs(2);

/// The state as it changes: an event `snapshot` at once and then at most two a second.
///
/// Each event is whole and its id is the snapshot's number. A client that falls behind or comes back (with or without
/// Last-Event-ID) gets the newest state, never a backlog; one that stops reading is disconnected.
#[utoipa::path(get, path = "/v1/stream", responses(
    (status = 200, body = LiveView, content_type = "text/event-stream"),
    (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn stream(State(shared): State<Shared>, OriginalUri(uri): OriginalUri) -> Response {
    let Ok(place) = shared.streams.clone().try_acquire_owned() else {
        let detail = format!("all {STREAMS_MAX} streams are in use");
        return ProblemKind::Busy.at(uri.path(), detail).into_response();
    };
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("still here");
    Sse::new(events(shared, place)).keep_alive(keep_alive).into_response()
}

struct Subscription {
    shared: Shared,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    stopping: watch::Receiver<bool>,
    not_before: Instant,
    ends: Instant,
    first: bool,
    _place: OwnedSemaphorePermit,
}

fn events(shared: Shared, place: OwnedSemaphorePermit) -> impl Stream<Item = Result<Event, Infallible>> {
    let mut snapshot = shared.snapshot.clone();
    snapshot.mark_changed(); // the first event comes at once
    let stopping = shared.stopping.clone();
    let now = Instant::now();
    let subscription = Subscription {
        shared,
        snapshot,
        stopping,
        not_before: now,
        ends: now + STREAM_LIFETIME,
        first: true,
        _place: place,
    };
    futures::stream::unfold(subscription, |mut subscription| async move {
        let event = subscription.next().await?;
        Some((Ok(event), subscription))
    })
}

impl Subscription {
    /// The next event; none when the stream is over.
    async fn next(&mut self) -> Option<Event> {
        let changed = async {
            self.snapshot.changed().await.ok()?;
            sleep_until(self.not_before).await;
            Some(())
        };
        tokio::select! {
            biased;
            () = told_to_stop(&mut self.stopping) => return None,
            () = sleep_until(self.ends) => return None,
            changed = changed => changed?,
        }
        self.not_before = Instant::now() + EVENT_INTERVAL;
        let newest = self.snapshot.borrow_and_update().clone();
        let live = LiveView::new(&newest, self.shared.publishing(), self.shared.now_ms());
        let event = Event::default().event("snapshot").id(newest.seq.to_string()).json_data(&live);
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                tracing::error!(%error, "event could not be written");
                return None;
            }
        };
        Some(if std::mem::take(&mut self.first) { event.retry(RETRY) } else { event })
    }
}
