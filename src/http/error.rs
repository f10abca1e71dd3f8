//! [`Error`]: why a request got no good answer. Statuses are chosen in [`super::protocol::problem`].

use crate::digest::Digest;
use crate::{fetch, items, jobs, pipeline, renditions, store};

/// Why a signature is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No active key gives this signature for this URL.
    #[error("the signature is not that of this URL")]
    Bad,
    /// Its time is over.
    #[error("the signed URL has expired")]
    Expired,
}

/// Why a path names nothing. A hint is the path to ask for instead; it repeats nothing that may be a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Astray {
    /// An id in capitals.
    LowerCase { hint: Option<String> },
    /// Operations in the path of an image, not in the query.
    OperationsInPath { hint: Option<String> },
    /// What is known of an image, by another name.
    Info { hint: Option<String> },
    /// An image has nothing at this path.
    BelowImage,
    /// A path that needs an extension, which names the format.
    Extension { hint: Option<String> },
    /// An id that is not below `/images`.
    OutsideImages { hint: Option<String> },
    /// Another path differs by little.
    Nearest { hint: &'static str },
}

/// What can go wrong between a request and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Error {
    /// The store's answer.
    Store(store::Error),
    /// The pipeline's answer.
    Pipeline(pipeline::Error),
    /// Why a remote source is not there.
    Fetch(fetch::Error),
    /// Why a job could not be received or found.
    Jobs(jobs::Error),
    /// No permit in time.
    Busy { retry_after_s: u32 },
    /// As many bulk requests as may be are under way.
    Bulks { max: u64 },
    /// A codec or operation panicked.
    Panicked,
    /// No such path.
    NoRoute,
    /// The path names no image: not 64 lower-case hex digits.
    NoSuchId,
    /// A path that names nothing, of which more is known.
    Astray(Astray),
    /// The path names no job.
    NoSuchJob,
    /// The path exists, for these methods.
    MethodNotAllowed { allow: String },
    /// A method that no path has.
    NotImplemented { what: &'static str },
    /// `Host` is missing, doubled or not a host.
    Host,
    /// The target is longer than allowed.
    UrlTooLong { max: usize },
    /// Too many header fields, or too many bytes of them.
    HeadTooLarge { name: &'static str, value: u64, max: u64 },
    /// A key is needed.
    Unauthorized,
    /// A key that the server does not know.
    UnknownKey,
    /// The signature of the URL is not good.
    Signature(Refused),
    /// Renditions need a signature here.
    Unsigned,
    /// The key is not good for this.
    Forbidden { scope: &'static str },
    /// `If-Match` or `If-None-Match` says no.
    Precondition,
    /// No range of the request lies inside the body.
    Range { bytes: u64 },
    /// No form of the image is acceptable.
    NotAcceptable,
    /// The request is malformed: a header field or a body.
    Malformed { what: &'static str },
    /// An extension that names no format to write.
    Extension { extension: String },
    /// A `Content-Type` that the path does not take.
    MediaType { allowed: &'static str },
    /// A `Content-Encoding` other than `identity`.
    ContentCoding,
    /// An expectation other than `100-continue`.
    Expectation,
    /// `Content-Digest` or `Repr-Digest` names another digest than the bytes have; base64.
    FieldDigest { algorithm: &'static str, expected: String, actual: String },
    /// An archive that ends within an entry: its name, and how many bytes it was said to have.
    ArchiveCut { name: String, bytes: u64 },
    /// A form without an image.
    Parts,
    /// An entry of an archive that is a link, a device, or a file with holes.
    NotAFile,
    /// The body of an image is too long.
    BodyTooLarge { max: u64 },
    /// Something beside images is too long, by the name of its bound.
    TooLarge { name: &'static str, max: u64 },
    /// Too many bytes of lists, of ids or of items, are held at this moment.
    Lists,
    /// An element of a list, which is no id: at which `line` from 1, or `index` from 0, and its text.
    NotAnId { place: &'static str, at: u64, value: String },
    /// More ids than allowed.
    Ids { value: u64, max: u64 },
    /// An image that was there when its upload began went while it was compared.
    DeletedMeanwhile,
    /// The body stalled, was too slow or took too long.
    BodyTimeout,
    /// The client went away within the body, or its framing broke.
    BodyBroken,
    /// The client takes nothing of an answer that can be kept no longer.
    NotReading,
    /// The server is on its way out.
    Draining,
    /// Our own bug.
    Internal,
}

impl Error {
    /// A digest that the store was to prove.
    pub(super) fn mismatch(expected: Digest, actual: Digest) -> Error {
        Error::Store(store::Error::Mismatch { expected, actual })
    }
}

// Written out, since `thiserror` would ask for texts that only `problem` may choose.
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
