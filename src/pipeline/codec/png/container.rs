//! [`Container`]: the chunks of a PNG file, read through to the end without inflating any.

use std::borrow::Cow;

use image::metadata::Orientation;
use moxcms::{CicpColorPrimaries, TransferCharacteristics};
use png::{BitDepth, ColorType};

use super::calibration::{self, Calibration};
use super::chunks::{Chunk, Chunks};
use super::clean::{self, Kept};
use super::sequence::{Animation, Sequence};
use super::{FORMAT, channels, corrupt, metadata};
use crate::pipeline::codec::Header;
use crate::pipeline::metadata::Density;
use crate::pipeline::{Error, Size, color};

/// First eight bytes of every file.
pub(super) const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Largest number of chunks: 50 MiB of image data in pieces of 50 bytes.
const CHUNKS_MAX: usize = 1 << 20;

/// Facts about a file from its chunks.
pub(super) struct Container<'a> {
    file: &'a [u8],
    size: Size,
    color: ColorType,
    depth: BitDepth,
    animation: Option<Animation>,
    found: Walk<'a>,
}

/// State of the walk.
#[derive(Default)]
struct Walk<'a> {
    palette: bool,
    transparency: bool,
    sequence: Sequence,
    data: bool,
    end: bool,
    orientation: Option<Orientation>,
    density: Option<Density>,
    exif_bytes_max: u64,
    exif: Option<&'a [u8]>,
    /// First iTXt chunk of XMP, after its keyword.
    xmp: Option<&'a [u8]>,
    icc: Option<&'a [u8]>,
    cicp: Option<[u8; 4]>,
    /// Whether an sRGB chunk says that `gAMA` and `cHRM` are only a fallback.
    srgb: bool,
    /// Exponent of gAMA, times 100,000.
    gamma: Option<u32>,
    /// Chromaticities of cHRM, times 100,000: x and y of white, red, green and blue.
    chromaticities: Option<[u32; 8]>,
    /// Whether a chunk that changes the meaning of pixels comes after the first of them.
    late: bool,
    /// Whether the crate would stumble over a chunk that is ignored.
    unclean: bool,
}

