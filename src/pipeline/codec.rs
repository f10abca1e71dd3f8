//! [`Codec`]: one row per file format, and the [`CODECS`] table. To add a format: one file, one row.
//! Not a place for colour management or orientation, which happen between decode and operations.

mod avif;
mod bmp;
pub mod cursor;
mod dds;
mod exr;
mod farbfeld;
mod gif;
mod hdr;
mod ico;
mod jpeg;
mod library;
pub(super) mod palette;
mod png;
mod pnm;
mod qoi;
mod tga;
pub(super) mod tiff;
mod webp;

use super::invalid::{Help, invalid, nearest};
use super::metadata::{Blocks, Metadata};
use super::{Channels, Error, Limits, Orientation, Picture, Raster, Samples, Size, Watch};

/// One file format: how it is recognised, checked, decoded and encoded.
pub struct Codec {
    /// "jpeg": in JSON, canonical text, metric labels.
    pub name: &'static str,
    /// Lower-case URL extensions; the first is canonical.
    pub extensions: &'static [&'static str],
    /// For `Content-Type`.
    pub media_type: &'static str,
    /// One sentence for the README.
    pub doc: &'static str,
    /// Raised whenever the same picture and arguments give other bytes.
    pub revision: u32,
    /// Whether the bytes begin like this format. Cheap; a few bytes.
    pub sniff: fn(&[u8]) -> bool,
    /// The gate: walks the container, never inflating or decoding, in bounded steps; `Err` when it is not well formed up to
    /// its first frame header. Knows no limits of pixels, so that what cannot be rendered here can still be stored.
    pub inspect: fn(&[u8]) -> Result<Header, Error>,
    /// The size that `decode` gives of an image of this size, asked for at least that one; `None`: always the whole image.
    pub shrinks: Option<fn(Size, Size) -> Size>,
    /// How the blocks beside the pixels are read and written; `None`: the format has no place for them, or none is read.
    pub metadata: Option<&'static MetadataBlocks>,
    /// Decodes; the limits were held against `inspect`'s header by the caller.
    pub decode: fn(&[u8], &DecodeOptions) -> Result<Picture, Error>,
    /// Encodes; `None` when the format is only read.
    pub encoder: Option<Encoder>,
}

/// The EXIF, XMP and ICC blocks of a format. Decoding gives the profile; the others are read on request only.
pub struct MetadataBlocks {
    /// EXIF and XMP of a file that `inspect` took, each at most this long: a longer one is left out, as is what is not well formed.
    pub read: fn(&[u8], usize) -> Blocks<'_>,
    /// Puts blocks into a file that `encode` made. One that the format cannot hold (EXIF of more than 64 KiB in JPEG) is left out.
    pub write: fn(Vec<u8>, &Metadata) -> Result<Vec<u8>, Error>,
}

/// What the container says of an image before a pixel is decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Size of the canvas as stored, before `orientation`.
    pub size: Size,
    /// To be applied after decoding (EXIF; irot and imir of AVIF).
    pub orientation: Orientation,
    /// Frames; 1 for a still.
    pub frames: u32,
    /// The channels that `decode` will give.
    pub channels: Channels,
    /// Bits a sample that `decode` will give: 8 or 16.
    pub bits: u8,
    /// Whether an ICC profile is embedded.
    pub icc: bool,
    /// Bytes that the decoder holds beside its result, at most (coefficients of a progressive JPEG, reference frames).
    pub working_bytes: u64,
}

/// What a decoder is asked for.
pub struct DecodeOptions<'a> {
    /// Bounds on what is read beside the pixels (metadata, scans) and a second line of defence on the rest.
    pub limits: &'a Limits,
    /// The decoder may give a smaller picture of the same content as long as neither side is below this (shrink-on-load).
    /// In the stored orientation. `None`: full size.
    pub at_least: Option<Size>,
    /// Stop after this many frames (1: the first only).
    pub frames_max: u32,
    /// Polled in long loops.
    pub watch: &'a Watch,
}

/// See [`Encoder::strip`].
pub type Strip = fn(&[u8]) -> Result<Vec<u8>, Error>;

