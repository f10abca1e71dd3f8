//! [`Container`]: the chunks of a PNG file, read through to the end without inflating any.

use image::metadata::Orientation;
use moxcms::{CicpColorPrimaries, TransferCharacteristics};
use png::{BitDepth, ColorType};

use super::calibration::{self, Calibration};
use super::{FORMAT, channels, corrupt, metadata};
use crate::pipeline::codec::Header;
use crate::pipeline::codec::cursor::Cursor;
use crate::pipeline::{Error, Size, color};

/// First eight bytes of every file.
pub(super) const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Largest number of chunks: 50 MiB of image data in pieces of 50 bytes.
const CHUNKS_MAX: usize = 1 << 20;

/// Largest number of frames or plays, from the specification.
const COUNT_MAX: u32 = i32::MAX as u32;

/// Facts about a file from its chunks.
pub(super) struct Container<'a> {
    size: Size,
    color: ColorType,
    depth: BitDepth,
    /// Number of times the animation plays; 0 repeats for ever.
    pub plays: u32,
    found: Walk<'a>,
}

/// State of the walk.
#[derive(Default)]
struct Walk<'a> {
    palette: bool,
    transparency: bool,
    /// Numbers of frames and plays.
    animation: Option<(u32, u32)>,
    /// Whether the image data is the first frame of the animation, not a separate fallback.
    first_is_default: bool,
    data: bool,
    end: bool,
    orientation: Option<Orientation>,
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
}

impl<'a> Container<'a> {
    /// Walks the chunks. Errs if they are not well formed up to the image data; later errors only end the walk.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Container<'a>, Error> {
        // The crate reads and checks only the header chunk.
        let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
        let info = decoder.read_header_info().map_err(corrupt)?;
        let (size, color, depth) = (Size::new(info.width, info.height), info.color_type, info.bit_depth);
        let mut cursor = Cursor::new(FORMAT, bytes);
        cursor.skip(SIGNATURE.len())?;
        let mut found = Walk::default();
        for _ in 0..CHUNKS_MAX {
            match found.chunk(&mut cursor, color) {
                Ok(()) if found.end => break,
                Ok(()) => {}
                Err(_) if found.data => break,
                Err(error) => return Err(error),
            }
        }
        if !found.data {
            return Err(cursor.corrupt("no image data in the file"));
        }
        let plays = found.animation.map_or(0, |(_, plays)| plays);
        Ok(Container { size, color, depth, plays, found })
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
        let working_bytes = canvases.saturating_add(turned).saturating_add(rows);
        Header {
            size: self.size,
            orientation: self.found.orientation.unwrap_or(Orientation::NoTransforms),
            frames: self.found.animation.map_or(1, |(frames, _)| frames),
            pages: Vec::new(),
            channels,
            bits,
            icc: self.found.icc.is_some() || self.found.cicp.is_some() || self.calibration().is_some(),
            working_bytes,
        }
    }

    /// Whether frames must be composed: more than one, or one other than the default image.
    pub(super) fn animated(&self) -> bool {
        self.found.animation.is_some_and(|(frames, _)| frames > 1 || !self.found.first_is_default)
    }

    /// Errs if the end chunk is missing, or if palette or transparency come after the image data.
    pub(super) fn check_complete(&self) -> Result<(), Error> {
        match (self.found.end, self.found.late) {
            (false, _) => Err(Error::corrupt(FORMAT, "truncated file")),
            (_, true) => Err(Error::corrupt(FORMAT, "palette or transparency after the image data")),
            _ => Ok(()),
        }
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
    fn chunk(&mut self, cursor: &mut Cursor<'a>, color: ColorType) -> Result<(), Error> {
        let length = cursor.u32_be()?;
        let name = cursor.take(4)?;
        if matches!(name, b"IDAT") {
            self.data = true;
        }
        let body = cursor.take(length as usize)?;
        cursor.skip(4)?;
        match name {
            b"PLTE" | b"tRNS" if self.data => self.late = true,
            b"PLTE" => self.palette = true,
            b"tRNS" => self.transparency |= self.transparent(color, body.len()),
            b"acTL" if !self.data => self.animation = self.animation.or(animation(body)),
            b"fcTL" if !self.data => self.first_is_default = true,
            b"iCCP" if !self.data => self.icc = self.icc.or(Some(body)),
            b"cICP" if !self.data && !self.palette => {
                self.cicp = self.cicp.or(body.try_into().ok().filter(|points| described(points, color)));
            }
            b"sRGB" if !self.data => self.srgb = true,
            b"gAMA" if !self.data => self.gamma = self.gamma.or(calibration::gamma(body)),
            b"cHRM" if !self.data => self.chromaticities = self.chromaticities.or(calibration::chromaticities(body)),
            b"eXIf" => self.exif(body),
            b"iTXt" => self.xmp = self.xmp.or(body.strip_prefix(metadata::XMP)),
            b"IEND" => self.end = true,
            _ => {}
        }
        Ok(())
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

fn animation(body: &[u8]) -> Option<(u32, u32)> {
    let mut cursor = Cursor::new(FORMAT, body);
    let (frames, plays) = (cursor.u32_be().ok()?, cursor.u32_be().ok()?);
    let valid = body.len() == 8 && (1..=COUNT_MAX).contains(&frames) && plays <= COUNT_MAX;
    valid.then_some((frames, plays))
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
    matches!(transfer, 1 | 4 | 5 | 6 | 8 | 13 | 14 | 15 | PQ | HLG).then(|| transfer.try_into().ok()).flatten()
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