impl<'a> Container<'a> {
    /// Walks the chunks. Errs if they are not well formed up to the image data; later errors only end the walk.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Container<'a>, Error> {
        // The crate reads and checks only the header chunk.
        let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
        let info = decoder.read_header_info().map_err(corrupt)?;
        let (size, color, depth) = (Size::new(info.width, info.height), info.color_type, info.bit_depth);
        let mut found = Walk::default();
        for chunk in Chunks::of(bytes).take(CHUNKS_MAX) {
            found.sequence.take(&chunk, size, found.data);
            found.chunk(&chunk, color, depth);
            if found.end {
                break;
            }
        }
        if !found.data {
            return Err(Error::corrupt(FORMAT, "no image data in the file"));
        }
        let animation = found.sequence.animation(found.end);
        Ok(Container { file: bytes, size, color, depth, animation, found })
    }

    /// Header of the decoded picture, with the memory of the decoder.
    pub(super) fn header(&self) -> Header {
        let alpha = self.found.transparency || self.animated();
        let expanded = match self.color {
            ColorType::Grayscale if alpha => ColorType::GrayscaleAlpha,
            ColorType::Indexed | ColorType::Rgb if alpha => ColorType::Rgba,
            ColorType::Indexed => ColorType::Rgb,
            color => color,
        };
        let channels = channels(expanded).expect("an expanded colour type is never indexed");
        let bits = if self.depth == BitDepth::Sixteen { 16 } else { 8 };
        let row_bytes = u64::from(self.size.w) * channels.count() as u64 * u64::from(bits / 8);
        // Two sides of 31 bits exceed 64 bits of bytes; the limits refuse them later.
        let frame_bytes = row_bytes.saturating_mul(u64::from(self.size.h));
        // A canvas, the canvas before, a part frame; big-endian samples before conversion; the crate's window and
        // rows.
        let canvases = if self.animated() { frame_bytes.saturating_mul(3) } else { 0 };
        let turned = if bits == 16 { frame_bytes } else { 0 };
        let rows = 8 * row_bytes + (512 << 10) + 3 * self.found.exif_bytes_max;
        let copy = if self.is_clean() { 0 } else { self.file.len() as u64 };
        let working_bytes = canvases.saturating_add(turned).saturating_add(rows).saturating_add(copy);
        Header {
            size: self.size,
            orientation: self.found.orientation.unwrap_or(Orientation::NoTransforms),
            frames: self.animation.map_or(1, |animation| animation.frames),
            pages: Vec::new(),
            density: self.found.density,
            channels,
            bits,
            icc: self.found.icc.is_some() || self.found.cicp.is_some() || self.calibration().is_some(),
            working_bytes,
        }
    }

    /// Whether frames must be composed: more than one, or one other than the default image.
    pub(super) fn animated(&self) -> bool {
        self.animation.is_some_and(|animation| animation.frames > 1 || !animation.first_is_default)
    }

    /// Whether the file ends before the last of several frames.
    pub fn lacks_frames(&self) -> bool {
        self.animation.is_some_and(|animation| animation.frames > 1 && animation.lacks_frames)
    }

    /// Number of times the animation plays; 0 repeats for ever.
    pub(super) fn plays(&self) -> u32 {
        self.animation.map_or(0, |animation| animation.plays)
    }

    /// Errs if palette or transparency come after the image data.
    pub(super) fn check_order(&self) -> Result<(), Error> {
        let late = "palette or transparency after the image data";
        if self.found.late { Err(Error::corrupt(FORMAT, late)) } else { Ok(()) }
    }

    fn is_clean(&self) -> bool {
        !self.found.unclean && (self.animated() || !self.found.sequence.any)
    }

    /// The file, without the chunks that are to be ignored if the crate would not.
    pub(super) fn clean_file(&self) -> Cow<'a, [u8]> {
        let kept = Kept { color: self.color, depth: self.depth, animated: self.animated() };
        if self.is_clean() { self.file.into() } else { kept.of(self.file).into() }
    }

    /// First eXIf chunk.
    pub(super) fn exif(&self) -> Option<&'a [u8]> {
        self.found.exif
    }

    /// First iTXt chunk of XMP, after its keyword.
    pub(super) fn xmp(&self) -> Option<&'a [u8]> {
        self.found.xmp
    }

    /// Colour profile: of the first of code points, an embedded profile if it inflates within `bytes_max`, and
    /// calibration, in the order of the third edition, 4.3.
    pub(super) fn icc(&self, bytes_max: usize) -> Option<Vec<u8>> {
        match (self.found.cicp, self.found.icc) {
            (Some(points), _) => profile(points),
            (None, Some(icc)) if icc.starts_with(NAME_OF_PQ) => profile([9, PQ, 0, 1]),
            (None, Some(icc)) => inflate_profile(icc, bytes_max),
            (None, None) => color::profile_bytes(&self.calibration()?.profile()?),
        }
    }

    /// Contents of gAMA and cHRM, unless they say what is assumed without them.
    fn calibration(&self) -> Option<Calibration> {
        let Walk { srgb, gamma, chromaticities, .. } = self.found;
        let calibration = Calibration { gamma, chromaticities };
        (!srgb && !calibration.is_srgb()).then_some(calibration)
    }
}

impl<'a> Walk<'a> {
    /// Takes a chunk. One with a wrong checksum is ignored if the picture can do without it; the decoder checks the others.
    fn chunk(&mut self, chunk: &Chunk<'a>, color: ColorType, depth: BitDepth) {
        self.data |= &chunk.name == b"IDAT";
        let body = chunk.body;
        let ignored = !chunk.is_critical() && &chunk.name != b"fdAT" && !chunk.is_intact();
        self.unclean |= ignored;
        if ignored || chunk.is_cut {
            return;
        }
        match &chunk.name {
            b"PLTE" | b"tRNS" if self.data => self.late = true,
            b"PLTE" => self.palette = true,
            b"tRNS" => {
                self.transparency |= self.transparent(color, body.len());
                self.unclean |= clean::masked(body, color, depth).is_some();
            }
            b"iCCP" if !self.data => self.icc = self.icc.or(Some(body)),
            b"cICP" if !self.data => self.code_points(body, color),
            b"sRGB" if !self.data => self.srgb = true,
            b"gAMA" if !self.data => self.gamma = self.gamma.or(calibration::gamma(body)),
            b"cHRM" if !self.data => self.chromaticities = self.chromaticities.or(calibration::chromaticities(body)),
            b"pHYs" if !self.data => self.density = self.density.or_else(|| metadata::density(body)),
            b"eXIf" => self.exif(body),
            b"iTXt" => self.xmp = self.xmp.or(body.strip_prefix(metadata::XMP)),
            b"IEND" => self.end = true,
            _ => {}
        }
    }

