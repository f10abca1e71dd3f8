//! [`Items::run`]: runs one item, so that each of its outputs has a result in any case. `POST /bulk` and jobs both use it.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};

use super::{Error, Item, Items, Output, Source, To, partless};
use crate::digest::Digest;
use crate::hold::hold;
use crate::pipeline::codec::Codec;
use crate::pipeline::invalid::conflict;
use crate::pipeline::query::url;
use crate::pipeline::{Images, Missing, Pipeline};
use crate::renditions::{self, Rendition};
use crate::store::Receipt;

/// A result in its place.
#[derive(Debug)]
pub struct Done<T> {
    /// The place.
    pub place: Placed<T>,
    /// What it lacks because its source is damaged.
    pub missing: Option<Missing>,
}

/// The place of a result. `T` is what the caller makes of bytes for its response.
#[derive(Debug)]
pub enum Placed<T> {
    /// For the response, in this format.
    Response(&'static Codec, T),
    /// Stored.
    Blob(Receipt),
    /// In the rendition tier.
    Rendition {
        /// The path and query of the rendition.
        url: String,
    },
}

/// The caller's function for bytes that go into its response.
pub type Respond<'a, T, E> = &'a (dyn Fn(Rendition) -> BoxFuture<'a, Result<T, E>> + Sync);

impl Items {
    /// Runs an item. Its source is fetched, opened or taken once for all outputs. One result for each output, in their order;
    /// after a panic, each is [`renditions::Error::Panicked`]. `respond` gets what goes into the response as soon as it is
    /// ready. Cancelled when the future is dropped.
    pub async fn run<T, E: From<Error>>(&self, item: Item, respond: Respond<'_, T, E>) -> Vec<Result<Done<T>, E>> {
        let outputs = item.outputs.len();
        let run = AssertUnwindSafe(self.results(item, respond)).catch_unwind();
        run.await.unwrap_or_else(|_| {
            tracing::error!("a bulk item panicked: this is our bug");
            (0..outputs).map(|_| Err(panicked().into())).collect()
        })
    }

    async fn results<T, E: From<Error>>(&self, item: Item, respond: Respond<'_, T, E>) -> Vec<Result<Done<T>, E>> {
        let Item { source, outputs, .. } = item;
        let stored = if let Source::Stored(id) = source { Some(id) } else { None };
        let fits = |output: &Output| stored.is_some() || output.to != To::Rendition;
        let pipelines: Vec<Pipeline> =
            outputs.iter().filter(|output| fits(output)).map(|output| output.pipeline.clone()).collect();
        // All outputs of an item are kept, or none: one decode costs more than the bytes of those that need not be.
        let keep = outputs.iter().any(|output| output.to == To::Rendition);
        let mut renditions = self.render(source, &pipelines, keep).await.into_iter();
        let each = outputs.iter().enumerate().map(|(index, output)| {
            let rendition = match fits(output) {
                true => renditions.next().unwrap_or(Err(panicked())),
                false => Err(unstored(index)),
            };
            async move { self.put(rendition?, output, stored, respond).await }
        });
        join_all(each).await
    }

    /// One result for each pipeline.
    async fn render(&self, source: Source, pipelines: &[Pipeline], keep: bool) -> Vec<Result<Rendition, Error>> {
        match self.located(source).await {
            Ok(source) => {
                let renditions = self.renditions.batch(source, pipelines, keep).await;
                renditions.into_iter().map(|rendition| Ok(rendition?)).collect()
            }
            Err(error) => vec![Err(error); pipelines.len()],
        }
    }

    /// The source, as renditions take it.
    async fn located(&self, source: Source) -> Result<renditions::Source, Error> {
        let bytes = match source {
            Source::Stored(id) => return Ok(renditions::Source::Stored(id)),
            Source::Bytes(held) => held.into_bytes(),
            Source::Remote(url) => {
                let bytes = self.sources.get(&url).await?.bytes;
                let reserved = self.reserve(bytes.len() as u64).await?;
                hold(bytes, reserved)
            }
            Source::Part(name) => return Err(partless(&name)),
        };
        Ok(renditions::Source::Given { bytes, images: Images::new() })
    }

    async fn put<T, E: From<Error>>(
        &self,
        rendition: Rendition,
        output: &Output,
        source: Option<Digest>,
        respond: Respond<'_, T, E>,
    ) -> Result<Done<T>, E> {
        let missing = rendition.missing;
        let place = match (output.to, source) {
            (To::Blob, _) => Placed::Blob(self.store(rendition.bytes.into()).await?),
            (To::Rendition, Some(source)) => Placed::Rendition { url: url(&source, rendition.codec, &output.query) },
            (To::Response, _) | (To::Rendition, None) => Placed::Response(rendition.codec, respond(rendition).await?),
        };
        Ok(Done { place, missing })
    }
}

fn panicked() -> Error {
    renditions::Error::Panicked.into()
}

fn unstored(output: usize) -> Error {
    let why = "only a stored source, {\"id\": ...}, has a URL for its renditions; others take response or blob";
    conflict(&format!("outputs[{output}].to"), To::Rendition.name(), "source").because(why).into()
}
