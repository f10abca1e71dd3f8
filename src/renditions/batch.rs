//! [`Renditions::batch`]: many outputs of one source in one call. What the cache and the tier have is taken from there; the
//! bulk lane renders the rest together.
//!
//! A call waits once, and holds nothing meanwhile: what it will take from the cache and the tier is admitted together with
//! what it renders. Cached bytes are copied, so that no bytes of the other lane are held. Results do not enter the cache:
//! they would push out what is asked for one by one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::admission::Permit;
use super::generation::{Generation, Lineage};
use super::source::{Opened, Source};
use super::tier;
use super::{Error, Rendition, Renditions, found_in_tier, unless_over};
use crate::digest::Digest;
use crate::pipeline::{Images, Pipeline};

/// One output of a stored source.
struct Wanted<'a> {
    key: Digest,
    lineage: Lineage,
    pipeline: &'a Pipeline,
    found: Option<Found>,
}

/// Where an output is already.
enum Found {
    /// The length of its bytes.
    InCache(u64),
    InTier(tier::Opened),
}

/// A rendition that was found has left the cache, or its file was damaged. The admitted bytes did not include its render.
struct Gone;

impl Renditions {
    /// Renditions of one source, in the bulk lane: it waits for room for as long as it takes, and renders only while
    /// nothing else wants a processor. One result for each pipeline, in their order; its bytes are those of
    /// [`Renditions::get`], and a failure leaves the others alone. `keep` also puts renditions of a stored source into
    /// the tier. Cache and tier are asked for stored sources alone. Cancelled when the future is dropped.
    pub async fn batch(
        &self,
        source: impl Into<Source>,
        pipelines: &[Pipeline],
        keep: bool,
    ) -> Vec<Result<Rendition, Error>> {
        let (bytes, images) = match source.into() {
            Source::Stored(id) => return self.batch_of_stored(&id, pipelines, keep).await,
            Source::Fetched { bytes, .. } => (bytes, Images::new()),
            Source::Given { bytes, images } => (bytes, images),
        };
        let source = Opened::Given { bytes, images };
        match self.engine.admit(&self.engine.bulk, &source, pipelines.to_vec(), 0).await {
            Ok(admitted) => admitted.render().await.into_iter().map(|made| Ok(made?.0)).collect(),
            Err(error) => vec![Err(error); pipelines.len()],
        }
    }

    async fn batch_of_stored(&self, id: &Digest, pipelines: &[Pipeline], keep: bool) -> Vec<Result<Rendition, Error>> {
        let generation = self.engine.generations.of(id);
        let mut wanted = self.find(id, pipelines).await;
        let results = loop {
            // After `Gone` nothing is found any more: everything is rendered.
            if let Ok(results) = self.gathered(&generation, &mut wanted).await {
                break results;
            }
        };
        for (Wanted { key, lineage, .. }, result) in wanted.iter().zip(&results).filter(|_| keep) {
            if let Ok(rendition) = result {
                self.tier.insert(lineage.clone(), *key, rendition).await;
            }
        }
        let results = wanted.iter().zip(results);
        results.map(|(output, result)| unless_over(&output.lineage, Ok(result))).collect()
    }

    /// The outputs, and where each is already.
    async fn find<'a>(&self, source: &Digest, pipelines: &'a [Pipeline]) -> Vec<Wanted<'a>> {
        let mut wanted = Vec::with_capacity(pipelines.len());
        for pipeline in pipelines {
            let key = pipeline.key(source);
            let lineage = Lineage::of(&self.engine.generations, source, &pipeline.images());
            let found = match self.cache.get(source, &key) {
                Some(hit) => Some(Found::InCache(hit.bytes.len() as u64)),
                None => found_in_tier(&self.engine, &self.tier, &lineage, &key).await.map(Found::InTier),
            };
            wanted.push(Wanted { key, lineage, pipeline, found });
        }
        wanted
    }

    /// Every result. What was found is taken out of `wanted`, so that a second call renders everything.
    async fn gathered(
        &self,
        generation: &Arc<Generation>,
        wanted: &mut [Wanted<'_>],
    ) -> Result<Vec<Result<Rendition, Error>>, Gone> {
        let missing = wanted.iter().filter(|output| output.found.is_none());
        let pipelines = missing.map(|output| output.pipeline.clone()).collect();
        let found_bytes = wanted.iter().filter_map(|output| output.found.as_ref()).map(Found::bytes).sum();
        let admitted = async {
            let source = Opened::stored(&self.engine, generation).await?;
            self.engine.admit(&self.engine.bulk, &source, pipelines, found_bytes).await
        };
        let mut admitted = match admitted.await {
            Ok(admitted) => admitted,
            Err(error) => return Ok(vec![Err(error); wanted.len()]),
        };
        let found: Vec<_> = wanted.iter_mut().map(|output| (output.key, output.found.take())).collect();
        let mut taken = Vec::with_capacity(found.len());
        for (key, found) in found {
            taken.push(match found {
                Some(found) => Some(self.taken(generation.source(), &key, found, &mut admitted.permit).await?),
                None => None,
            });
        }
        let mut made = admitted.render().await.into_iter();
        let mut rest = || made.next().map_or(Err(Error::Panicked), |made| Ok(made?.0));
        Ok(taken.into_iter().map(|taken| taken.map_or_else(&mut rest, Ok)).collect())
    }

    /// Takes a rendition out of the cache or the tier; its bytes hold their part of `permit`.
    async fn taken(&self, source: &Digest, key: &Digest, found: Found, permit: &mut Permit) -> Result<Rendition, Gone> {
        let part = permit.split(found.bytes());
        let rendition = match found {
            Found::InCache(_) => self.cache.get(source, key).map(|hit| {
                self.hits.fetch_add(1, Ordering::Relaxed);
                Rendition { bytes: Bytes::copy_from_slice(&hit.bytes), ..hit }
            }),
            Found::InTier(opened) => self.tier.read(opened).await,
        };
        Ok(rendition.ok_or(Gone)?.held(part))
    }
}

impl Found {
    /// Bytes that a copy holds.
    fn bytes(&self) -> u64 {
        match self {
            Found::InCache(bytes) => *bytes,
            Found::InTier(opened) => opened.len,
        }
    }
}
