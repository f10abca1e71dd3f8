//! Renditions: the cache (moka), single flight, admission by planned memory, and the render pool. The only place that
//! runs a pipeline on behalf of a request. Knows no HTTP.
//!
//! ```text
//! get   -> cache -> shared run -> tier ┐
//! batch -> cache -> tier ──────────────┴> engine: source, plan, admission -> render: pool thread -> cache or tier
//! ```
//!
//! A single render is a batch of one: both lanes share the way through `engine` and `render`.
//!
//! ```
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use progimage::pipeline::{Limits, Pipeline, codec};
//! use progimage::renditions::{Options, Origin, Renditions};
//! use progimage::store::{self, Uploads};
//! let store = store::open("memory:", &store::Options::default()).await?;
//! let uploads = Uploads::new(store.clone(), store::Options::default());
//! let mut upload = uploads.begin(None).await?;
//! upload.write("P6 1 1 255\n\u{1}\u{2}\u{3}".into()).await?;
//! let source = upload.seal(None).await?.commit().await?.digest;
//!
//! let renditions = Renditions::new(store, Limits::default(), Options::default());
//! let png = Pipeline::from_query(codec::by_extension("png").unwrap(), &[])?;
//! let (first, origin) = renditions.get(&source, &png).await?;
//! assert!(first.bytes.starts_with(b"\x89PNG") && matches!(origin, Origin::Rendered { .. }));
//! let (second, origin) = renditions.get(&source, &png).await?;
//! assert_eq!((second.bytes.as_ptr(), origin), (first.bytes.as_ptr(), Origin::Hit));
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```

mod admission;
mod aux_images;
mod batch;
mod cache;
mod counters;
mod engine;
mod generation;
mod header;
pub mod isolate;
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
use crate::pipeline::{self, Images, Limits, Missing, Pipeline};
use crate::singleflight::{self, Group};
use crate::store::{self, Store};
use admission::Permit;
use cache::Cache;
pub use counters::Counters;
use engine::Engine;
use generation::Lineage;
pub use header::{Found, inspect};
pub use options::Options;
use render::Made;
pub use source::Source;
use source::{Opened, unstored};
use tier::Tier;

/// Most renditions on their way into the tier because they were asked for again.
const KEEPING_MAX: usize = 4;

/// Why there is no rendition.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The store's error.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The pipeline's error.
    #[error(transparent)]
    Pipeline(#[from] pipeline::Error),
    /// The queue is full, or no permit came in time.
    #[error("too busy; try again in {retry_after_s} s")]
    Busy {
        /// Seconds until a retry.
        retry_after_s: u32,
    },
    /// A codec or operation panicked: our bug, logged.
    #[error("the render panicked")]
    Panicked,
}

/// An encoded result, shared by reference count. Its bytes count in [`Options::render_memory_bytes_max`], or in the bytes
/// of the cache, until the last holder drops them.
#[derive(Clone, Debug)]
pub struct Rendition {
    /// The encoded image.
    pub bytes: Bytes,
    /// Its format.
    pub codec: &'static Codec,
    /// The canonical query of its pipeline ([`Pipeline::query`]): kept, so that a hit need not write it anew.
    pub query: Arc<str>,
    /// What it lacks because its source is damaged.
    pub missing: Option<Missing>,
}

impl Rendition {
    /// The rendition, whose bytes hold `permit`.
    fn held(self, permit: Permit) -> Rendition {
        Rendition { bytes: hold(self.bytes, permit), ..self }
    }
}

/// Where a rendition is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From the cache.
    Hit,
    /// From the rendition tier; it is in the cache now.
    Tier,
    /// Rendered for this call or one that shares its run, with the time spent in each part.
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
/// Every method may be called from any task at once. After [`Renditions::forget`] has returned, nothing that was made of
/// the source before is returned, not even to callers that waited already: they get `NotFound`.
pub struct Renditions {
    engine: Arc<Engine>,
    cache: Cache,
    tier: Tier,
    /// Places for renditions on their way into the tier because they were asked for again.
    keeping: Arc<Semaphore>,
    runs: Group<RunKey, Made>,
    header_runs: Group<RunKey, Result<(&'static Codec, Header), Error>>,
    hits: AtomicU64,
    misses: AtomicU64,
}

/// A key and the lineage of its rendition: no caller joins a run that began before a delete.
type RunKey = (Digest, u64);

impl Renditions {
    /// Starts the pools, and counts the rendition tier.
    pub fn new(store: Arc<dyn Store>, limits: Limits, options: Options) -> Arc<Renditions> {
        Arc::new(Renditions {
            cache: Cache::new(options.cache_bytes_max),
            tier: Tier::open(&options),
            keeping: Arc::new(Semaphore::new(KEEPING_MAX)),
            engine: Engine::new(store, &limits, &options),
            runs: Group::new(),
            header_runs: Group::new(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        })
    }

    /// A cached rendition of `source` by key ([`Pipeline::key`]); never waits.
    ///
    /// A hit does not ask the store whether the source still exists: a delete on this node calls [`Renditions::forget`].
    ///
    /// # Panics
    /// Outside a tokio runtime, if there is a tier: a rendition that is asked for again is put into it in the background.
    pub fn cached(&self, source: impl Into<Source>, key: &Digest) -> Option<Rendition> {
        let hit = match source.into() {
            Source::Stored(id) => {
                self.cache.get_again(&id, key, |rendition, lineage| self.keep(key, rendition, lineage))
            }
            // A rendition of the same bytes in the store serves too.
            Source::Fetched { digest, .. } => {
                self.cache.get(&unstored(&digest), key).or_else(|| self.cache.get(&digest, key))
            }
            Source::Given { .. } => None,
        }?;
        self.hits.fetch_add(1, Ordering::Relaxed);
        Some(hit)
    }

    /// A rendition from the cache, a shared run, the tier, or a new render. The render goes on while a caller waits for it,
    /// and is cancelled when the last one leaves. A source that is [`Source::Given`] is always rendered, and for this
    /// caller alone.
    pub async fn get(&self, source: impl Into<Source>, pipeline: &Pipeline) -> Made {
        let source = source.into();
        let key = match source {
            Source::Stored(digest) | Source::Fetched { digest, .. } => pipeline.key(&digest),
            Source::Given { bytes, images } => {
                return self.engine.render_one(&Opened::Given { bytes, images }, pipeline).await;
            }
        };
        match self.cached(source.clone(), &key) {
            Some(hit) => Ok((hit, Origin::Hit)),
            None => self.missed(source, key, pipeline).await,
        }
    }

    /// A rendition by its key, for a caller that has asked the cache already. Otherwise as [`Renditions::get`].
    pub async fn missed(&self, source: impl Into<Source>, key: Digest, pipeline: &Pipeline) -> Made {
        let (name, fetched) = match source.into() {
            Source::Stored(id) => (id, None),
            Source::Fetched { digest, bytes } => (unstored(&digest), Some(bytes)),
            Source::Given { bytes, images } => {
                return self.engine.render_one(&Opened::Given { bytes, images }, pipeline).await;
            }
        };
        self.misses.fetch_add(1, Ordering::Relaxed);
        let lineage = Lineage::of(&self.engine.generations, &name, &pipeline.images());
        let run = || self.run(fetched, key, lineage.clone(), pipeline.clone());
        let made = self.runs.join_or_start((key, lineage.serial()), run).await;
        unless_over(&lineage, made)
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
        let generation = self.engine.generations.of(source);
        let run = || {
            let (engine, generation) = (self.engine.clone(), generation.clone());
            async move { engine.header(&engine.single, &generation).await }
        };
        let header = self.header_runs.join_or_start((*source, generation.serial()), run).await;
        unless_over(&(&generation).into(), header)
    }

    /// The camera data in a stored blob, from its bytes on first use, then remembered.
    pub async fn camera(&self, source: &Digest) -> Result<Option<Arc<Camera>>, Error> {
        let generation = self.engine.generations.of(source);
        let camera = self.engine.camera(&generation).await;
        unless_over(&(&generation).into(), Ok(camera))
    }

    /// Puts a rendition that is asked for the second time into the tier; most are asked for once. Returns whether that is
    /// settled: only a few are on their way at a time, and a rendition that finds no place is tried again at its next hit.
    fn keep(&self, key: &Digest, rendition: &Rendition, lineage: &Lineage) -> bool {
        if !self.tier.is_on() {
            return true;
        }
        let Ok(place) = self.keeping.clone().try_acquire_owned() else { return false };
        let (tier, key, rendition, lineage) = (self.tier.clone(), *key, rendition.clone(), lineage.clone());
        tokio::spawn(async move {
            tier.insert(lineage, key, &rendition).await;
            drop(place);
        });
        true
    }

    /// Forgets everything of `source`, and keeps runs under way from bringing it back. Delete calls this after the store
    /// has removed the blob.
    ///
    /// Nothing that shows the source is returned from then on. The files of the tier are gone when the future is ready,
    /// with the number of renditions of other sources that showed it as a mask or an overlay.
    pub fn forget(&self, source: &Digest) -> impl Future<Output = usize> + Send + use<> {
        let ended = self.engine.generations.end(source);
        let mut others = ended.map(|ended| self.cache.forget(&ended)).unwrap_or_default();
        self.engine.headers.forget(source);
        self.engine.cameras.forget(source);
        let removal = self.tier.forget(source);
        async move {
            others.extend(removal.await);
            others.len()
        }
    }

    /// The run that all simultaneous requests for `key` share. It is dropped when its last caller leaves, which cancels its
    /// render.
    fn run(
        &self,
        fetched: Option<Bytes>,
        key: Digest,
        lineage: Lineage,
        pipeline: Pipeline,
    ) -> impl Future<Output = Made> + Send + use<> {
        let (engine, cache, tier) = (self.engine.clone(), self.cache.clone(), self.tier.clone());
        async move {
            // A miss asks the cache twice, and needs to: another run may have ended between this caller's lookup and its
            // start.
            let id = *lineage.source().source();
            if let Some(hit) = cache.get(&id, &key) {
                return Ok((hit, Origin::Hit));
            }
            let source = match fetched {
                Some(bytes) => Opened::Given { bytes, images: Images::new() },
                None => {
                    let source = Opened::stored(&engine, lineage.source()).await?;
                    if let Some(kept) = from_tier(&engine, &tier, &lineage, &key).await {
                        cache.insert(key, &kept, lineage, true);
                        return Ok((kept, Origin::Tier));
                    }
                    source
                }
            };
            let (rendition, origin) = engine.render_one(&source, &pipeline).await?;
            cache.insert(key, &rendition, lineage, false);
            Ok((rendition, origin))
        }
    }
}

/// A rendition in the tier, of a source that is in the store. Its bytes are held in the lane of single requests.
async fn from_tier(engine: &Engine, tier: &Tier, lineage: &Lineage, key: &Digest) -> Option<Rendition> {
    let found = found_in_tier(engine, tier, lineage, key).await?;
    let permit = engine.single.acquire(found.len).await.ok()?;
    Some(tier.read(found).await?.held(permit))
}

/// Finds a rendition in the tier, if the other images that it shows are in the store.
async fn found_in_tier(engine: &Engine, tier: &Tier, lineage: &Lineage, key: &Digest) -> Option<tier::Opened> {
    let found = tier.find(lineage.source().source(), key).await?;
    let others: Vec<Digest> = lineage.others().iter().map(|other| *other.source()).collect();
    let are_there = others.is_empty() || engine.store.stat(&others).await.ok()?.iter().all(Option::is_some);
    are_there.then_some(found)
}

/// The value of a run, unless its source, or an image that it shows, was deleted meanwhile.
fn unless_over<T>(lineage: &Lineage, value: Result<Result<T, Error>, singleflight::Aborted>) -> Result<T, Error> {
    if lineage.source().is_over() {
        return Err(store::Error::NotFound.into());
    }
    if let Some(other) = lineage.others().iter().find(|other| other.is_over()) {
        return Err(pipeline::Error::MissingImage { id: *other.source() }.into());
    }
    value.unwrap_or_else(|singleflight::Aborted| {
        tracing::error!(source = %lineage.source().source(), "a shared run was lost: this is our bug");
        Err(Error::Panicked)
    })
}
