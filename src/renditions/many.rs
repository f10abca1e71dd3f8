//! Many outputs of one source by one call: from the cache and the tier, and the rest from the bulk lane together.
//!
//! A call waits once, and holds nothing meanwhile: what it will read from the tier is admitted with what it renders. Results do
//! not enter the cache: they would push out what is asked for one by one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::admission::Permit;
use super::bulk::Source;
use super::engine::holding;
use super::generation::Generation;
use super::tier::Opened;
use super::{Error, Rendition, Renditions, unless_over};
use crate::digest::Digest;
use crate::flight;
use crate::pipeline::{Images, Pipeline};

type Answer = Result<Rendition, Error>;

/// Where an output comes from.
enum Place {
    Made(Answer),
    InTier(Opened),
    Nowhere,
}

/// A file of the tier was no rendition; it is gone now, and what was admitted did not reckon with that.
struct Damaged;

impl Renditions {
    /// Renditions of one stored source, in the bulk lane: it waits for room for as long as it takes, and renders only while nothing
    /// else wants a processor. One answer for each pipeline, in their order; its bytes are those of [`Renditions::get`], and one
    /// that fails leaves the others alone. `keep`: put them into the rendition tier too. Cancelled when the caller leaves.
    pub async fn many(&self, source: &Digest, pipelines: &[Pipeline], keep: bool) -> Vec<Result<Rendition, Error>> {
        let generation = self.generations.of(source);
        let keys: Vec<Digest> = pipelines.iter().map(|pipeline| pipeline.key(source)).collect();
        let mut with_tier = true;
        let answers = loop {
            match self.gathered(&generation, &keys, pipelines, with_tier).await {
                Ok(answers) => break answers,
                Err(Damaged) => with_tier = false,
            }
        };
        if keep {
            for (key, rendition) in
                keys.iter().zip(&answers).filter_map(|(key, answer)| Some((key, answer.as_ref().ok()?)))
            {
                self.tier.insert(&generation, *key, rendition).await;
            }
        }
        answers.into_iter().map(|answer| unless_over(&generation, Ok::<_, flight::Lost>(answer))).collect()
    }

    /// As [`Renditions::many`], of a source that is not stored: nothing is looked up or kept. Of the images that the pipelines
    /// name, those that are not among `given` are taken from the store.
    pub async fn many_unstored(
        &self,
        source: Bytes,
        given: Images,
        pipelines: &[Pipeline],
    ) -> Vec<Result<Rendition, Error>> {
        let others: Vec<_> = pipelines.iter().flat_map(|pipeline| self.others(pipeline)).collect();
        match self.engine.admit_many(&Source::Given(source), given, &others, pipelines.to_vec(), 0).await {
            Ok(admitted) => self.engine.render_many(admitted).await,
            Err(error) => pipelines.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    /// Every answer.
    async fn gathered(
        &self,
        generation: &Arc<Generation>,
        keys: &[Digest],
        pipelines: &[Pipeline],
        with_tier: bool,
    ) -> Result<Vec<Answer>, Damaged> {
        let mut places = self.places(generation.source(), keys, with_tier).await;
        let open = places.iter().zip(pipelines).filter(|(place, _)| matches!(place, Place::Nowhere));
        let wanted: Vec<Pipeline> = open.map(|(_, pipeline)| pipeline.clone()).collect();
        let in_tier = places.iter().map(Place::tier_bytes).sum();
        let rendered = if !wanted.is_empty() {
            let others: Vec<_> = wanted.iter().flat_map(|pipeline| self.others(pipeline)).collect();
            let source = Source::Stored(generation.clone());
            match self.engine.admit_many(&source, Images::new(), &others, wanted, in_tier).await {
                Ok(mut admitted) => {
                    places = self.read(places, &mut admitted.permit).await?;
                    self.engine.render_many(admitted).await
                }
                Err(error) => return Ok(refused(places, &error)),
            }
        } else if in_tier > 0 {
            match self.engine.admit_kept(generation.source(), in_tier).await {
                Ok(mut permit) => places = self.read(places, &mut permit).await?,
                Err(error) => return Ok(refused(places, &error)),
            }
            Vec::new()
        } else {
            Vec::new()
        };
        let mut rendered = rendered.into_iter();
        Ok(places.into_iter().filter_map(|place| place.answer().or_else(|| rendered.next())).collect())
    }

    /// Where each output is now.
    async fn places(&self, source: &Digest, keys: &[Digest], with_tier: bool) -> Vec<Place> {
        let mut places = Vec::with_capacity(keys.len());
        for key in keys {
            places.push(match self.cache.get(source, key) {
                Some(hit) => {
                    self.hits.fetch_add(1, Ordering::Relaxed);
                    Place::Made(Ok(hit))
                }
                None if with_tier => self.tier.find(source, key).await.map_or(Place::Nowhere, Place::InTier),
                None => Place::Nowhere,
            });
        }
        places
    }

    /// Reads what is in the tier; its bytes hold their part of `permit`.
    async fn read(&self, places: Vec<Place>, permit: &mut Permit) -> Result<Vec<Place>, Damaged> {
        let mut read = Vec::with_capacity(places.len());
        for place in places {
            read.push(match place {
                Place::InTier(opened) => {
                    let held = permit.split(opened.len);
                    let Rendition { bytes, codec, query } = self.tier.read(opened).await.ok_or(Damaged)?;
                    Place::Made(Ok(Rendition { bytes: holding(bytes, held), codec, query }))
                }
                other => other,
            });
        }
        Ok(read)
    }
}

/// What is there, and the reason why the rest is not.
fn refused(places: Vec<Place>, error: &Error) -> Vec<Answer> {
    places.into_iter().map(|place| place.answer().unwrap_or_else(|| Err(error.clone()))).collect()
}

impl Place {
    /// Bytes that reading it will take.
    fn tier_bytes(&self) -> u64 {
        if let Place::InTier(opened) = self { opened.len } else { 0 }
    }

    fn answer(self) -> Option<Answer> {
        match self {
            Place::Made(answer) => Some(answer),
            Place::InTier(_) | Place::Nowhere => None,
        }
    }
}
