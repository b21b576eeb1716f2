//! One configured venue, asked within its limits.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backon::{ExponentialBuilder, Retryable};
use concurrence_crdt::Time;
use concurrence_oracle::Quote;
use reqwest::{Client, StatusCode, Url};
use tokio::time::Instant;

use crate::{
    Breaker, BreakerPolicy, BreakerState, Budget, Channel, FetchError, Venue, Verdict,
    budget::Pacer,
    channel::symbol_is_plain,
    parse_error::short,
    transport::{self, RATE_LIMIT_WAIT, WAIT_MAX},
};

/// A venue at an address, with its budget, breaker and waits. Shared by reference: any number of fetches may run at once.
pub struct Source {
    channel: Channel,
    api_url: Url,
    timeout: Duration,
    client: Client,
    pacer: Pacer,
    clock: Clock,
    /// Where the breaker's and the waits' own time starts; it never goes back, whatever the wall clock does.
    started: Instant,
    state: Mutex<State>,
}

/// The node's wall clock, for [`Quote::received`] and [`SourceStatus::last_success`].
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

/// How a source is set up.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Whose formats are spoken.
    pub venue: Venue,
    /// The base address, `http` or `https`, without credentials, query or fragment: `https://api.binance.com/api/v3`.
    pub api_url: String,
    /// The endpoint; `None` takes the one the address means ([`Channel::for_url`]).
    pub channel: Option<Channel>,
    /// How long one fetch may take, waiting for the budget and retries included.
    pub timeout: Duration,
    /// The request budget; `None` takes the vendor's ([`Channel::budget`]).
    pub budget: Option<Budget>,
    /// When the circuit breaker opens. Its probe's lease is raised to `timeout` if shorter.
    pub breaker: BreakerPolicy,
}

/// Default of [`SourceConfig::timeout`]: the deployment guide's submission interval, after which the next fetch is due anyway.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);

/// Attempts of one fetch after the first, for failures that may pass: within 5 s more would only crowd a venue that is down.
const RETRIES_MAX: usize = 2;

/// Wait before the first retry; doubled by each, and up to as much again by jitter.
const RETRY_WAIT_MIN: Duration = Duration::from_millis(250);

/// Why a source could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum SourceConfigError {
    /// The address is not one.
    #[error("api_url {0:?} is not an http or https address without credentials, query and fragment")]
    Url(String),
    /// The endpoint belongs to another venue.
    #[error("channel {channel:?} is not one of {venue}'s")]
    Channel {
        /// The configured endpoint.
        channel: Channel,
        /// The configured venue.
        venue: Venue,
    },
    /// The budget can never pay for a request.
    #[error("budget {0:?} can never pay for one request")]
    Budget(Budget),
    /// The timeout is zero.
    #[error("timeout is zero")]
    Timeout,
    /// The HTTP client could not be built: most often, no TLS roots on this machine.
    #[error("http client: {0}")]
    Client(String),
}

/// What became of a source so far, for metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceStatus {
    /// Fetches by outcome: `ok`, or [`FetchError::outcome`]. A bounded set of words.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// The circuit breaker.
    pub breaker: BreakerState,
    /// When a quote last came, by the node's clock.
    pub last_success: Option<Time>,
    /// How much longer the venue asked us to stay away; zero if it did not. [`Duration::MAX`] when it does not serve this place.
    pub waiting: Duration,
    /// Requests that had to wait for the budget, or could not be sent because of it.
    pub budget_waits: u64,
    /// Time spent waiting for the budget, in total.
    pub budget_wait_total: Duration,
    /// HTTP requests sent, retries included.
    pub requests: u64,
}

struct State {
    breaker: Breaker,
    /// No request before this.
    hold_until: Option<Instant>,
    geo_blocked: bool,
    outcomes: BTreeMap<&'static str, u64>,
    last_success: Option<Time>,
    budget_waits: u64,
    budget_wait_total: Duration,
    requests: u64,
}

impl SourceConfig {
    /// A venue at an address with defaults for the rest.
    pub fn new(venue: Venue, api_url: impl Into<String>) -> Self {
        let breaker = BreakerPolicy::default();
        Self { venue, api_url: api_url.into(), channel: None, timeout: TIMEOUT_DEFAULT, budget: None, breaker }
    }
}

