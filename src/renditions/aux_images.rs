//! [`AuxImages`]: the images that a pipeline names in addition to its source (masks, overlays): what is known of them before a
//! render is admitted, and their bytes after.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Error;
use super::engine::Engine;
use super::generation::Generation;
use super::header::inspect;
use super::lane::Lane;
use super::source::Opened;
use crate::digest::Digest;
use crate::pipeline::{self, Headers, Images, Pipeline};
use crate::store::{self, Blob};

/// The other images of a render. One that cannot be had fails those that name it.
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
    /// Looks at every image of `ids`: given with the source, or in the store, in one of `generations`.
    pub async fn find(
        engine: &Engine,
        lane: &Lane,
        ids: impl IntoIterator<Item = Digest>,
        generations: &[Arc<Generation>],
        source: &Opened,
    ) -> AuxImages {
        let mut found = AuxImages {
            headers: Headers::new(),
            len: 0,
            given: Images::new(),
            stored: Vec::new(),
            failed: BTreeMap::new(),
        };
        for id in ids {
            let added = match source.image(&id) {
                Some(bytes) => found.add_given(id, bytes).await,
                None => found.add_stored(engine, lane, generations, id).await,
            };
            if let Err(error) = added {
                found.failed.insert(id, error);
            }
        }
        found
    }

    async fn add_given(&mut self, id: Digest, bytes: &Bytes) -> Result<(), Error> {
        self.headers.insert(id, inspect(bytes).await?);
        self.len += bytes.len() as u64;
        self.given.insert(id, bytes.clone());
        Ok(())
    }

    async fn add_stored(
        &mut self,
        engine: &Engine,
        lane: &Lane,
        generations: &[Arc<Generation>],
        id: Digest,
    ) -> Result<(), Error> {
        let generation = generations.iter().find(|generation| *generation.source() == id);
        let generation = generation.ok_or(pipeline::Error::MissingImage { id })?;
        let blob = engine.store.open(&id).await.map_err(|error| missing(error.into(), id))?;
        let header = engine.header(lane, generation).await.map_err(|error| missing(error, id))?;
        self.headers.insert(id, header);
        self.len += blob.len;
        self.stored.push(blob);
        Ok(())
    }

    /// Reads the stored ones; the right to hold them was granted.
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

    /// Why none of `pipelines` can be rendered, where each names an image that cannot be had.
    pub fn failures(&self, pipelines: &[Pipeline]) -> Option<Vec<Error>> {
        let failure = |pipeline: &Pipeline| pipeline.images().iter().find_map(|id| self.failed.get(id)).cloned();
        pipelines.iter().map(failure).collect()
    }

    /// The error of an output. An image that cannot be had is missing to the pipeline; here it is known why.
    pub fn why(&self, error: Error) -> Error {
        match &error {
            Error::Pipeline(pipeline::Error::MissingImage { id }) => self.failed.get(id).cloned().unwrap_or(error),
            _ => error,
        }
    }
}

/// That a mask is not stored does not mean that the source is not.
fn missing(error: Error, id: Digest) -> Error {
    match error {
        Error::Store(store::Error::NotFound) => pipeline::Error::MissingImage { id }.into(),
        other => other,
    }
}
