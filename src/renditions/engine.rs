//! [`Engine`]: one render from its source to its bytes: admission, reading, the pool. Knows neither cache nor sharing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::admission::{Budget, Permit, Refused};
use super::generation::Generation;
use super::header::{Headers, camera, inspect};
use super::others::Others;
use super::pool::Pool;
use super::{Error, Options, Origin, Rendition};
use crate::pipeline::codec::{Codec, Header};
use crate::pipeline::metadata::Camera;
use crate::pipeline::{self, Images, Limits, Output, Pipeline, Watch};
use crate::store::{Blob, Store};

/// Admitted renders per thread: while one runs, the next one's source is read.
const PLACES_PER_THREAD: usize = 2;

/// Blobs that are read for their header at once, in number and in sizes of the largest blob: metadata does not wait behind
/// renders, so it has a budget of its own.
const HEADER_READS_MAX: usize = 64;
const HEADER_READ_BLOBS_MAX: u64 = 2;

/// What renders share.
pub struct Engine {
    /// Where sources are.
    pub store: Arc<dyn Store>,
    limits: Arc<Limits>,
    options: Options,
    pool: Pool,
    /// Headers of stored images.
    pub headers: Headers,
    /// Admission of renders, and the right to hold their results.
    pub memory: Arc<Budget>,
    /// Admission of reads for a header alone.
    pub reads: Arc<Budget>,
    /// Renders that were answered, well or not.
    pub renders: AtomicU64,
    /// Renders that panicked.
    pub panics: AtomicU64,
}

/// A source that may be rendered: its bytes and the right to hold them, the pixels and the result.
struct Admitted {
    bytes: Bytes,
    images: Images,
    permit: Permit,
    waited: Duration,
}

impl Engine {
    /// Starts the pool.
    pub fn new(store: Arc<dyn Store>, limits: Limits, options: Options) -> Arc<Engine> {
        let threads = options.render_threads.max(1);
        let memory = Budget::with_cache(
            options.render_memory_bytes_max,
            options.cache_bytes_max,
            threads * PLACES_PER_THREAD,
            options.queue_max,
        );
        let reads = Budget::new(limits.bytes_max * HEADER_READ_BLOBS_MAX, HEADER_READS_MAX, options.queue_max);
        Arc::new(Engine {
            store,
            limits: Arc::new(limits),
            pool: Pool::new(threads),
            options,
            headers: Headers::new(),
            memory,
            reads,
            renders: AtomicU64::new(0),
            panics: AtomicU64::new(0),
        })
    }

    /// Format and header of a stored blob.
    pub async fn header(&self, generation: &Arc<Generation>) -> Result<(&'static Codec, Header), Error> {
        if let Some(header) = self.headers.get(generation.source()) {
            return Ok(header);
        }
        let blob = self.store.open(generation.source()).await?;
        // A blob above the limit (it was stored under a higher one) is read alone.
        let (_permit, _) = self.admit(&self.reads, blob.len.min(self.reads.bytes_max()), self.queue_end()).await?;
        let (codec, header) = inspect(&blob.bytes().await?).await?;
        self.headers.insert(generation, codec, header.clone());
        Ok((codec, header))
    }

    /// What the camera says in a stored blob.
    pub async fn camera(&self, generation: &Arc<Generation>) -> Result<Option<Arc<Camera>>, Error> {
        if let Some(camera) = self.headers.camera(generation.source()) {
            return Ok(camera);
        }
        let blob = self.store.open(generation.source()).await?;
        let (_permit, _) = self.admit(&self.reads, blob.len.min(self.reads.bytes_max()), self.queue_end()).await?;
        let camera = camera(&blob.bytes().await?, &self.limits).await?;
        self.headers.insert_camera(generation, camera.clone());
        Ok(camera)
    }

    /// Renders a stored blob; `others` are the generations of the images that the pipeline names. Raising `cancelled` stops it at
    /// its next look.
    pub async fn render_blob(
        &self,
        generation: &Arc<Generation>,
        others: &[Arc<Generation>],
        pipeline: Pipeline,
        cancelled: Arc<AtomicBool>,
    ) -> Result<(Rendition, Origin), Error> {
        // The source first: that it is not stored says more than that its mask is not.
        let blob = self.store.open(generation.source()).await?;
        let others = Others::find(self, &pipeline, others, Images::new()).await?;
        let admitted = self.admit_blob((generation, blob), others, &pipeline).await?;
        self.run(admitted, pipeline, cancelled).await
    }

    /// Renders bytes that are not stored, with images that are not either, or are; cancelled when the future is dropped.
    pub async fn render_bytes(
        &self,
        bytes: Bytes,
        given: Images,
        others: &[Arc<Generation>],
        pipeline: Pipeline,
    ) -> Result<(Rendition, Origin), Error> {
        let (codec, header) = inspect(&bytes).await?;
        let others = Others::find(self, &pipeline, others, given).await?;
        let plan = pipeline.plan((codec, &header), &others.headers, &self.limits)?;
        let held = plan.memory_bytes.saturating_add(bytes.len() as u64).saturating_add(others.len);
        let (permit, waited) = self.admit(&self.memory, held, self.queue_end()).await?;
        let cancel = CancelOnDrop(Arc::new(AtomicBool::new(false)));
        let images = others.read().await?;
        self.run(Admitted { bytes, images, permit, waited }, pipeline, cancel.0.clone()).await
    }

