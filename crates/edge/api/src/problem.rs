//! Errors as RFC 9457 problem documents.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An RFC 9457 problem document, sent as `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A path of this server that names the kind of problem and explains it.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// The kind in a few words; the same for every problem of the kind.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was wrong with this request.
    pub detail: String,
    /// The path asked for.
    pub instance: String,
    /// The feeds this node knows, when the problem is an unknown feed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known_feeds: Vec<String>,
}

/// Every kind of problem this API answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProblemKind {
    /// No such path.
    NotFound,
    /// A feed this node does not carry.
    UnknownFeed,
    /// A path or query that does not parse.
    BadRequest,
    /// Something other than GET, HEAD or OPTIONS.
    MethodNotAllowed,
    /// A request with a body.
    BodyTooLarge,
    /// A path and query over the limit.
    UriTooLong,
    /// Nothing is kept of what is asked for.
    Unavailable,
    /// Too many requests or streams at once.
    Busy,
    /// The answer could not be written.
    Internal,
}

impl ProblemKind {
    pub(crate) const ALL: [Self; 9] = [
        Self::NotFound,
        Self::UnknownFeed,
        Self::BadRequest,
        Self::MethodNotAllowed,
        Self::BodyTooLarge,
        Self::UriTooLong,
        Self::Unavailable,
        Self::Busy,
        Self::Internal,
    ];

    /// Last part of the type URI.
    pub(crate) fn slug(self) -> &'static str {
        self.parts().0
    }

    /// For `GET /problems/{slug}`.
    pub(crate) fn explanation(self) -> &'static str {
        self.parts().3
    }

    fn parts(self) -> (&'static str, StatusCode, &'static str, &'static str) {
        match self {
            Self::NotFound => (
                "not-found",
                StatusCode::NOT_FOUND,
                "no such path",
                "The server has nothing at this path. /openapi.json lists what it has.",
            ),
            Self::UnknownFeed => (
                "unknown-feed",
                StatusCode::NOT_FOUND,
                "unknown feed",
                "The node does not carry this feed. Feeds are named BTC-USD or BTC%2FUSD in any case; known_feeds lists them.",
            ),
            Self::BadRequest => (
                "bad-request",
                StatusCode::BAD_REQUEST,
                "bad request",
                "The path or the query does not parse: an unknown parameter, a repeated one, or a value out of its range.",
            ),
            Self::MethodNotAllowed => (
                "method-not-allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                "method not allowed",
                "Everything here is read with GET or HEAD.",
            ),
            Self::BodyTooLarge => (
                "body-too-large",
                StatusCode::PAYLOAD_TOO_LARGE,
                "body too large",
                "No request of this API has a body.",
            ),
            Self::UriTooLong => (
                "uri-too-long",
                StatusCode::URI_TOO_LONG,
                "uri too long",
                "The path and query are longer than any valid request's.",
            ),
            Self::Unavailable => (
                "unavailable",
                StatusCode::NOT_FOUND,
                "nothing kept",
                "The node keeps nothing of what was asked for: it is too long ago, there was no answer, or only another node has it.",
            ),
            Self::Busy => (
                "busy",
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "As many requests or streams are open as the server serves at once. Try again after Retry-After seconds.",
            ),
            Self::Internal => (
                "internal",
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal error",
                "The answer could not be written. This is a defect of the server.",
            ),
        }
    }

    /// The problem document for one request.
    pub(crate) fn at(self, instance: &str, detail: impl Into<String>) -> Refusal {
        let (slug, status, title, _) = self.parts();
        Refusal(Box::new(Problem {
            type_uri: format!("/problems/{slug}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            instance: instance.to_owned(),
            known_feeds: Vec::new(),
        }))
    }
}

/// A problem on its way out; boxed, since it is the rare arm of a handler's result.
#[derive(Debug)]
pub(crate) struct Refusal(Box<Problem>);

impl Refusal {
    pub(crate) fn with_known_feeds(mut self, feeds: Vec<String>) -> Self {
        self.0.known_feeds = feeds;
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(*self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, OPTIONS"));
        }
        response
    }
}

/// What a refused client is told to wait: requests take milliseconds, so a place is free long before.
const RETRY_AFTER_S: &str = "1";
