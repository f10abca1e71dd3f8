//! [`Codec`]: one row per file format, and the [`CODECS`] table. Not a place for colour management or orientation, which
//! happen between decode and operations.
//!
//! To add a format: one file here with a `static CODEC`, and one row in [`CODECS`], before `tga`, whose files have no
//! signature. Sniffing, extensions, errors, cache keys, documentation and the laws over all codecs follow. The tests then
//! ask for a fixture in `fixtures/sources`, for its stored digests (`UPDATE=1`), and for the counts in the README. A format
//! that `.auto` may choose also needs its place in `http::protocol::negotiate`.

pub mod animation;
mod avif;
mod bmp;
pub mod cursor;
mod exr;
mod gif;
mod hdr;
mod ico;
mod image_crate;
mod jpeg;
#[cfg(test)]
mod misbehaving;
pub(super) mod palette;
mod png;
mod pnm;
mod qoi;
mod tga;
mod tiff;
mod unread;
mod webp;

use serde::{Deserialize, Serialize};

use super::color::CodePoints;
use super::invalid::{Help, nearest, one_of};
use super::metadata::{Blocks, Density, Metadata};
use super::{Channels, Deadline, Error, Limits, Orientation, Picture, Raster, Samples, Size};

/// One file format: how it is recognised, checked, decoded and encoded.
///
/// ```
/// use progimage::pipeline::codec::{DecodeOptions, EncodeOptions, by_name};
/// use progimage::pipeline::{Channels, Deadline, Limits, Picture, Raster, Samples, Size};
/// let qoi = by_name("qoi").unwrap();
/// let samples = Samples::U8(vec![1, 2, 3, 4, 5, 6]);
/// let picture = Picture::still(Raster::new(Size::new(2, 1), Channels::Rgb, samples));
///
/// let (limits, deadline) = (Limits::default(), Deadline::default());
/// let file = (qoi.encoder.unwrap().encode)(&picture, &EncodeOptions::new(&deadline))?;
/// assert_eq!((qoi.decode)(&file, &DecodeOptions::new(&limits, &deadline))?, picture);
/// # Ok::<(), progimage::pipeline::Error>(())
/// ```
pub struct Codec {
    /// Name in JSON, canonical text and metric labels, such as "jpeg".
    pub name: &'static str,
    /// Lower-case URL extensions; the first is canonical.
    pub extensions: &'static [&'static str],
    /// Value of `Content-Type`.
    pub media_type: &'static str,
    /// One sentence for the documentation.
    pub doc: &'static str,
    /// Raised whenever an equal picture and equal arguments give other bytes.
    pub revision: u32,
    /// Whether the first few bytes are those of this format.
    pub sniff: fn(&[u8]) -> bool,
    /// Checks the container without inflating or decoding, in bounded steps. Errs if the file is not well formed up
    /// to its first frame header. Applies no limit of pixels, so that images too large to render can still be stored.
    pub inspect: fn(&[u8]) -> Result<Header, Error>,
    /// The size that `decode` returns for an image of the first size when at least the second is needed. `None`: the
    /// format is always decoded whole.
    pub shrinks: Option<fn(Size, Size) -> Size>,
    /// Reader and writer of the metadata blocks. `None`: the format has none, or they are not supported.
    pub metadata: Option<&'static MetadataBlocks>,
    /// Decodes the image. The caller has checked the header from `inspect` against the limits.
    pub decode: fn(&[u8], &DecodeOptions) -> Result<Picture, Error>,
    /// Encoder; `None` for formats that are only read.
    pub encoder: Option<Encoder>,
}

