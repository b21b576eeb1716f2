//! Conditional requests: entity tags and 304.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// How long a shared cache may serve an answer: nodes tick every few seconds, readers poll about once a second.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("public, max-age=1");

/// A weak tag over ids: the answers are the same, but for the ages, which are computed when answering (RFC 9110 8.8.1).
/// One id is its own tag; several are hashed, where a collision could only come from a list the node itself made.
pub(crate) fn weak_etag<'a>(ids: impl IntoIterator<Item = &'a str>) -> Option<HeaderValue> {
    let mut ids = ids.into_iter();
    let tag = match (ids.next(), ids.next()) {
        (Some(only), None) => format!("W/\"{only}\""),
        (first, second) => {
            let mut hasher = DefaultHasher::new();
            first.into_iter().chain(second).chain(ids).for_each(|id| id.hash(&mut hasher));
            format!("W/\"{:016x}\"", hasher.finish())
        }
    };
    HeaderValue::try_from(tag).ok()
}

/// 304 when the client has the tag already; else the body. Either way with the tag.
pub(crate) fn fresh_or<R: IntoResponse>(
    request: &HeaderMap,
    etag: Option<HeaderValue>,
    body: impl FnOnce() -> R,
) -> Response {
    let known = etag.as_ref().is_some_and(|etag| is_known(request, etag));
    let mut response = if known { StatusCode::NOT_MODIFIED.into_response() } else { body().into_response() };
    if let Some(etag) = etag {
        response.headers_mut().insert(header::ETAG, etag);
        response.headers_mut().insert(header::CACHE_CONTROL, CACHE_CONTROL);
    }
    response
}

/// Weak comparison over every `If-None-Match` list (RFC 9110 13.1.2).
fn is_known(request: &HeaderMap, etag: &HeaderValue) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let Ok(ours) = etag.to_str() else { return false };
    request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','))
        .any(|theirs| theirs.trim() == "*" || opaque(theirs) == opaque(ours))
}
