//! [`Engine`]: admits renders. It finds and inspects their source, plans them, and waits for the memory of the plan.
//! Admitted renders run in [`super::render`]. Knows neither cache nor sharing.

use std::sync::Arc;

use bytes::Bytes;

use super::admission::Permit;
use super::aux_images::AuxImages;
use super::generation::{Generation, Generations};
use super::header::{CAMERAS_MAX, Found, HEADERS_MAX, Remembered, camera_of, header_of, look, weight};
use super::isolate::Workers;
use super::lane::{Lane, Queue};
use super::render::{Admitted, Made, Render};
use super::source::Opened;
use super::{Error, Options};
use crate::pipeline::metadata::Camera;
use crate::pipeline::{self, Batch, Group, Limits, Pipeline};
use crate::store::Store;

/// What all renders share.
pub struct Engine {
    /// Where sources are.
    pub store: Arc<dyn Store>,
    /// The present generation of every source.
    pub generations: Generations,
    /// For requests whose client waits.
    pub single: Arc<Lane>,
    /// For bulk work.
    pub bulk: Arc<Lane>,
    /// Format and header of stored images.
    pub headers: Remembered<Found>,
    /// Camera data of stored images.
    pub cameras: Remembered<Option<Arc<Camera>>>,
    /// Worker processes, if renders run in some.
    pub workers: Option<Arc<Workers>>,
}

/// The bytes of a source that were read for its header, and the right to hold them.
type Read = Option<(Bytes, Permit)>;

impl Engine {
    /// Starts the pools.
    pub fn new(store: Arc<dyn Store>, limits: &Limits, options: &Options) -> Arc<Engine> {
        let workers = options.worker.clone().map(Workers::new);
        Arc::new(Engine {
            store,
            generations: Generations::default(),
            single: Arc::new(Lane::single(options, limits, workers.as_ref())),
            bulk: Arc::new(Lane::bulk(options, limits, workers.as_ref())),
            headers: Remembered::new(HEADERS_MAX, weight),
            cameras: Remembered::new(CAMERAS_MAX, |_| 1),
            workers,
        })
    }

    /// Format and header of a stored blob.
    pub async fn header(&self, lane: &Lane, generation: &Arc<Generation>) -> Result<Found, Error> {
        self.remembered(&self.headers, lane, generation, header_of).await
    }

    /// The camera data in a stored blob.
    pub async fn camera(&self, generation: &Arc<Generation>) -> Result<Option<Arc<Camera>>, Error> {
        let limits = self.single.limits.clone();
        let read = move |bytes: &[u8]| Ok(camera_of(bytes, &limits)?.map(Arc::new));
        self.remembered(&self.cameras, &self.single, generation, read).await
    }

