//! [`Engine`]: admits renders: their source is found and inspected, they are planned, and wait for the memory that the plan says.
//! What was admitted runs in [`super::render`]. Knows neither cache nor sharing.

use std::sync::Arc;

use bytes::Bytes;

use super::admission::Permit;
use super::aux_images::AuxImages;
use super::generation::Generation;
use super::header::{Headers, camera, inspect};
use super::lane::{Lane, Queue};
use super::render::{Admitted, Made, Render, Work};
use super::source::Opened;
use super::{Error, Options};
use crate::pipeline::codec::{Codec, Header};
use crate::pipeline::metadata::Camera;
use crate::pipeline::{Batch, Limits, Pipeline};
use crate::store::Store;

/// What renders share.
pub struct Engine {
    /// Where sources are.
    pub store: Arc<dyn Store>,
    /// For requests that somebody waits for.
    pub single: Arc<Lane>,
    /// For bulk work.
    pub bulk: Arc<Lane>,
    /// Headers of stored images.
    pub headers: Headers,
}

/// Outputs of one source that are asked for together.
pub struct Order {
    /// One output each.
    pub pipelines: Vec<Pipeline>,
    /// The generations of the stored images that they name.
    pub generations: Vec<Arc<Generation>>,
    /// Bytes that the caller will hold in addition.
    pub extra_bytes: u64,
}

/// Bytes of a source that were read for its header, and the right to hold them.
type Read = Option<(Bytes, Permit)>;

impl Engine {
    /// Starts the pools.
    pub fn new(store: Arc<dyn Store>, limits: &Limits, options: &Options) -> Arc<Engine> {
        Arc::new(Engine {
            store,
            single: Arc::new(Lane::single(options, limits)),
            bulk: Arc::new(Lane::bulk(options, limits)),
            headers: Headers::new(),
        })
    }

    /// Format and header of a stored blob.
    pub async fn header(&self, lane: &Lane, generation: &Arc<Generation>) -> Result<(&'static Codec, Header), Error> {
        if let Some(header) = self.headers.get(generation.source()) {
            return Ok(header);
        }
        let blob = self.store.open(generation.source()).await?;
        let _permit = lane.acquire_header(blob.len).await?;
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
        let _permit = self.single.acquire_header(blob.len).await?;
        let camera = camera(&blob.bytes().await?, &self.single.limits).await?;
        self.headers.insert_camera(generation, camera.clone());
        Ok(camera)
    }

    /// The one output of `order`, in the lane of single requests.
    pub async fn render_one(&self, source: Opened, order: Order) -> Made {
        let mut made = self.admit(&self.single, source, order).await?.render().await;
        made.pop().unwrap_or(Err(Error::Panicked))
    }

    /// Waits for the right to hold what the outputs of `order` need, and reads their source. Memory is asked for when nothing is
    /// held yet: callers that wait while they hold some would wait for each other. Outputs that cannot be rendered wait for
    /// nothing, and their source is not read for them.
    ///
    /// Errors: those of the source, which fail every output.
    pub async fn admit(&self, lane: &Arc<Lane>, source: Opened, order: Order) -> Result<Admitted, Error> {
        let Order { pipelines, generations, extra_bytes } = order;
        let ids = pipelines.iter().flat_map(Pipeline::images);
        let mut aux_images = AuxImages::find(self, lane, ids, &generations, &source).await;
        if let Some(errors) = aux_images.failures(&pipelines) {
            return Ok(Admitted { permit: lane.acquire(extra_bytes).await?, render: Err(errors) });
        }
        let mut queue = lane.queue();
        let ((codec, header), read) = self.inspected(&source, &mut queue).await?;
        let headers = std::mem::take(&mut aux_images.headers);
        let batch = Batch::plan(pipelines, (codec, &header), headers, &lane.limits, lane.memory.bytes_max());
        if batch.groups().is_empty() {
            drop(read);
            let errors = batch.refused().iter().map(|(_, error)| error.clone().into()).collect();
            return Ok(Admitted { permit: lane.acquire(extra_bytes).await?, render: Err(errors) });
        }
        let bytes = [batch.memory_bytes(), aux_images.len, extra_bytes].into_iter().fold(0, u64::saturating_add);
        let (source, permit) = acquired(&source, read, bytes, &mut queue).await?;
        let work = Work { batch, source, images: aux_images.read().await };
        let render = Render { lane: lane.clone(), work, aux_images, waited: queue.waited() };
        Ok(Admitted { permit, render: Ok(render) })
    }

    /// Format and header of a source. A blob whose header is not known is read for it, within the right to hold its bytes.
    async fn inspected(
        &self,
        source: &Opened,
        queue: &mut Queue<'_>,
    ) -> Result<((&'static Codec, Header), Read), Error> {
        let (generation, blob) = match source {
            Opened::Given { bytes, .. } => return Ok((inspect(bytes).await?, None)),
            Opened::Stored(generation, blob) => (generation, blob),
        };
        if let Some(known) = self.headers.get(generation.source()) {
            return Ok((known, None));
        }
        let permit = queue.acquire(blob.len).await?;
        let bytes = blob.bytes().await?;
        let (codec, header) = inspect(&bytes).await?;
        self.headers.insert(generation, codec, header.clone());
        Ok(((codec, header), Some((bytes, permit))))
    }
}

/// The source, and the right to hold it and `bytes` more. It is read once, unless it was read for its header and memory is short:
/// then the first bytes are let go of before the wait, so that no two renders wait for each other's.
async fn acquired(source: &Opened, read: Read, bytes: u64, queue: &mut Queue<'_>) -> Result<(Bytes, Permit), Error> {
    if let Some((read, mut permit)) = read
        && permit.try_acquire_more(bytes)
    {
        return Ok((read, permit));
    }
    let permit = queue.acquire(source.len().saturating_add(bytes)).await?;
    Ok((source.bytes().await?, permit))
}
