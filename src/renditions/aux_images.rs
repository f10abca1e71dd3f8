//! [`AuxImages`]: the images that a pipeline names in addition to its source (masks, overlays): what is known of them
//! before a render is admitted, and their bytes after.

use std::collections::{BTreeMap, BTreeSet};

use super::Error;
use super::engine::Engine;
use super::header::inspect;
use super::lane::Lane;
use super::source::Opened;
use crate::digest::Digest;
use crate::pipeline::{self, Headers, Images, Pipeline};
use crate::store::{self, Blob};

/// The other images of a render. An image that is not available fails the outputs that name it.
#[derive(Default)]
pub struct AuxImages {
    /// For the plan.
    pub headers: Headers,
    /// Bytes of them all.
    pub len: u64,
    given: Images,
    stored: Vec<Blob>,
    failed: BTreeMap<Digest, Error>,
}

impl AuxImages {
    /// Looks at every image that `pipelines` name: given with the source, or in the store.
    pub async fn find(engine: &Engine, lane: &Lane, pipelines: &[Pipeline], source: &Opened) -> AuxImages {
        let mut found = AuxImages::default();
        let ids: BTreeSet<Digest> = pipelines.iter().flat_map(Pipeline::images).collect();
        for id in ids {
            if let Err(error) = found.add(engine, lane, source, id).await {
                found.failed.insert(id, error);
            }
        }
        found
    }

    async fn add(&mut self, engine: &Engine, lane: &Lane, source: &Opened, id: Digest) -> Result<(), Error> {
        if let Some(bytes) = source.image(&id) {
            self.headers.insert(id, inspect(bytes).await?);
            self.len += bytes.len() as u64;
            self.given.insert(id, bytes.clone());
            return Ok(());
        }
        let generation = engine.generations.of(&id);
        let blob = engine.store.open(&id).await.map_err(|error| missing(error.into(), id))?;
        let header = engine.header(lane, &generation).await.map_err(|error| missing(error, id))?;
        self.headers.insert(id, header);
        self.len += blob.len;
        self.stored.push(blob);
        Ok(())
    }

    /// The images. The stored ones are read, since the right to hold them was granted.
    pub async fn read(&mut self) -> Images {
        let mut images = std::mem::take(&mut self.given);
        for blob in std::mem::take(&mut self.stored) {
            match blob.bytes().await {
                Ok(bytes) => _ = images.insert(blob.digest, bytes),
                Err(error) => _ = self.failed.insert(blob.digest, error.into()),
            }
        }
        images
    }

    /// Why none of `pipelines` can be rendered, if each names an image that is not available.
    pub fn failures(&self, pipelines: &[Pipeline]) -> Option<Vec<Error>> {
        let failure = |pipeline: &Pipeline| pipeline.images().iter().find_map(|id| self.failed.get(id)).cloned();
        pipelines.iter().map(failure).collect()
    }

    /// The error of an output. To the pipeline an image that is not available is missing; here the reason is known.
    pub fn why(&self, error: Error) -> Error {
        match &error {
            Error::Pipeline(pipeline::Error::MissingImage { id }) => self.failed.get(id).cloned().unwrap_or(error),
            _ => error,
        }
    }
}

/// The error for a missing mask or overlay. It must not look as if the source were missing.
fn missing(error: Error, id: Digest) -> Error {
    match error {
        Error::Store(store::Error::NotFound) => pipeline::Error::MissingImage { id }.into(),
        other => other,
    }
}