impl Source {
    /// Sets a source up; nothing is sent yet.
    pub fn new(config: SourceConfig, clock: Clock) -> Result<Self, SourceConfigError> {
        let api_url = plain_url(&config.api_url).ok_or_else(|| SourceConfigError::Url(short(&config.api_url)))?;
        if config.timeout.is_zero() {
            return Err(SourceConfigError::Timeout);
        }
        let channel = config.channel.unwrap_or_else(|| Channel::for_url(config.venue, &api_url));
        if channel.venue() != config.venue {
            return Err(SourceConfigError::Channel { channel, venue: config.venue });
        }
        let budget = config.budget.unwrap_or(channel.budget());
        let pacer = Pacer::new(budget, channel.weight()).ok_or(SourceConfigError::Budget(budget))?;
        let client = transport::client(&api_url, config.timeout)
            .map_err(|error| SourceConfigError::Client(short(&error.to_string())))?;
        let mut policy = config.breaker;
        policy.probe_ms = policy.probe_ms.max(u64::try_from(config.timeout.as_millis()).unwrap_or(u64::MAX));
        let state = State {
            breaker: Breaker::new(policy),
            hold_until: None,
            geo_blocked: false,
            outcomes: BTreeMap::new(),
            last_success: None,
            budget_waits: 0,
            budget_wait_total: Duration::ZERO,
            requests: 0,
        };
        let started = Instant::now();
        let timeout = config.timeout;
        Ok(Self { channel, api_url, timeout, client, pacer, clock, started, state: Mutex::new(state) })
    }

    /// The venue.
    pub fn venue(&self) -> Venue {
        self.channel.venue()
    }

    /// The endpoint asked.
    pub fn channel(&self) -> Channel {
        self.channel
    }

    /// Asks the venue for one symbol, in the venue's own spelling.
    ///
    /// Failures that may pass are retried with jittered exponential waits; everything together takes no longer than the configured
    /// time. After a rate limit or ban nothing is sent until it ran out. Dropping the future abandons the request.
    pub async fn fetch(&self, symbol: &str) -> Result<Quote, FetchError> {
        let result = self.fetch_uncounted(symbol).await;
        let mut state = self.state();
        let outcome = match &result {
            Ok(quote) => {
                state.last_success = Some(quote.received);
                "ok"
            }
            Err(error) => {
                tracing::debug!(venue = %self.venue(), symbol, %error, "no quote");
                error.outcome()
            }
        };
        *state.outcomes.entry(outcome).or_default() += 1;
        result
    }

    /// Counters and state as of now.
    pub fn status(&self) -> SourceStatus {
        let now = Instant::now();
        let state = self.state();
        let waiting = match state.hold_until {
            _ if state.geo_blocked => Duration::MAX,
            Some(until) => until.saturating_duration_since(now),
            None => Duration::ZERO,
        };
        SourceStatus {
            outcomes: state.outcomes.clone(),
            breaker: state.breaker.state(self.ms(now)),
            last_success: state.last_success,
            waiting,
            budget_waits: state.budget_waits,
            budget_wait_total: state.budget_wait_total,
            requests: state.requests,
        }
    }

    /// Forgets a refusal to serve this place, and any wait: for an operator who changed something outside.
    pub fn rearm(&self) {
        let mut state = self.state();
        state.geo_blocked = false;
        state.hold_until = None;
    }

    async fn fetch_uncounted(&self, symbol: &str) -> Result<Quote, FetchError> {
        if !symbol_is_plain(symbol) {
            return Err(FetchError::Symbol(short(symbol)));
        }
        let deadline = Instant::now() + self.timeout;
        self.check_hold()?;
        let permit = self
            .state()
            .breaker
            .admit(self.ms_now())
            .map_err(|wait_ms| FetchError::BreakerOpen(Duration::from_millis(wait_ms)))?;
        let retries = if permit.probe { 0 } else { RETRIES_MAX };
        let backoff =
            ExponentialBuilder::default().with_min_delay(RETRY_WAIT_MIN).with_max_times(retries).with_jitter();
        let attempts = (|| self.attempt(symbol, deadline)).retry(backoff).when(|error| {
            // A venue that named a time to come back is not asked sooner.
            error.is_transient() && self.check_hold().is_ok()
        });
        let result =
            tokio::time::timeout_at(deadline, attempts).await.unwrap_or(Err(FetchError::Timeout(self.timeout)));
        let verdict = result.as_ref().map_or_else(FetchError::verdict, |_| Verdict::Up);
        self.state().breaker.report(permit, verdict, self.ms_now());
        result
    }

