//! [`Engine`]: one render from its source to its bytes: admission, reading, the pool. Knows neither cache nor sharing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::admission::Permit;
use super::generation::Generation;
use super::header::{Headers, camera, inspect};
use super::lane::Lane;
use super::others::Others;
use super::{Error, Options, Origin, Rendition};
use crate::pipeline::codec::{Codec, Header};
use crate::pipeline::metadata::Camera;
use crate::pipeline::{Deadline, Images, Limits, Output, Pipeline};
use crate::store::{Blob, Store};

/// What renders share.
pub struct Engine {
    /// Where sources are.
    pub store: Arc<dyn Store>,
    pub(super) render_timeout: Duration,
    /// For requests that somebody waits for.
    pub single: Lane,
    /// For bulk work.
    pub bulk: Lane,
    /// Headers of stored images.
    pub headers: Headers,
    /// Renders of single requests that were answered, well or not.
    pub renders: AtomicU64,
    /// Outputs that the bulk lane has rendered, well or not.
    pub bulk_renders: AtomicU64,
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
    /// Starts the pools.
    pub fn new(store: Arc<dyn Store>, limits: &Limits, options: &Options) -> Arc<Engine> {
        Arc::new(Engine {
            store,
            render_timeout: Duration::from_millis(options.render_timeout_ms),
            single: Lane::single(options, limits),
            bulk: Lane::bulk(options, limits),
            headers: Headers::new(),
            renders: AtomicU64::new(0),
            bulk_renders: AtomicU64::new(0),
            panics: AtomicU64::new(0),
        })
    }

    /// Format and header of a stored blob.
    pub async fn header(&self, lane: &Lane, generation: &Arc<Generation>) -> Result<(&'static Codec, Header), Error> {
        if let Some(header) = self.headers.get(generation.source()) {
            return Ok(header);
        }
        let blob = self.store.open(generation.source()).await?;
        let _permit = lane.admit_header(blob.len).await?;
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
        let _permit = self.single.admit_header(blob.len).await?;
        let camera = camera(&blob.bytes().await?, &self.single.limits).await?;
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
        let lane = &self.single;
        // The source first: that it is not stored says more than that its mask is not.
        let blob = self.store.open(generation.source()).await?;
        let mut others = Others::find(self, lane, pipeline.images(), others, Images::new()).await;
        others.check()?;
        let plan = |source: (&'static Codec, &Header)| {
            let plan = pipeline.plan(source, &others.headers, &lane.limits)?;
            Ok(((), plan.memory_bytes.saturating_add(others.len)))
        };
        let ((), bytes, permit, waited) = self.admit_blob(lane, (generation, blob), plan).await?;
        let images = others.read().await;
        others.check()?;
        self.run(Admitted { bytes, images, permit, waited }, pipeline, cancelled).await
    }

    /// Renders bytes that are not stored, with images that are not either, or are; cancelled when the future is dropped.
    pub async fn render_bytes(
        &self,
        bytes: Bytes,
        given: Images,
        others: &[Arc<Generation>],
        pipeline: Pipeline,
    ) -> Result<(Rendition, Origin), Error> {
        let lane = &self.single;
        let (codec, header) = inspect(&bytes).await?;
        let mut others = Others::find(self, lane, pipeline.images(), others, given).await;
        others.check()?;
        let plan = pipeline.plan((codec, &header), &others.headers, &lane.limits)?;
        let held = plan.memory_bytes.saturating_add(bytes.len() as u64).saturating_add(others.len);
        let (permit, waited) = lane.admit(&lane.memory, held, lane.queue_end()).await?;
        let cancel = CancelOnDrop::default();
        let images = others.read().await;
        others.check()?;
        self.run(Admitted { bytes, images, permit, waited }, pipeline, cancel.0.clone()).await
    }

    /// Waits for the right to hold a blob and what `plan` says becomes of it, and reads the blob: once, unless its header is not
    /// known and memory is short. Then it lets go of the bytes while it waits, so that no two renders wait for each other's.
    pub(super) async fn admit_blob<P>(
        &self,
        lane: &Lane,
        (generation, blob): (&Arc<Generation>, Blob),
        plan: impl Fn((&'static Codec, &Header)) -> Result<(P, u64), Error>,
    ) -> Result<(P, Bytes, Permit, Duration), Error> {
        let queue_end = lane.queue_end();
        let mut waited = Duration::ZERO;
        let known = match self.headers.get(generation.source()) {
            Some(known) => known,
            None => {
                let (mut permit, wait) = lane.admit(&lane.memory, blob.len, queue_end).await?;
                waited = wait;
                let bytes = blob.bytes().await?;
                let (codec, header) = inspect(&bytes).await?;
                self.headers.insert(generation, codec, header.clone());
                let (planned, held) = plan((codec, &header))?;
                if permit.try_grow(held) {
                    return Ok((planned, bytes, permit, waited));
                }
                (codec, header)
            }
        };
        let (planned, held) = plan((known.0, &known.1))?;
        let (permit, wait) = lane.admit(&lane.memory, blob.len.saturating_add(held), queue_end).await?;
        Ok((planned, blob.bytes().await?, permit, waited + wait))
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
        let (limits, submitted) = (self.single.limits.clone(), Instant::now());
        let timeout = self.render_timeout;
        let job = self.single.pool.submit(move || {
            let started = Instant::now();
            let deadline = Deadline::new(started + timeout, cancelled);
            let output = deadline.check().and_then(|()| pipeline.run(&bytes, &images, &limits, &deadline));
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
pub(super) fn exact(made: Bytes, source: &Bytes) -> Bytes {
    if made.as_ptr() == source.as_ptr() { made } else { Bytes::copy_from_slice(&made) }
}

/// The bytes of a result, which hold their part of `permit` until the cache and every answer have let go of them.
fn held(bytes: Bytes, permit: Permit) -> Bytes {
    let kept = permit.keep(bytes.len() as u64);
    holding(bytes, kept)
}

/// Bytes that hold `permit` until everybody has let go of them.
pub(super) fn holding(bytes: Bytes, permit: Permit) -> Bytes {
    Bytes::from_owner(Held { bytes, _permit: permit })
}

/// Raises its flag when nobody waits any more.
#[derive(Default)]
pub(super) struct CancelOnDrop(pub Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