/// Reader and writer of a format's EXIF, XMP and ICC blocks. `decode` returns the ICC profile; EXIF and XMP are read
/// only on request.
pub struct MetadataBlocks {
    /// Reads EXIF and XMP from a file that passed `inspect`. Blocks longer than the given length, or malformed, are
    /// left out.
    pub read: fn(&[u8], usize) -> Blocks<'_>,
    /// Inserts blocks into a file made by `encode`. A block that the format cannot hold (EXIF over 64 KiB in JPEG) is
    /// left out.
    pub write: fn(Vec<u8>, &Metadata) -> Result<Vec<u8>, Error>,
    /// Whether `write` writes [`Metadata::density`].
    pub density: bool,
}

/// Facts about an image from its container, before any pixel is decoded.
///
/// ```
/// use progimage::pipeline::{Size, codec};
/// // A portable graymap of two pixels.
/// let file = b"P5 2 1 255\n\x00\xff";
/// let header = (codec::sniff(file)?.inspect)(file)?;
/// assert_eq!((header.size, header.frames, header.bits), (Size::new(2, 1), 1, 8));
/// # Ok::<(), progimage::pipeline::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Size of the canvas as stored, before `orientation`.
    pub size: Size,
    /// Orientation to apply after decoding (from EXIF, or irot and imir in AVIF).
    #[serde(with = "exif_orientation")]
    pub orientation: Orientation,
    /// Number of frames; 1 for a still image.
    pub frames: u32,
    /// Headers of the pages after the first, in formats that have pages; `None` for a page that cannot be read. Unlike
    /// frames, pages may differ in everything.
    pub pages: Vec<Option<Header>>,
    /// Channels of the decoded picture.
    pub channels: Channels,
    /// Bits per sample of the decoded picture: 8 or 16.
    pub bits: u8,
    /// Whether an ICC profile is embedded.
    pub icc: bool,
    /// Pixels per inch, where the file states them.
    pub density: Option<Density>,
    /// Upper bound on the decoder's memory in addition to its result (coefficients of a progressive JPEG, reference
    /// frames).
    pub working_bytes: u64,
}

impl Header {
    /// Header of a page, counted from 0; `None` if there is no such page, or it cannot be read.
    pub fn page(&self, page: u32) -> Option<&Header> {
        match page.checked_sub(1) {
            None => Some(self),
            Some(later) => self.pages.get(later as usize)?.as_ref(),
        }
    }

    /// Number of pages, 1 in formats without.
    pub fn page_count(&self) -> u32 {
        self.pages.len() as u32 + 1
    }
}

/// An orientation as its number in EXIF.
mod exif_orientation {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    use super::Orientation;

    pub fn serialize<S: Serializer>(orientation: &Orientation, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(orientation.to_exif())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Orientation, D::Error> {
        Orientation::from_exif(u8::deserialize(deserializer)?).ok_or_else(|| D::Error::custom("1..=8"))
    }
}

/// Arguments of a decoder.
pub struct DecodeOptions<'a> {
    /// Bounds on metadata and scans, and a second check of all other limits.
    pub limits: &'a Limits,
    /// Size below which the decoder must not shrink the picture on load, in the stored orientation. `None`: full
    /// size.
    pub at_least: Option<Size>,
    /// Number of frames after which decoding stops; 1 for the first alone.
    pub frames_max: u32,
    /// Number of these frames that are kept, at even distances, by an [`animation::FrameCollector`].
    pub frames_kept: u32,
    /// Whether what is there of a cut or damaged picture is decoded, and [`Picture::missing`] says so.
    pub tolerant: bool,
    /// Deadline, checked in long loops.
    pub deadline: &'a Deadline,
}

impl<'a> DecodeOptions<'a> {
    /// Options to decode the first frame, whole.
    pub fn new(limits: &'a Limits, deadline: &'a Deadline) -> DecodeOptions<'a> {
        DecodeOptions { limits, at_least: None, frames_max: 1, frames_kept: u32::MAX, tolerant: false, deadline }
    }
}

/// Function that removes the metadata from a file; see [`Encoder::strip`].
pub type Strip = fn(&[u8]) -> Result<Vec<u8>, Error>;

