//! The gate of TIFF: reads the fields of a page, and the place and length of its chunks. Decodes no pixel; `ifd` reads
//! the values of fields, `page` says what follows from them.

use std::collections::HashSet;

use super::super::cursor::Cursor;
use super::super::image_crate;
use super::fax;
use super::page::{Alpha, Colour, Format, Lab, Packing, Page, Predictor, YCbCr};
use crate::pipeline::ifd::{Directory, TiffFile, corrupt};
use crate::pipeline::metadata::Density;
use crate::pipeline::{Error, Orientation, Size};

/// Most strips or tiles in all planes; 100 megapixels in tiles of 16 x 16 are fewer.
const CHUNKS_MAX: u64 = 1 << 20;
/// Side of a tile that is accepted even if the image is smaller.
const TILE_SIDE_PX: u32 = 1024;
/// Values that are checked in a field with one number per sample.
const SAMPLES_MAX: usize = 32;

/// Most pages of a file that are read.
const PAGES_MAX: usize = 1_000;
/// Most fields in the directories of all pages.
const FIELDS_MAX: usize = 200_000;

/// Offsets of the pages. The chain ends where it loops or leaves the file.
pub(super) fn chain(file: &TiffFile) -> Result<Vec<u64>, Error> {
    let (first, mut next) = file.directory(file.first)?;
    let mut fields = first.len();
    let mut offsets = vec![file.first];
    let mut seen = HashSet::from([file.first]);
    while next != 0 && offsets.len() < PAGES_MAX && seen.insert(next) {
        let Ok((directory, after)) = file.directory(next) else { break };
        fields += directory.len();
        if fields > FIELDS_MAX {
            break;
        }
        offsets.push(next);
        next = after;
    }
    Ok(offsets)
}

/// What is `of` each page after the first; `None` for one that cannot be read. All together have no more chunks than one may
/// have, or little more.
pub(super) fn later<T>(bytes: &[u8], of: impl Fn(&Page) -> T) -> Result<Vec<Option<T>>, Error> {
    let file = TiffFile::open(bytes)?;
    let mut chunks = 0;
    let mut pages = Vec::new();
    for offset in chain(&file)?.into_iter().skip(1) {
        if chunks >= CHUNKS_MAX {
            break;
        }
        let (directory, _) = file.directory(offset)?;
        let page = page(&directory, file.big_endian).ok();
        // A page may fail at its last chunk.
        chunks += page.as_ref().map_or_else(|| named_chunks(&directory), |page| page.chunks.len() as u64);
        pages.push(page.as_ref().map(&of));
    }
    Ok(pages)
}

/// Number of chunks that a directory names, whether or not they are in the file.
fn named_chunks(directory: &Directory) -> u64 {
    let named = |tag| directory.numbers(tag).map_or(0, |offsets| offsets.len() as u64);
    named(tag::STRIP_OFFSETS) + named(tag::TILE_OFFSETS)
}

/// Reads the first page. Errors of later pages, and a chain of pages that loops, do not matter to it.
pub(super) fn first(bytes: &[u8]) -> Result<Page<'_>, Error> {
    let file = TiffFile::open(bytes)?;
    let (directory, _) = file.directory(file.first)?;
    page(&directory, file.big_endian)
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
    pub(super) const X_RESOLUTION: u16 = 282;
    pub(super) const Y_RESOLUTION: u16 = 283;
    pub(super) const PLANAR: u16 = 284;
    pub(super) const FAX_OPTIONS: u16 = 292;
    pub(super) const RESOLUTION_UNIT: u16 = 296;
    pub(super) const PREDICTOR: u16 = 317;
    pub(super) const COLOUR_MAP: u16 = 320;
    pub(super) const TILE_WIDTH: u16 = 322;
    pub(super) const TILE_HEIGHT: u16 = 323;
    pub(super) const TILE_OFFSETS: u16 = 324;
    pub(super) const TILE_BYTES: u16 = 325;
    pub(super) const INK_SET: u16 = 332;
    pub(super) const EXTRA_SAMPLES: u16 = 338;
    pub(super) const SAMPLE_FORMAT: u16 = 339;
    pub(super) const JPEG_TABLES: u16 = 347;
    pub(super) const LUMA: u16 = 529;
    pub(super) const SHARED_CHROMA: u16 = 530;
    pub(super) const BLACK_AND_WHITE: u16 = 532;
    pub(super) const ICC: u16 = 34_675;
    pub(super) const DNG_VERSION: u16 = 50_706;
}

