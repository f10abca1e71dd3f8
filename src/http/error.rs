//! [`Error`]: why a request failed. Statuses are chosen in [`super::protocol::problem`].

use std::time::Duration;

use crate::digest::Digest;
use crate::{fetch, items, jobs, pipeline, renditions, store};

/// Why a signature is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No active key gives this signature for this URL.
    #[error("the signature does not match this URL")]
    Bad,
    /// The time of the signature is over.
    #[error("the signature has expired")]
    Expired,
}

/// Why a path names nothing. A hint is the path to ask for instead; it repeats nothing that may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoSuchPath {
    /// An id in capitals.
    LowerCase { hint: Option<String> },
    /// Operations in the path of an image, not in the query.
    OperationsInPath { hint: Option<String> },
    /// The information about an image, by another name.
    Info { hint: Option<String> },
    /// A path below an image that names nothing.
    BelowImage,
    /// A path that needs an extension, which names the format.
    Extension { hint: Option<String> },
    /// An id that is not below `/images`.
    OutsideImages { hint: Option<String> },
    /// A path that differs by little from another.
    Nearest { hint: &'static str },
}

/// What can go wrong between a request and its response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Error {
    /// The store has refused or failed.
    Store(store::Error),
    /// The pipeline has refused the parameters or the image.
    Pipeline(pipeline::Error),
    /// A remote source could not be fetched.
    Fetch(fetch::Error),
    /// A job could not be accepted or found.
    Jobs(jobs::Error),
    /// No render permit was free in time.
    Busy { retry_after_s: u32 },
    /// The bound of concurrent bulk requests is reached.
    BulksBusy { max: u64 },
    /// A caller has reached a limit of its own.
    CallerBusy { name: &'static str, max: u64, retry_after_s: u64 },
    /// All places for connections are taken by requests under way; `name` is the bound.
    ConnectionsBusy { name: &'static str, max: u64 },
    /// A codec or operation panicked.
    Panicked,
    /// No route has this path.
    NoRoute,
    /// The path names no image: an id is 64 lower-case hex digits.
    NoSuchId,
    /// An answer about a remote image failed. Caches may keep the failure for at most so long: no longer than the image.
    OfRemote { error: Box<Error>, max_age_s: u32 },
    /// The path names nothing, and more is known.
    NoSuchPath(NoSuchPath),
    /// The path names no job.
    NoSuchJob,
    /// The path exists, but not for this method.
    MethodNotAllowed { allow: String },
    /// No path has this method.
    NotImplemented,
    /// `Host` is missing, given twice, or no host.
    Host,
    /// `Host` is not a name of this machine, and the server has no keys.
    ForeignHost,
    /// A web page of a foreign origin asks for a change, and shows no key.
    ForeignOrigin,
    /// The request target is too long.
    UrlTooLong { max: usize },
    /// Too many header fields, or too many bytes of them.
    HeadTooLarge { name: &'static str, value: u64, max: u64 },
    /// The request needs a key.
    Unauthorized,
    /// The server does not know the key.
    UnknownKey,
    /// The signature of the URL is wrong or expired.
    Signature(Refused),
    /// This server renders signed URLs only.
    Unsigned,
    /// The key lacks this scope.
    Forbidden { scope: &'static str },
    /// `If-Match` or `If-None-Match` does not hold.
    Precondition,
    /// No range of the request lies inside the body.
    Range { bytes: u64 },
    /// `Accept` allows no format that holds the image.
    NotAcceptable,
    /// A header field or the body is malformed.
    Malformed { what: &'static str },
    /// The extension names no format that can be written.
    Extension { extension: String },
    /// The path does not take this `Content-Type`.
    MediaType { allowed: &'static str },
    /// The body has a `Content-Encoding` other than `identity`.
    ContentCoding,
    /// The request has an expectation other than `100-continue`.
    Expectation,
    /// `Content-Digest` or `Repr-Digest` differs from the digest of the bytes. Both are given as base64.
    FieldDigest { algorithm: &'static str, expected: String, actual: String },
    /// The archive ends within the entry of this name, which should have `bytes` bytes.
    ArchiveCut { name: String, bytes: u64 },
    /// The form has no image.
    NoImagePart,
    /// The entry of the archive is a link, a device, or a file with holes.
    NotAFile,
    /// The image has too many bytes.
    BodyTooLarge { max: u64 },
    /// Something else than an image is too long; `name` is its bound.
    TooLarge { name: &'static str, max: u64 },
    /// The budget of lists of ids or of items is used up at this moment.
    ListsBusy,
    /// An element of a list is no id. Its place is `line` (from 1) or `index` (from 0), and `value` is its text.
    NotAnId { place: &'static str, at: u64, value: String },
    /// The list has more ids than allowed.
    TooManyIds { value: u64, max: u64 },
    /// The image was stored when its upload began, and was deleted while the bytes were compared.
    DeletedMeanwhile,
    /// The body stalled, was too slow or took too long.
    BodyTimeout,
    /// The client left within the body, or the framing of the body is broken.
    BodyBroken,
    /// The client does not read the response, and no more of it can be kept.
    NotReading,
    /// The server is shutting down.
    Draining,
    /// The server has a bug.
    Internal,
}

impl Error {
    /// The error of an answer about a remote image, which may be kept for as long as the image.
    pub(super) fn of_remote(error: impl Into<Error>, max_age: Option<Duration>) -> Error {
        let max_age_s = max_age.map_or(0, |age| u32::try_from(age.as_secs()).unwrap_or(u32::MAX));
        Error::OfRemote { error: Box::new(error.into()), max_age_s }
    }

    /// The bytes have another digest than the store was asked to prove.
    pub(super) fn mismatch(expected: Digest, actual: Digest) -> Error {
        Error::Store(store::Error::Mismatch { expected, actual })
    }

    /// The store has no room.
    pub(super) fn is_full(&self) -> bool {
        *self == Error::Store(store::Error::Full)
    }
}

// Written by hand, since `thiserror` would ask for texts, which only `problem` may choose.
impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Error {}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Error {
        Error::Store(error)
    }
}

impl From<pipeline::Error> for Error {
    fn from(error: pipeline::Error) -> Error {
        Error::Pipeline(error)
    }
}

impl From<fetch::Error> for Error {
    fn from(error: fetch::Error) -> Error {
        Error::Fetch(error)
    }
}

impl From<renditions::Error> for Error {
    fn from(error: renditions::Error) -> Error {
        match error {
            renditions::Error::Store(error) => Error::Store(error),
            renditions::Error::Pipeline(error) => Error::Pipeline(error),
            renditions::Error::Busy { retry_after_s } => Error::Busy { retry_after_s },
            renditions::Error::Panicked => Error::Panicked,
        }
    }
}

impl From<items::Error> for Error {
    fn from(error: items::Error) -> Error {
        match error {
            items::Error::Renditions(error) => error.into(),
            items::Error::Fetch(error) => error.into(),
        }
    }
}
