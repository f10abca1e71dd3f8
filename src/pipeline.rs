//! The pipeline: source bytes -> decode -> operations -> encode. Pure: bytes in, bytes out; no files, sockets or runtime.
//!
//! ```
//! use progimage::pipeline::{Pipeline, codec};
//! let png = codec::by_extension("png").unwrap();
//! let query = [("w".to_owned(), "0200".to_owned()), ("fit".to_owned(), "inside".to_owned())];
//! let pipeline = Pipeline::from_query(png, &query)?;
//! assert_eq!(pipeline.to_string(), "png;;resize(width=200)");
//! assert_eq!("png;;resize(width=200)".parse(), Ok(pipeline));
//! # Ok::<(), progimage::pipeline::Error>(())
//! ```

mod batch;
pub mod codec;
pub mod color;
mod deadline;
mod encode;
mod error;
mod ifd;
mod limits;
pub mod metadata;
pub mod operation;
mod orient;
pub mod param;
mod plan;
mod raster;
mod run;
pub mod summary;
mod syntax;

use bytes::Bytes;

use crate::digest::Digest;
pub use batch::{Batch, Decoded, Group, Member};
use codec::{Codec, Header};
pub use deadline::{Deadline, TimeLimit};
pub use encode::ENCODE;
pub use error::Error;
pub use limits::{Limits, within};
use param::{Args, Param};
use plan::RenderPlan;
pub use plan::{Fit, Headers, PlanSummary, Step};
pub use raster::{Channels, Delay, Frame, Missing, Orientation, Picture, Raster, Samples, Shape, Size};
pub use run::{Images, Output};
pub use syntax::{
    PRESET, Presets, check_with_preset, docs, foreign, invalid, is_known, json, of_path, query, unknown_member,
    unknown_of_query,
};

/// Raised whenever an equal source gives other pixels before its first operation (decoders, colour, orientation), and
/// whenever a picture is converted for an encoder in another way. Part of every key, since a key is made before the source
/// is read.
pub const DECODE_REVISION: u32 = 3;

/// What to make of a source: an output format, its encode arguments and a list of operations.
///
/// `Display` writes the canonical text `<format>;<encode arguments>;<operation>(<arguments>)/...`, arguments joined by `&`;
/// `FromStr` reads it back. Two spellings of one pipeline (a flat query and JSON, an alias, a default) are equal and have
/// the same text, hence the same key. Other operations with the same result (`rotate=180` and `flip=hv`) are not equal.
///
/// ```
/// use progimage::pipeline::{Deadline, Headers, Images, Limits, Pipeline, Size, codec, query};
/// // A portable graymap of four pixels.
/// let source = bytes::Bytes::from_static(b"P5 2 2 255\n\x00\x40\x80\xff");
/// let pairs = query::pairs(Some("rotate=90&h=0001"))?;
/// let pipeline = Pipeline::from_query(codec::by_name("pgm").unwrap(), &pairs)?;
/// assert_eq!(pipeline.to_string(), "pgm;;rotate(angle=90)/resize(height=1)");
/// assert_eq!(pipeline.to_string().parse(), Ok(pipeline.clone()));
/// assert_eq!(pipeline.query(), "rotate=90&height=1");
///
/// let found = codec::sniff(&source)?;
/// let header = (found.inspect)(&source)?;
/// let plan = pipeline.plan((found, &header), &Headers::new(), &Limits::default())?;
/// assert_eq!((plan.size, plan.exact), (Size::new(1, 1), true));
/// let output = pipeline.run(&source, &Images::new(), &Limits::default(), &Deadline::default())?;
/// assert!(output.bytes.starts_with(b"P5"));
/// # Ok::<(), progimage::pipeline::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    codec: &'static Codec,
    /// Whether a parameter was given, even at its default.
    render: bool,
    encode: Args,
    steps: Vec<Step>,
}

