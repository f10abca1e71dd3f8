//! What an extension and a query ask for. Knows neither bodies nor sources.

use hyper::Uri;
use hyper::http::request::Parts;

use super::auth::Grant;
use super::hint;
use super::negotiate::{self, Bucket};
use super::response_options::{self, Pairs, ResponseOptions};
use crate::digest::Digest;
use crate::http::error::Error;
use crate::pipeline::codec::{Codec, Header, by_extension};
use crate::pipeline::query;
use crate::pipeline::{self, Pipeline, Presets};

/// What the server makes of the queries that it is sent.
#[derive(Clone, Copy)]
pub(in crate::http) struct RenderPolicy<'a> {
    pub(in crate::http) presets: &'a Presets,
    /// Whether a conversion is a render: originals are not for everybody.
    pub(in crate::http) converts_render: bool,
}

impl RenderPolicy<'_> {
    /// The pipeline, turned into a render where originals are not for everybody.
    pub(in crate::http) fn apply(&self, pipeline: Pipeline) -> Pipeline {
        pipeline.unless_converts(self.converts_render)
    }
}

/// A format and how the result should look.
pub(in crate::http) struct RenderRequest {
    format: Format,
    /// Of the pipeline; what is a response option is taken out.
    pub(in crate::http) pairs: Pairs,
    /// How the result is delivered.
    pub(in crate::http) options: ResponseOptions,
    /// For what is said of a mistake.
    uri: Uri,
}

enum Format {
    Codec(&'static Codec),
    Bucket(Bucket),
}

impl RenderRequest {
    /// Reads the query; `own` takes out what only the route itself understands.
    pub(in crate::http) fn of(
        parts: &Parts,
        grant: Grant,
        policy: RenderPolicy,
        extension: &str,
        own: impl FnOnce(&mut Pairs) -> Result<(), Error>,
    ) -> Result<RenderRequest, Error> {
        let mut pairs = query::pairs(parts.uri.query())?;
        own(&mut pairs)?;
        let (pairs, options) = response_options::split(pairs, policy.presets, grant)?;
        RenderRequest::new(parts, extension, pairs, options)
    }

    /// From a query that was read already.
    pub(in crate::http) fn new(
        parts: &Parts,
        extension: &str,
        pairs: Pairs,
        options: ResponseOptions,
    ) -> Result<RenderRequest, Error> {
        let format = match negotiate::is_auto(extension) {
            true => Format::Bucket(negotiate::bucket(&parts.headers)?),
            false => Format::Codec(writable(extension)?),
        };
        Ok(RenderRequest { format, pairs, options, uri: parts.uri.clone() })
    }

    /// What the query means in each format that it may come to; whether it could be good is told before a source is there, since
    /// what is allowed does not depend on it. `parts` are images that came beside the query.
    ///
    /// A format that cannot take the arguments (JPEG is never lossless) is left out; they are an error when all refuse them.
    pub(in crate::http) fn pipelines(
        &self,
        policy: RenderPolicy,
        parts: &[(&str, Digest)],
    ) -> Result<Pipelines, Error> {
        let pipeline = |codec| {
            let pipeline = Pipeline::from_form(codec, &self.pairs, parts).map_err(|error| self.hinted(error))?;
            Ok(policy.apply(pipeline))
        };
        let bucket = match &self.format {
            Format::Codec(codec) => return pipeline(codec).map(Pipelines::One),
            Format::Bucket(bucket) => *bucket,
        };
        let (mut pipelines, mut refused) = (Vec::new(), None);
        for result in bucket.codecs().map(pipeline) {
            match result {
                Ok(pipeline) => pipelines.push(pipeline),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        if pipelines.is_empty() {
            return Err(refused.unwrap_or(Error::NotAcceptable));
        }
        Ok(Pipelines::Negotiated(bucket, pipelines))
    }

    /// The error with the path of this request where another extension is meant.
    fn hinted(&self, error: pipeline::Error) -> pipeline::Error {
        let path = self.uri.path();
        hint::by_extension(error, path.rsplit_once('.').map_or(path, |(stem, _)| stem), self.uri.query())
    }
}

/// What a query means: in its format, or in each of those that depend on `Accept` and on the source, at least one.
pub(in crate::http) enum Pipelines {
    One(Pipeline),
    Negotiated(Bucket, Vec<Pipeline>),
}

impl Pipelines {
    /// Whether the format depends on `Accept`, and so on the source.
    pub(in crate::http) fn are_negotiated(&self) -> bool {
        matches!(self, Pipelines::Negotiated(..))
    }

    /// The key of what is answered of `source`. Of `.auto` it is over the bucket's name and every format that the bucket may come
    /// to, so that it, too, is known without opening the source.
    pub(in crate::http) fn key(&self, source: &Digest) -> Digest {
        match self {
            Pipelines::One(pipeline) => pipeline.key(source),
            Pipelines::Negotiated(bucket, pipelines) => {
                let mut name = bucket.name().as_bytes().to_vec();
                pipelines.iter().for_each(|pipeline| name.extend_from_slice(pipeline.key(source).as_bytes()));
                Digest::of(&name)
            }
        }
    }

    /// The pipeline for a source, of which more need be known only where the format is negotiated.
    pub(in crate::http) fn fitting(self, source: Option<(&'static Codec, Header)>) -> Pipeline {
        match self {
            Pipelines::One(pipeline) => pipeline,
            Pipelines::Negotiated(bucket, mut pipelines) => {
                let fitting = source.and_then(|(codec, header)| bucket.codec(codec, &header));
                let place = pipelines.iter().position(|pipeline| Some(pipeline.codec()) == fitting);
                pipelines.swap_remove(place.unwrap_or_default())
            }
        }
    }
}

/// The format of an extension, if it can be written.
fn writable(extension: &str) -> Result<&'static Codec, Error> {
    let codec = by_extension(extension).filter(|codec| codec.encoder.is_some());
    codec.ok_or_else(|| Error::Extension { extension: extension.to_owned() })
}
