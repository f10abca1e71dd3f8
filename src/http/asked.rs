//! What an extension and a query ask for, where the source is not a stored image. Knows neither bodies nor sources.

use super::delivery::{self, Delivery, Pairs};
use super::error::Error;
use super::negotiate::{self, Bucket};
use super::{App, Call, query};
use crate::digest::Digest;
use crate::pipeline::Pipeline;
use crate::pipeline::codec::{Codec, Header, by_extension};

/// A format and how the result should look.
pub(super) struct Asked {
    format: Format,
    /// Of the pipeline; what is delivery is taken out.
    pub(super) pairs: Pairs,
    /// How the result is delivered.
    pub(super) delivery: Delivery,
}

enum Format {
    Codec(&'static Codec),
    Bucket(Bucket),
}

impl Asked {
    /// Reads the query; `own` takes out what only the route itself understands.
    pub(super) fn of(
        call: &Call,
        extension: &str,
        own: impl FnOnce(&mut Pairs) -> Result<(), Error>,
    ) -> Result<Asked, Error> {
        let mut pairs = query::pairs(call.parts.uri.query())?;
        own(&mut pairs)?;
        let (pairs, delivery) = delivery::split(pairs, &call.app, call.grant)?;
        let format = match is_auto(extension) {
            true => Format::Bucket(negotiate::bucket(&call.parts.headers)?),
            false => Format::Codec(writable(extension)?),
        };
        Ok(Asked { format, pairs, delivery })
    }

    /// Whether the format depends on `Accept`.
    pub(super) fn is_negotiated(&self) -> bool {
        matches!(self.format, Format::Bucket(_))
    }

    /// Whether the query could be good, told before a source is there: what is allowed does not depend on it.
    pub(super) fn check(&self, app: &App) -> Result<(), Error> {
        self.forms(app, &[]).map(drop)
    }

    /// The pipeline for a source, of which more need be known only where the format is negotiated; `parts` are images that came
    /// beside the query.
    pub(super) fn pipeline(
        &self,
        app: &App,
        source: Option<(&'static Codec, Header)>,
        parts: &[(&str, Digest)],
    ) -> Result<Pipeline, Error> {
        let mut forms = self.forms(app, parts)?;
        let fitting = match &self.format {
            Format::Codec(_) => None,
            Format::Bucket(bucket) => source.and_then(|(source, header)| bucket.codec(source, &header)),
        };
        let place = forms.iter().position(|form| Some(form.codec()) == fitting).unwrap_or_default();
        Ok(forms.swap_remove(place))
    }

    /// What the query means in each format that it may come to, at least one. A format that cannot take the arguments is left
    /// out; they are an error when all refuse them.
    fn forms(&self, app: &App, parts: &[(&str, Digest)]) -> Result<Vec<Pipeline>, Error> {
        let codecs: Vec<&'static Codec> = match &self.format {
            Format::Codec(codec) => vec![codec],
            Format::Bucket(bucket) => bucket.codecs().collect(),
        };
        let form = |codec| Ok(unless_converts(app, Pipeline::from_form(codec, &self.pairs, parts)?));
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

/// Whether the format is left to what the client accepts.
pub(super) fn is_auto(extension: &str) -> bool {
    extension.eq_ignore_ascii_case("auto")
}

/// The format of an extension, if it can be written.
pub(super) fn writable(extension: &str) -> Result<&'static Codec, Error> {
    let codec = by_extension(extension).filter(|codec| codec.encoder.is_some());
    codec.ok_or_else(|| Error::Extension { extension: extension.to_owned() })
}

/// The pipeline, turned into a render where originals are not for everybody.
pub(super) fn unless_converts(app: &App, pipeline: Pipeline) -> Pipeline {
    let renders = app.options.convert_renders || app.access.originals_need_key;
    if renders && pipeline.is_conversion() { pipeline.into_render() } else { pipeline }
}
