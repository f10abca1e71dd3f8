//! The gate of TIFF: the meaning of the first page's fields, the place and length of its chunks, and the chain of
//! pages. Decodes no pixel; `ifd` reads the fields.

use std::collections::HashSet;

use super::super::cursor::Cursor;
use super::super::image_crate;
use crate::pipeline::ifd::{Directory, TiffFile, corrupt};
use crate::pipeline::{Channels, Error, Orientation, Size};

/// Longest accepted chain of pages; only the first page is decoded.
const PAGES_MAX: usize = 10_000;
/// Most strips or tiles in all planes; 100 megapixels in tiles of 16 x 16 are fewer.
const CHUNKS_MAX: u64 = 1 << 20;
/// Side of a tile that is accepted even if the image is smaller.
const TILE_SIDE_PX: u32 = 1024;
/// Values that are checked in a field with one number per sample.
const SAMPLES_MAX: usize = 32;

/// The first page, with all data needed to decode it.
pub(super) struct Page<'a> {
    pub(super) size: Size,
    /// Size of a strip (as wide as the image) or tile.
    pub(super) chunk: Size,
    pub(super) tiled: bool,
    /// Packed bytes of each chunk, plane by plane.
    pub(super) chunks: Vec<&'a [u8]>,
    pub(super) bits: u32,
    /// Samples per pixel in the file.
    pub(super) samples: u32,
    pub(super) colour: Colour<'a>,
    pub(super) alpha: Alpha,
    pub(super) packing: Packing,
    pub(super) planar: bool,
    /// Whether each sample is stored as the difference from the pixel before.
    pub(super) predicted: bool,
    pub(super) big_endian: bool,
    pub(super) orientation: Orientation,
    pub(super) icc: Option<&'a [u8]>,
}

/// Meaning of a pixel's first samples.
#[derive(Clone, Copy)]
pub(super) enum Colour<'a> {
    WhiteIsZero,
    BlackIsZero,
    Rgb,
    /// Palette of 16-bit entries: all red, then all green, then all blue.
    Palette(&'a [u8]),
    Cmyk,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Alpha {
    None,
    Straight,
    Premultiplied,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Lzw,
    Deflate,
    PackBits,
}

impl Packing {
    /// Largest ratio of unpacked to packed bytes.
    fn ratio(self) -> u64 {
        match self {
            Packing::Plain => 1,
            Packing::PackBits => 64,
            Packing::Deflate => 1032,
            Packing::Lzw => 4096,
        }
    }
}

impl Page<'_> {
    pub(super) fn channels(&self) -> Channels {
        match (self.colour, self.alpha) {
            (Colour::Cmyk, _) => Channels::Cmyk,
            (Colour::Palette(_), _) | (Colour::Rgb, Alpha::None) => Channels::Rgb,
            (Colour::Rgb, _) => Channels::Rgba,
            (_, Alpha::None) => Channels::Gray,
            _ => Channels::GrayAlpha,
        }
    }

    /// Samples per row of a chunk.
    pub(super) fn row_samples(&self) -> u64 {
        u64::from(self.chunk.w) * if self.planar { 1 } else { u64::from(self.samples) }
    }

    /// Bytes per row of an unpacked chunk.
    pub(super) fn row_bytes(&self) -> u64 {
        self.row_samples().saturating_mul(u64::from(self.bits)).div_ceil(8)
    }

    /// Bytes of an unpacked chunk.
    pub(super) fn chunk_bytes(&self) -> u64 {
        self.row_bytes().saturating_mul(u64::from(self.chunk.h))
    }

    pub(super) fn across(&self) -> u32 {
        self.size.w.div_ceil(self.chunk.w)
    }

    fn per_plane(&self) -> u64 {
        u64::from(self.across()) * u64::from(self.size.h.div_ceil(self.chunk.h))
    }

    /// Rows stored in chunk `index` of a plane. The last strip holds only the remaining rows; a tile is always whole.
    pub(super) fn rows(&self, index: u32) -> u32 {
        if self.tiled { self.chunk.h } else { self.chunk.h.min(self.size.h - index * self.chunk.h) }
    }
}

/// Walks the chain of pages and parses the first.
pub(super) fn walk(bytes: &[u8]) -> Result<Page<'_>, Error> {
    let file = TiffFile::open(bytes)?;
    let (first, mut next) = file.directory(file.first)?;
    let mut seen = HashSet::from([file.first]);
    while next != 0 {
        if !seen.insert(next) || seen.len() > PAGES_MAX {
            return Err(corrupt("circular or overlong chain of pages"));
        }
        next = file.directory(next)?.1;
    }
    page(&first, file.big_endian)
}

