//! ICO and CUR: reads the largest image of an icon or cursor, PNG or bitmap, as 8-bit RGBA; writes an icon of one PNG of
//! at most 256 pixels a side. The mask below a bitmap is transparency where the pixels have no alpha of their own.

use image::codecs::ico::IcoEncoder;
use image::codecs::png::PngDecoder;
use image::{DynamicImage, ImageDecoder};

use super::cursor::Cursor;
use super::image_crate::{self, PolledReader};
use super::{Codec, DecodeOptions, EncodeOptions, Encoder, Header, bmp};
use crate::pipeline::color::to_channels;
use crate::pipeline::{Channels, Error, Picture, Raster, Samples, Size};

pub(super) static CODEC: Codec = Codec {
    name: "ico",
    extensions: &["ico"],
    media_type: "image/vnd.microsoft.icon",
    doc: "Windows icon or cursor: reads the largest image, PNG or bitmap; writes one PNG of at most 256 px a side.",
    revision: 1,
    shrinks: None,
    metadata: None,
    sniff,
    inspect: |bytes| largest(bytes).map(|entry| entry.header()),
    decode,
    encoder: Some(Encoder { side_px_max: 256, channels: &[Channels::Rgba], encode, ..Encoder::PLAIN }),
};

const DIRECTORY_BYTES: usize = 6;
const ENTRY_BYTES: usize = 16;
/// Bytes of the header of a file of BMP, and of the usual header of a bitmap.
const FILE_HEADER: usize = 14;
const BITMAP_HEADER: usize = 40;
const PNG_MAGIC: &[u8] = b"\x89PNG\r\n\x1A\n";
/// Largest side of a bitmap that the directory can state.
const BITMAP_SIDE_MAX: u32 = 256;

/// Icons have the type 1, cursors 2. An image of TGA may begin like a cursor, but has no place of an image there.
fn sniff(bytes: &[u8]) -> bool {
    match bytes {
        [0, 0, 1, 0, low, high, ..] => (*low, *high) != (0, 0),
        [0, 0, 2, 0, low, high, _, _, _, 0, _, _, _, _, _, _, _, _, a, b, c, d, ..] => {
            let count = usize::from(u16::from_le_bytes([*low, *high]));
            let first = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
            count > 0 && first >= DIRECTORY_BYTES + count * ENTRY_BYTES && first < bytes.len()
        }
        _ => false,
    }
}

/// One image of an icon.
struct IconImage<'a> {
    size: Size,
    bits: u16,
    data: &'a [u8],
    bitmap: Option<BitmapFields>,
}

/// Lengths of the parts of a bitmap.
#[derive(Clone, Copy)]
struct BitmapFields {
    header_bytes: usize,
    compression: u32,
    /// Masks of bit fields, and palette.
    tables_bytes: usize,
    rows_bytes: usize,
}

impl IconImage<'_> {
    /// The image, if its data holds the mask, too, without which a file that is cut would show another picture. Pixels of 32
    /// bits have alpha of their own.
    fn with_mask(self) -> Result<Self, Error> {
        if let Some(fields) = self.bitmap.filter(|fields| self.bits < 32 || fields.compression != 0) {
            let mask_bytes = u64::from(self.size.w.div_ceil(32)) * 4 * u64::from(self.size.h);
            let before = fields.header_bytes + fields.tables_bytes + fields.rows_bytes;
            image_crate::body_holds("ico", self.data.len(), before as u64 + mask_bytes)?;
        }
        Ok(self)
    }

    fn header(&self) -> Header {
        // A PNG is decoded in its own shape (at most 8 bytes per pixel), then converted to RGBA; a bitmap is copied
        // twice.
        let working_bytes =
            self.size.pixels().saturating_mul(8).saturating_add(2 * self.data.len() as u64 + (64 << 10));
        Header { working_bytes, ..image_crate::still(self.size, Channels::Rgba, 8) }
    }
}

