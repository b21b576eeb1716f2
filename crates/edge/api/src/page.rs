//! The page: static files of `dashboard/`, embedded in the program.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use axum::routing::get;

use crate::cache;
use crate::routes::Shared;

/// The page runs its own script and style and speaks to its own server, and to nothing else.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'",
);

struct File {
    path: &'static str,
    content_type: &'static str,
    text: &'static str,
}

const FILES: [File; 4] = [
    File {
        path: "/",
        content_type: "text/html; charset=utf-8",
        text: include_str!("../../../../dashboard/index.html"),
    },
    File {
        path: "/app.js",
        content_type: "text/javascript; charset=utf-8",
        text: include_str!("../../../../dashboard/app.js"),
    },
    File {
        path: "/style.css",
        content_type: "text/css; charset=utf-8",
        text: include_str!("../../../../dashboard/style.css"),
    },
    File { path: "/icon.svg", content_type: "image/svg+xml", text: include_str!("../../../../dashboard/icon.svg") },
];

pub(crate) fn routes() -> Router<Shared> {
    FILES.iter().fold(Router::new(), |router, file| {
        router.route(file.path, get(move |headers: HeaderMap| async move { answer(file, &headers) }))
    })
}

fn answer(file: &'static File, request: &HeaderMap) -> Response {
    let mut hasher = DefaultHasher::new();
    file.text.hash(&mut hasher);
    let version = format!("{:016x}", hasher.finish());
    let mut response = cache::fresh_or(request, cache::weak_etag([version.as_str()]), || file.text);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.content_type));
    headers.insert(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    // Always asked for again, so that a new program never runs with an old page.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
