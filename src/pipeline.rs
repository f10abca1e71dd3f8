//! The pipeline: source bytes -> decode -> operations -> encode. Pure: bytes in, bytes out; no files, sockets or runtime.

pub mod codec;
mod error;
mod limits;
mod raster;
mod watch;

use std::time::Duration;

use bytes::Bytes;

use crate::digest::Digest;
use codec::{Codec, Header};
pub use error::Error;
pub use limits::Limits;
pub use raster::{Channels, Delay, Frame, Orientation, Picture, Raster, Samples, Size};
pub use watch::Watch;

/// What is to be made of a source: an output format, its encode arguments and a list of operations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    codec: &'static Codec,
}

/// What a render will make and hold, known before a pixel is decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Size of the result.
    pub size: Size,
    /// Bytes held at the peak, source excluded.
    pub memory_bytes: u64,
    /// The source's own bytes are the answer: nothing is decoded.
    pub passes_through: bool,
}

/// A finished render.
#[derive(Clone, Debug)]
pub struct Output {
    /// The encoded image.
    pub bytes: Bytes,
    /// Time spent decoding, colour and orientation included.
    pub decode: Duration,
    /// Time spent in operations.
    pub operations: Duration,
    /// Time spent encoding.
    pub encode: Duration,
}

impl Pipeline {
    /// Reads decoded query pairs in any order; empty is a conversion. Errors: [`Error::Invalid`], [`Error::Limit`].
    pub fn from_query(codec: &'static Codec, query: &[(String, String)]) -> Result<Pipeline, Error> {
        let _ = query;
        Ok(Pipeline { codec })
    }

    /// The output format.
    pub fn codec(&self) -> &'static Codec {
        self.codec
    }

    /// Without a written parameter: where the source has the output's format, its own bytes are the answer.
    pub fn is_conversion(&self) -> bool {
        todo!()
    }

    /// The same pipeline as a render: always decoded and encoded.
    pub fn into_render(self) -> Pipeline {
        todo!()
    }

    /// The name of the rendition of `source`: moka key and, in its first 32 hex digits, ETag.
    pub fn key(&self, source: &Digest) -> Digest {
        let _ = source;
        todo!()
    }

    /// Holds the whole chain against `limits` and says what it will cost. `source` is the format and header of the source.
    pub fn plan(&self, source: (&'static Codec, &Header), limits: &Limits) -> Result<Plan, Error> {
        let _ = (source, limits);
        todo!()
    }

    /// Sniffs, inspects, plans, decodes, applies the operations and encodes. Deterministic.
    pub fn run(&self, source: &Bytes, limits: &Limits, watch: &Watch) -> Result<Output, Error> {
        let _ = (source, limits, watch);
        todo!()
    }
}
