//! From errors to statuses: the only module that chooses an error status.
//!
//! The matches are exhaustive and without `_`, so a new variant stops the build until its status is chosen. Nothing is
//! shown but what the client sent, bounds, digests, and what a decoder found in the client's bytes.

mod body;
mod layers;
mod no_such_path;
pub(in crate::http) mod report;

use hyper::StatusCode;
use hyper::header::{ACCEPT_ENCODING, ALLOW, CONTENT_RANGE, RETRY_AFTER, WWW_AUTHENTICATE};

use super::response;
use crate::http::error::{Error, Refused};
use crate::jobs;
use crate::pipeline::codec::unwritten;
use crate::pipeline::invalid::short;
pub(in crate::http) use body::Problem;
use body::{absent, busy, corrupt, internal, invalid, malformed, over, problem, too_large, unavailable};
use layers::{of_fetch, of_jobs, of_pipeline, of_store};
use no_such_path::no_such_path;

/// The problem that a client sees for `error`.
pub(in crate::http) fn of(error: &Error) -> Problem {
    match error {
        Error::Store(error) => of_store(error),
        Error::Pipeline(error) => of_pipeline(error),
        Error::Fetch(error) => of_fetch(error),
        Error::OfRemote { error, max_age_s } => of(error).cached_at_most(*max_age_s),
        Error::Jobs(error) => of_jobs(error),
        Error::NoSuchJob => of_jobs(&jobs::Error::NotFound),
        Error::Busy { retry_after_s } => busy("All render slots are taken.", *retry_after_s),
        Error::BulksBusy { max } => {
            let detail = format!("{max} bulk requests are running, which is all that bulk_requests_max allows.");
            busy(&detail, 1).limit("bulk_requests_max", None, *max)
        }
        Error::CallerBusy { name, max, retry_after_s } => {
            let detail = format!("{name} of this key is {max}. All clients without a key share theirs.");
            problem(StatusCode::TOO_MANY_REQUESTS, "caller-limit", "Too many requests", detail)
                .field(RETRY_AFTER, retry_after_s.to_string())
                .limit(name, None, *max)
        }
        Error::ConnectionsBusy { name, max } => {
            let detail = format!("{max} connections are at work, which is all that {name} allows.");
            busy(&detail, 1).limit(name, None, *max)
        }
        Error::Panicked => corrupt("The image could not be decoded."),
        Error::NoRoute => absent("not-found", "There is nothing at this path."),
        Error::NoSuchId => {
            absent("unknown-id", "This is not the id of an image: an id is 64 lower-case hexadecimal digits.")
        }
        Error::NoSuchPath(why) => no_such_path(why),
        Error::MethodNotAllowed { allow } => {
            let detail = format!("This path accepts {allow}.");
            problem(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed", detail)
                .field(ALLOW, allow.as_str())
        }
        Error::NotImplemented => {
            let detail = "This server does not support this method.";
            problem(StatusCode::NOT_IMPLEMENTED, "not-implemented", "Not implemented", detail)
        }
        Error::Host => malformed("the Host field must occur once and name a host"),
        Error::ForeignHost => {
            let detail = "Without keys this server is asked for as localhost only; set keys, hosts or \
                allow_public_without_keys.";
            problem(StatusCode::MISDIRECTED_REQUEST, "foreign-host", "Foreign host", detail)
        }
        Error::ForeignOrigin => {
            let detail = "A web page of another origin may change nothing without a key, unless cors_origins has its \
                origin (with its scheme, as https://example.com).";
            problem(StatusCode::FORBIDDEN, "foreign-origin", "Foreign origin", detail)
        }
        Error::UrlTooLong { max } => problem(
            StatusCode::URI_TOO_LONG,
            "url-too-long",
            "URL too long",
            format!("At most {max} bytes are accepted."),
        )
        .limit("url_bytes_max", None, *max as u64),
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
            problem(StatusCode::UNAUTHORIZED, "key-needed", "Key needed", detail)
                .field(WWW_AUTHENTICATE, "Bearer realm=\"progimage\"")
        }
        Error::UnknownKey => {
            problem(StatusCode::UNAUTHORIZED, "key-needed", "A key is needed", "This key is not known.")
                .field(WWW_AUTHENTICATE, "Bearer realm=\"progimage\"")
        }
        Error::Forbidden { scope } => {
            let detail = format!("The key lacks the scope {scope}.");
            problem(StatusCode::FORBIDDEN, "scope-needed", "Scope needed", detail).member("scope", *scope)
        }
        Error::Signature(refused) => {
            let (kind, detail) = match refused {
                Refused::Bad => ("signature-refused", "Wrong signature: it is not that of this URL."),
                Refused::Expired => ("signature-expired", "The signed URL has expired."),
            };
            problem(StatusCode::FORBIDDEN, kind, "Signature refused", detail)
        }
        Error::Unsigned => {
            let detail = "Renditions on this server need a signed URL or a key.";
            problem(StatusCode::FORBIDDEN, "signature-needed", "Signature needed", detail)
        }
        Error::Precondition => {
            let detail = "If-Match or If-None-Match does not hold for what is stored.";
            problem(StatusCode::PRECONDITION_FAILED, "precondition-failed", "Precondition failed", detail)
        }
        Error::Range { bytes } => {
            let status = StatusCode::RANGE_NOT_SATISFIABLE;
            problem(
                status,
                "range-not-satisfiable",
                "Range not satisfiable",
                format!("The range lies outside of the {bytes} bytes."),
            )
            .field(CONTENT_RANGE, format!("bytes */{bytes}"))
        }
        Error::NotAcceptable => {
            let detail =
                "The Accept field allows no format of this server that keeps the image's frames, alpha and depth.";
            problem(StatusCode::NOT_ACCEPTABLE, "not-acceptable", "Not acceptable", detail)
        }
        Error::Malformed { what } => malformed(what),
        Error::Extension { extension } => {
            invalid("unknown-extension", "Unknown extension", &unwritten("ext", extension, response::extensions()))
        }
        Error::MediaType { allowed } => {
            let detail = format!("This path accepts {allowed}.");
            problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type", "Content-Type not supported", detail)
                .member("allowed", *allowed)
        }
        Error::ContentCoding => {
            let detail = "Send the body uncompressed, without Content-Encoding.";
            problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-coding", "Content-Encoding not supported", detail)
                .field(ACCEPT_ENCODING, "identity")
        }
        Error::Expectation => {
            let detail = "The only supported expectation is 100-continue.";
            problem(StatusCode::EXPECTATION_FAILED, "expectation-failed", "Expectation failed", detail)
        }
        Error::FieldDigest { algorithm, expected, actual } => {
            let detail = format!("The {algorithm} of the bytes is not the one that was sent, so nothing was stored.");
            problem(StatusCode::UNPROCESSABLE_ENTITY, "digest-mismatch", "Digest mismatch", detail)
                .member("algorithm", *algorithm)
                .member("expected", expected.as_str())
                .member("actual", actual.as_str())
        }
        Error::ArchiveCut { name, bytes } => {
            let name = short(name);
            malformed(&format!("the archive is cut short within the entry {name:?} of {bytes} bytes"))
                .member("entry", name)
                .member("bytes", *bytes)
        }
        Error::NoImagePart => malformed("the form has no image"),
        Error::NotAFile => {
            let detail = "The entry is not a regular file, but a link, a device, or a file with holes.";
            problem(StatusCode::UNPROCESSABLE_ENTITY, "not-a-file", "Not a regular file", detail)
        }
        Error::BodyTooLarge { max } => too_large("bytes_max", *max),
        Error::TooLarge { name, max } => too_large(name, *max),
        Error::ListsBusy => busy("Too many lists are being read or answered.", 1),
        Error::NotAnId { place, at, value } => {
            let value = short(value);
            let what = format!("{place} {at} is not an id of 64 lower-case hexadecimal digits: {value:?}");
            malformed(&what).member(place, *at).member("value", value)
        }
        Error::TooManyIds { value, max } => {
            problem(StatusCode::UNPROCESSABLE_ENTITY, "limit", "Limit exceeded", over("ids_max", *value, *max)).limit(
                "ids_max",
                Some(*value),
                *max,
            )
        }
        Error::DeletedMeanwhile => {
            let detail = "The image was deleted during its upload; send it again.";
            unavailable("deleted-meanwhile", detail).field(RETRY_AFTER, "0")
        }
        Error::BodyTimeout => {
            let detail = "The body stalled, was too slow or took too long.";
            problem(StatusCode::REQUEST_TIMEOUT, "body-timeout", "Body timeout", detail)
        }
        Error::BodyBroken => malformed("the body ended early, or its framing is broken"),
        Error::NotReading => {
            let detail = "The client is not reading the response; read it while sending.";
            problem(StatusCode::REQUEST_TIMEOUT, "client-not-reading", "Client not reading", detail)
        }
        Error::Draining => unavailable("draining", "The server is shutting down."),
        Error::Internal => internal(),
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::CACHE_CONTROL;
    use serde_json::Value;

    use super::*;
    use crate::http::message::response_body::Body;
    use crate::{fetch, pipeline, store};

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
        for jobs in [
            jobs::Error::Database(String::new()),
            jobs::Error::Unsynced(String::new()),
            jobs::Error::Away(jobs::Fault::Damaged),
        ] {
            assert_eq!(status(jobs), (503, "jobs-unavailable"));
        }
        assert_eq!(status(limit("pixels_max")), (422, "limit"));
        assert_eq!(status(limit("bytes_max")), (413, "too-large"));
        assert_eq!(status(pipeline::Error::UnknownFormat), (415, "unknown-format"));
        assert_eq!(status(pipeline::Error::UnreadFormat { name: "HEIC" }), (415, "unknown-format"));
        assert_eq!(status(pipeline::Error::corrupt("png", "x")), (415, "corrupt-source"));
        assert_eq!(status(Error::Panicked), (415, "corrupt-source"));
        assert_eq!(status(pipeline::Error::CropOutside), (422, "crop-outside"));
        assert_eq!(status(pipeline::Error::Timeout), (422, "render-timeout"));
        assert_eq!(status(fetch::Error::Off), (403, "remote-off"));
        assert_eq!(status(fetch::Error::Refused), (403, "remote-refused"));
        assert_eq!(status(fetch::Error::Unreached), (403, "remote-refused"));
        assert_eq!(status(fetch::Error::failed(None)), (502, "remote-failed"));
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
        check(pipeline::invalid::invalid("w", "0", "1..9").into(), "Parameter w must be 1..9, not \"0\".", "0".into());
        let missing = pipeline::invalid::missing("source", "an object");
        check(missing.into(), "Parameter source is missing; it must be an object.", Value::Null);
        let limit = |name, value, max| pipeline::Error::Limit { name, value, max }.into();
        check(limit("outputs_max", 17, 16), "17 is more than outputs_max allows, which is 16.", 17.into());
        check(limit("bytes_max", 9, 8), "At most 8 bytes are accepted.", 9.into());
        check(jobs::Error::TooManyItems { max: 3 }.into(), "At most 3 items are accepted.", Value::Null);
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
