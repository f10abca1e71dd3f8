//! Many outputs of one source by one call: from the cache and the tier, and the rest from the bulk lane together.
//!
//! A call waits once, and holds nothing meanwhile: what it will take from the cache and the tier is admitted with what it renders,
//! and copied, so that no bytes of the other lane are held. Results do not enter the cache: they would push out what is asked for
//! one by one.

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
use crate::pipeline::{Images, Pipeline};

type Answer = Result<Rendition, Error>;

/// Where an output comes from.
enum Place {
    /// Of so many bytes.
    InCache(u64),
    InTier(Opened),
    Taken(Rendition),
    Nowhere,
}

/// What was found has left the cache, or a file of the tier was damaged: what was admitted did not reckon with that.
struct Gone;

impl Renditions {
    /// Renditions of one stored source, in the bulk lane: it waits for room for as long as it takes, and renders only while nothing
    /// else wants a processor. One answer for each pipeline, in their order; its bytes are those of [`Renditions::get`], and one
    /// that fails leaves the others alone. `keep`: put them into the rendition tier too. Cancelled when the caller leaves.
    pub async fn many(&self, source: &Digest, pipelines: &[Pipeline], keep: bool) -> Vec<Result<Rendition, Error>> {
        let generation = self.generations.of(source);
        let keys: Vec<Digest> = pipelines.iter().map(|pipeline| pipeline.key(source)).collect();
        let mut looks = true;
        let answers = loop {
            match self.gathered(&generation, &keys, pipelines, looks).await {
                Ok(answers) => break answers,
                Err(Gone) => looks = false,
            }
        };
        for (key, answer) in keys.iter().zip(&answers).filter(|_| keep) {
            if let Ok(rendition) = answer {
                self.tier.insert(&generation, *key, rendition).await;
            }
        }
        answers.into_iter().map(|answer| unless_over(&generation, Ok(answer))).collect()
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

    /// Every answer. `looks`: in the cache and the tier first.
    async fn gathered(
        &self,
        generation: &Arc<Generation>,
        keys: &[Digest],
        pipelines: &[Pipeline],
        looks: bool,
    ) -> Result<Vec<Answer>, Gone> {
        let source = generation.source();
        let places =
            if looks { self.places(source, keys).await } else { keys.iter().map(|_| Place::Nowhere).collect() };
        let open = places.iter().zip(pipelines).filter(|(place, _)| matches!(place, Place::Nowhere));
        let wanted: Vec<Pipeline> = open.map(|(_, pipeline)| pipeline.clone()).collect();
        let beside = places.iter().map(Place::bytes).sum();
        if wanted.is_empty() {
            let taken = match self.engine.admit_kept(source, beside).await {
                Ok(mut permit) => self.taken(source, keys, places, &mut permit).await?,
                Err(error) => return Ok(pipelines.iter().map(|_| Err(error.clone())).collect()),
            };
            return Ok(answers(taken, Vec::new()));
        }
        let others: Vec<_> = wanted.iter().flat_map(|pipeline| self.others(pipeline)).collect();
        let stored = Source::Stored(generation.clone());
        match self.engine.admit_many(&stored, Images::new(), &others, wanted, beside).await {
            Ok(mut admitted) => {
                let taken = self.taken(source, keys, places, &mut admitted.permit).await?;
                Ok(answers(taken, self.engine.render_many(admitted).await))
            }
            Err(error) => Ok(pipelines.iter().map(|_| Err(error.clone())).collect()),
        }
    }

    /// Where each output is now.
    async fn places(&self, source: &Digest, keys: &[Digest]) -> Vec<Place> {
        let mut places = Vec::with_capacity(keys.len());
        for key in keys {
            places.push(match self.cache.get(source, key) {
                Some(hit) => Place::InCache(hit.bytes.len() as u64),
                None => self.tier.find(source, key).await.map_or(Place::Nowhere, Place::InTier),
            });
        }
        places
    }

    /// Takes what is in the cache or the tier; its bytes hold their part of `permit`.
    async fn taken(
        &self,
        source: &Digest,
        keys: &[Digest],
        places: Vec<Place>,
        permit: &mut Permit,
    ) -> Result<Vec<Place>, Gone> {
        let mut taken = Vec::with_capacity(places.len());
        for (key, place) in keys.iter().zip(places) {
            let held = permit.split(place.bytes());
            let found = match place {
                Place::InCache(_) => self.cache.get(source, key).map(|hit| {
                    self.hits.fetch_add(1, Ordering::Relaxed);
                    Rendition { bytes: Bytes::copy_from_slice(&hit.bytes), ..hit }
                }),
                Place::InTier(opened) => self.tier.read(opened).await,
                other => {
                    taken.push(other);
                    continue;
                }
            };
            let Rendition { bytes, codec, query } = found.ok_or(Gone)?;
            taken.push(Place::Taken(Rendition { bytes: holding(bytes, held), codec, query }));
        }
        Ok(taken)
    }
}

/// What was taken, and what was rendered for the other places.
fn answers(places: Vec<Place>, rendered: Vec<Answer>) -> Vec<Answer> {
    let mut rendered = rendered.into_iter();
    let answer = |place| if let Place::Taken(rendition) = place { Some(Ok(rendition)) } else { rendered.next() };
    places.into_iter().filter_map(answer).collect()
}

impl Place {
    /// Bytes that taking it holds.
    fn bytes(&self) -> u64 {
        match self {
            Place::InCache(bytes) => *bytes,
            Place::InTier(opened) => opened.len,
            Place::Taken(_) | Place::Nowhere => 0,
        }
    }
}