fn unsupported(feature: &'static str) -> Error {
    Error::Unsupported { format: "tiff", feature }
}

mod tag {
    pub(super) const SUBFILE_TYPE: u16 = 254;
    pub(super) const WIDTH: u16 = 256;
    pub(super) const HEIGHT: u16 = 257;
    pub(super) const BITS: u16 = 258;
    pub(super) const COMPRESSION: u16 = 259;
    pub(super) const PHOTOMETRIC: u16 = 262;
    pub(super) const FILL_ORDER: u16 = 266;
    pub(super) const STRIP_OFFSETS: u16 = 273;
    pub(super) const ORIENTATION: u16 = 274;
    pub(super) const SAMPLES: u16 = 277;
    pub(super) const STRIP_ROWS: u16 = 278;
    pub(super) const STRIP_BYTES: u16 = 279;
    pub(super) const PLANAR: u16 = 284;
    pub(super) const PREDICTOR: u16 = 317;
    pub(super) const COLOUR_MAP: u16 = 320;
    pub(super) const TILE_WIDTH: u16 = 322;
    pub(super) const TILE_HEIGHT: u16 = 323;
    pub(super) const TILE_OFFSETS: u16 = 324;
    pub(super) const TILE_BYTES: u16 = 325;
    pub(super) const INK_SET: u16 = 332;
    pub(super) const EXTRA_SAMPLES: u16 = 338;
    pub(super) const SAMPLE_FORMAT: u16 = 339;
    pub(super) const ICC: u16 = 34_675;
    pub(super) const DNG_VERSION: u16 = 50_706;
}

fn page<'a>(directory: &Directory<'a>, big_endian: bool) -> Result<Page<'a>, Error> {
    // Camera RAW is also TIFF, but its first page is a thumbnail, which is another image.
    if directory.field(tag::DNG_VERSION)?.is_some() || directory.number(tag::SUBFILE_TYPE, 0)? & 1 == 1 {
        return Err(unsupported("camera RAW or a first page that is a thumbnail"));
    }
    let size = image_crate::size("tiff", directory.number(tag::WIDTH, 0)?, directory.number(tag::HEIGHT, 0)?)?;
    let bits = sample_bits(directory)?;
    let samples = directory.number(tag::SAMPLES, 1)?;
    let colour = colour(directory, bits)?;
    let (chunk, tiled) = chunk_shape(directory, size)?;
    let exif = u8::try_from(directory.number(tag::ORIENTATION, 1)?).ok().and_then(Orientation::from_exif);
    let mut page = Page {
        size,
        chunk,
        tiled,
        chunks: Vec::new(),
        bits,
        samples,
        colour,
        alpha: alpha(directory, colour, samples)?,
        packing: packing(directory)?,
        planar: directory.number(tag::PLANAR, 1)? == 2,
        predicted: predicted(directory, bits)?,
        big_endian,
        orientation: exif.unwrap_or(Orientation::NoTransforms),
        icc: directory.field(tag::ICC)?.map(|(_, _, profile)| profile).filter(|profile| !profile.is_empty()),
    };
    page.chunks = chunks(directory, &page)?;
    Ok(page)
}

fn sample_bits(directory: &Directory) -> Result<u32, Error> {
    let all = directory.numbers(tag::BITS)?;
    let bits = all.iter().next().unwrap_or(1);
    let formats = directory.numbers(tag::SAMPLE_FORMAT)?;
    if formats.iter().take(SAMPLES_MAX).any(|format| !matches!(format, 1 | 4)) {
        return Err(unsupported("signed or floating-point samples"));
    }
    if all.iter().take(SAMPLES_MAX).any(|other| other != bits) || !matches!(bits, 1 | 2 | 4 | 8 | 16) {
        return Err(unsupported("this number of bits a sample"));
    }
    Ok(bits as u32)
}

fn colour<'a>(directory: &Directory<'a>, bits: u32) -> Result<Colour<'a>, Error> {
    match directory.number(tag::PHOTOMETRIC, u32::MAX)? {
        0 => Ok(Colour::WhiteIsZero),
        1 => Ok(Colour::BlackIsZero),
        2 if bits >= 8 => Ok(Colour::Rgb),
        3 if bits <= 8 => match directory.field(tag::COLOUR_MAP)? {
            Some((3, count, map)) if count == 3 << bits => Ok(Colour::Palette(map)),
            _ => Err(corrupt("palette without colours")),
        },
        5 if bits >= 8 && directory.number(tag::INK_SET, 1)? == 1 => Ok(Colour::Cmyk),
        _ => Err(unsupported("this colour space")),
    }
}