fn page<'a>(directory: &Directory<'a>, big_endian: bool) -> Result<Page<'a>, Error> {
    // Camera RAW is also TIFF, but its first page is a thumbnail, which is another image.
    if directory.field(tag::DNG_VERSION)?.is_some() || directory.number(tag::SUBFILE_TYPE, 0)? & 1 == 1 {
        return Err(unsupported("camera RAW or a first page that is a thumbnail"));
    }
    let size = image_crate::size("tiff", directory.number(tag::WIDTH, 0)?, directory.number(tag::HEIGHT, 0)?)?;
    let (bits, format) = sample_type(directory)?;
    let samples = directory.number(tag::SAMPLES, 1)?;
    let planar = directory.number(tag::PLANAR, 1)? == 2;
    let packing = packing(directory, planar)?;
    let mut colour = colour(directory, (bits, format))?;
    if matches!((packing, colour), (Packing::Jpeg(..), Colour::YCbCr(_))) && !planar {
        // The JPEG decoder converts it.
        colour = Colour::Rgb;
    }
    let (chunk, tiled) = chunk_shape(directory, size)?;
    let exif = u8::try_from(directory.number(tag::ORIENTATION, 1)?).ok().and_then(Orientation::from_exif);
    let icc = directory.field(tag::ICC)?.map(|(_, _, profile)| profile).filter(|profile| !profile.is_empty());
    let mut page = Page {
        size,
        chunk,
        tiled,
        chunks: Vec::new(),
        bits,
        format: if matches!(colour, Colour::Lab(_)) { Format::Unsigned } else { format },
        samples,
        colour,
        alpha: alpha(directory, colour, (samples, bits))?,
        packing,
        planar,
        predictor: predictor(directory, packing, (bits, format))?,
        reversed: reversed(directory, packing)?,
        big_endian,
        orientation: exif.unwrap_or(Orientation::NoTransforms),
        density: density(directory),
        // L*a*b* is converted without a profile.
        icc: icc.filter(|_| !matches!(colour, Colour::Lab(_))),
    };
    check(&page)?;
    page.chunks = chunks(directory, &page)?;
    Ok(page)
}

/// Refuses combinations that no writer makes, and whose meaning is not clear.
fn check(page: &Page) -> Result<(), Error> {
    match page.packing {
        Packing::Fax(_) if (page.bits, page.step()) != (1, 1) => Err(corrupt("fax data of more than one bit a pixel")),
        Packing::Jpeg(..) if page.bits != 8 => Err(unsupported("JPEG of other than 8 bits")),
        _ if page.shared().is_some() && page.planar => Err(unsupported("planes of different sizes")),
        _ if page.shared().is_some() && page.samples != 3 => Err(unsupported("alpha beside shared colour differences")),
        _ if page.shared().is_some() && page.predictor != Predictor::None => {
            Err(unsupported("a predictor of shared colour differences"))
        }
        _ => Ok(()),
    }
}

/// Bits of a sample, and what they mean. L*a*b* is signed by its name, whatever is said here.
fn sample_type(directory: &Directory) -> Result<(u32, Format), Error> {
    let all = directory.numbers(tag::BITS)?;
    let bits = all.iter().next().unwrap_or(1);
    if all.iter().take(SAMPLES_MAX).any(|other| other != bits) {
        return Err(unsupported("samples of different numbers of bits"));
    }
    let formats = directory.numbers(tag::SAMPLE_FORMAT)?;
    let format = match formats.iter().next().unwrap_or(1) {
        1 | 4 => Format::Unsigned,
        2 => Format::Signed,
        3 => Format::Float,
        _ => return Err(unsupported("complex samples")),
    };
    match (format, bits) {
        (Format::Unsigned, 1..=32 | 64) | (Format::Signed, 8 | 16 | 32 | 64) | (Format::Float, 16 | 24 | 32 | 64) => {
            Ok((bits as u32, format))
        }
        _ => Err(unsupported("this number of bits a sample")),
    }
}