/// Capabilities of a format's encoder, and its function.
#[derive(Clone, Copy)]
pub struct Encoder {
    /// Largest side that the format can hold, in pixels; larger results are scaled down.
    pub side_px_max: u32,
    /// Largest lossy result in pixels; larger ones are scaled down.
    pub pixels_max: u64,
    /// Largest lossless result in pixels, where lossy and lossless have different limits.
    pub lossless_pixels_max: u64,
    /// Largest number of frames; 1 for formats without animation.
    pub frames_max: u32,
    /// Copies of the picture's samples that the encoder holds in its own layouts, in addition to the picture.
    pub frames_held: u64,
    /// Channels that the encoder accepts. The pipeline converts others first, to RGB or RGBA by preference, and
    /// flattens alpha if no row with alpha is listed.
    pub channels: &'static [Channels],
    /// Whether 16-bit samples are accepted; otherwise the pipeline reduces them to 8 bits.
    pub sixteen_bit: bool,
    /// Bits per sample that a lossless result preserves: 8, 10 or 16.
    pub lossless_bits: u8,
    /// Default of `quality`; `None` for formats without a quality.
    pub quality: Option<u8>,
    /// SSIMULACRA2 score that `quality=auto` aims for: the average score of photographs at the default quality.
    pub score: u8,
    /// Whether results are lossless; `Choice` for lossy formats with a lossless mode.
    pub lossless: Lossless,
    /// Meaning of `effort`; `None`: the format ignores it.
    pub effort: Option<Effort>,
    /// Lowest effort at which results are always progressive; `None`: the format has no progressive mode.
    pub progressive: Option<u8>,
    /// Whether `chroma` has an effect: other subsampling than 4:2:0, or a conversion to it that keeps edges.
    pub chroma: bool,
    /// Whether graphics are encoded otherwise than photographs: [`EncodeOptions::graphic`].
    pub graphics: bool,
    /// Largest graphic in pixels that becomes lossless where that is not larger, if the client leaves it open; 0: none.
    pub lossless_graphics_pixels_max: u64,
    /// Whether results have a palette, and so whether `colors` applies.
    pub palette: Palette,
    /// Whether HDR can be kept: the encoder then writes [`EncodeOptions::code_points`].
    pub hdr: bool,
    /// Removes a file's metadata and keeps its pixels, for `metadata=strip` and `never_larger`. Errs if the file cannot be
    /// parsed, or would look different.
    pub strip: Option<Strip>,
    /// Encodes a picture that meets the requirements above.
    pub encode: fn(&Picture, &EncodeOptions) -> Result<Vec<u8>, Error>,
}

impl Encoder {
    /// Base of every row: a lossless 8-bit format for stills, without options. Each row states only what differs.
    pub const PLAIN: Encoder = Encoder {
        side_px_max: u32::MAX,
        pixels_max: u64::MAX,
        lossless_pixels_max: u64::MAX,
        frames_max: 1,
        frames_held: 2,
        channels: &[Channels::Rgb, Channels::Rgba],
        sixteen_bit: false,
        lossless_bits: 8,
        quality: None,
        score: 0,
        lossless: Lossless::Always,
        effort: None,
        progressive: None,
        chroma: false,
        graphics: false,
        lossless_graphics_pixels_max: 0,
        palette: Palette::Never,
        hdr: false,
        strip: None,
        encode: |_, _| Err(Error::Unsupported { format: "plain", feature: "writing" }),
    };
}

/// Mapping of `effort`, 0..=9, to a format's own scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Effort used when none is given.
    pub default: u8,
    /// Efforts at which the result changes, ascending from 0. Values between two steps act like the lower one.
    pub steps: &'static [Step],
}

