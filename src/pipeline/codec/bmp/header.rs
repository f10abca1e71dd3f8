//! [`Bitmap`]: the headers of a BMP file. Those that the crate `image` does not know, or that are a little wrong, are
//! rewritten as ones that it does.

use std::borrow::Cow;

use super::super::cursor::Cursor;
use super::super::{Codec, image_crate, jpeg, png};
use super::FORMAT;
use crate::pipeline::{Error, Size};

/// Bytes of the file header, before the bitmap header.
pub(super) const FILE_HEADER: usize = 14;
/// Bytes of the oldest bitmap header, with sides of 16 bits and palettes of three bytes a colour.
const CORE: usize = 12;
/// Bytes of the header that most files have.
const INFO: usize = 40;
/// Longest side that the crate decodes.
const SIDE_PX_MAX: u32 = 65_535;

/// Pixels of a file, and how they are decoded.
pub(super) struct Bitmap<'a> {
    pub size: Size,
    pub pixels: Pixels<'a>,
}

/// Pixels of a bitmap.
pub(super) enum Pixels<'a> {
    /// A file that the crate decodes, and whether its rows come out in reverse order.
    Rows(Cow<'a, [u8]>, bool),
    /// A file of another format.
    File(&'static Codec, &'a [u8]),
}

/// Fields of the headers.
struct Fields {
    header_bytes: usize,
    w: i64,
    /// Negative if the first row is the top one.
    h: i64,
    planes: u16,
    bits: u16,
    compression: u32,
    colours: u32,
    /// Place of the pixels.
    data_at: usize,
}

fn unsupported(feature: &'static str) -> Error {
    Error::Unsupported { format: FORMAT, feature }
}

impl<'a> Bitmap<'a> {
    /// Reads the headers, and checks that the file holds the pixels at the place that they state.
    pub(super) fn read(bytes: &'a [u8]) -> Result<Bitmap<'a>, Error> {
        let fields = Fields::read(bytes)?;
        let size = fields.size()?;
        if let Some((codec, file)) = fields.file(bytes)? {
            return Ok(Bitmap { size, pixels: Pixels::File(codec, file) });
        }
        fields.check_coding()?;
        let data_at = fields.corrected(bytes.len(), size)?;
        image_crate::body_holds(FORMAT, bytes.len().saturating_sub(data_at), fields.body_bytes_min(size))?;
        let upside_down = fields.h < 0 && matches!(fields.compression, 1 | 2);
        let mut file = fields.canonical(bytes, data_at)?;
        // The padding of the last row, if it is missing.
        let whole = fields.row_bytes(size) * u64::from(size.h);
        let missing = whole.saturating_sub((bytes.len() - data_at) as u64);
        if (1..4).contains(&missing) && !matches!(fields.compression, 1 | 2) {
            file.to_mut().extend(vec![0; missing as usize]);
        }
        Ok(Bitmap { size, pixels: Pixels::Rows(file, upside_down) })
    }
}

impl Fields {
    fn read(bytes: &[u8]) -> Result<Fields, Error> {
        let mut at = Cursor::new(FORMAT, bytes);
        at.seek(10)?;
        let (data_at, header_bytes) = (at.u32_le()? as usize, at.u32_le()? as usize);
        if header_bytes == CORE {
            let (w, h) = (at.u16_le()?.into(), at.u16_le()?.into());
            let (planes, bits) = (at.u16_le()?, at.u16_le()?);
            return Ok(Fields { header_bytes, w, h, planes, bits, compression: 0, colours: 0, data_at });
        }
        if !matches!(header_bytes, 16..=64 | 108 | 124) {
            return Err(unsupported("a header of this length"));
        }
        let (w, h) = ((at.u32_le()? as i32).into(), (at.u32_le()? as i32).into());
        let (planes, bits) = (at.u16_le()?, at.u16_le()?);
        // OS/2 may leave out any of the last fields, which are then zero.
        let mut word = |place: usize| -> Result<u32, Error> {
            at.seek(FILE_HEADER + place)?;
            if place + 4 > header_bytes { Ok(0) } else { at.u32_le() }
        };
        let (compression, colours) = (word(16)?, word(32)?);
        Ok(Fields { header_bytes, w, h, planes, bits, compression, colours, data_at })
    }

    /// Whether the header is one of OS/2, which has other compressions.
    fn os2(&self) -> bool {
        !matches!(self.header_bytes, CORE | INFO | 52 | 56 | 108 | 124)
    }

    fn size(&self) -> Result<Size, Error> {
        let (w, h) = (u32::try_from(self.w), u32::try_from(self.h.abs()));
        let (Ok(w), Ok(h)) = (w, h) else { return Err(Error::corrupt(FORMAT, "negative width")) };
        if w > SIDE_PX_MAX || h > SIDE_PX_MAX {
            return Err(unsupported("a side of more than 65,535 pixels"));
        }
        image_crate::size(FORMAT, w, h)
    }

    /// The file of another format that the pixels are, if they are one.
    fn file<'a>(&self, bytes: &'a [u8]) -> Result<Option<(&'static Codec, &'a [u8])>, Error> {
        let codec = match self.compression {
            4 if !self.os2() => &jpeg::CODEC,
            5 if !self.os2() => &png::CODEC,
            _ => return Ok(None),
        };
        let mut at = Cursor::new(FORMAT, bytes);
        at.seek(self.data_at)?;
        Ok(Some((codec, at.rest())))
    }