/// What a format can hold and how it is written.
#[derive(Clone, Copy)]
pub struct Encoder {
    /// The format's own ceiling of a side; larger results are scaled down to it.
    pub side_px_max: u32,
    /// Pixels of the largest result that it is given; what has more is scaled down.
    pub pixels_max: u64,
    /// The same of a lossless one, where there is a choice.
    pub lossless_pixels_max: u64,
    /// The largest animation it can hold in frames (1: stills only).
    pub frames_max: u32,
    /// How many times the samples of a picture the encoder holds in layouts of its own, beside the picture.
    pub frames_held: u64,
    /// The channels it takes as they are; the pipeline converts others first (to RGB or RGBA by preference, flattening alpha
    /// where no row with alpha is listed).
    pub channels: &'static [Channels],
    /// Whether it takes 16-bit samples; else they are reduced to 8 first.
    pub sixteen_bit: bool,
    /// The default of `quality`, for formats that have one.
    pub quality: Option<u8>,
    /// The SSIMULACRA2 score that `quality=auto` keeps to: what the default gives a photograph on average.
    pub score: u8,
    /// Whether `lossless` means something here: lossy formats that can be lossless say `Choice`.
    pub lossless: Lossless,
    /// What `effort` does; `None`: nothing.
    pub effort: Option<Effort>,
    /// Whether it can be written coarse to fine, and from which effort on it always is.
    pub progressive: Option<u8>,
    /// Whether chroma can have more than a quarter of the samples.
    pub chroma: bool,
    /// Whether `colors` means something here.
    pub palette: Palette,
    /// The file without its metadata, pixels untouched, for `never_larger`. `Err` where the file cannot be followed.
    pub strip: Option<Strip>,
    /// Writes a picture that keeps to the above.
    pub encode: fn(&Picture, &EncodeOptions) -> Result<Vec<u8>, Error>,
}

impl Encoder {
    /// A lossless format of stills of 8 bits without choices: a row says in what it differs.
    pub const PLAIN: Encoder = Encoder {
        side_px_max: u32::MAX,
        pixels_max: u64::MAX,
        lossless_pixels_max: u64::MAX,
        frames_max: 1,
        frames_held: 2,
        channels: &[Channels::Rgb, Channels::Rgba],
        sixteen_bit: false,
        quality: None,
        score: 0,
        lossless: Lossless::Always,
        effort: None,
        progressive: None,
        chroma: false,
        palette: Palette::Never,
        strip: None,
        encode: |_, _| Err(Error::Unsupported { format: "plain", feature: "writing" }),
    };
}

/// How `effort`, 0..=9, is taken by a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// What it is when it is not written.
    pub default: u8,
    /// The efforts at which something changes, ascending from 0: one between does what the one below it does.
    pub steps: &'static [u8],
    /// Pictures of more pixels, all frames together, are written at the default at most: few encoders can be stopped, and some
    /// take seconds for a megapixel.
    pub pixels_max: u64,
}

/// How many samples chroma has.
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

/// Whether a format has a palette.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Palette {
    /// Always, of 256 colours unless fewer are asked for.
    Always,
    /// When asked: the picture then comes as RGB or RGBA of 8 bits.
    Choice,
    /// Never.
    Never,
}

/// Whether a format keeps every sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lossless {
    /// Always.
    Always,
    /// When asked.
    Choice,
    /// Never.
    Never,
}

/// What an encoder is asked for; `None` and `false` are the codec's defaults.
pub struct EncodeOptions<'a> {
    /// 1..=100; ignored by formats without a quality.
    pub quality: Option<u8>,
    /// Keep every sample where the format can.
    pub lossless: bool,
    /// 0..=9; ignored by formats without an effort.
    pub effort: Option<u8>,
    /// Coarse to fine, where the format can.
    pub progressive: bool,
    /// Ignored where there is no choice.
    pub chroma: Chroma,
    /// Colours of the palette at most, 2..=256; where there is a choice, `None` is none.
    pub colors: Option<u16>,
    /// How much of the error that a palette leaves is carried on to the neighbours.
    pub dither_percent: u8,
    /// Polled in long loops.
    pub watch: &'a Watch,
}

impl EncodeOptions<'_> {
    /// The codec's defaults.
    pub fn new(watch: &Watch) -> EncodeOptions<'_> {
        EncodeOptions {
            quality: None,
            lossless: false,
            effort: None,
            progressive: false,
            chroma: Chroma::Half,
            colors: None,
            dither_percent: 100,
            watch,
        }
    }
}

/// Every format, in the order in which they are sniffed.
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
    &farbfeld::CODEC,
    &dds::CODEC,
    &tga::CODEC,
];

/// The format of `bytes`, by content alone.
pub fn sniff(bytes: &[u8]) -> Result<&'static Codec, Error> {
    CODECS.iter().find(|codec| (codec.sniff)(bytes)).copied().ok_or(Error::UnknownFormat)
}

/// The format of a URL extension, in capitals or not.
pub fn by_extension(extension: &str) -> Option<&'static Codec> {
    let is_it = |codec: &&&Codec| codec.extensions.iter().any(|known| known.eq_ignore_ascii_case(extension));
    CODECS.iter().find(is_it).copied()
}

/// Why no format is written under this extension; `parameter` is what the client calls it.
pub fn unwritten(parameter: &str, extension: &str, allowed: String) -> Error {
    let read = by_extension(extension).map(|codec| Help::Words(format!("{} is read only", codec.name).into()));
    let near = nearest(extension, allowed.split(", ")).map(|known| Help::Nearest(known.to_owned()));
    invalid(parameter, extension, allowed.as_str()).helped(read.or(near).unwrap_or_default())
}

/// The format of this name.
pub fn by_name(name: &str) -> Option<&'static Codec> {
    CODECS.iter().find(|codec| codec.name == name).copied()
}

/// The samples of a raster that the pipeline has reduced to 8 bits, as an encoder's row asks.
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
