//! What can go wrong between bytes and bytes, shaped by what a caller can do about it. Statuses are chosen in `http::protocol::problem`.

use super::invalid::Invalid;
use crate::digest::Digest;

/// Why a pipeline could not be read, planned or run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A parameter is unknown, given twice, missing, or its value does not fit.
    #[error("{}", kind.sentence(parameter))]
    Invalid {
        /// The parameter as the client wrote it; of JSON its path, such as `outputs[0].quality`.
        parameter: String,
        /// What is wrong with it.
        kind: Box<Invalid>,
    },
    /// No codec recognises the first bytes.
    #[error("the bytes are not an image of a known format")]
    UnknownFormat,
    /// The format is known, this use of it is not supported.
    #[error("{format}: {feature} is not supported")]
    Unsupported {
        /// The codec's name.
        format: &'static str,
        /// What the file wants.
        feature: &'static str,
    },
    /// A bound of [`super::Limits`] (or a format's own) would be exceeded.
    #[error("{value} is more than {name} allows, which is {max}")]
    Limit {
        /// The field of `Limits`.
        name: &'static str,
        /// What the image asks for.
        value: u64,
        /// The bound.
        max: u64,
    },
    /// The bytes do not follow their format.
    #[error("corrupt {format}: {reason}")]
    Corrupt {
        /// The codec's name.
        format: &'static str,
        /// What is wrong, for people; never a path or an address.
        reason: String,
    },
    /// A crop lies wholly outside the image.
    #[error("the crop lies wholly outside the image")]
    CropOutside,
    /// A second image (a mask, an overlay) that the pipeline names is not there.
    #[error("the image {id} is not stored")]
    MissingImage {
        /// Its id.
        id: Digest,
    },
    /// Nobody waits for the result any more.
    #[error("cancelled")]
    Cancelled,
    /// The render ran past its deadline.
    #[error("the render ran past its deadline")]
    Timeout,
    /// An encoder failed on a valid picture: our bug or a lack of memory.
    #[error("{format}: cannot encode: {reason}")]
    Encode {
        /// The codec's name.
        format: &'static str,
        /// What the encoder said.
        reason: String,
    },
}

impl Error {
    /// A [`Error::Corrupt`] with any displayable reason.
    pub fn corrupt(format: &'static str, reason: impl ToString) -> Error {
        Error::Corrupt { format, reason: reason.to_string() }
    }
}