fn colour<'a>(directory: &Directory<'a>, (bits, format): (u32, Format)) -> Result<Colour<'a>, Error> {
    let unsigned = format == Format::Unsigned;
    match directory.number(tag::PHOTOMETRIC, u32::MAX)? {
        0 if unsigned => Ok(Colour::WhiteIsZero),
        0 | 1 => Ok(Colour::BlackIsZero),
        2 => Ok(Colour::Rgb),
        3 if bits <= 8 && unsigned => match directory.field(tag::COLOUR_MAP)? {
            Some((3, count, map)) if count == 3 << bits => Ok(Colour::Palette(map)),
            _ => Err(corrupt("palette without colours")),
        },
        3 => Err(unsupported("a palette of more than 256 colours")),
        4 => Err(unsupported("a transparency mask")),
        5 if !unsigned => Err(unsupported("signed or floating-point inks")),
        5 if directory.number(tag::INK_SET, 1)? == 1 => Ok(Colour::Cmyk),
        5 => Err(unsupported("inks other than CMYK")),
        6 if bits == 8 && unsigned => Ok(Colour::YCbCr(ycbcr(directory)?)),
        6 => Err(unsupported("YCbCr of other than 8 bits")),
        8 if matches!(bits, 8 | 16) && format != Format::Float => Ok(Colour::Lab(Lab::Signed)),
        9 if matches!(bits, 8 | 16) && format != Format::Float => Ok(Colour::Lab(Lab::Offset)),
        8 | 9 => Err(unsupported("L*a*b* of other than 8 and 16 bits")),
        32_803 | 34_892 => Err(unsupported("camera RAW")),
        32_844 | 32_845 => Err(unsupported("LogLuv")),
        _ => Err(unsupported("this colour space")),
    }
}

/// Resolution in a unit that is a length. What is malformed is left out, as it changes no pixel.
fn density(directory: &Directory) -> Option<Density> {
    let count = |tag| directory.fractions(tag).ok()?.first().map(|count| f64::from(*count));
    let counts = [count(tag::X_RESOLUTION)?, count(tag::Y_RESOLUTION)?];
    match directory.number(tag::RESOLUTION_UNIT, 2) {
        Ok(2) => Density::of(counts, Density::INCH),
        Ok(3) => Density::of(counts, Density::CENTIMETRE),
        _ => None,
    }
}

fn ycbcr(directory: &Directory) -> Result<YCbCr, Error> {
    let shared = directory.numbers(tag::SHARED_CHROMA)?;
    let mut shared = shared.iter().chain([2, 2]).take(2).map(|count| count as u32);
    let shared = (shared.next().unwrap_or(2), shared.next().unwrap_or(2));
    if ![shared.0, shared.1].iter().all(|count| matches!(count, 1 | 2 | 4)) {
        return Err(corrupt("invalid subsampling"));
    }
    let luma = directory.fractions(tag::LUMA)?;
    let range = directory.fractions(tag::BLACK_AND_WHITE)?;
    Ok(YCbCr {
        shared,
        // ITU-R BT.601, the default of TIFF.
        luma: luma.first_chunk().copied().filter(|[_, green, _]| *green != 0.0).unwrap_or([0.299, 0.587, 0.114]),
        range: match range.first_chunk::<6>() {
            Some([a, b, c, d, e, f]) if a != b && c != d && e != f => [(*a, *b), (*c, *d), (*e, *f)],
            _ => [(0.0, 255.0), (128.0, 255.0), (128.0, 255.0)],
        },
    })
}