/// The entry with the most pixels, then the most bits. Sizes are read from the images, since directories can be
/// wrong.
fn largest(bytes: &[u8]) -> Result<IconImage<'_>, Error> {
    let mut at = Cursor::new("ico", bytes);
    at.skip(4)?;
    let count = at.u16_le()?;
    let images_at = DIRECTORY_BYTES + usize::from(count) * ENTRY_BYTES;
    let mut best: Option<IconImage> = None;
    for _ in 0..count {
        at.skip(8)?;
        let (length, offset) = (at.u32_le()? as usize, at.u32_le()? as usize);
        if offset < images_at {
            return Err(at.corrupt("image inside the directory"));
        }
        let mut image = Cursor::new("ico", bytes);
        image.seek(offset)?;
        let rest = image.rest();
        // Some directories state a wrong length; an image knows its own.
        let entry = image.take(length).and_then(entry).or_else(|_| entry(rest)?.with_mask())?;
        let rank = |entry: &IconImage| (entry.size.pixels(), entry.bits);
        if best.as_ref().is_none_or(|best| rank(&entry) > rank(best)) {
            best = Some(entry);
        }
    }
    best.ok_or_else(|| at.corrupt("no image in the file"))
}

fn entry(data: &[u8]) -> Result<IconImage<'_>, Error> {
    let mut at = Cursor::new("ico", data);
    if data.starts_with(PNG_MAGIC) {
        at.skip(12)?;
        if at.take(4)? != b"IHDR" {
            return Err(at.corrupt("PNG without header"));
        }
        let size = image_crate::size("ico", at.u32_be()?, at.u32_be()?)?;
        return Ok(IconImage { size, bits: 32, data, bitmap: None });
    }
    let header_bytes = at.u32_le()? as usize;
    let (w, twice_h) = (at.u32_le()?, at.u32_le()?);
    // The height includes a mask below the pixels; rows always start at the bottom.
    let size = image_crate::size("ico", w, twice_h / 2)?;
    at.skip(2)?;
    let (bits, compression) = (at.u16_le()?, at.u32_le()?);
    if size.w > BITMAP_SIDE_MAX || size.h > BITMAP_SIDE_MAX || !matches!(header_bytes, 40..=124) {
        return Err(at.corrupt("invalid image header"));
    }
    let masks_bytes = match compression {
        0 => 0,
        3 if header_bytes == BITMAP_HEADER => 12,
        3 => 0,
        _ => return Err(Error::Unsupported { format: "ico", feature: "a compressed bitmap" }),
    };
    at.skip(12)?;
    let most = if bits <= 8 { 1 << bits } else { 0 };
    let colours = match at.u32_le()? {
        0 => most,
        stated => stated.min(most),
    };
    let tables_bytes = masks_bytes + colours as usize * 4;
    let rows_bytes = (u64::from(size.w) * u64::from(bits)).div_ceil(32) * 4 * u64::from(size.h);
    image_crate::body_holds("ico", data.len(), (header_bytes + tables_bytes) as u64 + rows_bytes)?;
    // The data holds them.
    let bitmap = BitmapFields { header_bytes, compression, tables_bytes, rows_bytes: rows_bytes as usize };
    Ok(IconImage { size, bits, data, bitmap: Some(bitmap) })
}

fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Error> {
    let entry = largest(bytes)?;
    image_crate::samples_count(entry.size, Channels::Rgba, 2, options.limits)?;
    match entry.bitmap {
        None => decode_png(&entry, options),
        Some(fields) => decode_bitmap(&entry, fields, options),
    }
}

