//! [`Headers`]: what is known of stored images without reading them. A few hundred bytes each; bounded by number.

use std::sync::Arc;

use super::generation::Generation;
use crate::digest::Digest;
use crate::pipeline::Error;
use crate::pipeline::codec::{self, Codec, Header};

/// Headers that are remembered: about 8 MB.
const HEADERS_MAX: u64 = 16_384;

/// Headers by source.
pub struct Headers {
    entries: moka::sync::Cache<Digest, Entry>,
}

#[derive(Clone)]
struct Entry {
    codec: &'static Codec,
    header: Header,
    generation: Arc<Generation>,
}

impl Headers {
    /// None yet.
    pub fn new() -> Headers {
        Headers { entries: moka::sync::Cache::new(HEADERS_MAX) }
    }

    /// The header of `source`, if it is remembered.
    pub fn get(&self, source: &Digest) -> Option<(&'static Codec, Header)> {
        let entry = self.entries.get(source)?;
        (!entry.generation.is_over()).then_some((entry.codec, entry.header))
    }

    /// Remembers a header that was read in `generation`, if that is not over.
    pub fn insert(&self, generation: &Arc<Generation>, codec: &'static Codec, header: Header) {
        if !generation.is_over() {
            self.entries.insert(*generation.source(), Entry { codec, header, generation: generation.clone() });
        }
    }

    /// Forgets `source`.
    pub fn forget(&self, source: &Digest) {
        self.entries.invalidate(source);
    }
}

/// Format and header of an image by its bytes.
pub fn inspect(bytes: &[u8]) -> Result<(&'static Codec, Header), Error> {
    let codec = codec::sniff(bytes)?;
    Ok((codec, (codec.inspect)(bytes)?))
}