    fn code_points(&mut self, body: &[u8], color: ColorType) {
        // The crate refuses a file with others.
        self.unclean |= !matches!(body, [_, _, 0, 0 | 1]);
        if !self.palette {
            self.cicp = self.cicp.or(body.try_into().ok().filter(|points| described(points, color)));
        }
    }

    /// Whether a tRNS chunk of this length is valid; decoders ignore others.
    fn transparent(&self, color: ColorType, length: usize) -> bool {
        match color {
            ColorType::Grayscale => (2..=256).contains(&length),
            ColorType::Rgb => (6..=256).contains(&length),
            ColorType::Indexed => self.palette && (1..=256).contains(&length),
            ColorType::GrayscaleAlpha | ColorType::Rgba => false,
        }
    }

    fn exif(&mut self, body: &'a [u8]) {
        self.exif = self.exif.or(Some(body));
        self.orientation = self.orientation.or_else(|| Orientation::from_exif_chunk(body));
        self.exif_bytes_max = self.exif_bytes_max.max(body.len() as u64);
    }
}

/// Whether the code points mean RGB in full range, with a curve and primaries that a profile can express; others are
/// ignored. Gray has no primaries, and a curve only where it is one of HDR.
fn described(&[primaries, transfer, matrix, full_range]: &[u8; 4], color: ColorType) -> bool {
    let gray = matches!(color, ColorType::Grayscale | ColorType::GrayscaleAlpha);
    let applies = !gray || matches!(transfer, PQ | HLG);
    applies && matrix == 0 && full_range == 1 && curve(transfer).is_some() && primaries_of(primaries).is_some()
}

/// Name of a profile that only stands for PQ with the primaries of BT.2020, in full range, from before cICP (W3C Note
/// "High Dynamic Range in PNG", 2017).
const NAME_OF_PQ: &[u8] = b"ITUR_2100_PQ_FULL\0";

/// Codes of the transfer functions of HDR.
const PQ: u8 = 16;
const HLG: u8 = 18;

/// Transfer functions that a profile can express.
fn curve(transfer: u8) -> Option<TransferCharacteristics> {
    match transfer {
        // The camera curve of BT.709 and BT.2020 is not how it is displayed: as in browsers, and in AVIF, it is sRGB's.
        1 | 6 | 14 | 15 => Some(TransferCharacteristics::Srgb),
        4 | 5 | 8 | 13 | PQ | HLG => transfer.try_into().ok(),
        _ => None,
    }
}

fn primaries_of(primaries: u8) -> Option<CicpColorPrimaries> {
    matches!(primaries, 1 | 4..=9 | 11 | 12 | 22).then(|| primaries.try_into().ok()).flatten()
}

/// ICC profile equivalent to the code points.
fn profile([primaries, transfer, _, _]: [u8; 4]) -> Option<Vec<u8>> {
    let profile = color::cicp_profile(primaries_of(primaries)?, curve(transfer)?);
    color::profile_bytes(&profile).filter(|_| profile.red_trc.is_some())
}

/// Profile of an iCCP chunk: a name, a method (0: deflate) and a zlib stream, inflated up to `bytes_max`.
fn inflate_profile(body: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let name = body.iter().take(80).position(|&byte| byte == 0)?;
    let (method, stream) = body.get(name + 1..)?.split_first()?;
    if *method != 0 {
        return None;
    }
    fdeflate::decompress_to_vec_bounded(stream, bytes_max).ok().filter(|profile| !profile.is_empty())
}