impl Pipeline {
    /// Reads decoded query pairs in any order; without pairs it is a conversion. Operations run in the order of
    /// [`operation::OPERATIONS`], or of `ops`, a JSON array of `{"op": name, argument: value ...}`.
    ///
    /// Errors: [`Error::Invalid`].
    pub fn from_query(codec: &'static Codec, query: &[(String, String)]) -> Result<Pipeline, Error> {
        syntax::from_query(codec, query, &[])
    }

    /// Reads a query that came with images, by the names of their parts. In a flat query the name is the key that takes an
    /// image (`mask`); in JSON, `{"part": name}` takes the place of an id. Each image must be used.
    ///
    /// Errors: [`Error::Invalid`].
    pub fn from_form(
        codec: &'static Codec,
        query: &[(String, String)],
        parts: &[(&str, Digest)],
    ) -> Result<Pipeline, Error> {
        syntax::from_query(codec, query, parts)
    }

    /// Reads the members of a JSON object: encode arguments by their JSON names, and `ops`, the text of a JSON array.
    /// `preset` holds the pairs of a preset, if one is named.
    ///
    /// Errors: [`Error::Invalid`].
    pub fn from_json(
        codec: &'static Codec,
        preset: &[(String, String)],
        encode: &[(String, serde_json::Value)],
        ops: Option<&str>,
    ) -> Result<Pipeline, Error> {
        syntax::from_members(codec, preset, encode, ops)
    }

    /// A pipeline of these steps. Equal meaning gives equal pipelines, however it was written. `written` renames the
    /// arguments in an error as the client wrote them, by the place of the step and its table.
    fn new(
        codec: &'static Codec,
        render: bool,
        encode: Args,
        steps: Vec<Step>,
        written: impl Fn(usize, &'static [Param], Error) -> Error,
    ) -> Result<Pipeline, Error> {
        let canonical = |(place, (operation, args)): (usize, Step)| {
            let args = (operation.canonical)(args).map_err(|error| written(place, operation.params, error))?;
            Ok(args.map(|args| (operation, args)))
        };
        let steps = steps.into_iter().enumerate().map(canonical);
        let steps: Vec<Step> = steps.filter_map(Result::transpose).collect::<Result<_, Error>>()?;
        let mut encode = encode::canonicalized(codec, encode)?;
        if !steps.is_empty() {
            // The result is another picture than the source.
            encode.reset("never_larger");
            encode = encode::encoded_anew(encode);
        }
        Ok(Pipeline { codec, render, encode, steps })
    }

    /// The output format.
    pub fn codec(&self) -> &'static Codec {
        self.codec
    }

    /// The arguments of [`ENCODE`].
    pub fn encode_args(&self) -> &Args {
        &self.encode
    }

    /// The operations in the order in which they run.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The other images that the pipeline names (masks, overlays), each once.
    pub fn images(&self) -> Vec<Digest> {
        let mut images: Vec<Digest> = self.steps.iter().flat_map(|(_, args)| args.images()).collect();
        images.sort_unstable();
        images.dedup();
        images
    }

    /// Whether no parameter was given. A source that is in the output format is then returned unchanged.
    pub fn is_conversion(&self) -> bool {
        !self.render
    }

    /// The pipeline as a render: always decoded and encoded.
    pub fn into_render(self) -> Pipeline {
        Pipeline { render: true, ..self }
    }

