//! [`Page`]: what the fields of a page mean, and the sizes that follow from it. `directory` reads the fields, `pixels`
//! the samples.

use super::fax;
use crate::pipeline::metadata::Density;
use crate::pipeline::{Channels, Orientation, Size};

/// One page, with all data needed to decode it.
pub(super) struct Page<'a> {
    pub(super) size: Size,
    /// Size of a strip (as wide as the image) or tile.
    pub(super) chunk: Size,
    pub(super) tiled: bool,
    /// Packed bytes of each chunk, plane by plane.
    pub(super) chunks: Vec<&'a [u8]>,
    pub(super) bits: u32,
    pub(super) format: Format,
    /// Samples per pixel in the file.
    pub(super) samples: u32,
    pub(super) colour: Colour<'a>,
    pub(super) alpha: Alpha,
    pub(super) packing: Packing<'a>,
    pub(super) planar: bool,
    pub(super) predictor: Predictor,
    /// Whether the first bit of a byte is the lowest.
    pub(super) reversed: bool,
    pub(super) big_endian: bool,
    pub(super) orientation: Orientation,
    pub(super) density: Option<Density>,
    pub(super) icc: Option<&'a [u8]>,
}

/// Meaning of a stored number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Unsigned,
    Signed,
    Float,
}

/// Samples that the decoder reads into.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// 8 bits, of at most 8 stored ones.
    Eight,
    /// 16 bits, of more stored ones.
    Sixteen,
    /// Numbers whose black and white are found when all are read; then 16 bits.
    Measured,
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
    YCbCr(YCbCr),
    Lab(Lab),
}

/// Luma and colour differences (TIFF 6.0, section 21).
#[derive(Clone, Copy)]
pub(super) struct YCbCr {
    /// Pixels that share their colour differences, horizontally and vertically.
    pub(super) shared: (u32, u32),
    /// Shares of red, green and blue in luma.
    pub(super) luma: [f32; 3],
    /// Black and white of each of the three samples.
    pub(super) range: [(f32, f32); 3],
}

/// Encodings of CIE L*a*b*, relative to D50.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Lab {
    /// a* and b* are signed.
    Signed,
    /// a* and b* have an offset, as in ICC profiles.
    Offset,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Alpha {
    None,
    Straight,
    Premultiplied,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing<'a> {
    Plain,
    Lzw,
    Deflate,
    PackBits,
    Zstd,
    Fax(fax::Coding),
    /// JPEG, with the tables that all chunks share, and whether its samples are luma and colour differences.
    Jpeg(&'a [u8], bool),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Predictor {
    None,
    /// Each sample is the difference from the pixel before.
    Horizontal,
    /// Bytes of floats, the highest of a row first, each the difference from the one before.
    Float,
}

impl Packing<'_> {
    /// Largest ratio of unpacked to packed bytes, or any for codings that can leave out whole rows.
    fn ratio(self) -> u64 {
        match self {
            Packing::Plain => 1,
            Packing::PackBits => 64,
            Packing::Deflate => 1032,
            Packing::Lzw => 4096,
            Packing::Zstd | Packing::Fax(_) | Packing::Jpeg(..) => u64::MAX,
        }
    }
}

/// Largest window that zstd may ask for in a chunk that is smaller.
pub(super) const ZSTD_WINDOW_MAX: u64 = 8 << 20;
/// Memory of zstd's tables.
const ZSTD_TABLES: u64 = 1 << 20;