/// Meaning of the sample after the colours. Without the field that names it, a fourth sample of RGB or a second of
/// gray is straight alpha, as intended by writers that omit the field; a sample named as unspecified is ignored.
fn alpha(directory: &Directory, colour: Colour, samples: u32) -> Result<Alpha, Error> {
    let colours = match colour {
        Colour::Rgb => 3,
        Colour::Cmyk => 4,
        _ => 1,
    };
    if samples < colours || samples > colours + 16 {
        return Err(corrupt("invalid number of samples per pixel"));
    }
    let extra = directory.numbers(tag::EXTRA_SAMPLES)?.iter().next();
    Ok(match (samples - colours, extra) {
        (0, _) | (_, Some(0)) => Alpha::None,
        (_, Some(1)) => Alpha::Premultiplied,
        (_, Some(2)) | (1, None) => Alpha::Straight,
        _ => Alpha::None,
    })
}

fn packing(directory: &Directory) -> Result<Packing, Error> {
    if directory.number(tag::FILL_ORDER, 1)? != 1 {
        return Err(unsupported("bits in reverse order"));
    }
    match directory.number(tag::COMPRESSION, 1)? {
        1 => Ok(Packing::Plain),
        5 => Ok(Packing::Lzw),
        8 | 32_946 => Ok(Packing::Deflate),
        32_773 => Ok(Packing::PackBits),
        _ => Err(unsupported("this compression")),
    }
}

fn predicted(directory: &Directory, bits: u32) -> Result<bool, Error> {
    match directory.number(tag::PREDICTOR, 1)? {
        1 => Ok(false),
        2 if bits >= 8 => Ok(true),
        _ => Err(unsupported("this predictor")),
    }
}

fn chunk_shape(directory: &Directory, size: Size) -> Result<(Size, bool), Error> {
    if directory.field(tag::TILE_OFFSETS)?.is_some() {
        let (w, h) = (directory.number(tag::TILE_WIDTH, 0)?, directory.number(tag::TILE_HEIGHT, 0)?);
        if w > tile_side_max(size.w) || h > tile_side_max(size.h) {
            return Err(corrupt("tiles much larger than the image"));
        }
        return Ok((image_crate::size("tiff", w, h)?, true));
    }
    let rows = directory.number(tag::STRIP_ROWS, u32::MAX)?;
    Ok((image_crate::size("tiff", size.w, rows.min(size.h))?, false))
}

/// Largest accepted side of a tile. Sides are multiples of 16, and writers use one size for all images.
fn tile_side_max(side: u32) -> u32 {
    side.checked_next_multiple_of(16).unwrap_or(side).max(TILE_SIDE_PX)
}

/// Packed bytes of every chunk, checked to be inside the file and long enough for the unpacked bytes.
fn chunks<'a>(directory: &Directory<'a>, page: &Page) -> Result<Vec<&'a [u8]>, Error> {
    let (offsets, lengths) =
        if page.tiled { (tag::TILE_OFFSETS, tag::TILE_BYTES) } else { (tag::STRIP_OFFSETS, tag::STRIP_BYTES) };
    let (offsets, lengths) = (directory.numbers(offsets)?, directory.numbers(lengths)?);
    let planes = if page.planar { u64::from(page.samples) } else { 1 };
    let count = page.per_plane().saturating_mul(planes);
    if count > CHUNKS_MAX || (offsets.len() as u64) < count || offsets.len() != lengths.len() {
        return Err(corrupt("chunks do not cover the image"));
    }
    let per_plane = page.per_plane();
    let place = |(index, (offset, length)): (usize, (u64, u64))| {
        let mut at = Cursor::new("tiff", directory.file.bytes);
        at.seek(usize::try_from(offset).map_err(|_| corrupt("chunk outside the file"))?)?;
        let packed = at.take(usize::try_from(length).map_err(|_| corrupt("chunk outside the file"))?)?;
        let rows = u64::from(page.rows((index as u64 % per_plane) as u32));
        let least = page.row_bytes().saturating_mul(rows).div_ceil(page.packing.ratio());
        image_crate::body_holds("tiff", packed.len(), least)?;
        Ok(packed)
    };
    offsets.iter().zip(lengths.iter()).take(count as usize).enumerate().map(place).collect()
}