    fn check_coding(&self) -> Result<(), Error> {
        match (self.compression, self.bits) {
            (0, 1 | 2 | 4 | 8 | 24) => Ok(()),
            (0, 16 | 32) if self.header_bytes != CORE => Ok(()),
            (1, 8) | (2, 4) => Ok(()),
            (3, _) if self.os2() => Err(unsupported("Huffman coding of OS/2")),
            (4, _) if self.os2() => Err(unsupported("runs of 24-bit pixels of OS/2")),
            (3 | 6, 16 | 32) => Ok(()),
            (11..=13, _) => Err(unsupported("CMYK")),
            (0..=3 | 6, _) => Err(unsupported("this number of bits a pixel")),
            _ => Err(unsupported("this compression")),
        }
    }

    /// Bytes of the masks after the header.
    fn mask_bytes(&self) -> usize {
        match (self.header_bytes, self.compression) {
            (INFO, 3) => 12,
            (INFO, 6) => 16,
            _ => 0,
        }
    }

    /// Number of colours in the palette.
    fn palette_colours(&self) -> u32 {
        let most = if self.bits <= 8 { 1 << self.bits } else { 0 };
        if self.colours == 0 { most } else { self.colours.min(most) }
    }

    /// Place of the pixels. They cannot begin inside the headers, masks or palette; where a file says so and is long
    /// enough, they follow these. A palette of unstated length may be shorter than it could be.
    fn corrected(&self, length: usize, size: Size) -> Result<usize, Error> {
        let entry_bytes = if self.header_bytes == CORE { 3 } else { 4 };
        let palette_at = FILE_HEADER + self.header_bytes + self.mask_bytes();
        let end = palette_at + self.palette_colours() as usize * entry_bytes;
        let fits = length.saturating_sub(end) as u64 >= self.body_bytes_min(size);
        match self.data_at {
            at if at >= end => Ok(at),
            _ if fits => Ok(end),
            at if self.colours == 0 && at > palette_at => Ok(at),
            _ => Err(Error::corrupt(FORMAT, "pixel data inside the headers")),
        }
    }

    /// Bytes of a row: whole 32-bit words. Runs need at least one code of two bytes.
    fn row_bytes(&self, size: Size) -> u64 {
        (u64::from(size.w) * u64::from(self.bits)).div_ceil(32) * 4
    }

    /// Fewest bytes of pixels. Some files lack the padding of the last row.
    fn body_bytes_min(&self, size: Size) -> u64 {
        match self.compression {
            1 | 2 => 2,
            _ => {
                let last = (u64::from(size.w) * u64::from(self.bits)).div_ceil(8);
                self.row_bytes(size) * (u64::from(size.h) - 1) + last
            }
        }
    }

    /// A file of the same pixels with a header that the crate reads.
    fn canonical<'a>(&self, bytes: &'a [u8], data_at: usize) -> Result<Cow<'a, [u8]>, Error> {
        if self.os2() {
            return Ok(Cow::Owned(self.rewritten(bytes, data_at)));
        }
        let mut patches: Vec<(usize, [u8; 4])> = Vec::new();
        if data_at != self.data_at {
            patches.push((10, (data_at as u32).to_le_bytes()));
        }
        if self.planes != 1 {
            let place = FILE_HEADER + if self.header_bytes == CORE { 8 } else { 12 };
            let [planes, bits] = [1, self.bits].map(u16::to_le_bytes);
            patches.push((place, [planes[0], planes[1], bits[0], bits[1]]));
        }
        if self.h < 0 && matches!(self.compression, 1 | 2) {
            patches.push((FILE_HEADER + 8, (self.h.unsigned_abs() as u32).to_le_bytes()));
        }
        if self.palette_colours() < self.colours {
            patches.push((FILE_HEADER + 32, self.palette_colours().to_le_bytes()));
        }
        if self.compression == 6 {
            // With its four masks the header is one of version 3.
            patches.push((FILE_HEADER, (INFO as u32 + 16).to_le_bytes()));
            patches.push((FILE_HEADER + 16, 3_u32.to_le_bytes()));
        }
        if patches.is_empty() {
            return Ok(Cow::Borrowed(bytes));
        }
        let mut patched = bytes.to_vec();
        for (at, patch) in patches {
            let place = patched.get_mut(at..at + 4).ok_or_else(|| Error::corrupt(FORMAT, "truncated file"))?;
            place.copy_from_slice(&patch);
        }
        Ok(Cow::Owned(patched))
    }

    /// The file with the usual header in place of that of OS/2.
    fn rewritten(&self, bytes: &[u8], data_at: usize) -> Vec<u8> {
        let rest = bytes.get(FILE_HEADER + self.header_bytes..).unwrap_or(&[]);
        let mut file = bytes[..10].to_vec();
        file.extend(((data_at - self.header_bytes + INFO) as u32).to_le_bytes());
        let sides = [self.w as u32, self.h.unsigned_abs() as u32];
        let sides = if self.h < 0 && self.compression == 0 { [sides[0], sides[1].wrapping_neg()] } else { sides };
        file.extend([INFO as u32, sides[0], sides[1]].map(u32::to_le_bytes).as_flattened());
        file.extend([1, self.bits].map(u16::to_le_bytes).as_flattened());
        let words = [self.compression, 0, 0, 0, self.palette_colours(), 0];
        file.extend(words.map(u32::to_le_bytes).as_flattened());
        file.extend(rest);
        file
    }
}
