//! The problems of the errors of the layers below, one match each.

use hyper::StatusCode;
use hyper::header::RETRY_AFTER;

use super::body::{
    ABSENT_MAX_AGE_S, Problem, REFUSED_MAX_AGE_S, absent, busy, corrupt, internal, invalid, over, problem, too_large,
    unavailable,
};
use crate::pipeline::invalid::unfit;
use crate::{fetch, jobs, pipeline, store};

pub(super) fn of_store(error: &store::Error) -> Problem {
    match error {
        store::Error::NotFound => absent("unknown-id", "No image has this id."),
        store::Error::Corrupt(digest) => {
            unavailable("blob-corrupt", "The stored bytes do not match their id, so they were taken out of service.")
                .member("id", digest.to_string())
        }
        store::Error::Mismatch { expected, actual } => {
            let detail = format!("The bytes hash to {actual}, not {expected}, so nothing was stored.");
            problem(StatusCode::UNPROCESSABLE_ENTITY, "digest-mismatch", "Digest mismatch", detail)
                .member("expected", expected.to_string())
                .member("actual", actual.to_string())
        }
        store::Error::TooLarge { max } => too_large("bytes_max", *max),
        store::Error::Busy => busy("Too many bytes are being uploaded.", 1),
        store::Error::Full => problem(
            StatusCode::INSUFFICIENT_STORAGE,
            "store-full",
            "No space left",
            "The store has no room for these bytes; space_reserve_bytes of its device stay free.",
        ),
        store::Error::ReadOnly => unavailable("store-read-only", "The store takes no uploads."),
        // The reason may hold a path, so it is written to the log only.
        store::Error::Unavailable(_) => {
            unavailable("store-unavailable", "The store is not ready.").field(RETRY_AFTER, "1")
        }
    }
}

pub(super) fn of_pipeline(error: &pipeline::Error) -> Problem {
    match error {
        pipeline::Error::Invalid { .. } => invalid("invalid-parameter", "Invalid parameter", error),
        pipeline::Error::UnknownFormat => {
            let detail = "The bytes are not an image of a known format.";
            problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unknown-format", "Unknown format", detail)
                .cached(REFUSED_MAX_AGE_S)
        }
        pipeline::Error::UnreadFormat { name } => {
            let detail = format!("{error}.");
            problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unknown-format", "Unknown format", detail)
                .member("format", *name)
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
            let mut detail = over(name, *value, *max);
            if name.starts_with("frames_") {
                detail.push_str(" frames=<n> keeps fewer, and the duration.");
            }
            problem(StatusCode::UNPROCESSABLE_ENTITY, "limit", "Limit exceeded", detail)
                .limit(name, Some(*value), *max)
                .cached(REFUSED_MAX_AGE_S)
        }
        pipeline::Error::Corrupt { format, reason } => {
            corrupt(format!("{format}: {reason}")).member("format", *format).cached(REFUSED_MAX_AGE_S)
        }
        pipeline::Error::CropOutside => {
            let detail = "The crop lies outside of the image.";
            problem(StatusCode::UNPROCESSABLE_ENTITY, "crop-outside", "Crop outside the image", detail)
                .cached(REFUSED_MAX_AGE_S)
        }
        pipeline::Error::MissingImage { id } => {
            let detail = format!("The image {id}, which the operations use, is not stored.");
            problem(StatusCode::UNPROCESSABLE_ENTITY, "image-missing", "Image missing", detail)
                .member("id", id.to_string())
                .cached(ABSENT_MAX_AGE_S)
        }
        pipeline::Error::Cancelled => busy("The render was cancelled.", 1),
        pipeline::Error::Timeout => {
            let detail = "The render took longer than render_timeout_ms.";
            problem(StatusCode::UNPROCESSABLE_ENTITY, "render-timeout", "Render timeout", detail)
        }
        // The reason is written to the log only.
        pipeline::Error::Encode { .. } => internal(),
    }
}