    /// Waits for the right to hold a blob and what becomes of it, and reads the blob: once, unless its header is not known and
    /// memory is short. Then it lets go of the bytes while it waits, so that no two renders wait for each other's.
    async fn admit_blob(
        &self,
        (generation, blob): (&Arc<Generation>, Blob),
        others: Others,
        pipeline: &Pipeline,
    ) -> Result<Admitted, Error> {
        let queue_end = self.queue_end();
        let mut waited = Duration::ZERO;
        let known = match self.headers.get(generation.source()) {
            Some(known) => known,
            None => {
                let (mut permit, wait) = self.admit(&self.memory, blob.len, queue_end).await?;
                waited = wait;
                let bytes = blob.bytes().await?;
                let (codec, header) = inspect(&bytes).await?;
                self.headers.insert(generation, codec, header.clone());
                let plan = pipeline.plan((codec, &header), &others.headers, &self.limits)?;
                if permit.try_grow(plan.memory_bytes.saturating_add(others.len)) {
                    return Ok(Admitted { bytes, images: others.read().await?, permit, waited });
                }
                (codec, header)
            }
        };
        let plan = pipeline.plan((known.0, &known.1), &others.headers, &self.limits)?;
        let held = blob.len.saturating_add(plan.memory_bytes).saturating_add(others.len);
        let (permit, wait) = self.admit(&self.memory, held, queue_end).await?;
        let images = others.read().await?;
        Ok(Admitted { bytes: blob.bytes().await?, images, permit, waited: waited + wait })
    }

    /// Decodes, operates and encodes on the pool. The permit goes with the job: memory is held until the thread lets go of it,
    /// whoever has left before. What the result needs of it goes on with the result.
    async fn run(
        &self,
        admitted: Admitted,
        pipeline: Pipeline,
        cancelled: Arc<AtomicBool>,
    ) -> Result<(Rendition, Origin), Error> {
        let Admitted { bytes, images, permit, waited } = admitted;
        let (codec, query) = (pipeline.codec(), pipeline.query().into());
        let (limits, submitted) = (self.limits.clone(), Instant::now());
        let timeout = Duration::from_millis(self.options.render_timeout_ms);
        let job = self.pool.submit(move || {
            let started = Instant::now();
            let watch = Watch::new(started + timeout, cancelled);
            let output = watch.check().and_then(|()| pipeline.run(&bytes, &images, &limits, &watch));
            let output = output.map(|output| {
                let result = exact(output.bytes, &bytes);
                drop((bytes, images));
                Output { bytes: held(result, permit), ..output }
            });
            (output, waited + (started - submitted))
        });
        let done = job.await.ok().and_then(Result::ok);
        self.renders.fetch_add(1, Ordering::Relaxed);
        let Some((output, queue)) = done else {
            self.panics.fetch_add(1, Ordering::Relaxed);
            return Err(Error::Panicked);
        };
        let Output { bytes, decode, operations, encode } = output?;
        Ok((Rendition { bytes, codec, query }, Origin::Rendered { queue, decode, operations, encode }))
    }

    /// A permit of `budget`, and how long it took.
    async fn admit(
        &self,
        budget: &Arc<Budget>,
        bytes: u64,
        queue_end: tokio::time::Instant,
    ) -> Result<(Permit, Duration), Error> {
        let began = Instant::now();
        let permit = budget.admit(bytes, queue_end).await.map_err(|refused| match refused {
            Refused::TooLarge { bytes, bytes_max } => {
                pipeline::Error::Limit { name: "render_memory_bytes_max", value: bytes, max: bytes_max }.into()
            }
            Refused::Busy => Error::Busy { retry_after_s: self.retry_after_s() },
        })?;
        Ok((permit, began.elapsed()))
    }

    fn queue_end(&self) -> tokio::time::Instant {
        tokio::time::Instant::now() + Duration::from_millis(self.options.queue_timeout_ms)
    }

    /// By then everything that waits now was served or dropped.
    fn retry_after_s(&self) -> u32 {
        u32::try_from(self.options.queue_timeout_ms.div_ceil(1000).max(1)).unwrap_or(u32::MAX)
    }
}

/// A result and the right to hold it.
struct Held {
    bytes: Bytes,
    _permit: Permit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A result in a buffer of its own length: an encoder's may be twice as long as what is in it, which could be neither counted nor
/// weighed. A source that was passed through is not copied.
fn exact(made: Bytes, source: &Bytes) -> Bytes {
    if made.as_ptr() == source.as_ptr() { made } else { Bytes::copy_from_slice(&made) }
}

/// The bytes of a result, which hold their part of `permit` until the cache and every answer have let go of them.
fn held(bytes: Bytes, permit: Permit) -> Bytes {
    let kept = permit.keep(bytes.len() as u64);
    Bytes::from_owner(Held { bytes, _permit: kept })
}

struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
