//! [`Renditions::batch`]: many outputs of one source by one call: from the cache and the tier, and the rest from the bulk lane
//! together.
//!
//! A call waits once, and holds nothing meanwhile: what it will take from the cache and the tier is admitted with what it renders,
//! and copied, so that no bytes of the other lane are held. Results do not enter the cache: they would push out what is asked for
//! one by one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::admission::Permit;
use super::engine::Order;
use super::generation::Generation;
use super::source::{Opened, Source};
use super::tier;
use super::{Error, Rendition, Renditions, unless_over};
use crate::digest::Digest;
use crate::hold::hold;
use crate::pipeline::{Images, Pipeline};

/// One output of a stored source.
struct Wanted<'a> {
    key: Digest,
    pipeline: &'a Pipeline,
    found: Option<Found>,
}

/// Where an output is already.
enum Found {
    /// Its bytes.
    InCache(u64),
    InTier(tier::Opened),
}

/// What was found has left the cache, or a file of the tier was damaged: what was admitted did not reckon with that.
struct Gone;

impl Renditions {
    /// Renditions of one source, in the bulk lane: it waits for room for as long as it takes, and renders only while nothing else
    /// wants a processor. One result for each pipeline, in their order; its bytes are those of [`Renditions::get`], and one that
    /// fails leaves the others alone. `keep`: those of a stored source are put into the rendition tier too. A source that is not
    /// stored is looked up nowhere. Cancelled when the caller leaves.
    pub async fn batch(
        &self,
        source: impl Into<Source>,
        pipelines: &[Pipeline],
        keep: bool,
    ) -> Vec<Result<Rendition, Error>> {
        let (bytes, images) = match source.into() {
            Source::Stored(id) => return self.batch_of_stored(&self.generations.of(&id), pipelines, keep).await,
            Source::Fetched { bytes, .. } => (bytes, Images::new()),
            Source::Given { bytes, images } => (bytes, images),
        };
        let order = self.order(pipelines.to_vec());
        match self.engine.admit(&self.engine.bulk, Opened::Given { bytes, images }, order).await {
            Ok(admitted) => admitted.render().await.into_iter().map(|made| Ok(made?.0)).collect(),
            Err(error) => vec![Err(error); pipelines.len()],
        }
    }

    async fn batch_of_stored(
        &self,
        generation: &Arc<Generation>,
        pipelines: &[Pipeline],
        keep: bool,
    ) -> Vec<Result<Rendition, Error>> {
        let mut wanted = self.find(generation.source(), pipelines).await;
        let results = loop {
            // After `Gone` nothing is found any more: everything is rendered.
            if let Ok(results) = self.gathered(generation, &mut wanted).await {
                break results;
            }
        };
        for (Wanted { key, .. }, result) in wanted.iter().zip(&results).filter(|_| keep) {
            if let Ok(rendition) = result {
                self.tier.insert(generation, *key, rendition).await;
            }
        }
        results.into_iter().map(|result| unless_over(generation, Ok(result))).collect()
    }

    /// The outputs, and where each is already.
    async fn find<'a>(&self, source: &Digest, pipelines: &'a [Pipeline]) -> Vec<Wanted<'a>> {
        let mut wanted = Vec::with_capacity(pipelines.len());
        for pipeline in pipelines {
            let key = pipeline.key(source);
            let found = match self.cache.get(source, &key) {
                Some(hit) => Some(Found::InCache(hit.bytes.len() as u64)),
                None => self.tier.find(source, &key).await.map(Found::InTier),
            };
            wanted.push(Wanted { key, pipeline, found });
        }
        wanted
    }

    /// Every result. What was found is taken, so that a second call renders it all.
    async fn gathered(
        &self,
        generation: &Arc<Generation>,
        wanted: &mut [Wanted<'_>],
    ) -> Result<Vec<Result<Rendition, Error>>, Gone> {
        let missing = wanted.iter().filter(|output| output.found.is_none());
        let pipelines = missing.map(|output| output.pipeline.clone()).collect();
        let extra_bytes = wanted.iter().filter_map(|output| output.found.as_ref()).map(Found::bytes).sum();
        let order = Order { extra_bytes, ..self.order(pipelines) };
        let admitted = async {
            let blob = self.engine.store.open(generation.source()).await?;
            self.engine.admit(&self.engine.bulk, Opened::Stored(generation.clone(), Box::new(blob)), order).await
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

    /// Takes what is in the cache or the tier; its bytes hold their part of `permit`.
    async fn taken(&self, source: &Digest, key: &Digest, found: Found, permit: &mut Permit) -> Result<Rendition, Gone> {
        let part = permit.split(found.bytes());
        let rendition = match found {
            Found::InCache(_) => self.cache.get(source, key).map(|hit| {
                self.hits.fetch_add(1, Ordering::Relaxed);
                Rendition { bytes: Bytes::copy_from_slice(&hit.bytes), ..hit }
            }),
            Found::InTier(opened) => self.tier.read(opened).await,
        };
        let Rendition { bytes, codec, query } = rendition.ok_or(Gone)?;
        Ok(Rendition { bytes: hold(bytes, part), codec, query })
    }
}

impl Found {
    /// Bytes that taking it holds.
    fn bytes(&self) -> u64 {
        match self {
            Found::InCache(bytes) => *bytes,
            Found::InTier(opened) => opened.len,
        }
    }
}