impl Page<'_> {
    pub(super) fn channels(&self) -> Channels {
        let gray = matches!(self.colour, Colour::WhiteIsZero | Colour::BlackIsZero);
        match (self.colour, self.alpha) {
            (Colour::Cmyk, Alpha::None) => Channels::Cmyk,
            (Colour::Cmyk, _) => Channels::Cmyka,
            (_, alpha) => Channels::of(gray, alpha != Alpha::None),
        }
    }

    /// Samples of a pixel before indices become colours.
    pub(super) fn placed(&self) -> usize {
        match self.colour {
            Colour::Palette(_) => 1 + usize::from(self.alpha != Alpha::None),
            _ => self.channels().count(),
        }
    }

    pub(super) fn depth(&self) -> Depth {
        match self.format {
            Format::Signed | Format::Float => Depth::Measured,
            Format::Unsigned if self.bits <= 8 => Depth::Eight,
            Format::Unsigned => Depth::Sixteen,
        }
    }

    /// Samples of a pixel that are next to each other.
    pub(super) fn step(&self) -> usize {
        if self.planar { 1 } else { self.samples as usize }
    }

    /// Samples per row of a chunk.
    pub(super) fn row_samples(&self) -> u64 {
        u64::from(self.chunk.w).saturating_mul(self.step() as u64)
    }

    /// Bytes per row of an unpacked chunk.
    pub(super) fn row_bytes(&self) -> u64 {
        self.row_samples().saturating_mul(u64::from(self.bits)).div_ceil(8)
    }

    /// Bytes of `rows` rows of a chunk, as stored: groups of pixels that share colour differences are whole.
    pub(super) fn stored_bytes(&self, rows: u32) -> u64 {
        match self.shared() {
            None => self.row_bytes().saturating_mul(u64::from(rows)),
            Some((w, h)) => {
                let groups = u64::from(self.chunk.w.div_ceil(w)).saturating_mul(u64::from(rows.div_ceil(h)));
                groups.saturating_mul(u64::from(w * h + 2))
            }
        }
    }

    /// Pixels that share colour differences, if there are several.
    pub(super) fn shared(&self) -> Option<(u32, u32)> {
        match self.colour {
            Colour::YCbCr(YCbCr { shared, .. }) if shared != (1, 1) => Some(shared),
            _ => None,
        }
    }

    /// Fewest packed bytes that can hold `rows` rows of a chunk.
    pub(super) fn packed_bytes_min(&self, rows: u32) -> u64 {
        self.stored_bytes(rows).div_ceil(self.packing.ratio())
    }

    /// Upper bound on memory in addition to the picture: one unpacked chunk, a row of samples, and what the packing needs.
    pub(super) fn working_bytes(&self) -> u64 {
        let chunk = self.stored_bytes(self.chunk.h);
        let whole = self.row_bytes().saturating_mul(u64::from(self.chunk.h));
        let packed = self.chunks.iter().map(|chunk| chunk.len() as u64).max().unwrap_or(0);
        let packing = match self.packing {
            // A window may be as large as the chunk, and is copied when it grows.
            Packing::Zstd => chunk.saturating_mul(2).saturating_add(ZSTD_TABLES),
            Packing::Fax(_) => self.row_samples().saturating_mul(32) + 1024,
            // The stream with its tables, the decoded samples, and coefficients of two bytes in whole blocks.
            Packing::Jpeg(tables, _) => {
                let blocks = |px: u32| u64::from(px).next_multiple_of(32);
                let samples =
                    blocks(self.chunk.w).saturating_mul(blocks(self.chunk.h)).saturating_mul(self.step() as u64);
                (packed + tables.len() as u64 + (1 << 20)).saturating_add(samples.saturating_mul(3))
            }
            _ => 0,
        };
        let reversed = if self.reversed { packed } else { 0 };
        let upsampled = if self.shared().is_some() { whole } else { 0 };
        let converted = match self.depth() {
            Depth::Measured => self.size.pixels().saturating_mul(4 * self.channels().count() as u64),
            _ if matches!(self.colour, Colour::Palette(_)) => self.size.pixels().saturating_mul(self.placed() as u64),
            _ => 0,
        };
        let row = self.row_samples().saturating_mul(4).saturating_add(self.row_bytes().saturating_mul(2));
        [chunk, packing, reversed, upsampled, converted, row].into_iter().fold(0, u64::saturating_add)
    }

    pub(super) fn across(&self) -> u32 {
        self.size.w.div_ceil(self.chunk.w)
    }

    /// Chunks of one plane.
    pub(super) fn per_plane(&self) -> u64 {
        u64::from(self.across()) * u64::from(self.size.h.div_ceil(self.chunk.h))
    }

    /// Rows stored in chunk `index` of a plane. The last strip holds only the remaining rows; a tile is always whole.
    pub(super) fn rows(&self, index: u32) -> u32 {
        if self.tiled { self.chunk.h } else { self.chunk.h.min(self.size.h - index * self.chunk.h) }
    }
}
