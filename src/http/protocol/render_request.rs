//! The meaning of an extension and a query. Knows neither bodies nor sources.

use hyper::Uri;
use hyper::http::request::Parts;

use super::auth::Grant;
use super::hint;
use super::negotiate::{self, Bucket};
use super::response_options::{self, EFFORT, Pairs, ResponseOptions};
use crate::digest::Digest;
use crate::http::error::Error;
use crate::pipeline::codec::{Codec, Effort, Header, by_extension};
use crate::pipeline::invalid::not_within;
use crate::pipeline::query;
use crate::pipeline::{self, Pipeline, Presets};

/// The settings that change what a query means.
#[derive(Clone, Copy)]
pub(in crate::http) struct RenderPolicy<'a> {
    pub(in crate::http) presets: &'a Presets,
    /// Whether a conversion is a render, where not every client may read originals.
    pub(in crate::http) converts_render: bool,
    /// The most effort that a client without a key or a signature may choose.
    pub(in crate::http) effort_max: u8,
}

impl RenderPolicy<'_> {
    /// Turns a conversion into a render where not every client may read originals.
    pub(in crate::http) fn apply(&self, pipeline: Pipeline) -> Pipeline {
        pipeline.unless_converts(self.converts_render)
    }
}

/// The format, the operations, and the delivery of a result.
pub(in crate::http) struct RenderRequest {
    format: Format,
    /// The parameters of the pipeline, without response options.
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
    /// Reads the query; `own` removes what only the route itself understands.
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

    /// Makes a request from a query that was read already.
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

    /// The pipeline of the query in each format that may be chosen. Mistakes are reported before the source is read,
    /// since what is allowed does not depend on it. `parts` are images of the form.
    ///
    /// A format that cannot take the arguments (JPEG is never lossless) is left out. If all formats refuse them, they
    /// are an error.
    pub(in crate::http) fn pipelines(
        &self,
        policy: RenderPolicy,
        parts: &[(&str, Digest)],
    ) -> Result<Pipelines, Error> {
        let pipeline = |codec| {
            let pipeline = Pipeline::from_form(codec, &self.pairs, parts).map_err(|error| self.hinted(error))?;
            self.check_effort(codec, policy.effort_max)?;
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

    /// Refuses an effort above what every client may spend. The default of the format is never too much.
    fn check_effort(&self, codec: &Codec, effort_max: u8) -> Result<(), Error> {
        let asked = self.pairs.iter().find(|(name, _)| name == EFFORT).filter(|_| self.options.free_effort);
        let own = codec.encoder.and_then(|encoder| encoder.effort);
        let (Some((_, asked)), Some(Effort { default, .. })) = (asked, own) else { return Ok(()) };
        let most = u64::from(effort_max.max(default));
        match asked.parse::<u64>() {
            Ok(effort) if effort > most => {
                let why =
                    "effort_max bounds requests without a key or a signature; presets, bulk and jobs may use more";
                Err(not_within(EFFORT, asked, 0, most).because(why).into())
            }
            _ => Ok(()),
        }
    }

    /// The error with the path of this request where another extension is meant.
    fn hinted(&self, error: pipeline::Error) -> pipeline::Error {
        let path = self.uri.path();
        hint::by_extension(error, path.rsplit_once('.').map_or(path, |(stem, _)| stem), self.uri.query())
    }
}

/// The pipeline of a query: in its format, or in each format that `Accept` and the source may choose, at least one.
pub(in crate::http) enum Pipelines {
    One(Pipeline),
    Negotiated(Bucket, Vec<Pipeline>),
}

impl Pipelines {
    /// Whether the format depends on `Accept`, and so on the source.
    pub(in crate::http) fn are_negotiated(&self) -> bool {
        matches!(self, Pipelines::Negotiated(..))
    }

    /// The key of the result for `source`. For `.auto` it covers the name of the bucket and every format that the
    /// bucket may choose, so it is known without opening the source.
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

    /// The pipeline for a source. The source must be known only where the format is negotiated.
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