    /// One request and what came of it.
    async fn attempt(&self, symbol: &str, deadline: Instant) -> Result<Quote, FetchError> {
        self.pace(deadline).await?;
        // Another fetch may have been told to wait while this one waited for the budget.
        self.check_hold()?;
        self.state().requests += 1;
        let answer =
            transport::get(&self.client, self.channel.request_url(&self.api_url, symbol), self.channel.waits_in_ms())
                .await?;
        let (status, retry_after) = (answer.status, answer.retry_after);
        let refused = match status {
            StatusCode::OK => {
                answer.check_json()?;
                let body = answer.body().await?;
                let received = (self.clock)();
                match self.channel.parse(&body, symbol, received) {
                    Ok(quote) => return Ok(quote),
                    Err(error) => FetchError::of_parse(error, symbol, retry_after.unwrap_or(RATE_LIMIT_WAIT)),
                }
            }
            StatusCode::TOO_MANY_REQUESTS => FetchError::RateLimited(retry_after.unwrap_or(RATE_LIMIT_WAIT)),
            StatusCode::IM_A_TEAPOT | StatusCode::FORBIDDEN => {
                FetchError::Banned { status: status.as_u16(), wait: retry_after.unwrap_or(WAIT_MAX) }
            }
            StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS => FetchError::GeoBlocked,
            status if status.is_redirection() => FetchError::Redirect(status.as_u16()),
            status if status.is_server_error() => FetchError::Unavailable(format!("status {}", status.as_u16())),
            status => self.other_status(status, answer, symbol).await,
        };
        self.hold(&refused, retry_after);
        Err(refused)
    }

    /// A client error: the venue's own words decide, if its body has any.
    async fn other_status(&self, status: StatusCode, answer: transport::Answer, symbol: &str) -> FetchError {
        let wait = answer.retry_after.unwrap_or(RATE_LIMIT_WAIT);
        let body = match answer.body().await {
            Ok(body) => body,
            Err(error) => return error,
        };
        let status = status.as_u16();
        match self.channel.refusal(&body) {
            Some((refusal, detail)) => FetchError::of_refusal(refusal, short(&detail), symbol, status, wait),
            None => FetchError::Status { status, detail: String::new() },
        }
    }

    /// Pays for one request, waiting for the budget as long as the deadline allows.
    async fn pace(&self, deadline: Instant) -> Result<(), FetchError> {
        let began = Instant::now();
        let mut first = true;
        while let Err(wait) = self.pacer.spend() {
            if std::mem::take(&mut first) {
                self.state().budget_waits += 1;
            }
            let now = Instant::now();
            if wait >= deadline.saturating_duration_since(now) {
                return Err(FetchError::Budget(wait));
            }
            tokio::time::sleep(wait).await;
        }
        if !first {
            self.state().budget_wait_total += began.elapsed();
        }
        Ok(())
    }

    /// Notes what the venue asked of us.
    fn hold(&self, error: &FetchError, retry_after: Option<Duration>) {
        let wait = match error {
            FetchError::GeoBlocked => {
                self.state().geo_blocked = true;
                tracing::warn!(venue = %self.venue(), %error, "source disabled");
                return;
            }
            FetchError::RateLimited(wait) | FetchError::Banned { wait, .. } => *wait,
            FetchError::Unavailable(_) => match retry_after {
                Some(wait) => wait,
                None => return,
            },
            _ => return,
        };
        tracing::info!(venue = %self.venue(), wait_s = wait.as_secs(), %error, "source waits");
        let until = Instant::now() + wait;
        let mut state = self.state();
        state.hold_until = Some(state.hold_until.map_or(until, |earlier| earlier.max(until)));
    }

    fn check_hold(&self) -> Result<(), FetchError> {
        let state = self.state();
        if state.geo_blocked {
            return Err(FetchError::GeoBlocked);
        }
        match state.hold_until.map(|until| until.saturating_duration_since(Instant::now())) {
            Some(wait) if !wait.is_zero() => Err(FetchError::Waiting(wait)),
            _ => Ok(()),
        }
    }

    fn ms_now(&self) -> u64 {
        self.ms(Instant::now())
    }

    fn ms(&self, instant: Instant) -> u64 {
        u64::try_from(instant.saturating_duration_since(self.started).as_millis()).unwrap_or(u64::MAX)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while holding it; if something did, plain counters are still good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A base address that can be extended: `http` or `https`, a host, nothing after the path.
fn plain_url(text: &str) -> Option<Url> {
    let url: Url = text.parse().ok()?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    plain.then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(config: SourceConfig) -> String {
        let clock: Clock = Arc::new(|| Time::from_ms(0));
        Source::new(config, clock).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn bad_settings_are_refused_by_name() {
        for url in ["", "api.binance.com", "ftp://a", "https://u:p@a", "https://a?b=c", "https://a#b", "file:///etc"] {
            assert!(refused(SourceConfig::new(Venue::Binance, url)).contains("api_url"), "{url}");
        }
        let good = SourceConfig::new(Venue::Kraken, "https://api.kraken.com");
        assert!(refused(SourceConfig { timeout: Duration::ZERO, ..good.clone() }).contains("timeout"));
        assert!(refused(SourceConfig { channel: Some(Channel::CoinbaseSpot), ..good.clone() }).contains("kraken"));
        let budget = Some(Budget { per_minute: 1, burst: 0 });
        assert!(refused(SourceConfig { budget, ..good }).contains("budget"));
    }
}
