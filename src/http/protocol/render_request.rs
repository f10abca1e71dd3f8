//! The meaning of an extension and a query. Knows neither bodies nor sources.

use hyper::Uri;
use hyper::http::request::Parts;

use super::auth::Grant;
use super::hint;
use super::negotiate::{self, Accepted};
use super::response_options::{self, EFFORT, Pairs, ResponseOptions};
use crate::digest::Digest;
use crate::http::error::Error;
use crate::pipeline::codec::{Codec, by_extension};
use crate::pipeline::invalid::not_within;
use crate::pipeline::query;
use crate::pipeline::{self, Pipeline, Presets};
use crate::renditions::Found;

/// The query key of one frame.
const FRAME: &str = "frame";
const FRAMES: &str = "frames";

/// The settings that change what a query means.
#[derive(Clone, Copy)]
pub(in crate::http) struct RenderPolicy<'a> {
    pub(in crate::http) presets: &'a Presets,
    /// Whether a conversion is a render, where not every client may read originals.
    pub(in crate::http) converts_render: bool,
    /// The most effort that a client without a key or a signature may choose.
    pub(in crate::http) effort_max: u8,
    /// Whether what there is of damaged sources is shown, unless the query says otherwise.
    pub(in crate::http) tolerant: bool,
}

impl RenderPolicy<'_> {
    /// Turns a conversion into a render where not every client may read originals, and applies the defaults of the server.
    pub(in crate::http) fn apply(&self, pipeline: Pipeline) -> Pipeline {
        pipeline.unless_converts(self.converts_render).tolerant_unless_said(self.tolerant)
    }
}

/// The format, the operations, and the delivery of a result.
pub(in crate::http) struct RenderRequest {
    format: Format,
    /// The parameters of the pipeline, without response options.
    pub(in crate::http) pairs: Pairs,
    /// How the result is delivered.
    pub(in crate::http) options: ResponseOptions,
    /// Whether an original in the format that is asked for is returned as it is.
    passes_originals: bool,
    /// For what is said of a mistake.
    uri: Uri,
}

enum Format {
    Codec(&'static Codec),
    Accepted(Accepted),
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
            true => Format::Accepted(Accepted::of(&parts.headers)?),
            false => Format::Codec(writable(extension)?),
        };
        Ok(RenderRequest { format, pairs, options, passes_originals: false, uri: parts.uri.clone() })
    }

    /// The request, for a stored image: its plain conversion to its own format is the original. What is negotiated or named by
    /// a preset is not plain.
    pub(in crate::http) fn of_stored(self) -> RenderRequest {
        let passes_originals = matches!(self.format, Format::Codec(_)) && !self.options.preset;
        RenderRequest { passes_originals, ..self }
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
            let pipeline = policy.apply(pipeline);
            Ok(if self.passes_originals { pipeline } else { pipeline.without_metadata() })
        };
        let accepted = match &self.format {
            Format::Codec(codec) => return pipeline(codec).map(Pipelines::One),
            Format::Accepted(accepted) => accepted.clone(),
        };
        let (mut pipelines, mut refused) = (Vec::new(), None);
        for result in accepted.codecs().map(pipeline) {
            match result {
                Ok(pipeline) => pipelines.push(pipeline),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        if pipelines.is_empty() {
            return Err(refused.unwrap_or(Error::NotAcceptable));
        }
        let one_frame =
            self.pairs.iter().any(|(name, value)| name == FRAME && value != "all" || name == FRAMES && value == "1");
        Ok(Pipelines::Negotiated { accepted, pipelines, one_frame })
    }

    /// Refuses an effort above what every client may spend. The default of the format is never too much. A format without
    /// an effort ignores it, but is not chosen because of that.
    fn check_effort(&self, codec: &Codec, effort_max: u8) -> Result<(), Error> {
        let asked = self.pairs.iter().find(|(name, _)| name == EFFORT).filter(|_| self.options.free_effort);
        let own = codec.encoder.and_then(|encoder| encoder.effort).map(|effort| effort.default);
        let ignored = own.is_none() && matches!(self.format, Format::Codec(_));
        let Some((_, asked)) = asked.filter(|_| !ignored) else { return Ok(()) };
        let most = u64::from(effort_max.max(own.unwrap_or_default()));
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
    Negotiated { accepted: Accepted, pipelines: Vec<Pipeline>, one_frame: bool },
}

impl Pipelines {
    /// The pipeline, if the format does not depend on `Accept`, and so on the source.
    pub(in crate::http) fn only(&self) -> Option<&Pipeline> {
        match self {
            Pipelines::One(pipeline) => Some(pipeline),
            Pipelines::Negotiated { .. } => None,
        }
    }

    /// The pipeline for a source, of which `found` finds format and header where the format is negotiated.
    ///
    /// Errors: [`Error::NotAcceptable`] if every accepted format would lose something of the result.
    pub(in crate::http) async fn fitting<E: Into<Error>>(
        self,
        found: impl Future<Output = Result<Found, E>>,
    ) -> Result<Pipeline, Error> {
        match self {
            Pipelines::One(pipeline) => Ok(pipeline),
            Pipelines::Negotiated { accepted, pipelines, one_frame } => {
                let found = found.await.map_err(Into::into)?;
                Ok(accepted.choose(pipelines, &found, one_frame)?.for_source(found.0))
            }
        }
    }
}

/// The format of an extension, if it can be written.
fn writable(extension: &str) -> Result<&'static Codec, Error> {
    let codec = by_extension(extension).filter(|codec| codec.encoder.is_some());
    codec.ok_or_else(|| Error::Extension { extension: extension.to_owned() })
}