pub(super) fn of_jobs(error: &jobs::Error) -> Problem {
    match error {
        jobs::Error::NotFound => absent("unknown-job", "No job has this id, or it was forgotten.").cached(0),
        jobs::Error::Busy => busy("Too many jobs are unfinished, or are being submitted.", 5),
        jobs::Error::TooManyItems { max } => {
            let detail = format!("At most {max} items are accepted.");
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
            problem(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused", "Idempotency-Key reused", detail)
        }
        jobs::Error::NotKept => {
            let detail = "The failed items are not kept: the job was cancelled, or an earlier version of this program ran it. \
                Send them with an Idempotency-Key of their own.";
            problem(StatusCode::CONFLICT, "failures-not-kept", "Failed items not kept", detail)
        }
        jobs::Error::OtherRights => {
            let detail =
                "These items were sent before with fewer rights; send them with an Idempotency-Key of their own.";
            problem(StatusCode::CONFLICT, "job-of-other-rights", "Job of other rights", detail)
        }
        // The other webhook is not shown: it may hold a secret of another client.
        jobs::Error::OtherWebhook => {
            let detail = "These items were sent before with another webhook or without one; send them with an Idempotency-Key of \
                their own, or without a webhook.";
            problem(StatusCode::CONFLICT, "job-of-other-webhook", "Job of another webhook", detail)
        }
        jobs::Error::Webhook(fetch::Error::Off) => {
            let detail = "This server calls no webhooks, since no host is allowed.";
            problem(StatusCode::FORBIDDEN, "webhook-off", "Webhooks are off", detail)
        }
        jobs::Error::Webhook(fetch::Error::Url { allowed }) => of_pipeline(&unfit("webhook", None, *allowed)),
        jobs::Error::Webhook(_) => {
            let detail = "This server may not call this URL.";
            problem(StatusCode::FORBIDDEN, "webhook-refused", "Webhook refused", detail)
        }
        jobs::Error::Unreadable { folder } => {
            let detail = format!("The folder {folder} of the store cannot be read, so its images were left out.");
            unavailable("store-unreadable", &detail).member("folder", folder.as_str())
        }
        jobs::Error::Store(error) => of_store(error),
        jobs::Error::Away(fault) => {
            let detail = format!("The queue of jobs cannot be used: {fault}. Images are served as usual.");
            unavailable("jobs-unavailable", &detail).field(RETRY_AFTER, "5")
        }
        // The reason may hold a path, so it is written to the log only.
        jobs::Error::Database(_) | jobs::Error::Unsynced(_) | jobs::Error::Ended => {
            unavailable("jobs-unavailable", "The queue of jobs does not respond.").field(RETRY_AFTER, "1")
        }
    }
}

pub(super) fn of_fetch(error: &fetch::Error) -> Problem {
    match error {
        fetch::Error::Off => {
            let detail = "This server fetches no remote images, since no host is allowed.";
            problem(StatusCode::FORBIDDEN, "remote-off", "Remote sources are off", detail)
        }
        fetch::Error::Url { allowed } => of_pipeline(&unfit("url", None, *allowed)),
        // A blocked address and an unreachable one get the same response.
        fetch::Error::Refused | fetch::Error::Unreached => {
            let detail = "This URL, or a redirect of it, is not allowed or cannot be reached.";
            problem(StatusCode::FORBIDDEN, "remote-refused", "Remote source refused", detail)
        }
        fetch::Error::Failed { status, retry_after_s } => {
            let detail = "The remote server did not return an image.";
            let problem = problem(of_origin(*status), "remote-failed", "Remote source failed", detail);
            let problem = problem.cached(REFUSED_MAX_AGE_S);
            let problem = match retry_after_s {
                Some(after_s) => problem.field(RETRY_AFTER, after_s.to_string()),
                None => problem,
            };
            match status {
                Some(status) => problem.member("remote_status", *status),
                None => problem,
            }
        }
        fetch::Error::TooSlow => {
            let detail = "The remote server took too long.";
            problem(StatusCode::GATEWAY_TIMEOUT, "remote-timeout", "Remote source timeout", detail)
                .cached(REFUSED_MAX_AGE_S)
        }
        fetch::Error::TooLarge { max } => too_large("bytes_max", *max),
        fetch::Error::Busy => busy("Too many remote images are being fetched.", 1),
    }
}

/// The status for an origin's own, of which `None` could not be read. What it says of the image holds for the client of this
/// server, too. What it says of the request does not, since this server has sent that one: it asks for credentials that the
/// origin has not given, or the URL is one that the origin does not answer.
fn of_origin(status: Option<u16>) -> StatusCode {
    match status {
        Some(403 | 404 | 410 | 429 | 451) => status.and_then(|status| StatusCode::from_u16(status).ok()),
        Some(401 | 402 | 407) => Some(StatusCode::FORBIDDEN),
        Some(408) => Some(StatusCode::GATEWAY_TIMEOUT),
        Some(400..=499) => Some(StatusCode::UNPROCESSABLE_ENTITY),
        _ => None,
    }
    .unwrap_or(StatusCode::BAD_GATEWAY)
}
