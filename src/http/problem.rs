//! From errors to statuses: the only place that chooses one, and the text of `application/problem+json` (RFC 9457).
//!
//! The matches are exhaustive and without `_`: a new variant stops the build until its status is chosen. Nothing is shown but what
//! the client said itself, bounds, digests and what a decoder found in the client's bytes.

use hyper::StatusCode;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use serde_json::{Map, Value, json};

use super::error::Error;
use super::sign::Refused;
use super::{Body, Response, respond};
use crate::{fetch, jobs, pipeline, store};

/// How long a 404 may be cached: an upload may end it.
const ABSENT_MAX_AGE_S: u32 = 5;
/// How long the refusal of a stored image may be cached: only other limits or a new release would end it.
const REFUSED_MAX_AGE_S: u32 = 300;

/// An error as the client sees it.
pub(super) struct Problem {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    members: Vec<(&'static str, Value)>,
    field: Option<(HeaderName, String)>,
    max_age_s: u32,
}

fn problem(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Problem {
    Problem { status, kind, title, detail: detail.into(), members: Vec::new(), field: None, max_age_s: 0 }
}

impl Problem {
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    fn member(mut self, name: &'static str, value: impl Into<Value>) -> Problem {
        self.members.push((name, value.into()));
        self
    }

    fn field(mut self, name: HeaderName, value: impl Into<String>) -> Problem {
        self.field = Some((name, value.into()));
        self
    }

    fn cached(mut self, max_age_s: u32) -> Problem {
        self.max_age_s = max_age_s;
        self
    }

    fn limit(self, name: &str, value: Option<u64>, max: u64) -> Problem {
        let problem = self.member("limit", name).member("max", max);
        match value {
            Some(value) => problem.member("value", value),
            None => problem,
        }
    }

    /// The body.
    pub(super) fn json(self) -> Value {
        let mut body = Map::new();
        body.insert("type".to_owned(), format!("/problems/{}", self.kind).into());
        body.insert("title".to_owned(), self.title.into());
        body.insert("status".to_owned(), self.status.as_u16().into());
        body.insert("detail".to_owned(), self.detail.into());
        body.extend(self.members.into_iter().map(|(name, value)| (name.to_owned(), value)));
        Value::Object(body)
    }

    /// What stands in a line of an answer about one of many.
    pub(super) fn line(self) -> Value {
        json!({ "status": self.status.as_u16(), "problem": self.json() })
    }

    /// The response. Only answers to safe requests may be cached, and where a key was needed only by the client itself.
    pub(super) fn respond(mut self, safe: bool, private: bool) -> Response {
        let (status, field, max_age_s) = (self.status, self.field.take(), if safe { self.max_age_s } else { 0 });
        let mut response = respond::with(status, Body::Full(self.json().to_string().into()));
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
        (age, false) => respond::value(format!("public, max-age={age}")),
        (age, true) => respond::value(format!("private, max-age={age}")),
    }
}

/// What a client is told of `error`.
pub(super) fn of(error: &Error) -> Problem {
    match error {
        Error::Store(error) => of_store(error),
        Error::Pipeline(error) => of_pipeline(error),
        Error::Fetch(error) => of_fetch(error),
        Error::Jobs(error) => of_jobs(error),
        Error::NoSuchJob => of_jobs(&jobs::Error::NotFound),
        Error::Busy { retry_after_s } => busy("Every place for a render is taken.", *retry_after_s),
        Error::Panicked => corrupt("The image could not be decoded."),
        Error::NoRoute => absent("not-found", "There is nothing at this path."),
        Error::NoSuchId => absent("unknown-id", "No image has this id; an id is 64 lower-case hexadecimal digits."),
        Error::MethodNotAllowed { allow } => {
            let detail = format!("This path takes {allow}.");
            problem(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", detail)
                .field(ALLOW, allow.as_str())
        }
        Error::NotImplemented { what } => {
            let detail = format!("This server does not know {what}.");
            problem(StatusCode::NOT_IMPLEMENTED, "not-implemented", "Not implemented", detail)
        }
        Error::Host => malformed("the Host field must be there once and name a host"),
        Error::UrlTooLong { max } => {
            problem(StatusCode::URI_TOO_LONG, "url-too-long", "URL too long", format!("At most {max} bytes are taken."))
                .limit("url_bytes_max", None, *max as u64)
        }
        Error::HeadTooLarge { name, value, max } => {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            problem(status, "head-too-large", "Header fields too large", over(name, *value, *max)).limit(
                name,
                Some(*value),
                *max,
            )
        }
        Error::Unauthorized => {
            let detail = "Send a key as Authorization: Bearer <secret>.";
            problem(StatusCode::UNAUTHORIZED, "key-needed", "A key is needed", detail)
                .field(WWW_AUTHENTICATE, "Bearer realm=\"progimage\"")
        }
        Error::Forbidden { scope } => {
            let detail = format!("The key lacks the scope {scope}.");
            problem(StatusCode::FORBIDDEN, "scope-needed", "The key does not allow this", detail)
                .member("scope", *scope)
        }
        Error::Signature(refused) => {
            let kind = match refused {
                Refused::Bad => "signature-refused",
                Refused::Expired => "signature-expired",
            };
            problem(StatusCode::FORBIDDEN, kind, "The signature is not good", format!("Refused: {refused}."))
        }
        Error::Unsigned => {
            let detail = "Renditions of this server need a signed URL, or a key.";
            problem(StatusCode::FORBIDDEN, "signature-needed", "A signature is needed", detail)
        }
        Error::Precondition => {
            let detail = "If-Match or If-None-Match does not agree with what is stored.";
            problem(StatusCode::PRECONDITION_FAILED, "precondition-failed", "Precondition failed", detail)
        }
        Error::Range { bytes } => {
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            problem(status, "range-not-satisfiable", "Range not satisfiable", format!("There are {bytes} bytes."))
                .field(CONTENT_RANGE, format!("bytes */{bytes}"))
        }
        Error::NotAcceptable => {
            let detail = "No format of this server is acceptable by the Accept field.";
            problem(StatusCode::NOT_ACCEPTABLE, "not-acceptable", "Not acceptable", detail)
        }
        Error::Malformed { what } => malformed(what),
        Error::Extension { extension } => {
            let allowed = respond::extensions();
            problem(
                StatusCode::BAD_REQUEST,
                "unknown-extension",
                "Unknown extension",
                format!("Formats to write: {allowed}."),
            )
            .member("parameter", "ext")
            .member("value", short(extension))
            .member("allowed", allowed)
        }
        Error::MediaType { allowed } => {
            let detail = format!("This path takes {allowed}.");
            problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "Content-Type not supported", detail)
                .member("allowed", *allowed)
        }
        Error::Expectation => {
            let detail = "The only expectation that is met is 100-continue.";
            problem(StatusCode::EXPECTATION_FAILED, "expectation-failed", "Expectation failed", detail)
        }
        Error::FieldDigest { algorithm, expected, actual } => {
            let detail =
                format!("The {algorithm} of the bytes is not the one that was sent along; nothing was stored.");
            problem(StatusCode::UNPROCESSABLE_ENTITY, "digest-mismatch", "Digest mismatch", detail)
                .member("algorithm", *algorithm)
                .member("expected", expected.as_str())
                .member("actual", actual.as_str())
        }
        Error::Parts => malformed("multipart/form-data must hold an image"),
        Error::NotAFile => {
            let detail = "The entry is not a regular file: a link, a device, or a file with holes.";
            problem(StatusCode::UNPROCESSABLE_ENTITY, "not-a-file", "Not a regular file", detail)
        }
        Error::BodyTooLarge { max } => too_large("bytes_max", *max),
        Error::TooLarge { name, max } => too_large(name, *max),
        Error::Lists => busy("Too many lists of ids are being read or answered at this moment.", 1),
        Error::Ids { value, max } => {
            problem(StatusCode::UNPROCESSABLE_ENTITY, "limit", "Limit exceeded", over("ids_max", *value, *max)).limit(
                "ids_max",
                Some(*value),
                *max,
            )
        }
        Error::DeletedMeanwhile => {
            let detail = "The image was deleted while it was uploaded; send it again.";
            unavailable("deleted-meanwhile", detail).field(RETRY_AFTER, "0")
        }
        Error::BodyTimeout => {
            let detail = "The body stalled, was too slow or took too long.";
            problem(StatusCode::REQUEST_TIMEOUT, "body-timeout", "The body took too long", detail)
        }
        Error::BodyBroken => malformed("the body ended early or its framing is broken"),
        Error::NotReading => {
            let detail = "More was answered than is kept for a client that does not read; read while you send.";
            problem(StatusCode::REQUEST_TIMEOUT, "client-not-reading", "The client does not read", detail)
        }
        Error::Draining => unavailable("draining", "The server is shutting down."),
        Error::Internal => internal(),
    }
}

fn of_store(error: &store::Error) -> Problem {
    match error {
        store::Error::NotFound => absent("unknown-id", "No image has this id."),
        store::Error::Corrupt(digest) => {
            unavailable("blob-corrupt", "The stored bytes do not agree with their id and are out of service.")
                .member("id", digest.to_string())
        }
        store::Error::Mismatch { expected, actual } => {
            let detail = format!("The bytes hash to {actual}, not {expected}; nothing was stored.");
            problem(StatusCode::UNPROCESSABLE_ENTITY, "digest-mismatch", "Digest mismatch", detail)
                .member("expected", expected.to_string())
                .member("actual", actual.to_string())
        }
        store::Error::TooLarge { max } => too_large("bytes_max", *max),
        store::Error::Busy => busy("Too many bytes are being uploaded at this moment.", 1),
        store::Error::Full => problem(
            StatusCode::INSUFFICIENT_STORAGE,
            "store-full",
            "No space left",
            "The store has no room for these bytes.",
        ),
        store::Error::ReadOnly => unavailable("store-read-only", "The store takes no uploads."),
        // The reason may hold a path: it is for the log.
        store::Error::Unavailable(_) => {
            unavailable("store-unavailable", "The store is not ready.").field(RETRY_AFTER, "1")
        }
    }
}

fn of_pipeline(error: &pipeline::Error) -> Problem {
    match error {
        pipeline::Error::Invalid { parameter, value, allowed } => {
            let problem = invalid(parameter, format!("{error}."), allowed);
            match value {
                Some(value) => problem.member("value", value.as_str()),
                None => problem,
            }
        }
        pipeline::Error::UnknownFormat => {
            let detail = "The bytes are not an image of a known format.";
            problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unknown-format", "Unknown format", detail)
                .cached(REFUSED_MAX_AGE_S)
        }
        pipeline::Error::Unsupported { format, feature } => {
            let detail = format!("{format}: {feature} is not supported.");
            problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-feature", "Feature not supported", detail)
                .member("format", *format)
                .member("feature", *feature)
                .cached(REFUSED_MAX_AGE_S)
        }
        pipeline::Error::Limit { name: "bytes_max", value, max } => {
            too_large("bytes_max", *max).member("value", *value)
        }
        pipeline::Error::Limit { name, value, max } => {
            problem(StatusCode::UNPROCESSABLE_ENTITY, "limit", "Limit exceeded", over(name, *value, *max))
                .limit(name, Some(*value), *max)
                .cached(REFUSED_MAX_AGE_S)
        }
        pipeline::Error::Corrupt { format, reason } => {
            corrupt(format!("{format}: {reason}")).member("format", *format).cached(REFUSED_MAX_AGE_S)
        }
        pipeline::Error::CropOutside => {
            let detail = "The crop lies wholly outside the image.";
            problem(StatusCode::UNPROCESSABLE_ENTITY, "crop-outside", "Crop outside the image", detail)
                .cached(REFUSED_MAX_AGE_S)
        }
        pipeline::Error::MissingImage { id } => {
            let detail = format!("The image {id}, which the operations name, is not stored.");
            problem(StatusCode::UNPROCESSABLE_ENTITY, "image-missing", "An image is missing", detail)
                .member("id", id.to_string())
                .cached(ABSENT_MAX_AGE_S)
        }
        pipeline::Error::Cancelled => busy("The render was given up.", 1),
        pipeline::Error::Timeout => {
            let detail = "The render ran past its time.";
            problem(StatusCode::UNPROCESSABLE_ENTITY, "render-timeout", "The render took too long", detail)
        }
        // What the encoder said is for the log.
        pipeline::Error::Encode { .. } => internal(),
    }
}

fn of_jobs(error: &jobs::Error) -> Problem {
    match error {
        jobs::Error::NotFound => absent("unknown-job", "No job has this id, or it has been forgotten.").cached(0),
        jobs::Error::Busy => busy("Too many jobs are unfinished, or are being received.", 5),
        jobs::Error::TooManyItems { max } => {
            let detail = format!("At most {max} items are taken.");
            problem(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too many items", detail).limit(
                "job_items_max",
                None,
                *max,
            )
        }
        jobs::Error::Full { max } => {
            let detail = "The queue of jobs has no room for these items.";
            problem(StatusCode::INSUFFICIENT_STORAGE, "jobs-full", "No space left", detail).limit(
                "jobs_bytes_max",
                None,
                *max,
            )
        }
        jobs::Error::KeyReused => {
            let detail = "This Idempotency-Key was sent with other items before.";
            problem(
                StatusCode::UNPROCESSABLE_ENTITY,
                "idempotency-key-reused",
                "Idempotency-Key was used before",
                detail,
            )
        }
        jobs::Error::OtherRights => {
            let detail = "These items were sent before by somebody who may do less: send them with an Idempotency-Key of \
                their own.";
            problem(StatusCode::CONFLICT, "job-of-other-rights", "The job was sent with fewer rights", detail)
        }
        // Not which one it was: it may hold a secret of somebody else.
        jobs::Error::OtherWebhook => {
            let detail = "These items were sent before with another webhook, or with none: send them with an Idempotency-Key \
                of their own, or without a webhook.";
            problem(StatusCode::CONFLICT, "job-of-other-webhook", "The job was sent with another webhook", detail)
        }
        jobs::Error::Webhook(fetch::Error::Off) => {
            let detail = "This server calls no webhooks: no host is allowed.";
            problem(StatusCode::FORBIDDEN, "webhook-off", "Webhooks are off", detail)
        }
        jobs::Error::Webhook(fetch::Error::Url { allowed }) => {
            invalid("webhook", format!("webhook is not of the allowed form; allowed: {allowed}."), allowed)
        }
        jobs::Error::Webhook(_) => {
            let detail = "This server may not call this URL.";
            problem(StatusCode::FORBIDDEN, "webhook-refused", "Webhook refused", detail)
        }
        jobs::Error::Store(error) => of_store(error),
        // The reason may hold a path: it is for the log.
        jobs::Error::Ledger(_) | jobs::Error::Ended => {
            unavailable("jobs-unavailable", "The queue of jobs does not answer.").field(RETRY_AFTER, "1")
        }
    }
}

fn of_fetch(error: &fetch::Error) -> Problem {
    match error {
        fetch::Error::Off => {
            let detail = "This server fetches no remote images: no host is allowed.";
            problem(StatusCode::FORBIDDEN, "remote-off", "Remote sources are off", detail)
        }
        fetch::Error::Url { allowed } => {
            invalid("url", format!("url is not of the allowed form; allowed: {allowed}."), allowed)
        }
        // Nothing tells a blocked address from one where nobody is.
        fetch::Error::Refused => {
            let detail = "This URL, or where it leads, is not allowed here or cannot be reached.";
            problem(StatusCode::FORBIDDEN, "remote-refused", "Remote source refused", detail)
        }
        fetch::Error::Failed { status } => {
            let detail = "The remote server did not answer with an image.";
            let problem = problem(StatusCode::BAD_GATEWAY, "remote-failed", "Remote source failed", detail);
            match status {
                Some(status) => problem.member("remote_status", *status),
                None => problem,
            }
        }
        fetch::Error::TooSlow => {
            let detail = "The remote server took too long.";
            problem(StatusCode::GATEWAY_TIMEOUT, "remote-timeout", "Remote source too slow", detail)
        }
        fetch::Error::TooLarge { max } => too_large("bytes_max", *max),
        fetch::Error::Busy => busy("Too many remote images are being fetched at this moment.", 1),
    }
}

fn absent(kind: &'static str, detail: &str) -> Problem {
    problem(StatusCode::NOT_FOUND, kind, "Not found", detail).cached(ABSENT_MAX_AGE_S)
}

fn malformed(what: &str) -> Problem {
    problem(
        StatusCode::BAD_REQUEST,
        "malformed-request",
        "Malformed request",
        format!("Cannot read the request: {what}."),
    )
}

fn invalid(parameter: &str, detail: String, allowed: &str) -> Problem {
    problem(StatusCode::BAD_REQUEST, "invalid-parameter", "Invalid parameter", detail)
        .member("parameter", parameter)
        .member("allowed", allowed)
}

fn corrupt(detail: impl Into<String>) -> Problem {
    problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "corrupt-source", "Corrupt image", detail)
}

fn too_large(name: &str, max: u64) -> Problem {
    let detail = format!("At most {max} bytes are taken.");
    problem(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too many bytes", detail).limit(name, None, max)
}

fn busy(detail: &str, retry_after_s: u32) -> Problem {
    unavailable("busy", detail).field(RETRY_AFTER, retry_after_s.to_string())
}

fn unavailable(kind: &'static str, detail: &str) -> Problem {
    problem(StatusCode::SERVICE_UNAVAILABLE, kind, "Not available", detail)
}

fn internal() -> Problem {
    problem(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "Internal error",
        "Something failed here; the log says more.",
    )
}

fn over(name: &str, value: u64, max: u64) -> String {
    format!("{value} is more than {name} allows, which is {max}.")
}

/// What the client wrote, not more than can be read.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::param;

    fn status(error: impl Into<Error>) -> (u16, &'static str) {
        let problem = of(&error.into());
        (problem.status.as_u16(), problem.kind)
    }

    #[test]
    fn statuses_are_those_of_the_interface() {
        let limit = |name| pipeline::Error::Limit { name, value: 2, max: 1 };
        assert_eq!(status(store::Error::NotFound), (404, "unknown-id"));
        assert_eq!(status(store::Error::TooLarge { max: 1 }), (413, "too-large"));
        assert_eq!(status(store::Error::Full), (507, "store-full"));
        assert_eq!(status(store::Error::ReadOnly), (503, "store-read-only"));
        assert_eq!(status(limit("pixels_max")), (422, "limit"));
        assert_eq!(status(limit("bytes_max")), (413, "too-large"));
        assert_eq!(status(pipeline::Error::UnknownFormat), (415, "unknown-format"));
        assert_eq!(status(pipeline::Error::corrupt("png", "x")), (415, "corrupt-source"));
        assert_eq!(status(Error::Panicked), (415, "corrupt-source"));
        assert_eq!(status(pipeline::Error::CropOutside), (422, "crop-outside"));
        assert_eq!(status(pipeline::Error::Timeout), (422, "render-timeout"));
        assert_eq!(status(fetch::Error::Off), (403, "remote-off"));
        assert_eq!(status(fetch::Error::Refused), (403, "remote-refused"));
        assert_eq!(status(fetch::Error::Failed { status: None }), (502, "remote-failed"));
        assert_eq!(status(fetch::Error::TooSlow), (504, "remote-timeout"));
        assert_eq!(status(fetch::Error::TooLarge { max: 1 }), (413, "too-large"));
        assert_eq!(status(fetch::Error::Busy), (503, "busy"));
        assert_eq!(status(Error::Unauthorized), (401, "key-needed"));
        assert_eq!(status(Error::Forbidden { scope: "admin" }), (403, "scope-needed"));
    }

    #[test]
    fn a_refusal_says_what_was_given_and_what_is_allowed() {
        let check = |error: Error, detail: &str, value: Value| {
            let body = of(&error).json();
            assert_eq!((&body["detail"], &body["value"]), (&detail.into(), &value), "{error}");
        };
        let given = param::invalid("w", "0", "1..9");
        check(given.into(), "w: \"0\" is not allowed; allowed: 1..9.", "0".into());
        check(param::missing("source", "an object").into(), "source is missing; allowed: an object.", Value::Null);
        let limit = |name, value, max| pipeline::Error::Limit { name, value, max }.into();
        check(limit("outputs_max", 17, 16), "17 is more than outputs_max allows, which is 16.", 17.into());
        check(limit("bytes_max", 9, 8), "At most 8 bytes are taken.", 9.into());
        check(jobs::Error::TooManyItems { max: 3 }.into(), "At most 3 items are taken.", Value::Null);
    }

    #[test]
    fn only_lasting_refusals_of_safe_requests_are_cached() {
        let check = |error: Error, safe, private, expected: &str| {
            let response = of(&error).respond(safe, private);
            assert_eq!(response.headers()[CACHE_CONTROL], expected, "{error}");
        };
        check(Error::NoSuchId, true, false, "public, max-age=5");
        check(Error::NoSuchId, true, true, "private, max-age=5");
        check(Error::NoSuchId, false, false, "no-store");
        check(pipeline::Error::UnknownFormat.into(), true, false, "public, max-age=300");
        check(pipeline::Error::UnknownFormat.into(), false, false, "no-store");
        check(Error::Busy { retry_after_s: 3 }, true, false, "no-store");
        check(pipeline::Error::Timeout.into(), true, false, "no-store");
    }

    #[test]
    fn what_is_for_the_log_is_not_shown() {
        let secret = "/srv/data/x";
        for error in [
            Error::Store(store::Error::Unavailable(secret.to_owned())),
            Error::Pipeline(pipeline::Error::Encode { format: "png", reason: secret.to_owned() }),
        ] {
            let Body::Full(body) = of(&error).respond(true, false).into_body() else { panic!("a body") };
            assert!(!String::from_utf8_lossy(&body).contains(secret));
        }
    }
}
