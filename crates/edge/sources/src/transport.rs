//! One HTTP GET with every bound on it.

use std::{error::Error, time::Duration};

use reqwest::{
    Client, Response, StatusCode, Url,
    header::{CONTENT_TYPE, RETRY_AFTER},
    redirect::Policy,
};

use crate::{FetchError, parse_error::short};

/// Longest body read, in bytes after decompression. The longest answer asked for is under 1 KiB; error pages run to tens of KiB.
pub const BODY_LEN_MAX: usize = 256 * 1024;

/// Longest wait a venue's `Retry-After` can impose: a hostile or broken value must not silence a source for a day.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(600);

/// Wait after a rate limit that names none: the vendors count over windows of at most a minute.
pub(crate) const RATE_LIMIT_WAIT: Duration = Duration::from_secs(60);

/// Idle connections kept for a venue: a node polls a handful of symbols at once.
const IDLE_CONNECTIONS_MAX: usize = 8;

/// Longest time to connect, TLS included, when the whole fetch has longer: a venue three seconds away is of no use.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(3);

/// An answer, unread but for its head.
pub(crate) struct Answer {
    response: Response,
    /// The status.
    pub(crate) status: StatusCode,
    /// `Retry-After` in seconds, capped at [`WAIT_MAX`].
    pub(crate) retry_after: Option<Duration>,
}

/// A client for one base address: no redirects, gzip, rustls.
///
/// A plain `http` address needs no TLS roots, so that a simulated venue works on a machine that has none; a loopback address is never
/// asked through a proxy of the environment.
pub(crate) fn client(api_url: &Url, timeout: Duration) -> reqwest::Result<Client> {
    // Two crypto providers are compiled in; without a choice the first handshake would panic. An earlier choice stands.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let mut builder = Client::builder()
        .redirect(Policy::none())
        .referer(false)
        .gzip(true)
        .connect_timeout(timeout.min(CONNECT_TIMEOUT_MAX))
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .user_agent(concat!("concurrence/", env!("CARGO_PKG_VERSION")));
    if api_url.scheme() == "http" {
        builder = builder.tls_certs_only([]);
    }
    if is_loopback(api_url) {
        builder = builder.no_proxy();
    }
    builder.build()
}

/// Sends a GET and reads the head of the answer. The caller bounds the time. `Retry-After` counts seconds, or for one venue milliseconds.
pub(crate) async fn get(client: &Client, url: Url, waits_in_ms: bool) -> Result<Answer, FetchError> {
    let response = client.get(url).send().await.map_err(broken)?;
    let retry_after =
        response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok()).map(|wait| {
            if waits_in_ms { Duration::from_millis(wait) } else { Duration::from_secs(wait) }
                .clamp(Duration::from_secs(1), WAIT_MAX)
        });
    Ok(Answer { status: response.status(), retry_after, response })
}

/// Sends a JSON body by POST and reads the JSON body of a success. The caller bounds the time.
pub(crate) async fn post(client: &Client, url: Url, body: String) -> Result<Vec<u8>, FetchError> {
    let request = client.post(url).header(CONTENT_TYPE, "application/json").body(body);
    let response = request.send().await.map_err(broken)?;
    let status = response.status();
    let answer = Answer { status, retry_after: None, response };
    match status {
        StatusCode::OK => {
            answer.check_json()?;
            answer.body().await
        }
        StatusCode::TOO_MANY_REQUESTS => Err(FetchError::RateLimited(RATE_LIMIT_WAIT)),
        status if status.is_server_error() => Err(FetchError::Unavailable(format!("status {}", status.as_u16()))),
        status => Err(FetchError::Status { status: status.as_u16(), detail: String::new() }),
    }
}

impl Answer {
    /// Refuses an answer that does not call itself JSON, before any of its body is read.
    pub(crate) fn check_json(&self) -> Result<(), FetchError> {
        let declared = self.response.headers().get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
        let media = declared.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        if media.eq_ignore_ascii_case(b"application/json") {
            return Ok(());
        }
        Err(FetchError::ContentType(short(&String::from_utf8_lossy(declared))))
    }

    /// Reads the body piece by piece, and no further than [`BODY_LEN_MAX`].
    pub(crate) async fn body(mut self) -> Result<Vec<u8>, FetchError> {
        let mut body = Vec::new();
        while let Some(piece) = self.response.chunk().await.map_err(broken)? {
            if body.len() + piece.len() > BODY_LEN_MAX {
                return Err(FetchError::BodyTooLong(BODY_LEN_MAX));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

/// Whether an address names this machine.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// A transport error as bounded text: the innermost cause says what happened.
fn broken(error: reqwest::Error) -> FetchError {
    let error = error.without_url();
    let mut cause: &dyn Error = &error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    FetchError::Connection(short(&cause.to_string()))
}
