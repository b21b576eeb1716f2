//! One venue's server.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{ConnectInfo, Path, Query, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinHandle,
};

use crate::{Answer, Endpoint, Fault, Moment, ReplayClock, Tape, TimeMode, Venue, answer};

/// A running simulated venue. Dropping it closes the port and every connection.
pub struct Exchange {
    shared: Arc<Shared>,
    addr: SocketAddr,
    /// Set to `true` to end the server and whatever waits in it.
    closed: watch::Sender<bool>,
    server: JoinHandle<()>,
}

/// How a simulated venue is set up.
#[derive(Clone, Debug)]
pub struct ExchangeConfig {
    /// Which venue it plays.
    pub venue: Venue,
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What it replays.
    pub tape: Arc<Tape>,
    /// Where on the tape it is; give all venues of one replay copies of one clock. Past the end of the tape a venue goes on answering with
    /// its last closes, ever older.
    pub clock: ReplayClock,
    /// What time its answers show.
    pub time_mode: TimeMode,
    /// What its prices are multiplied by, in millionths: 1,000,000 for the truth, 1,200,000 for 20 % too high. Rates of dollar coins stay
    /// true: what is converted through them would be raised twice.
    pub price_ppm: u32,
}

/// What the symbols of rates begin with, at all three venues.
const DOLLAR_COINS: [&str; 2] = ["USDT", "USDC"];

/// Why a simulated venue could not start.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The address could not be listened on.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The replay would start where the tape has nothing.
    #[error("replay starts at unix second {start_unix_s}, but the tape has prices from {from_s} to {to_s}")]
    OutsideTape {
        /// Where it would start.
        start_unix_s: u64,
        /// When the tape's first close is known, unix seconds.
        from_s: u64,
        /// When its last is.
        to_s: u64,
    },
    /// The speed is zero.
    #[error("replay speed is zero")]
    Speed,
}

/// Most requests answered at once; one more gets 503. A demo's seven nodes have a few dozen under way at most.
pub const IN_FLIGHT_MAX: usize = 1024;

/// What a broken proxy might send: not JSON, though it starts like it, and not UTF-8.
const GARBAGE: &[u8] = b"{\"symbol\":\"\xff\xfe<html>\x00";

struct Shared {
    venue: Venue,
    tape: Arc<Tape>,
    clock: ReplayClock,
    time_mode: TimeMode,
    price_ppm: u32,
    /// The fault, and the moment at which it was set.
    fault: Mutex<(Fault, Moment)>,
    requests: AtomicU64,
    places: Semaphore,
    closed: watch::Receiver<bool>,
}

#[derive(Deserialize)]
struct SymbolQuery {
    #[serde(default)]
    symbol: String,
}

#[derive(Deserialize)]
struct PairQuery {
    #[serde(default)]
    pair: String,
}

impl Exchange {
    /// Starts listening; answers from the moment this returns. Must be called within a Tokio runtime.
    pub async fn start(config: ExchangeConfig) -> Result<Self, ExchangeError> {
        let (from_s, to_s) = (config.tape.start_ms() / 1_000, config.tape.end_ms() / 1_000);
        let start_unix_s = config.clock.start_unix_s;
        if !(from_s..=to_s).contains(&start_unix_s) {
            return Err(ExchangeError::OutsideTape { start_unix_s, from_s, to_s });
        }
        if config.clock.speed == 0 {
            return Err(ExchangeError::Speed);
        }
        let refused = |source| ExchangeError::Listen { addr: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(refused)?;
        let addr = listener.local_addr().map_err(refused)?;
        let (closed, closing) = watch::channel(false);
        let shared = Arc::new(Shared {
            venue: config.venue,
            fault: Mutex::new((Fault::None, config.clock.moment(config.time_mode))),
            tape: config.tape,
            clock: config.clock,
            time_mode: config.time_mode,
            price_ppm: config.price_ppm,
            requests: AtomicU64::new(0),
            places: Semaphore::new(IN_FLIGHT_MAX),
            closed: closing.clone(),
        });
        let service = router(shared.clone()).into_make_service_with_connect_info::<SocketAddr>();
        let server = tokio::spawn(async move {
            // Serving on a bound listener has no error of its own: failed accepts are retried inside.
            let _ = axum::serve(listener, service).with_graceful_shutdown(until_closed(closing)).await;
        });
        Ok(Self { shared, addr, closed, server })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Which venue it plays.
    pub fn venue(&self) -> Venue {
        self.shared.venue
    }

    /// The address to configure in a node, with the path that the deployment guide gives the real venue's. Coinbase's is the Exchange's;
    /// its v2 API is at the same address with `/v2`.
    pub fn api_url(&self) -> String {
        let path = match self.shared.venue {
            Venue::Binance => "/api/v3",
            Venue::Coinbase => "",
            Venue::Kraken => "/0/public",
        };
        format!("http://{}{path}", self.addr)
    }

    /// Recorded time now, milliseconds since the epoch.
    pub fn tape_ms(&self) -> u64 {
        self.shared.clock.now_ms()
    }

    /// Makes something go wrong, or right again with [`Fault::None`]. Applies to the next request; numbers beyond their bounds are cut.
    pub fn set_fault(&self, fault: Fault) {
        let bounded = match fault {
            Fault::Lag { ms } => Fault::Lag { ms: ms.min(crate::LAG_MS_MAX) },
            Fault::Status { status } => Fault::Status { status: status.clamp(500, 599) },
            fault => fault,
        };
        self.shared.set_fault(bounded);
    }

    /// The fault in force.
    pub fn fault(&self) -> Fault {
        self.shared.fault().0
    }

    /// Requests received so far, the ones for `/_sim` aside.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Closes the port and every connection, and waits until that is done.
    pub async fn stop(mut self) {
        self.closed.send_replace(true);
        // An error says that the task is gone already.
        let _ = (&mut self.server).await;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.closed.send_replace(true);
    }
}

impl Shared {
    fn moment(&self) -> Moment {
        match *self.fault() {
            (Fault::Freeze, frozen) => frozen,
            _ => self.clock.moment(self.time_mode),
        }
    }

    fn fault(&self) -> MutexGuard<'_, (Fault, Moment)> {
        // Nothing panics while holding it.
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_fault(&self, fault: Fault) {
        let moment = self.clock.moment(self.time_mode);
        *self.fault() = (fault, moment);
    }

    fn answer(&self, endpoint: Endpoint, symbol: &str) -> Response {
        let is_rate = DOLLAR_COINS.iter().any(|coin| symbol.starts_with(coin));
        let price_ppm = if is_rate { 1_000_000 } else { self.price_ppm };
        self.respond(self.tape.answer(endpoint, symbol, self.moment(), price_ppm))
    }

    fn respond(&self, answer: Answer) -> Response {
        let content_type = match self.venue {
            Venue::Binance => "application/json;charset=UTF-8",
            Venue::Coinbase => "application/json; charset=utf-8",
            Venue::Kraken => "application/json",
        };
        let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(header::CONTENT_TYPE, content_type)], answer.body).into_response()
    }
}

