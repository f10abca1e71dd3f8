//! [`Error`]: why a pipeline fails, by what a caller can do about it. `http::protocol::problem` chooses the statuses.

use super::invalid::Invalid;
use crate::digest::Digest;

/// Why a pipeline could not be read, planned or run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A parameter is unknown, given twice, missing, in conflict, or its value is not accepted.
    #[error("{}", kind.sentence(parameter))]
    Invalid {
        /// The parameter as the client wrote it; in JSON its path, such as `outputs[0].quality`.
        parameter: String,
        /// What is wrong with it.
        kind: Box<Invalid>,
    },
    /// No codec recognises the bytes.
    #[error("the bytes are not an image of a known format")]
    UnknownFormat,
    /// The bytes are of a format that is known and not read.
    #[error("{name} is not read here; readable: {}", super::codec::readable())]
    UnreadFormat {
        /// The format's name for people, such as "HEIC".
        name: &'static str,
    },
    /// The format is known, but this use of it is not supported.
    #[error("{format}: {feature} is not supported")]
    Unsupported {
        /// The codec's name.
        format: &'static str,
        /// The missing feature.
        feature: &'static str,
    },
    /// A bound of [`super::Limits`] (or a format's own) would be exceeded.
    #[error("{value} is more than {name} allows, which is {max}")]
    Limit {
        /// The field of `Limits`.
        name: &'static str,
        /// The value for this image.
        value: u64,
        /// The bound.
        max: u64,
    },
    /// The bytes do not follow their format.
    #[error("corrupt {format}: {reason}")]
    Corrupt {
        /// The codec's name.
        format: &'static str,
        /// The reason, for people; never a path or an address.
        reason: String,
    },
    /// A crop is wholly outside the image.
    #[error("the crop is wholly outside the image")]
    CropOutside,
    /// Another image that the pipeline names (a mask, an overlay) is not stored.
    #[error("the image {id} is not stored")]
    MissingImage {
        /// Its id.
        id: Digest,
    },
    /// The last caller has left.
    #[error("cancelled")]
    Cancelled,
    /// The render has passed its deadline.
    #[error("the render took too long")]
    Timeout,
    /// An encoder failed on a valid picture: our bug, or a lack of memory.
    #[error("{format}: cannot encode: {reason}")]
    Encode {
        /// The codec's name.
        format: &'static str,
        /// The encoder's message.
        reason: String,
    },
}

impl Error {
    /// An [`Error::Corrupt`] with a reason.
    pub fn corrupt(format: &'static str, reason: impl ToString) -> Error {
        Error::Corrupt { format, reason: reason.to_string() }
    }
}