/// An effort, and the largest result that it is for, in pixels of all frames together. Few encoders can be interrupted, and
/// some take seconds per megapixel: above the default, even noise (quality 100, 4:4:4) is written within 10 s, the default
/// of `render_timeout_ms`. `benches/effort.py` measures it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The effort.
    pub effort: u8,
    /// Largest lossy result.
    pub pixels_max: u64,
    /// Largest lossless result.
    pub lossless_pixels_max: u64,
}

impl Step {
    /// An effort for results of any size.
    pub const fn free(effort: u8) -> Step {
        Step::bounded(effort, u64::MAX, u64::MAX)
    }

    /// An effort for results of at most so many pixels, lossy and lossless.
    pub const fn bounded(effort: u8, pixels_max: u64, lossless_pixels_max: u64) -> Step {
        Step { effort, pixels_max, lossless_pixels_max }
    }

    /// Whether it is for a result of so many pixels.
    pub const fn holds(&self, pixels: u64, lossless: bool) -> bool {
        pixels <= if lossless { self.lossless_pixels_max } else { self.pixels_max }
    }
}

impl Effort {
    /// The step that an effort selects; `None`: the default.
    pub fn step(&self, effort: Option<u8>) -> Option<&'static Step> {
        let effort = effort.unwrap_or(self.default);
        self.steps.iter().rfind(|step| step.effort <= effort)
    }
}

/// Chroma subsampling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chroma {
    /// 4:2:0: half the width and half the height.
    #[default]
    Half,
    /// 4:2:2: half the width.
    HalfWidth,
    /// 4:4:4: as many as luma.
    Full,
}

/// Use of a palette by a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Palette {
    /// Every result has a palette, of 256 colours unless fewer are requested.
    Always,
    /// Results have a palette on request; the encoder then receives 8-bit RGB or RGBA.
    Choice,
    /// The format has no palette.
    Never,
}

/// Whether a format preserves every sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lossless {
    /// Every result is lossless.
    Always,
    /// Results are lossless on request.
    Choice,
    /// Every result is lossy.
    Never,
}

/// Arguments of an encoder; `None` and `false` are the codec's defaults.
pub struct EncodeOptions<'a> {
    /// Quality, 1..=100; ignored by formats without a quality.
    pub quality: Option<u8>,
    /// Whether to preserve every sample, if the format can.
    pub lossless: bool,
    /// Effort, 0..=9; ignored by formats without an effort.
    pub effort: Option<u8>,
    /// Whether to write coarse to fine, if the format can.
    pub progressive: bool,
    /// Chroma subsampling; ignored by formats without the choice.
    pub chroma: Chroma,
    /// Maximum number of palette colours, 2..=256. `None`: no palette where it is optional.
    pub colors: Option<u16>,
    /// Percentage of the quantisation error that is diffused to neighbouring pixels.
    pub dither_percent: u8,
    /// What the samples of an HDR picture stand for; `None` is sRGB.
    pub code_points: Option<CodePoints>,
    /// Whether the picture is a graphic, not a photograph; ignored by formats that encode both alike.
    pub graphic: bool,
    /// Whether an ICC profile will be added to the file, which then must stay gray or coloured as the picture is.
    pub profile: bool,
    /// Deadline, checked in long loops.
    pub deadline: &'a Deadline,
}

impl EncodeOptions<'_> {
    /// The codec's defaults, with this deadline.
    pub fn new(deadline: &Deadline) -> EncodeOptions<'_> {
        EncodeOptions {
            quality: None,
            lossless: false,
            effort: None,
            progressive: false,
            chroma: Chroma::Half,
            colors: None,
            dither_percent: 100,
            code_points: None,
            graphic: false,
            profile: false,
            deadline,
        }
    }
}