fn decode_png(entry: &IconImage, options: &DecodeOptions) -> Result<Picture, Error> {
    let failed = |error| options.deadline.check().err().unwrap_or_else(|| image_crate::decode_error("ico", error));
    let source = PolledReader::new(entry.data, options.deadline);
    let decoder = PngDecoder::with_limits(source, image_crate::limits(options.limits)).map_err(failed)?;
    if decoder.dimensions() != (entry.size.w, entry.size.h) {
        return Err(Error::corrupt("ico", "inconsistent header"));
    }
    let samples = DynamicImage::from_decoder(decoder).map_err(failed)?.into_rgba8().into_raw();
    Ok(Picture::still(Raster::new(entry.size, Channels::Rgba, Samples::U8(samples))))
}

/// Decodes a bitmap as a file of its own. Where its pixels have no alpha, the mask gives it. An alpha of 0 throughout is
/// none, as in Windows and Chromium: old programs leave the byte empty.
fn decode_bitmap(entry: &IconImage, fields: BitmapFields, options: &DecodeOptions) -> Result<Picture, Error> {
    let picture = (bmp::CODEC.decode)(&bitmap_file(entry, fields), options)?;
    let raster = picture.into_first();
    if raster.size() != entry.size {
        return Err(Error::corrupt("ico", "inconsistent header"));
    }
    let mut opaque = !raster.channels().alpha();
    let raster = to_channels(raster, Channels::Rgba)?;
    let Samples::U8(mut samples) = raster.into_samples() else {
        return Err(Error::corrupt("ico", "samples of 16 bits"));
    };
    if samples.as_chunks::<4>().0.iter().all(|pixel| pixel[3] == 0) {
        samples.as_chunks_mut::<4>().0.iter_mut().for_each(|pixel| pixel[3] = u8::MAX);
        opaque = true;
    }
    if opaque {
        let mask_at = fields.header_bytes + fields.tables_bytes + fields.rows_bytes;
        mask(&mut samples, entry.size, entry.data.get(mask_at..).unwrap_or(&[]));
    }
    Ok(Picture::still(Raster::new(entry.size, Channels::Rgba, Samples::U8(samples))))
}

/// The bitmap as a BMP file: with a file header, without the mask and its share of the height. Pixels of 32 bits have alpha in
/// the highest 8.
fn bitmap_file(entry: &IconImage, fields: BitmapFields) -> Vec<u8> {
    let own_alpha = entry.bits == 32 && fields.compression == 0;
    let mut header = entry.data[..fields.header_bytes].to_vec();
    header[8..12].copy_from_slice(&entry.size.h.to_le_bytes());
    if own_alpha {
        header.truncate(BITMAP_HEADER);
        header[..4].copy_from_slice(&(BITMAP_HEADER as u32 + 16).to_le_bytes());
        header[16..20].copy_from_slice(&3_u32.to_le_bytes());
        header.extend([0xff_0000, 0xff00, 0xff, 0xff00_0000_u32].map(u32::to_le_bytes).as_flattened());
    }
    let tables = &entry.data[fields.header_bytes..][..fields.tables_bytes];
    let rows = &entry.data[fields.header_bytes + fields.tables_bytes..][..fields.rows_bytes];
    let pixels_at = (FILE_HEADER + header.len() + tables.len()) as u32;
    [b"BM\0\0\0\0\0\0\0\0", pixels_at.to_le_bytes().as_slice(), &header, tables, rows].concat()
}

/// Makes the pixels transparent whose bits are set. Rows are whole 32-bit words, the lowest row first; those that are
/// missing, which some writers leave out, are opaque.
fn mask(samples: &mut [u8], size: Size, mask: &[u8]) {
    let row_bytes = size.w.div_ceil(32) as usize * 4;
    let rows = samples.rchunks_exact_mut(size.w as usize * 4).zip(mask.chunks(row_bytes));
    for (row, bits) in rows {
        for (x, pixel) in row.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            if bits.get(x / 8).is_some_and(|byte| byte & 0x80 >> (x % 8) != 0) {
                pixel[3] = 0;
            }
        }
    }
}

fn encode(picture: &Picture, _options: &EncodeOptions) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    image_crate::encode("ico", IcoEncoder::new(&mut out), picture)?;
    Ok(out)
}
