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
pub mod docs;
mod encode;
mod error;
pub mod foreign;
mod ifd;
pub mod invalid;
pub mod json;
mod limits;
pub mod metadata;
pub mod operation;
mod orient;
pub mod param;
mod parse;
mod plan;
mod presets;
pub mod query;
mod raster;
mod run;
pub mod summary;

use bytes::Bytes;

use crate::digest::Digest;
pub use batch::{Batch, Decoded, Group, Member};
use codec::{Codec, Header};
pub use deadline::Deadline;
pub use encode::ENCODE;
pub use error::Error;
pub use limits::Limits;
use param::{Args, Param};
pub use parse::{PRESET, is_known, of_path, unknown_member, unknown_of_query};
use plan::RenderPlan;
pub use plan::{Headers, PlanSummary, Step};
pub use presets::{Presets, beside};
pub use raster::{Channels, Delay, Frame, Orientation, Picture, Raster, Samples, Shape, Size};
pub use run::{Images, Output};

/// Raised whenever the same source gives other pixels before its first operation: decoders, colour, orientation; and whenever a
/// picture is brought to an encoder in another way. Part of every key, since a key is made before the source is read.
pub const DECODE_REVISION: u32 = 1;

/// What is to be made of a source: an output format, its encode arguments and a list of operations.
///
/// `Display` writes the canonical text `<format>;<encode arguments>;<operation>(<arguments>)/...`, arguments joined by `&`;
/// `FromStr` reads it back. What is written in two ways (a flat query or JSON, an alias, a default) is equal and has the same text,
/// hence the same key; other operations that come to the same (`rotate=180` and `flip=hv`) are not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    codec: &'static Codec,
    /// Whether a parameter was written, even at its default.
    render: bool,
    encode: Args,
    steps: Vec<Step>,
}

impl Pipeline {
    /// Reads decoded query pairs in any order; empty is a conversion. Operations run in the order of
    /// [`operation::OPERATIONS`], or in that of `ops`, a JSON array of `{"op": name, argument: value ...}`.
    ///
    /// Errors: [`Error::Invalid`].
    pub fn from_query(codec: &'static Codec, query: &[(String, String)]) -> Result<Pipeline, Error> {
        parse::from_query(codec, query, &[])
    }

    /// Reads a query that images came with, by the names of their parts. In a flat query such a name is the key that
    /// asks for an image (`mask`); in JSON `{"part": name}` stands where an id may. Each must be asked for.
    ///
    /// Errors: [`Error::Invalid`].
    pub fn from_form(
        codec: &'static Codec,
        query: &[(String, String)],
        parts: &[(&str, Digest)],
    ) -> Result<Pipeline, Error> {
        parse::from_query(codec, query, parts)
    }

    /// Reads the members of a JSON object: encode arguments by their JSON names, and `ops`, the text of a JSON array; with a `preset`, the
    /// pairs that its name stands for.
    ///
    /// Errors: [`Error::Invalid`].
    pub fn from_json(
        codec: &'static Codec,
        preset: &[(String, String)],
        encode: &[(String, serde_json::Value)],
        ops: Option<&str>,
    ) -> Result<Pipeline, Error> {
        parse::from_members(codec, preset, encode, ops)
    }

    /// A render by these steps. Equal meaning gives equal pipelines, however it was written. `written` lets an error call an
    /// argument as the client does: by the place of its step, its table and its name.
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
            // The source is another picture then.
            encode.reset("never_larger");
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

    /// The other images that it names (masks, overlays), each once.
    pub fn images(&self) -> Vec<Digest> {
        let mut images: Vec<Digest> = self.steps.iter().flat_map(|(_, args)| args.images()).collect();
        images.sort_unstable();
        images.dedup();
        images
    }

    /// Without a written parameter: where the source has the output's format, its own bytes are the answer.
    pub fn is_conversion(&self) -> bool {
        !self.render
    }

    /// The pipeline as a render: always decoded and encoded.
    pub fn into_render(self) -> Pipeline {
        Pipeline { render: true, ..self }
    }

    /// The pipeline, as a render where `renders` says that conversions are none: for servers that must not answer an original's
    /// own bytes.
    pub fn unless_converts(self, renders: bool) -> Pipeline {
        if renders { self.into_render() } else { self }
    }

    /// The canonical query, percent-encoded: flat where that can say the chain, else `ops`; empty for a conversion.
    /// [`Pipeline::from_query`] makes an equal pipeline of its pairs.
    pub fn query(&self) -> String {
        query::query(self)
    }

    /// The name of the rendition of `source`: moka key and, in its first 32 hex digits, ETag. Over the source, the canonical text
    /// and the revisions of decoding, codec and operations: it changes whenever the bytes may.
    pub fn key(&self, source: &Digest) -> Digest {
        let mut hasher = blake3::Hasher::new_derive_key("progimage 1 rendition");
        hasher.update(source.as_bytes());
        hasher.update(self.to_string().as_bytes());
        // No text holds a zero byte: it ends here.
        hasher.update(&[0]);
        let operations = self.steps.iter().map(|(operation, _)| operation.revision);
        for revision in [DECODE_REVISION, self.codec.revision].into_iter().chain(operations) {
            hasher.update(&revision.to_le_bytes());
        }
        Digest::from_bytes(*hasher.finalize().as_bytes())
    }

    /// Holds the whole chain against `limits` and says what it will cost. `source` is the format and header of the source, `images`
    /// those of [`Pipeline::images`].
    ///
    /// Errors: [`Error::Limit`], [`Error::Unsupported`] when the output format is only read, [`Error::MissingImage`], and those of
    /// the operations.
    pub fn plan(
        &self,
        source: (&'static Codec, &Header),
        images: &Headers,
        limits: &Limits,
    ) -> Result<PlanSummary, Error> {
        RenderPlan::new(self, source, images, limits).map(|plan| plan.summary)
    }

    /// Sniffs, inspects, plans, decodes, applies the operations and encodes. Deterministic. A source that is passed through is
    /// not copied.
    pub fn run(&self, source: &Bytes, images: &Images, limits: &Limits, deadline: &Deadline) -> Result<Output, Error> {
        run::run(self, source, images, limits, deadline)
    }
}