/// Every format, in the order of sniffing: formats without a signature come last.
pub static CODECS: &[&Codec] = &[
    &jpeg::CODEC,
    &png::CODEC,
    &webp::CODEC,
    &avif::CODEC,
    &gif::CODEC,
    &tiff::CODEC,
    &bmp::CODEC,
    &ico::CODEC,
    &qoi::CODEC,
    &pnm::PPM,
    &pnm::PGM,
    &pnm::PNM,
    &hdr::CODEC,
    &exr::CODEC,
    &image_crate::farbfeld::CODEC,
    &image_crate::dds::CODEC,
    #[cfg(test)]
    &misbehaving::CODEC,
    &tga::CODEC,
];

/// Finds the format of `bytes` by content alone.
///
/// Errors: [`Error::UnreadFormat`] if it is another that is known, otherwise [`Error::UnknownFormat`].
///
/// ```
/// use progimage::pipeline::{Error, codec};
/// assert_eq!(codec::sniff(b"GIF89a...")?.media_type, "image/gif");
/// assert_eq!(codec::sniff(b"<svg>"), Err(Error::UnreadFormat { name: "SVG" }));
/// assert_eq!(codec::sniff(b"words"), Err(Error::UnknownFormat));
/// # Ok::<(), Error>(())
/// ```
pub fn sniff(bytes: &[u8]) -> Result<&'static Codec, Error> {
    let unread = || unread::named(bytes).map_or(Error::UnknownFormat, |name| Error::UnreadFormat { name });
    CODECS.iter().find(|codec| (codec.sniff)(bytes)).copied().ok_or_else(unread)
}

/// Names of all formats that are read.
pub fn readable() -> String {
    CODECS.iter().map(|codec| codec.name).collect::<Vec<_>>().join(", ")
}

/// The file with another of its pages as the first. Errs if the format has no pages, or the file not that one.
pub fn with_page_first(codec: &Codec, bytes: &[u8], page: u32) -> Result<Vec<u8>, Error> {
    if *codec == tiff::CODEC {
        return tiff::with_page_first(bytes, page);
    }
    Err(Error::Unsupported { format: codec.name, feature: "pages" })
}

/// Finds the format with this URL extension, in capitals or not.
///
/// ```
/// use progimage::pipeline::codec;
/// let jpeg = codec::by_extension("JPG").unwrap();
/// assert_eq!(codec::by_name("jpeg"), Some(jpeg));
/// assert!(codec::by_name("jpg").is_none());
/// ```
pub fn by_extension(extension: &str) -> Option<&'static Codec> {
    let is_it = |codec: &&&Codec| codec.extensions.iter().any(|known| known.eq_ignore_ascii_case(extension));
    CODECS.iter().find(is_it).copied()
}

/// Why no format is written under this extension; `parameter` is what the client calls it.
pub fn unwritten(parameter: &str, extension: &str, allowed: String) -> Error {
    let read = by_extension(extension).map(|codec| Help::Words(format!("{} is read only", codec.name).into()));
    let near = nearest(extension, allowed.split(", ")).map(|known| Help::Nearest(known.to_owned()));
    let names: Vec<&str> = allowed.split(", ").collect();
    one_of(parameter, extension, &names).helped(read.or(near).unwrap_or_default())
}

/// Whether an extension stands for the format that the client's `Accept` field chooses, in capitals or not, as extensions of
/// formats do.
pub fn is_auto(extension: &str) -> bool {
    extension.eq_ignore_ascii_case("auto")
}

/// Finds the format with this name.
pub fn by_name(name: &str) -> Option<&'static Codec> {
    CODECS.iter().find(|codec| codec.name == name).copied()
}

/// Samples of a raster that the pipeline has reduced to 8 bits for an encoder.
fn eight_bit_samples<'a>(format: &'static str, raster: &'a Raster) -> Result<&'a [u8], Error> {
    match raster.samples() {
        Samples::U8(samples) => Ok(samples),
        Samples::U16(_) => Err(Error::Encode { format, reason: "16-bit samples were not reduced".into() }),
    }
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Codec {
    fn eq(&self, other: &Codec) -> bool {
        self.name == other.name
    }
}

impl Eq for Codec {}
