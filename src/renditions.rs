//! Renditions: the cache (moka), single flight, admission by planned memory, and the render pool. The only place that runs a
//! pipeline on behalf of a request. Knows no HTTP.
//!
//! ```text
//! get  -> cache -> flight (shared by key) -> tier, or engine: admission -> source blob -> pool thread -> cache
//! many -> cache -> tier -> bulk lane: admission -> source blob -> one decode, all outputs -> tier
//! ```

mod admission;
mod bulk;
mod cache;
mod engine;
mod generation;
mod header;
mod lane;
mod many;
mod others;
mod pool;
mod tier;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::digest::Digest;
use crate::pipeline::codec::{Codec, Header};
use crate::pipeline::metadata::Camera;
use crate::pipeline::{self, Images, Limits, Pipeline};
use crate::singleflight::{self, Group};
use crate::store::{self, Store};
use cache::Cache;
use engine::{Engine, holding};
use generation::{Generation, Generations};
pub use header::inspect;
use tier::Tier;

/// Renditions that may be on their way into the tier because they were asked for again.
const KEEPING_MAX: usize = 4;

/// Settings of the rendition layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of cached renditions, keys and bookkeeping included; 0: no cache.
    pub cache_bytes_max: u64,
    /// Threads that render.
    pub render_threads: usize,
    /// Memory that renders together may be planned to hold, and that their results hold until the last answer is sent; beside
    /// `cache_bytes_max`.
    pub render_memory_bytes_max: u64,
    /// Renders that may wait for admission.
    pub queue_max: usize,
    /// How long one render may wait for admission.
    pub queue_timeout_ms: u64,
    /// How long one render may run. Of the bulk lane: how much of its thread's processor time it may use.
    pub render_timeout_ms: u64,
    /// Threads that render for the bulk lane.
    pub bulk_threads: usize,
    /// Whether they give way to every other thread of the system. Otherwise they only rank with those of single renders: then a
    /// system that is never idle cannot keep bulk work from its end.
    pub bulk_idle: bool,
    /// Memory that renders of the bulk lane together may be planned to hold, and their results; beside that of the others. Of one
    /// render, the source and the results may come on top: then it runs alone.
    pub bulk_memory_bytes_max: u64,
    /// Folder of the rendition tier; `None`: there is none.
    pub tier_folder: Option<PathBuf>,
    /// Bytes that the tier may take of its device; 0: there is none.
    pub tier_bytes_max: u64,
}

