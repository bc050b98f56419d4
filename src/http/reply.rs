//! Small answers: text, redirects, nothing.
//!
//! Pure. Their form is that of Go's `net/http`: `Error`, `Redirect`, `NotFound`.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};

/// The body of an answer.
pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// An answer with a body of known length.
pub(super) fn response(status: StatusCode, headers: HeaderMap, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from(body)).boxed_unsync());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode, headers: HeaderMap) -> Response<Body> {
    response(status, headers, Vec::new())
}

/// An error in plain text.
pub(super) fn error(status: StatusCode, mut headers: HeaderMap, text: &str) -> Response<Body> {
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, plain);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response(status, headers, format!("{text}\n").into_bytes())
}

/// The answer for what is not there.
pub(super) fn not_found(headers: HeaderMap) -> Response<Body> {
    error(StatusCode::NOT_FOUND, headers, "404 page not found")
}

/// Text that is no error.
pub(super) fn text(body: String) -> Response<Body> {
    let mut headers = HeaderMap::new();
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, plain);
    response(StatusCode::OK, headers, body.into_bytes())
}

/// A redirect; only an answer to `GET` has a body, and one to `HEAD` its type.
pub(super) fn redirect(
    status: StatusCode,
    method: &str,
    mut headers: HeaderMap,
    location: &str,
) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_bytes(location.as_bytes()) {
        headers.insert(header::LOCATION, value);
    }
    if !matches!(method, "GET" | "HEAD") {
        return empty(status, headers);
    }
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    headers.insert(header::CONTENT_TYPE, html);
    let location = location
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;");
    let reason = status.canonical_reason().unwrap_or_default();
    let body = format!("<a href=\"{location}\">{reason}</a>.\n\n");
    response(status, headers, body.into_bytes())
}
