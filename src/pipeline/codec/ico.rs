//! ICO: reads the largest image of an icon, PNG or bitmap, as 8-bit RGBA; writes one PNG of at most 256 pixels a
//! side. Cursors (CUR) have another header and are not read.

use image::codecs::ico::{IcoDecoder, IcoEncoder};
use image::codecs::png::PngDecoder;
use image::{DynamicImage, ImageDecoder};

use super::cursor::Cursor;
use super::image_crate::{self, PolledReader};
use super::{Codec, DecodeOptions, EncodeOptions, Encoder, Header};
use crate::pipeline::{Channels, Error, Picture, Raster, Samples, Size};

pub(super) static CODEC: Codec = Codec {
    name: "ico",
    extensions: &["ico"],
    media_type: "image/vnd.microsoft.icon",
    doc: "Windows icon: reads the largest image, PNG or bitmap; writes one PNG of at most 256 px a side.",
    revision: 1,
    shrinks: None,
    metadata: None,
    sniff: |bytes| matches!(bytes, [0, 0, 1, 0, count_low, count_high, ..] if *count_low != 0 || *count_high != 0),
    inspect: |bytes| largest(bytes).map(|entry| entry.header()),
    decode,
    encoder: Some(Encoder { side_px_max: 256, channels: &[Channels::Rgba], encode, ..Encoder::PLAIN }),
};

const DIRECTORY_BYTES: usize = 6;
const ENTRY_BYTES: usize = 16;
const PNG_MAGIC: &[u8] = b"\x89PNG\r\n\x1A\n";
/// Largest side of a bitmap that the directory can state.
const BITMAP_SIDE_MAX: u32 = 256;

/// One image of an icon.
struct IconImage<'a> {
    size: Size,
    bits: u16,
    data: &'a [u8],
}

impl IconImage<'_> {
    fn is_png(&self) -> bool {
        self.data.starts_with(PNG_MAGIC)
    }

    fn header(&self) -> Header {
        // A PNG is decoded in its own shape (at most 8 bytes per pixel), then converted to RGBA; a bitmap is copied
        // first.
        let working_bytes = self.size.pixels().saturating_mul(8).saturating_add(self.data.len() as u64 + (64 << 10));
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
        let entry = entry(image.take(length)?)?;
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
        return Ok(IconImage { size, bits: 32, data });
    }
    let header_bytes = u64::from(at.u32_le()?);
    let (w, twice_h) = (at.u32_le()?, at.u32_le()?);
    // The height includes a mask below the pixels; rows always start at the bottom.
    let size = image_crate::size("ico", w, twice_h / 2)?;
    at.skip(2)?;
    let (bits, compression) = (at.u16_le()?, at.u32_le()?);
    if size.w > BITMAP_SIDE_MAX || size.h > BITMAP_SIDE_MAX || header_bytes < 40 || !matches!(compression, 0 | 3) {
        return Err(at.corrupt("invalid image header"));
    }
    let rows = (u64::from(size.w) * u64::from(bits)).div_ceil(32) * 4 * u64::from(size.h);
    image_crate::body_holds("ico", data.len(), header_bytes + rows)?;
    Ok(IconImage { size, bits, data })
}

fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Error> {
    let entry = largest(bytes)?;
    image_crate::samples_count(entry.size, Channels::Rgba, 2, options.limits)?;
    if entry.is_png() { decode_png(&entry, options) } else { decode_bitmap(&entry, options) }
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

/// Decodes a bitmap. The crate chooses by the directory, so it receives an icon of this one entry with a correct
/// directory.
fn decode_bitmap(entry: &IconImage, options: &DecodeOptions) -> Result<Picture, Error> {
    let side = |px: u32| (px % 256) as u8;
    let length = u32::try_from(entry.data.len()).map_err(|_| Error::corrupt("ico", "image of 4 GiB or more"))?;
    let mut icon = Vec::with_capacity(DIRECTORY_BYTES + ENTRY_BYTES + entry.data.len());
    icon.extend([0, 0, 1, 0, 1, 0, side(entry.size.w), side(entry.size.h), 0, 0, 1, 0, 32, 0]);
    icon.extend(length.to_le_bytes());
    icon.extend(((DIRECTORY_BYTES + ENTRY_BYTES) as u32).to_le_bytes());
    icon.extend(entry.data);
    let decoder =
        IcoDecoder::new(PolledReader::new(&icon, options.deadline)).map_err(|e| image_crate::decode_error("ico", e))?;
    if decoder.dimensions() != (entry.size.w, entry.size.h) {
        return Err(Error::corrupt("ico", "inconsistent header"));
    }
    image_crate::decode("ico", decoder, options).map(Picture::still)
}

fn encode(picture: &Picture, _options: &EncodeOptions) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    image_crate::encode("ico", IcoEncoder::new(&mut out), picture)?;
    Ok(out)
}