/// Meaning of the sample after the colours. Without the field that names it, a fourth sample of RGB or a second of
/// gray is straight alpha, as intended by writers that omit the field; a sample named as unspecified is ignored.
fn alpha(directory: &Directory, colour: Colour, (samples, bits): (u32, u32)) -> Result<Alpha, Error> {
    let colours = match colour {
        Colour::Rgb | Colour::YCbCr(_) | Colour::Lab(_) => 3,
        Colour::Cmyk => 4,
        Colour::WhiteIsZero | Colour::BlackIsZero | Colour::Palette(_) => 1,
    };
    if samples < colours || samples > colours + 16 {
        return Err(corrupt("invalid number of samples per pixel"));
    }
    let guessed = !matches!(colour, Colour::Palette(_) | Colour::Cmyk);
    let extra = directory.numbers(tag::EXTRA_SAMPLES)?.iter().next();
    Ok(match (samples - colours, extra) {
        (0, _) | (_, Some(0)) => Alpha::None,
        _ if matches!(colour, Colour::Palette(_)) && bits < 8 => Alpha::None,
        (_, Some(1)) => Alpha::Premultiplied,
        (_, Some(2)) => Alpha::Straight,
        (1, None) if guessed => Alpha::Straight,
        _ => Alpha::None,
    })
}

fn packing<'a>(directory: &Directory<'a>, planar: bool) -> Result<Packing<'a>, Error> {
    match directory.number(tag::COMPRESSION, 1)? {
        1 => Ok(Packing::Plain),
        2 => Ok(Packing::Fax(fax::Coding::Huffman)),
        3 => Ok(Packing::Fax(fax::Coding::Group3 { relative: directory.number(tag::FAX_OPTIONS, 0)? & 1 == 1 })),
        4 => Ok(Packing::Fax(fax::Coding::Group4)),
        5 => Ok(Packing::Lzw),
        6 => Err(unsupported("old-style JPEG compression")),
        7 => {
            let ycc = directory.number(tag::PHOTOMETRIC, 0)? == 6 && !planar;
            Ok(Packing::Jpeg(directory.field(tag::JPEG_TABLES)?.map_or(&[], |(_, _, tables)| tables), ycc))
        }
        8 | 32_946 => Ok(Packing::Deflate),
        32_773 => Ok(Packing::PackBits),
        50_000 => Ok(Packing::Zstd),
        other => Err(unsupported(unread_compression(other))),
    }
}

/// What a compression that is not read is called.
fn unread_compression(code: u32) -> &'static str {
    match code {
        9 | 10 | 34_661 => "JBIG compression",
        32_766 | 32_771 | 32_809 => "compression of NeXT or ThunderScan",
        32_908 | 32_909 => "Pixar compression",
        33_003..=33_005 | 34_712 => "JPEG 2000 compression",
        34_676 | 34_677 => "LogLuv compression",
        34_887 => "LERC compression",
        34_892 => "lossy camera RAW",
        34_925 => "LZMA compression",
        50_001 => "WebP compression",
        50_002 | 52_546 => "JPEG XL compression",
        _ => "this compression",
    }
}

/// Whether bits are stored in reverse order; JPEG streams never are.
fn reversed(directory: &Directory, packing: Packing) -> Result<bool, Error> {
    Ok(directory.number(tag::FILL_ORDER, 1)? == 2 && !matches!(packing, Packing::Jpeg(..)))
}

/// The predictor, which fax and JPEG data never have.
fn predictor(directory: &Directory, packing: Packing, (bits, format): (u32, Format)) -> Result<Predictor, Error> {
    if matches!(packing, Packing::Fax(_) | Packing::Jpeg(..)) {
        return Ok(Predictor::None);
    }
    match directory.number(tag::PREDICTOR, 1)? {
        1 => Ok(Predictor::None),
        2 if matches!(bits, 8 | 16 | 24 | 32 | 64) => Ok(Predictor::Horizontal),
        3 if format == Format::Float => Ok(Predictor::Float),
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
        let rows = page.rows((index as u64 % per_plane) as u32);
        image_crate::body_holds("tiff", packed.len(), page.packed_bytes_min(rows))?;
        Ok(packed)
    };
    offsets.iter().zip(lengths.iter()).take(count as usize).enumerate().map(place).collect()
}
