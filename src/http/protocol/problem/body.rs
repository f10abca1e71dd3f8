//! [`Problem`]: an error as the client sees it, `application/problem+json` (RFC 9457), and the shapes that several
//! errors share. [`super`] says which error has which problem.

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use serde_json::{Map, Value};

use crate::http::message::response_body::{Body, Response};
use crate::http::protocol::response;
use crate::pipeline;
use crate::pipeline::invalid::{Help, Invalid};
use crate::store::FreeSpace;

/// How long a 404 may be cached: an upload may end it.
pub(super) const ABSENT_MAX_AGE_S: u32 = 5;
/// How long the refusal of a stored image may be cached: only other limits or a new release would end it.
pub(super) const REFUSED_MAX_AGE_S: u32 = 300;

/// An error as the client sees it.
pub(in crate::http) struct Problem {
    pub(super) status: StatusCode,
    pub(super) kind: &'static str,
    title: &'static str,
    detail: String,
    members: Vec<(&'static str, Value)>,
    field: Option<(HeaderName, String)>,
    max_age_s: u32,
}

pub(super) fn problem(
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: impl Into<String>,
) -> Problem {
    Problem { status, kind, title, detail: detail.into(), members: Vec::new(), field: None, max_age_s: 0 }
}

impl Problem {
    pub(in crate::http) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn member(mut self, name: &'static str, value: impl Into<Value>) -> Problem {
        self.members.push((name, value.into()));
        self
    }

    pub(super) fn field(mut self, name: HeaderName, value: impl Into<String>) -> Problem {
        self.field = Some((name, value.into()));
        self
    }

    pub(super) fn cached(mut self, max_age_s: u32) -> Problem {
        self.max_age_s = max_age_s;
        self
    }

    /// The problem, which may be cached for at most `max_age_s`.
    pub(super) fn cached_at_most(mut self, max_age_s: u32) -> Problem {
        self.max_age_s = self.max_age_s.min(max_age_s);
        self
    }

    pub(super) fn limit(self, name: &str, value: Option<u64>, max: u64) -> Problem {
        let problem = self.member("limit", name).member("max", max);
        match value {
            Some(value) => problem.member("value", value),
            None => problem,
        }
    }

    /// Names the space that there is, where the store has no room.
    pub(in crate::http) fn short_of_space(self, FreeSpace { bytes, reserve_bytes }: FreeSpace) -> Problem {
        let detail = format!(
            "The store has no room for these bytes: {bytes} bytes of its device are free, and space_reserve_bytes keeps \
             {reserve_bytes} free."
        );
        Problem { detail, ..self }.limit("space_reserve_bytes", Some(bytes), reserve_bytes)
    }

    /// The body.
    pub(in crate::http) fn json(self) -> Value {
        let mut body = Map::new();
        body.insert("type".to_owned(), format!("/problems/{}", self.kind).into());
        body.insert("title".to_owned(), self.title.into());
        body.insert("status".to_owned(), self.status.as_u16().into());
        body.insert("detail".to_owned(), self.detail.into());
        body.extend(self.members.into_iter().map(|(name, value)| (name.to_owned(), value)));
        Value::Object(body)
    }

    /// The response. Only responses to safe requests may be cached, and only by the client itself if a key was needed.
    pub(in crate::http) fn respond(mut self, safe: bool, private: bool) -> Response {
        let (status, field, max_age_s) = (self.status, self.field.take(), if safe { self.max_age_s } else { 0 });
        let mut response = response::with(status, Body::Full(self.json().to_string().into()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, cache_control(max_age_s, private));
        if let Some((name, value)) = field
            && let Ok(value) = HeaderValue::try_from(value)
        {
            headers.insert(name, value);
        }
        response
    }
}

fn cache_control(max_age_s: u32, private: bool) -> HeaderValue {
    match (max_age_s, private) {
        (0, _) => HeaderValue::from_static("no-store"),
        (age, false) => response::value(format!("public, max-age={age}")),
        (age, true) => response::value(format!("private, max-age={age}")),
    }
}

pub(super) fn absent(kind: &'static str, detail: &str) -> Problem {
    problem(StatusCode::NOT_FOUND, kind, "Not found", detail).cached(ABSENT_MAX_AGE_S)
}

pub(super) fn malformed(what: &str) -> Problem {
    problem(
        StatusCode::BAD_REQUEST,
        "malformed-request",
        "Malformed request",
        format!("Cannot read the request: {what}."),
    )
}

/// The problem of a parameter: `kind` says what is wrong with it. Every other member means the same in each kind.
pub(super) fn invalid(kind: &'static str, title: &'static str, error: &pipeline::Error) -> Problem {
    let mut problem = problem(StatusCode::BAD_REQUEST, kind, title, capital(&error.to_string()));
    let pipeline::Error::Invalid { parameter, kind } = error else { return problem };
    problem.detail = sentence(&error.to_string(), parameter);
    let mut add = |name, value: Option<Value>| problem.members.extend(value.map(|value| (name, value)));
    add("kind", Some(kind.name().into()));
    add("parameter", Some(parameter.as_str().into()));
    add("value", kind.value().map(Value::from));
    add("allowed", kind.allowed().map(Value::from));
    match &**kind {
        Invalid::Unknown { known, .. } if !known.is_empty() => add("known", Some(known.as_slice().into())),
        Invalid::Missing { needs, .. } if !needs.is_empty() => add("needs", Some(needs.as_slice().into())),
        Invalid::Conflict { with, .. } => add("with", Some(with.as_str().into())),
        _ => {}
    }
    match kind.help() {
        Help::Nearest(name) => add("suggestion", Some(name.as_str().into())),
        Help::Write(what, _) => add("hint", Some(what.as_str().into())),
        Help::Extension(_) | Help::Words(_) | Help::None => {}
    }
    problem
}

/// A whole sentence. A parameter that begins it keeps its own spelling.
fn sentence(text: &str, parameter: &str) -> String {
    let begun = if text.starts_with(parameter) { format!("Parameter {text}") } else { capital(text) };
    if begun.ends_with(['.', '?', '!']) { begun } else { format!("{begun}.") }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

pub(super) fn corrupt(detail: impl Into<String>) -> Problem {
    problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "corrupt-source", "Corrupt image", detail)
}

pub(super) fn too_large(name: &str, max: u64) -> Problem {
    let detail = format!("At most {max} bytes are accepted.");
    problem(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too many bytes", detail).limit(name, None, max)
}

pub(super) fn busy(detail: &str, retry_after_s: u32) -> Problem {
    unavailable("busy", detail).field(RETRY_AFTER, retry_after_s.to_string())
}

pub(super) fn unavailable(kind: &'static str, detail: &str) -> Problem {
    problem(StatusCode::SERVICE_UNAVAILABLE, kind, "Not available", detail)
}

pub(super) fn internal() -> Problem {
    problem(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "Internal error",
        "The server has failed; its log has the reason.",
    )
}

pub(super) fn over(name: &str, value: u64, max: u64) -> String {
    format!("{value} is more than {name} allows, which is {max}.")
}