    /// The pipeline, so that no metadata passes through: a conversion to the source's own format returns the source's data
    /// without metadata where nothing else changes (`metadata=strip`), or encodes anew. A damaged source is refused.
    ///
    /// ```
    /// use progimage::pipeline::{Pipeline, codec};
    /// let without = |extension, query: &[_]| {
    ///     let pipeline = Pipeline::from_query(codec::by_extension(extension).unwrap(), query)?;
    ///     Ok::<_, progimage::pipeline::Error>(pipeline.without_metadata().to_string())
    /// };
    /// assert_eq!(without("jpg", &[])?, "jpeg;metadata=strip;");
    /// assert_eq!(without("qoi", &[])?, "qoi;metadata=none;");
    /// assert_eq!(without("jpg", &[("metadata".to_owned(), "all".to_owned())])?, "jpeg;metadata=all;");
    /// # Ok::<(), progimage::pipeline::Error>(())
    /// ```
    pub fn without_metadata(self) -> Pipeline {
        let strips = self.codec.encoder.as_ref().is_some_and(|encoder| encoder.strip.is_some());
        match (self.render, strips) {
            (true, _) => self,
            (false, false) => self.into_render(),
            (false, true) => {
                let encode = self.encode.with("metadata", param::Value::Word(encode::STRIP));
                Pipeline { render: true, encode, ..self }
            }
        }
    }

    /// The pipeline for a source of this format: in any other format than its own there is nothing to strip, and the result is
    /// that of the plain conversion.
    pub fn for_source(self, codec: &Codec) -> Pipeline {
        if !self.strips() || *codec == *self.codec {
            return self;
        }
        Pipeline { render: false, encode: encode::encoded_anew(self.encode), ..self }
    }

    /// Whether the source's own data without metadata are the result where nothing else changes.
    pub(crate) fn strips(&self) -> bool {
        self.encode.word("metadata") == Some(encode::STRIP)
    }

    /// The pipeline, as a render if `renders` is set: for servers that must not return an original's own bytes.
    pub fn unless_converts(self, renders: bool) -> Pipeline {
        if renders { self.into_render() } else { self }
    }

    /// The pipeline, which tolerates damaged sources where `tolerant` is set and the client has not said whether it does.
    /// Unlike the parameter, this makes no render of a conversion: a source in the output format is returned unchanged.
    pub fn tolerant_unless_said(mut self, tolerant: bool) -> Pipeline {
        if tolerant && !self.encode.has("tolerant") {
            self.encode = self.encode.with("tolerant", param::Value::Flag(true));
        }
        self
    }

    /// The canonical query, percent-encoded: flat if a flat query can say the chain, else with `ops`; empty for a
    /// conversion. [`Pipeline::from_query`] reads an equal pipeline from its pairs.
    pub fn query(&self) -> String {
        query::query(self)
    }

    /// The name of the rendition of `source`: cache key and, in its first 32 hex digits, ETag. A hash of the source, the
    /// canonical text and the revisions of decoding, codec and operations, so that it changes whenever the bytes may.
    pub fn key(&self, source: &Digest) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key("progimage 1 rendition");
        hasher.update(source.as_bytes());
        hasher.update(self.to_string().as_bytes());
        // No text holds a zero byte, so this one ends it.
        hasher.update(&[0]);
        let operations = self.steps.iter().map(|(operation, _)| operation.revision);
        for revision in [DECODE_REVISION, self.codec.revision].into_iter().chain(operations) {
            hasher.update(&revision.to_le_bytes());
        }
        Digest::from_bytes(*hasher.finalize().as_bytes())
    }

    /// Checks the whole chain against `limits`, and returns what it will make and cost. `source` is the format and header of
    /// the source, `images` has those of [`Pipeline::images`].
    ///
    /// Errors: [`Error::Limit`], [`Error::Unsupported`] if the output format is only read, [`Error::MissingImage`], and
    /// errors of the operations.
    pub fn plan(
        &self,
        source: (&'static Codec, &Header),
        images: &Headers,
        limits: &Limits,
    ) -> Result<PlanSummary, Error> {
        RenderPlan::new(self, source, images, limits).map(|plan| plan.summary)
    }

    /// Sniffs, inspects, plans, decodes, applies the operations and encodes. Deterministic. A source that passes through is
    /// not copied.
    pub fn run(&self, source: &Bytes, images: &Images, limits: &Limits, deadline: &Deadline) -> Result<Output, Error> {
        run::run(codec::sniff(source)?, self, source, images, limits, deadline)
    }
}
