//! What an extension and a query ask for, where the source is not a stored image. Knows neither bodies nor sources.

use hyper::http::request::Parts;

use super::auth::Grant;
use super::negotiate::{self, Bucket};
use super::response_options::{self, Pairs, ResponseOptions};
use crate::digest::Digest;
use crate::http::error::Error;
use crate::pipeline::codec::{Codec, Header, by_extension};
use crate::pipeline::query;
use crate::pipeline::{Pipeline, Presets};

/// What the server makes of the queries that it is sent.
#[derive(Clone, Copy)]
pub(in crate::http) struct RenderPolicy<'a> {
    pub(in crate::http) presets: &'a Presets,
    /// Whether a conversion is a render: originals are not for everybody.
    pub(in crate::http) converts_render: bool,
}

impl RenderPolicy<'_> {
    /// The pipeline, turned into a render where originals are not for everybody.
    pub(in crate::http) fn of(&self, pipeline: Pipeline) -> Pipeline {
        if self.converts_render && pipeline.is_conversion() { pipeline.into_render() } else { pipeline }
    }
}

/// A format and how the result should look.
pub(in crate::http) struct RenderRequest {
    format: Format,
    /// Of the pipeline; what is a response option is taken out.
    pub(in crate::http) pairs: Pairs,
    /// How the result is delivered.
    pub(in crate::http) options: ResponseOptions,
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
        let format = match extension {
            "auto" => Format::Bucket(negotiate::bucket(&parts.headers)?),
            extension => Format::Codec(writable(extension)?),
        };
        Ok(RenderRequest { format, pairs, options })
    }

    /// Whether the format depends on `Accept`.
    pub(in crate::http) fn is_negotiated(&self) -> bool {
        matches!(self.format, Format::Bucket(_))
    }

    /// Whether the query could be good, told before a source is there: what is allowed does not depend on it.
    pub(in crate::http) fn check(&self, policy: RenderPolicy) -> Result<(), Error> {
        self.forms(policy, &[]).map(drop)
    }

    /// The pipeline for a source, of which more need be known only where the format is negotiated; `parts` are images that came
    /// beside the query.
    pub(in crate::http) fn pipeline(
        &self,
        policy: RenderPolicy,
        source: Option<(&'static Codec, Header)>,
        parts: &[(&str, Digest)],
    ) -> Result<Pipeline, Error> {
        let mut forms = self.forms(policy, parts)?;
        let fitting = match &self.format {
            Format::Codec(_) => None,
            Format::Bucket(bucket) => source.and_then(|(source, header)| bucket.codec(source, &header)),
        };
        let place = forms.iter().position(|form| Some(form.codec()) == fitting).unwrap_or_default();
        Ok(forms.swap_remove(place))
    }

    /// What the query means in each format that it may come to, at least one. A format that cannot take the arguments is left
    /// out; they are an error when all refuse them.
    fn forms(&self, policy: RenderPolicy, parts: &[(&str, Digest)]) -> Result<Vec<Pipeline>, Error> {
        let codecs: Vec<&'static Codec> = match &self.format {
            Format::Codec(codec) => vec![codec],
            Format::Bucket(bucket) => bucket.codecs().collect(),
        };
        let form = |codec| Ok(policy.of(Pipeline::from_form(codec, &self.pairs, parts)?));
        let (mut forms, mut refused) = (Vec::new(), None);
        for result in codecs.into_iter().map(form) {
            match result {
                Ok(form) => forms.push(form),
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        if forms.is_empty() { Err(refused.unwrap_or(Error::NotAcceptable)) } else { Ok(forms) }
    }
}

/// The format of an extension, if it can be written.
pub(in crate::http) fn writable(extension: &str) -> Result<&'static Codec, Error> {
    let codec = by_extension(extension).filter(|codec| codec.encoder.is_some());
    codec.ok_or_else(|| Error::Extension { extension: extension.to_owned() })
}