    /// What `memory` holds of a stored blob, which is read for it the first time.
    async fn remembered<T: Clone + Send + Sync + 'static>(
        &self,
        memory: &Remembered<T>,
        lane: &Lane,
        generation: &Arc<Generation>,
        read: impl FnOnce(&[u8]) -> Result<T, pipeline::Error> + Send + 'static,
    ) -> Result<T, Error> {
        if let Some(known) = memory.get(generation.source()) {
            return Ok(known);
        }
        let blob = self.store.open(generation.source()).await?;
        let _permit = lane.acquire_header(blob.len).await?;
        let found = look(&blob.bytes().await?, read).await?;
        memory.insert(generation, found.clone());
        Ok(found)
    }

    /// One output, in the lane of single requests.
    pub async fn render_one(&self, source: &Opened, pipeline: &Pipeline) -> Made {
        let admitted = self.admit(&self.single, source, vec![pipeline.clone()], 0).await?;
        admitted.render().await.pop().unwrap_or(Err(Error::Panicked))
    }

    /// Waits for the right to hold what the outputs need and `extra_bytes` more, then reads their source. A caller
    /// waits while it holds nothing: callers that wait and hold memory would wait for each other. Outputs that cannot be
    /// rendered wait for nothing, and their source is not read for them.
    ///
    /// Errors: those of the source, which fail every output.
    pub async fn admit(
        &self,
        lane: &Arc<Lane>,
        source: &Opened,
        pipelines: Vec<Pipeline>,
        extra_bytes: u64,
    ) -> Result<Admitted, Error> {
        let mut queue = lane.queue();
        // Bytes at hand are looked at first: that they are no image says more than that a mask is missing.
        let given = match source {
            Opened::Given { .. } => Some(self.inspected(source, &mut queue).await?),
            Opened::Stored(..) => None,
        };
        let mut aux_images = AuxImages::find(self, lane, &pipelines, source).await;
        if let Some(errors) = aux_images.failures(&pipelines) {
            return Ok(Admitted { permit: lane.acquire(extra_bytes).await?, render: Err(errors) });
        }
        let ((codec, header), read) = match given {
            Some(inspected) => inspected,
            None => self.inspected(source, &mut queue).await?,
        };
        let headers = std::mem::take(&mut aux_images.headers);
        let batch = Batch::plan(pipelines, (codec, &header), headers, &lane.limits, lane.memory.bytes_max());
        if batch.groups().is_empty() {
            drop(read);
            let errors = batch.refused().iter().map(|(_, error)| aux_images.why(error.clone().into())).collect();
            return Ok(Admitted { permit: lane.acquire(extra_bytes).await?, render: Err(errors) });
        }
        let bytes = [batch.memory_bytes(), aux_images.len, extra_bytes].into_iter().fold(0, u64::saturating_add);
        let bytes = bytes + self.copied_bytes(lane, &batch, (source.len(), aux_images.len), bytes);
        let (source, permit) = acquired(source, read, bytes, &mut queue).await?;
        let images = aux_images.read().await;
        if let Some(errors) = aux_images.failures(batch.pipelines()) {
            return Ok(Admitted { permit, render: Err(errors) });
        }
        let (waited, until) = (queue.waited(), queue.end());
        let render = Render { lane: lane.clone(), batch, source, images, aux_images, waited, until };
        Ok(Admitted { permit, render: Ok(render) })
    }

    /// Bytes that are there twice where a worker renders: the images, and the result that it sends, while it still keeps what
    /// it took for making it. No render is refused for copies: at most they take what is left of the lane.
    fn copied_bytes(&self, lane: &Lane, batch: &Batch, (source, images): (u64, u64), bytes: u64) -> u64 {
        if self.workers.is_none() || batch.groups().iter().all(Group::passes_through) {
            return 0;
        }
        let left = lane.memory.bytes_max().saturating_sub(source.saturating_add(bytes));
        [source, images, batch.result_bytes_max()].into_iter().fold(0, u64::saturating_add).min(left)
    }

    /// Format and header of a source. A blob whose header is not known is read for it, within the right to hold its
    /// bytes.
    async fn inspected(&self, source: &Opened, queue: &mut Queue<'_>) -> Result<(Found, Read), Error> {
        let (generation, blob) = match source {
            Opened::Given { bytes, .. } => return Ok((look(bytes, header_of).await?, None)),
            Opened::Stored(generation, blob) => (generation, blob),
        };
        if let Some(known) = self.headers.get(generation.source()) {
            return Ok((known, None));
        }
        let permit = queue.acquire(blob.len).await?;
        let bytes = blob.bytes().await?;
        let found = look(&bytes, header_of).await?;
        self.headers.insert(generation, found.clone());
        Ok((found, Some((bytes, permit))))
    }
}

/// The source, and the right to hold it and `bytes` more. The source is read once, unless it was read for its header and
/// memory is short. Then the first bytes are dropped before the wait, so that no two renders wait for each other's.
async fn acquired(source: &Opened, read: Read, bytes: u64, queue: &mut Queue<'_>) -> Result<(Bytes, Permit), Error> {
    if let Some((read, mut permit)) = read
        && permit.try_acquire_more(bytes)
    {
        return Ok((read, permit));
    }
    let permit = queue.acquire(source.len().saturating_add(bytes)).await?;
    Ok((source.bytes().await?, permit))
}
