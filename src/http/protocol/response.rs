//! Responses without an image: common fields, short texts, JSON, `OPTIONS`. This module chooses no error status.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::http::request::Parts;
use serde_json::Value;

use super::conditional::{self, Condition, ETag};
use crate::digest::Digest;
use crate::http::error::Error;
use crate::http::message::response_body::{Body, Response};
use crate::pipeline::codec::CODECS;

/// The value of a header field that the server has made.
pub(in crate::http) fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("our own fields are visible ASCII")
}

/// A response with the fields that every response has.
pub(in crate::http) fn with(status: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let mut headers = HeaderMap::with_capacity(16);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    *response.headers_mut() = headers;
    response
}

/// A short JSON response that no cache keeps.
pub(in crate::http) fn json(status: StatusCode, value: &Value) -> Response {
    text(status, "application/json", value.to_string())
}

/// A short response that no cache keeps.
pub(in crate::http) fn text(status: StatusCode, media_type: &'static str, text: impl Into<Bytes>) -> Response {
    let text = text.into();
    let mut response = with(status, Body::unkept(text.len(), text.into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A JSON response with an entity tag over its bytes, which caches must always revalidate.
pub(in crate::http) fn revalidated(parts: &Parts, value: &Value) -> Result<Response, Error> {
    let body = value.to_string();
    let etag = ETag::of_key(&Digest::of(body.as_bytes()));
    let mut response = match conditional::condition(&parts.method, &parts.headers, Some(etag.as_str())) {
        Condition::Proceed => text(StatusCode::OK, "application/json", body),
        Condition::NotModified => with(StatusCode::NOT_MODIFIED, Body::Empty),
        Condition::Failed => return Err(Error::Precondition),
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response.headers_mut().insert(ETAG, etag.value());
    Ok(response)
}

/// The response to `OPTIONS`.
pub(in crate::http) fn options(allow: &str) -> Response {
    let mut response = with(StatusCode::NO_CONTENT, Body::Empty);
    let headers = response.headers_mut();
    headers.insert(ALLOW, value(allow.to_owned()));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The extensions of formats that can be written, as a text.
pub(in crate::http) fn extensions() -> String {
    let writable = CODECS.iter().filter(|codec| codec.encoder.is_some());
    let names: Vec<&str> = writable.flat_map(|codec| codec.extensions).copied().chain(["auto"]).collect();
    names.join(", ")
}