async fn until_closed(mut closed: watch::Receiver<bool>) {
    // An error says that the exchange was dropped: closed as well.
    let _ = closed.wait_for(|closed| *closed).await;
}

fn router(shared: Arc<Shared>) -> Router {
    let venue = match shared.venue {
        Venue::Binance => Router::new()
            .route("/api/v3/ticker/24hr", binance(Endpoint::BinanceTicker24hr))
            .route("/api/v3/ticker/bookTicker", binance(Endpoint::BinanceBookTicker))
            .route("/api/v3/ticker/price", binance(Endpoint::BinanceTickerPrice))
            .route("/api/v3/time", get(server_time)),
        Venue::Coinbase => Router::new()
            .route("/products/{id}/ticker", coinbase(Endpoint::CoinbaseTicker))
            .route("/v2/prices/{pair}/spot", coinbase(Endpoint::CoinbaseSpot)),
        Venue::Kraken => Router::new().route("/0/public/Ticker", get(kraken)).route("/0/public/Time", get(server_time)),
    };
    let faulty = venue.fallback(no_such_path).layer(middleware::from_fn_with_state(shared.clone(), fail));
    Router::new().route("/_sim/fault", post(admin).get(admin_state)).merge(faulty).with_state(shared)
}

fn binance(endpoint: Endpoint) -> axum::routing::MethodRouter<Arc<Shared>> {
    get(async move |State(shared): State<Arc<Shared>>, Query(query): Query<SymbolQuery>| {
        shared.answer(endpoint, &query.symbol)
    })
}

fn coinbase(endpoint: Endpoint) -> axum::routing::MethodRouter<Arc<Shared>> {
    get(async move |State(shared): State<Arc<Shared>>, Path(symbol): Path<String>| shared.answer(endpoint, &symbol))
}

async fn kraken(State(shared): State<Arc<Shared>>, Query(query): Query<PairQuery>) -> Response {
    shared.answer(Endpoint::KrakenTicker, &query.pair)
}

async fn server_time(State(shared): State<Arc<Shared>>) -> Response {
    shared.respond(answer::server_time(shared.venue, shared.moment()))
}

async fn no_such_path(State(shared): State<Arc<Shared>>) -> Response {
    shared.respond(answer::no_such_path(shared.venue))
}

/// Applies the fault in force to a request.
async fn fail(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let Ok(_place) = shared.places.try_acquire() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let fault = shared.fault().0;
    match fault {
        Fault::None | Fault::Freeze => next.run(request).await,
        Fault::Lag { ms } => tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(ms)) => next.run(request).await,
            () = until_closed(shared.closed.clone()) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        },
        Fault::Status429 { retry_after_s } => {
            let refusal = shared.respond(answer::too_many_requests(shared.venue));
            ([(header::RETRY_AFTER, retry_after_s.to_string())], refusal).into_response()
        }
        Fault::Status { status } => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let page = format!("<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>");
            (status, [(header::CONTENT_TYPE, "text/html")], page).into_response()
        }
        Fault::Garbage => shared.respond(Answer { status: 200, body: GARBAGE.to_vec() }),
        Fault::Nothing => {
            until_closed(shared.closed.clone()).await;
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}

/// `POST /_sim/fault`: sets the fault; from this machine only, whatever address is listened on.
async fn admin(State(shared): State<Arc<Shared>>, ConnectInfo(peer): ConnectInfo<SocketAddr>, body: Bytes) -> Response {
    if !peer.ip().is_loopback() {
        return StatusCode::FORBIDDEN.into_response();
    }
    let fault = serde_json::from_slice::<Fault>(&body).map_err(|error| error.to_string());
    match fault.and_then(|fault| fault.check().map_err(str::to_owned)) {
        Ok(fault) => {
            shared.set_fault(fault);
            Json(fault).into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, format!("fault: {error}\n")).into_response(),
    }
}

/// `GET /_sim/fault`: the fault in force.
async fn admin_state(State(shared): State<Arc<Shared>>) -> Response {
    let fault = shared.fault().0;
    Json(fault).into_response()
}
