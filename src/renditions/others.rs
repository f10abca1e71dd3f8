//! [`Others`]: the images that a pipeline names beside its source (masks, overlays): what is known of them before they are
//! admitted, and their bytes after.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::Error;
use super::engine::Engine;
use super::generation::Generation;
use super::header::inspect;
use super::lane::Lane;
use crate::digest::Digest;
use crate::pipeline::{self, Headers, Images};
use crate::store::{self, Blob};

/// The other images of one render, or of several. One that cannot be had fails those that name it.
pub struct Others {
    /// For the plan.
    pub headers: Headers,
    /// Bytes of them all.
    pub len: u64,
    given: Images,
    stored: Vec<Blob>,
    failed: BTreeMap<Digest, Error>,
}

impl Others {
    /// Looks at every image of `ids`: those of `given`, the others in the store. `generations` are those of the latter.
    pub async fn find(
        engine: &Engine,
        lane: &Lane,
        ids: impl IntoIterator<Item = Digest>,
        generations: &[Arc<Generation>],
        given: Images,
    ) -> Others {
        let mut others = Others {
            headers: Headers::new(),
            len: 0,
            given: Images::new(),
            stored: Vec::new(),
            failed: BTreeMap::new(),
        };
        for id in ids {
            let found = match given.get(&id) {
                Some(bytes) => others.add_given(id, bytes).await,
                None => others.add_stored(engine, lane, generations, id).await,
            };
            if let Err(error) = found {
                others.failed.insert(id, error);
            }
        }
        others
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

    /// The first that cannot be had, for a render that needs them all.
    pub fn check(&self) -> Result<(), Error> {
        self.failed.values().next().map_or(Ok(()), |error| Err(error.clone()))
    }

    /// Why an image is not there.
    pub fn failure(&self, id: &Digest) -> Option<&Error> {
        self.failed.get(id)
    }
}

/// That a mask is not stored does not mean that the source is not.
fn missing(error: Error, id: Digest) -> Error {
    match error {
        Error::Store(store::Error::NotFound) => pipeline::Error::MissingImage { id }.into(),
        other => other,
    }
}
