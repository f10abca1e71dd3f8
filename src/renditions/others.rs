//! [`Others`]: the images that a pipeline names beside its source (masks, overlays): what is known of them before they are
//! admitted, and their bytes after.

use std::sync::Arc;

use super::Error;
use super::engine::Engine;
use super::generation::Generation;
use super::header::inspect;
use crate::digest::Digest;
use crate::pipeline::{self, Headers, Images, Pipeline};
use crate::store::{self, Blob};

/// The other images of one render.
pub struct Others {
    /// For the plan.
    pub headers: Headers,
    /// Bytes of them all.
    pub len: u64,
    given: Images,
    stored: Vec<Blob>,
}

impl Others {
    /// Looks at every image that `pipeline` names: those of `given`, the others in the store. `generations` are those of the
    /// latter.
    pub async fn find(
        engine: &Engine,
        pipeline: &Pipeline,
        generations: &[Arc<Generation>],
        given: Images,
    ) -> Result<Others, Error> {
        let mut others = Others { headers: Headers::new(), len: 0, given: Images::new(), stored: Vec::new() };
        for id in pipeline.images() {
            match given.get(&id) {
                Some(bytes) => {
                    others.len += bytes.len() as u64;
                    others.headers.insert(id, inspect(bytes).await?);
                    others.given.insert(id, bytes.clone());
                }
                None => others.add(engine, generations, id).await.map_err(|error| missing(error, id))?,
            }
        }
        Ok(others)
    }

    async fn add(&mut self, engine: &Engine, generations: &[Arc<Generation>], id: Digest) -> Result<(), Error> {
        let generation = generations.iter().find(|generation| *generation.source() == id);
        let generation = generation.ok_or(store::Error::NotFound)?;
        let blob = engine.store.open(&id).await?;
        self.len += blob.len;
        self.headers.insert(id, engine.header(generation).await?);
        self.stored.push(blob);
        Ok(())
    }

    /// Reads the stored ones; the right to hold them was granted.
    pub async fn read(self) -> Result<Images, Error> {
        let mut images = self.given;
        for blob in self.stored {
            images.insert(blob.digest, blob.bytes().await?);
        }
        Ok(images)
    }
}

/// That a mask is not stored does not mean that the source is not.
fn missing(error: Error, id: Digest) -> Error {
    match error {
        Error::Store(store::Error::NotFound) => pipeline::Error::MissingImage { id }.into(),
        other => other,
    }
}