impl Default for Options {
    fn default() -> Options {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Options {
            cache_bytes_max: 256 << 20,
            render_threads: processors,
            render_memory_bytes_max: 4 << 30,
            queue_max: 256,
            queue_timeout_ms: 5_000,
            render_timeout_ms: 10_000,
            bulk_threads: processors,
            bulk_idle: true,
            bulk_memory_bytes_max: 1 << 30,
            tier_folder: None,
            tier_bytes_max: 1 << 30,
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

/// An encoded result, shared by reference count. Its bytes count in [`Options::render_memory_bytes_max`], or in those of the
/// cache, for as long as anybody has them.
#[derive(Clone, Debug)]
pub struct Rendition {
    /// The encoded image.
    pub bytes: Bytes,
    /// Its format.
    pub codec: &'static Codec,
    /// The canonical query of its pipeline ([`Pipeline::query`]): kept, so that a hit need not write it anew.
    pub query: Arc<str>,
}

/// How a rendition was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the cache.
    Hit,
    /// From the rendition tier; it is in the cache now.
    Tier,
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
///
/// # Concurrency
/// Everything may be called from any task at once. After [`Renditions::forget`] has returned, nothing that was made of the source
/// before is answered, not even to callers that waited already: they are told `NotFound`.
pub struct Renditions {
    engine: Arc<Engine>,
    cache: Cache,
    tier: Tier,
    /// Renditions that are on their way into the tier because they were asked for again.
    keeping: Arc<Semaphore>,
    generations: Generations,
    flights: Group<FlightKey, Result<(Rendition, Origin), Error>>,
    header_flights: Group<FlightKey, Result<(&'static Codec, Header), Error>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// What is asked for and the generation of its source: nobody joins a flight that began before a delete.
type FlightKey = (Digest, u64);

/// What happened since the start, and what is held now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Answers from the cache.
    pub hits: u64,
    /// Requests that found nothing in the cache.
    pub misses: u64,
    /// Of these, requests that shared a flight under way.
    pub joined: u64,
    /// Flights that nobody waited for any more.
    pub cancelled: u64,
    /// Renders of single requests that were answered, well or not.
    pub renders: u64,
    /// Renders that panicked.
    pub panics: u64,
    /// Refusals: the queue was full, or no permit came in time.
    pub busy: u64,
    /// Renders that wait for admission now.
    pub queue_len: u64,
    /// Memory that is granted to renders now, sources included.
    pub bytes_in_flight: u64,
    /// Bytes of results that the cache or an answer holds.
    pub result_bytes: u64,
    /// Renditions in the cache.
    pub cache_entries: u64,
    /// Weight of the cache.
    pub cache_bytes: u64,
    /// Renditions dropped from the cache for want of room.
    pub evictions: u64,
    /// Outputs that the bulk lane has rendered, well or not.
    pub bulk_renders: u64,
    /// Callers that wait for room in the bulk lane now.
    pub bulk_waiting: u64,
    /// Memory that is granted in the bulk lane now, sources included.
    pub bulk_bytes_in_flight: u64,
    /// Renditions in the tier.
    pub tier_entries: u64,
    /// Bytes that they take of the device.
    pub tier_bytes: u64,
    /// Answers from the tier.
    pub tier_hits: u64,
    /// Renditions dropped from the tier for want of room.
    pub tier_evictions: u64,
}

impl Renditions {
    /// Starts the pools, and counts the rendition tier.
    pub fn new(store: Arc<dyn Store>, limits: Limits, options: Options) -> Arc<Renditions> {
        Arc::new(Renditions {
            cache: Cache::new(options.cache_bytes_max),
            tier: Tier::open(&options),
            keeping: Arc::new(Semaphore::new(KEEPING_MAX)),
            engine: Engine::new(store, &limits, &options),
            generations: Generations::default(),
            flights: Group::new(),
            header_flights: Group::new(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        })
    }

    /// A cached rendition of `source` by key ([`Pipeline::key`]); never waits.
    ///
    /// A hit does not ask the store whether the source still exists: a delete on this node comes by [`Renditions::forget`].
    ///
    /// # Panics
    /// Outside a tokio runtime, where there is a tier: what is asked for again is put into it, in the background.
    pub fn cached(&self, source: &Digest, key: &Digest) -> Option<Rendition> {
        let hit = self.cache.get_again(source, key, |rendition, generation| self.keep(key, rendition, generation))?;
        self.hits.fetch_add(1, Ordering::Relaxed);
        Some(hit)
    }

    /// From the cache, a shared flight, the tier, or a new render. The render goes on when this caller leaves and others wait; it is
    /// cancelled when nobody does.
    pub async fn get(&self, source: &Digest, pipeline: &Pipeline) -> Result<(Rendition, Origin), Error> {
        let key = pipeline.key(source);
        if let Some(hit) = self.cached(source, &key) {
            return Ok((hit, Origin::Hit));
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let generation = self.generations.of(source);
        let flight = |cancelled| self.flight(key, generation.clone(), pipeline.clone(), cancelled);
        let answer = self.flights.join_or_start((key, generation.serial()), flight).await;
        unless_over(&generation, answer)
    }

    /// Format and header of a stored blob, if they are remembered; never reads or waits.
    pub fn known(&self, source: &Digest) -> Option<(&'static Codec, Header)> {
        self.engine.headers.get(source)
    }

    /// Format and header of a stored blob, from its bytes on first use, then remembered.
    pub async fn header(&self, source: &Digest) -> Result<(&'static Codec, Header), Error> {
        if let Some(known) = self.known(source) {
            return Ok(known);
        }
        let generation = self.generations.of(source);
        let flight = |_| {
            let (engine, generation) = (self.engine.clone(), generation.clone());
            async move { engine.header(&engine.single, &generation).await }
        };
        let answer = self.header_flights.join_or_start((*source, generation.serial()), flight).await;
        unless_over(&generation, answer)
    }

    /// What the camera says in a stored blob, from its bytes on first use, then remembered.
    pub async fn camera(&self, source: &Digest) -> Result<Option<Arc<Camera>>, Error> {
        let generation = self.generations.of(source);
        let camera = self.engine.camera(&generation).await;
        unless_over(&generation, Ok(camera))
    }

    /// Renders a source that is not stored: no cache, no sharing; the same admission and threads. Of the images that the pipeline
    /// names, those that are not among `given` are taken from the store. Cancelled when the caller leaves.
    pub async fn render(
        &self,
        source: Bytes,
        given: Images,
        pipeline: &Pipeline,
    ) -> Result<(Rendition, Origin), Error> {
        let others = self.others(pipeline);
        self.engine.render_bytes(source, given, &others, pipeline.clone()).await
    }

    /// A cached rendition of a source that is not stored, by key; never waits.
    pub fn cached_unstored(&self, source: &Digest, key: &Digest) -> Option<Rendition> {
        let hit = self.cache.get(&unstored(source), key).or_else(|| self.cache.get(source, key))?;
        self.hits.fetch_add(1, Ordering::Relaxed);
        Some(hit)
    }

    /// As [`Renditions::get`], of a source that is not stored: `bytes`, which hash to `source`. It is cached for those who bring
    /// the same bytes again.
    pub async fn get_unstored(
        &self,
        source: &Digest,
        bytes: Bytes,
        pipeline: &Pipeline,
    ) -> Result<(Rendition, Origin), Error> {
        let key = pipeline.key(source);
        if let Some(hit) = self.cached_unstored(source, &key) {
            return Ok((hit, Origin::Hit));
        }
        self.misses.fetch_add(1, Ordering::Relaxed);
        let generation = self.generations.of(&unstored(source));
        let flight = |_| {
            let (engine, cache, others) = (self.engine.clone(), self.cache.clone(), self.others(pipeline));
            let (generation, pipeline) = (generation.clone(), pipeline.clone());
            async move {
                let (rendition, origin) = engine.render_bytes(bytes, Images::new(), &others, pipeline).await?;
                cache.insert(key, &rendition, &generation);
                Ok((rendition, origin))
            }
        };
        let answer = self.flights.join_or_start((key, generation.serial()), flight).await;
        unless_over(&generation, answer)
    }

    /// Puts a rendition into the tier that is asked for the second time: most are asked for once. Whether that is settled: only a
    /// few are on their way at a time, and one that finds no place is tried again at its next hit.
    fn keep(&self, key: &Digest, rendition: &Rendition, generation: &Arc<Generation>) -> bool {
        if !self.tier.is_on() {
            return true;
        }
        let Ok(place) = self.keeping.clone().try_acquire_owned() else { return false };
        let (tier, key, rendition, generation) = (self.tier.clone(), *key, rendition.clone(), generation.clone());
        tokio::spawn(async move {
            tier.insert(&generation, key, &rendition).await;
            drop(place);
        });
        true
    }

    /// The generations of the images that a pipeline names.
    fn others(&self, pipeline: &Pipeline) -> Vec<Arc<Generation>> {
        pipeline.images().iter().map(|id| self.generations.of(id)).collect()
    }

    /// Forgets everything of `source`, and keeps flights that are under way from bringing it back. Called by delete, after the
    /// store has removed the blob.
    ///
    /// From then on nothing of it is answered. The files of the tier are gone when the future is ready.
    pub fn forget(&self, source: &Digest) -> impl Future<Output = ()> + Send + use<> {
        if let Some(ended) = self.generations.end(source) {
            self.cache.forget(&ended);
        }
        self.engine.headers.forget(source);
        self.tier.forget(source)
    }

    /// The figures for metrics.
    pub fn counters(&self) -> Counters {
        let flights = self.flights.counts();
        let engine = &self.engine;
        let (single, bulk, tier) = (&engine.single, &engine.bulk, self.tier.counts());
        Counters {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            joined: flights.joined,
            cancelled: flights.cancelled,
            renders: engine.renders.load(Ordering::Relaxed),
            panics: engine.panics.load(Ordering::Relaxed),
            busy: single.memory.refused() + single.reads.refused(),
            queue_len: single.memory.queue_len() as u64,
            bytes_in_flight: single.memory.bytes_held(),
            result_bytes: single.memory.bytes_kept(),
            cache_entries: self.cache.entries(),
            cache_bytes: self.cache.bytes(),
            evictions: self.cache.evictions(),
            bulk_renders: engine.bulk_renders.load(Ordering::Relaxed),
            bulk_waiting: bulk.memory.queue_len() as u64,
            bulk_bytes_in_flight: bulk.memory.bytes_held(),
            tier_entries: tier.entries,
            tier_bytes: tier.bytes,
            tier_hits: tier.hits,
            tier_evictions: tier.evictions,
        }
    }

    /// The run that all simultaneous requests for `key` share.
    fn flight(
        &self,
        key: Digest,
        generation: Arc<Generation>,
        pipeline: Pipeline,
        cancelled: Arc<AtomicBool>,
    ) -> impl Future<Output = Result<(Rendition, Origin), Error>> + Send + use<> {
        let (engine, cache, others) = (self.engine.clone(), self.cache.clone(), self.others(&pipeline));
        let tier = self.tier.clone();
        async move {
            // Another flight may have landed between this caller's look in the cache and its start.
            if let Some(hit) = cache.get(generation.source(), &key) {
                return Ok((hit, Origin::Hit));
            }
            if let Some(kept) = from_tier(&engine, &tier, generation.source(), &key).await {
                cache.insert_kept(key, &kept, &generation);
                return Ok((kept, Origin::Tier));
            }
            let (rendition, origin) = engine.render_blob(&generation, &others, pipeline, cancelled).await?;
            cache.insert(key, &rendition, &generation);
            Ok((rendition, origin))
        }
    }
}

/// A rendition that the tier has, of a source that the store still has; its bytes are held in the lane of single requests.
async fn from_tier(engine: &Engine, tier: &Tier, source: &Digest, key: &Digest) -> Option<Rendition> {
    let found = tier.find(source, key).await?;
    engine.store.open(source).await.ok()?;
    let permit = engine.single.hold(found.len).await.ok()?;
    let Rendition { bytes, codec, query } = tier.read(found).await?;
    Some(Rendition { bytes: holding(bytes, permit), codec, query })
}

/// The name under which the renditions of a source are cached that nobody stored. Under the digest itself they would be answered
/// for an id that is not there, and be forgotten when it is deleted.
fn unstored(source: &Digest) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("progimage 1 unstored source");
    hasher.update(source.as_bytes());
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

/// A flight's answer, unless its source was deleted meanwhile.
fn unless_over<T>(
    generation: &Generation,
    answer: Result<Result<T, Error>, singleflight::Aborted>,
) -> Result<T, Error> {
    if generation.is_over() {
        return Err(store::Error::NotFound.into());
    }
    answer.unwrap_or_else(|singleflight::Aborted| {
        tracing::error!(source = %generation.source(), "a flight was lost: this is our bug");
        Err(Error::Panicked)
    })
}
