//! The sockets: bound before `start` returns, served on one thread, closed in under a second.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener as BindListener};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::past::Past;
use crate::routes::{Shared, api_router, metrics_router};
use crate::snapshot::Snapshot;
use crate::stall::StallLimit;
use crate::stream::STREAMS_MAX;

/// Where to listen and what to serve.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Address of REST, stream, page and all else (`api.listen_addr`). Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Address of `/metrics`, `/livez` and `/readyz` alone (`monitoring.metrics_addr`, 127.0.0.1:9091 by default). None,
    /// or the same as `listen`: only one socket, which serves all.
    pub metrics_listen: Option<SocketAddr>,
    /// The newest snapshot.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// Now, in milliseconds since the Unix epoch: the clock that snapshots are stamped with.
    pub clock: fn() -> u64,
    /// Who answers questions about the past; without anyone they are refused.
    pub past: Option<Arc<dyn Past>>,
}

/// What a socket serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serves {
    /// REST, stream, page, health and metrics.
    Api,
    /// Health and metrics.
    Metrics,
}

impl fmt::Display for Serves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Api => "the api (api.listen_addr)",
            Self::Metrics => "metrics (monitoring.metrics_addr)",
        })
    }
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The port is taken, the address is not this machine's, or the port needs a privilege.
    #[error("cannot listen on {addr} for {serves}: {source}")]
    Bind {
        /// The address asked for.
        addr: SocketAddr,
        /// What was to be served there.
        serves: Serves,
        /// What the operating system said.
        source: io::Error,
    },
    /// No thread or runtime could be made.
    #[error("cannot start the api's thread: {0}")]
    Thread(#[source] io::Error),
}

/// A running server. Dropping it stops it too, without waiting.
#[derive(Debug)]
pub struct ApiServer {
    addrs: Vec<(Serves, SocketAddr)>,
    stop: watch::Sender<bool>,
    stopped: oneshot::Receiver<()>,
}

/// Most connections a socket serves at once, half of which streams may take. A connection holds at most one answer, and
/// the largest has about a megabyte. Further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 2 * STREAMS_MAX;

/// A request's header must arrive within this time, and a kept connection is closed after as long without one.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// An answer of which no byte can be written for this long is given up.
const WRITE_STALL: Duration = Duration::from_secs(10);

/// Most bytes of a request's header; the least that hyper's parser accepts, and four times the longest path and query.
const HEADER_BYTES_MAX: usize = 8_192;

/// Most header lines: browsers send about 20.
const HEADERS_MAX: usize = 64;

/// Answers under way get this long when the server stops; then their connections are cut.
const GRACE: Duration = Duration::from_millis(500);

/// After a failed accept (out of file descriptors, mostly), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl ApiServer {
    /// Binds every address, then serves them on a thread of its own.
    pub fn start(config: ApiConfig) -> Result<Self, ApiError> {
        let mut listeners = vec![(Serves::Api, bind(config.listen, Serves::Api)?)];
        if let Some(addr) = config.metrics_listen.filter(|addr| *addr != config.listen) {
            listeners.push((Serves::Metrics, bind(addr, Serves::Metrics)?));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ApiError::Thread)?;
        let (stop, stopping) = watch::channel(false);
        let shared = Shared {
            snapshot: config.snapshot,
            clock: config.clock,
            stopping,
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            past: config.past,
        };
        let mut addrs = Vec::new();
        let mut sockets = Vec::new();
        for (serves, listener) in listeners {
            let addr = listener.local_addr().map_err(ApiError::Thread)?;
            let listener = {
                let _entered = runtime.enter(); // registers the socket with this runtime
                TcpListener::from_std(listener).map_err(ApiError::Thread)?
            };
            let router = match serves {
                Serves::Api => api_router(shared.clone()),
                Serves::Metrics => metrics_router(shared.clone()),
            };
            tracing::info!(%addr, "listening for {serves}");
            addrs.push((serves, addr));
            sockets.push((listener, router));
        }
        let (done, stopped) = oneshot::channel();
        thread::Builder::new()
            .name("api".to_owned())
            .spawn(move || {
                runtime.block_on(serve_all(sockets, shared.stopping));
                runtime.shutdown_background();
                done.send(()).ok(); // nobody need be waiting
            })
            .map_err(ApiError::Thread)?;
        Ok(Self { addrs, stop, stopped })
    }

    /// What is served where, with the ports actually taken.
    pub fn addrs(&self) -> &[(Serves, SocketAddr)] {
        &self.addrs
    }

    /// Address of the API and the page.
    pub fn api_addr(&self) -> SocketAddr {
        self.addr_of(Serves::Api)
    }

    /// Address to scrape: the API's own when there is no other.
    pub fn metrics_addr(&self) -> SocketAddr {
        self.addr_of(Serves::Metrics)
    }

    fn addr_of(&self, wanted: Serves) -> SocketAddr {
        // `start` always puts the API's address first.
        self.addrs.iter().find(|(serves, _)| *serves == wanted).map_or(self.addrs[0].1, |(_, addr)| *addr)
    }

    /// Ends streams, finishes answers under way and closes the sockets, in under a second.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        // The thread drops its end in any case, also if it panicked.
        (&mut self.stopped).await.ok();
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

fn bind(addr: SocketAddr, serves: Serves) -> Result<BindListener, ApiError> {
    let bound = BindListener::bind(addr).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|source| ApiError::Bind { addr, serves, source })
}

async fn serve_all(sockets: Vec<(TcpListener, Router)>, stopping: watch::Receiver<bool>) {
    let mut tasks = JoinSet::new();
    for (listener, router) in sockets {
        tasks.spawn(serve(listener, router, stopping.clone()));
    }
    while tasks.join_next().await.is_some() {}
}

/// Returns when the server is stopped or dropped.
pub(crate) async fn told_to_stop(stopping: &mut watch::Receiver<bool>) {
    stopping.wait_for(|stopping| *stopping).await.ok(); // an error: the server is dropped
}

async fn serve(listener: TcpListener, router: Router, mut stopping: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            // The semaphore is never closed: an error cannot come.
            let place = places.clone().acquire_owned().await.ok()?;
            Some((place, listener.accept().await))
        };
        tokio::select! {
            () = told_to_stop(&mut stopping) => break,
            Some(_) = connections.join_next() => {}
            Some((place, accepted)) = next => match accepted {
                Ok((stream, _)) => {
                    let connection = graceful.watch(connection(stream, router.clone()));
                    connections.spawn(async move {
                        // An error here is the client's: it hung up, stalled or did not speak HTTP.
                        if let Err(error) = connection.await {
                            tracing::debug!(%error, "connection ended");
                        }
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "connection not accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    if timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::debug!("connections cut at shutdown");
    }
    connections.shutdown().await;
}

type Connection = http1::Connection<TokioIo<StallLimit<TcpStream>>, TowerToHyperService<Router>>;

fn connection(stream: TcpStream, router: Router) -> Connection {
    // Events are small and should leave at once; a socket that refuses the option still serves.
    stream.set_nodelay(true).ok();
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(StallLimit::new(stream, WRITE_STALL)), TowerToHyperService::new(router))
}
