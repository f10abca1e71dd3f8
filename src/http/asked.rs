//! What an extension and a query ask for, where the source is not a stored image. Knows neither bodies nor sources.

use super::error::Error;
use super::images::{Pairs, delivery};
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
    /// A file name to save as.
    pub(super) download: Option<String>,
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
        let (pairs, download) = delivery(pairs)?;
        let format = match extension {
            "auto" => Format::Bucket(negotiate::bucket(&call.parts.headers)?),
            extension => Format::Codec(writable(extension)?),
        };
        Ok(Asked { format, pairs, download })
    }

    /// Whether the format depends on `Accept`.
    pub(super) fn is_negotiated(&self) -> bool {
        matches!(self.format, Format::Bucket(_))
    }

    /// Whether the query could be good, told before a source is there: what is allowed does not depend on it.
    pub(super) fn check(&self, app: &App) -> Result<(), Error> {
        let codec = match &self.format {
            Format::Codec(codec) => Some(*codec),
            Format::Bucket(bucket) => bucket.codecs().next(),
        };
        self.form(app, codec.ok_or(Error::NotAcceptable)?, &[]).map(drop)
    }

    /// The pipeline for a source, of which more need be known only where the format is negotiated; `parts` are images that came beside the query.
    pub(super) fn pipeline(
        &self,
        app: &App,
        source: Option<(&'static Codec, Header)>,
        parts: &[(&str, Digest)],
    ) -> Result<Pipeline, Error> {
        let codec = match &self.format {
            Format::Codec(codec) => codec,
            Format::Bucket(bucket) => {
                let codec = source.and_then(|(source, header)| bucket.codec(source, &header));
                codec.ok_or(Error::NotAcceptable)?
            }
        };
        self.form(app, codec, parts)
    }

    fn form(&self, app: &App, codec: &'static Codec, parts: &[(&str, Digest)]) -> Result<Pipeline, Error> {
        Ok(unless_converts(app, Pipeline::from_form(codec, &self.pairs, parts)?))
    }
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
