//! [`Source`]: what renditions are made of; and [`Opened`]: a source that is there, before its bytes are read.

use std::sync::Arc;

use bytes::Bytes;

use super::Error;
use super::engine::Engine;
use super::generation::Generation;
use crate::digest::Digest;
use crate::pipeline::Images;
use crate::store::Blob;

/// What renditions are made of.
#[derive(Clone, Debug)]
pub enum Source {
    /// A blob of the store.
    Stored(Digest),
    /// Bytes that hash to `digest` and are not stored. Their renditions are cached for callers that bring the same bytes
    /// again.
    Fetched {
        /// The name of the bytes.
        digest: Digest,
        /// The encoded image.
        bytes: Bytes,
    },
    /// Bytes of one caller: nothing is looked up, shared or kept.
    Given {
        /// The encoded image.
        bytes: Bytes,
        /// Images that the pipeline may name, by id; the others are taken from the store.
        images: Images,
    },
}

impl From<&Digest> for Source {
    fn from(id: &Digest) -> Source {
        Source::Stored(*id)
    }
}

/// The name under which renditions of a source that is not stored are cached. Under its digest they would be answered for
/// an id that is not stored, and be forgotten when that id is deleted.
pub(super) fn unstored(source: &Digest) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("progimage 1 unstored source");
    hasher.update(source.as_bytes());
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

/// A source that is there, before its bytes are read.
pub enum Opened {
    /// A blob in its generation.
    Stored(Arc<Generation>, Box<Blob>),
    /// Bytes in memory, and images that are not stored either.
    Given { bytes: Bytes, images: Images },
}

impl Opened {
    /// The blob of `generation`, if it is stored.
    pub async fn stored(engine: &Engine, generation: &Arc<Generation>) -> Result<Opened, Error> {
        let blob = engine.store.open(generation.source()).await?;
        Ok(Opened::Stored(generation.clone(), Box::new(blob)))
    }

    /// Bytes of the source.
    pub fn len(&self) -> u64 {
        match self {
            Opened::Stored(_, blob) => blob.len,
            Opened::Given { bytes, .. } => bytes.len() as u64,
        }
    }

    /// The bytes. The caller has the right to hold them.
    pub async fn bytes(&self) -> Result<Bytes, Error> {
        match self {
            Opened::Stored(_, blob) => Ok(blob.bytes().await?),
            Opened::Given { bytes, .. } => Ok(bytes.clone()),
        }
    }

    /// An image that was given with the source.
    pub fn image(&self, id: &Digest) -> Option<&Bytes> {
        match self {
            Opened::Stored(..) => None,
            Opened::Given { images, .. } => images.get(id),
        }
    }
}
