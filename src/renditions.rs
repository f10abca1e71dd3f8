//! Renditions: the cache (moka), single flight, admission by planned memory, and the render pool. The only place that runs a
//! pipeline on behalf of a request. Knows no HTTP.
//!
//! ```text
//! get   -> cache -> flight (shared by key) -> tier ┐
//! batch -> cache -> tier ──────────────────────────┴> engine: source, plan, admission -> render: pool thread -> cache or tier
//! ```
//!
//! A single render is a batch of one: both lanes have one way through [`engine`] and [`render`].

mod admission;
mod aux_images;
mod batch;
mod cache;
mod counters;
mod engine;
mod generation;
mod header;
mod lane;
mod options;
mod pool;
mod render;
mod source;
mod tier;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::digest::Digest;
use crate::hold::hold;
use crate::pipeline::codec::{Codec, Header};
use crate::pipeline::metadata::Camera;
use crate::pipeline::{self, Images, Limits, Pipeline};
use crate::singleflight::{self, Group};
use crate::store::{self, Store};
use cache::Cache;
pub use counters::Counters;
use engine::{Engine, Order};
use generation::{Generation, Generations};
pub use header::inspect;
pub use options::Options;
use render::Made;
pub use source::Source;
use source::{Opened, unstored};
use tier::Tier;

/// Renditions that may be on their way into the tier because they were asked for again.
const KEEPING_MAX: usize = 4;

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
/// before is answered, not even to callers that waited already: they get `NotFound`.
pub struct Renditions {
    engine: Arc<Engine>,
    cache: Cache,
    tier: Tier,
    /// Renditions that are on their way into the tier because they were asked for again.
    keeping: Arc<Semaphore>,
    generations: Generations,
    flights: Group<FlightKey, Made>,
    header_flights: Group<FlightKey, Result<(&'static Codec, Header), Error>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// A key and the generation of its source: no caller joins a flight that began before a delete.
type FlightKey = (Digest, u64);

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

    /// A cached rendition of `source` by key ([`Source::key`]); never waits.
    ///
    /// A hit does not ask the store whether the source still exists: a delete on this node comes by [`Renditions::forget`].
    ///
    /// # Panics
    /// Outside a tokio runtime, where there is a tier: what is asked for again is put into it, in the background.
    pub fn cached(&self, source: impl Into<Source>, key: &Digest) -> Option<Rendition> {
        let hit = match source.into() {
            Source::Stored(id) => {
                self.cache.get_again(&id, key, |rendition, generation| self.keep(key, rendition, generation))
            }
            // One that was made of the stored source of these bytes serves too.
            Source::Fetched { digest, .. } => {
                self.cache.get(&unstored(&digest), key).or_else(|| self.cache.get(&digest, key))
            }
            Source::Given { .. } => None,
        }?;
        self.hits.fetch_add(1, Ordering::Relaxed);
        Some(hit)
    }

    /// A rendition from the cache, a shared flight, the tier, or a new render. The render goes on while any caller waits for it, and
    /// is cancelled when the last one leaves. A source that is [`Source::Given`] is always rendered, and for this caller alone.
    pub async fn get(&self, source: impl Into<Source>, pipeline: &Pipeline) -> Made {
        let source = source.into();
        if let Source::Given { bytes, images } = source {
            return self.alone(bytes, images, pipeline).await;
        }
        let key = source.key(pipeline);
        match self.cached(source.clone(), &key) {
            Some(hit) => Ok((hit, Origin::Hit)),
            None => self.missed(source, key, pipeline).await,
        }
    }

    /// As [`Renditions::get`], for a caller that has its key and whose look in the cache found nothing: it is not made again, and
    /// the cache not asked again.
    pub async fn missed(&self, source: impl Into<Source>, key: Digest, pipeline: &Pipeline) -> Made {
        let (name, fetched) = match source.into() {
            Source::Stored(id) => (id, None),
            Source::Fetched { digest, bytes } => (unstored(&digest), Some(bytes)),
            Source::Given { bytes, images } => return self.alone(bytes, images, pipeline).await,
        };
        self.misses.fetch_add(1, Ordering::Relaxed);
        let generation = self.generations.of(&name);
        let flight = |_| self.flight(fetched, key, generation.clone(), pipeline);
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

    /// What the engine is asked for, with the present generations of the images that the pipelines name.
    fn order(&self, pipelines: Vec<Pipeline>) -> Order {
        let generations = pipelines.iter().flat_map(Pipeline::images).map(|id| self.generations.of(&id)).collect();
        Order { pipelines, generations, extra_bytes: 0 }
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

    /// The run that all simultaneous requests for `key` share. It is aborted when its last caller leaves, which cancels its render.
    fn flight(
        &self,
        fetched: Option<Bytes>,
        key: Digest,
        generation: Arc<Generation>,
        pipeline: &Pipeline,
    ) -> impl Future<Output = Made> + Send + use<> {
        let (engine, cache, tier) = (self.engine.clone(), self.cache.clone(), self.tier.clone());
        let order = self.order(vec![pipeline.clone()]);
        async move {
            // A miss asks the cache twice, and needs to: another flight may have landed between this caller's look and its start.
            if let Some(hit) = cache.get(generation.source(), &key) {
                return Ok((hit, Origin::Hit));
            }
            let source = match fetched {
                Some(bytes) => Opened::Given { bytes, images: Images::new() },
                None => {
                    let blob = engine.store.open(generation.source()).await?;
                    if let Some(kept) = from_tier(&engine, &tier, generation.source(), &key).await {
                        cache.insert_kept(key, &kept, &generation);
                        return Ok((kept, Origin::Tier));
                    }
                    Opened::Stored(generation.clone(), Box::new(blob))
                }
            };
            let (rendition, origin) = engine.render_one(source, order).await?;
            cache.insert(key, &rendition, &generation);
            Ok((rendition, origin))
        }
    }

    /// A render that nothing is looked up, shared or kept of.
    async fn alone(&self, bytes: Bytes, images: Images, pipeline: &Pipeline) -> Made {
        self.engine.render_one(Opened::Given { bytes, images }, self.order(vec![pipeline.clone()])).await
    }
}

/// A rendition that the tier has, of a source that the store was found to have; its bytes are held in the lane of single requests.
async fn from_tier(engine: &Engine, tier: &Tier, source: &Digest, key: &Digest) -> Option<Rendition> {
    let found = tier.find(source, key).await?;
    let permit = engine.single.acquire(found.len).await.ok()?;
    let Rendition { bytes, codec, query } = tier.read(found).await?;
    Some(Rendition { bytes: hold(bytes, permit), codec, query })
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
