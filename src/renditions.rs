//! Renditions: the cache (moka), single flight, admission by planned memory, and the render pool. The only place that runs a
//! pipeline on behalf of a request. Knows no HTTP.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::digest::Digest;
use crate::pipeline::codec::{Codec, Header};
use crate::pipeline::{self, Limits, Pipeline};
use crate::store::{self, Store};

/// Settings of the rendition layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of cached renditions, keys and bookkeeping included; 0: no cache.
    pub cache_bytes_max: u64,
    /// Threads that render.
    pub render_threads: usize,
    /// Memory that renders together may be planned to hold.
    pub render_memory_bytes_max: u64,
    /// Renders that may wait for admission.
    pub queue_max: usize,
    /// How long one render may wait for admission.
    pub queue_timeout_ms: u64,
    /// How long one render may run.
    pub render_timeout_ms: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            cache_bytes_max: 256 << 20,
            render_threads: std::thread::available_parallelism().map_or(1, usize::from),
            render_memory_bytes_max: 4 << 30,
            queue_max: 256,
            queue_timeout_ms: 5_000,
            render_timeout_ms: 10_000,
        }
    }
}

/// Why there is no rendition.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The store's answer.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The pipeline's answer.
    #[error(transparent)]
    Pipeline(#[from] pipeline::Error),
    /// The queue is full, or no permit came in time.
    #[error("too busy; try again in {retry_after_s} s")]
    Busy {
        /// Seconds.
        retry_after_s: u32,
    },
    /// A codec or operation panicked: our bug, logged.
    #[error("the render panicked")]
    Panicked,
}

/// An encoded result, shared by reference count.
#[derive(Clone, Debug)]
pub struct Rendition {
    /// The encoded image.
    pub bytes: Bytes,
    /// Its format.
    pub codec: &'static Codec,
}

/// How a rendition was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the cache.
    Hit,
    /// Rendered by this or a shared flight, with the time spent in each part.
    Rendered {
        /// Waiting for admission and a thread.
        queue: Duration,
        /// Decoding.
        decode: Duration,
        /// Operations.
        operations: Duration,
        /// Encoding.
        encode: Duration,
    },
}

/// Renditions of the blobs of one store.
pub struct Renditions {
    store: Arc<dyn Store>,
    limits: Limits,
}

impl Renditions {
    /// Starts the pool.
    pub fn new(store: Arc<dyn Store>, limits: Limits, options: Options) -> Arc<Renditions> {
        let _ = options;
        Arc::new(Renditions { store, limits })
    }

    /// A cached rendition of `source` by key ([`Pipeline::key`]); never waits.
    pub fn cached(&self, source: &Digest, key: &Digest) -> Option<Rendition> {
        let _ = (source, key);
        todo!()
    }

    /// From the cache, a shared flight, or a new render. The render goes on when this caller leaves and others wait; it is
    /// cancelled when nobody does.
    pub async fn get(&self, source: &Digest, pipeline: &Pipeline) -> Result<(Rendition, Origin), Error> {
        let _ = (&self.store, source, pipeline);
        todo!()
    }

    /// Format and header of a stored blob, from its bytes on first use, then remembered.
    pub async fn header(&self, source: &Digest) -> Result<(&'static Codec, Header), Error> {
        let _ = (&self.limits, source);
        todo!()
    }

    /// Forgets everything of `source`, and keeps flights that are under way from bringing it back. Called by delete.
    pub fn forget(&self, source: &Digest) {
        let _ = source;
        todo!()
    }
}
