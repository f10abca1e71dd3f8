//! TIFF and BigTIFF: the first page as gray, RGB, palette or CMYK of up to 16 bits, in strips or tiles, chunky or
//! planar, plain, LZW, deflate or PackBits. Results are deflated with the horizontal predictor.
//!
//! Pixels are decoded here because the crate `tiff` has no palette, returns CMYK converted and no gray with alpha,
//! reads past the end of plain strips, and predicts wrongly where it drops samples. JPEG and fax inside TIFF, floats
//! and camera RAW are refused.

mod directory;
mod encode;
mod metadata;
mod pixels;

use super::{Codec, DecodeOptions, Encoder, Header};
use crate::pipeline::{Channels, Error, Picture};

pub(super) static CODEC: Codec = Codec {
    name: "tiff",
    extensions: &["tiff", "tif"],
    media_type: "image/tiff",
    doc: "TIFF: gray, RGB, palette and CMYK of up to 16 bits, LZW, deflate or PackBits; writes deflate.",
    revision: 1,
    shrinks: None,
    metadata: Some(&metadata::METADATA),
    sniff: |bytes| matches!(bytes, [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..]),
    inspect: |bytes| directory::walk(bytes).map(|page| header(&page)),
    decode,
    encoder: Some(Encoder {
        channels: &[Channels::Gray, Channels::GrayAlpha, Channels::Rgb, Channels::Rgba],
        sixteen_bit: true,
        lossless_bits: 16,
        encode: |picture, _| encode::encode(picture),
        ..Encoder::PLAIN
    }),
};

fn header(page: &directory::Page) -> Header {
    Header {
        size: page.size,
        orientation: page.orientation,
        frames: 1,
        channels: page.channels(),
        bits: if page.bits == 16 { 16 } else { 8 },
        icc: page.icc.is_some(),
        // One unpacked chunk, and a row of it as samples.
        working_bytes: page.chunk_bytes().saturating_add(page.row_samples().saturating_mul(2)),
    }
}

fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Error> {
    let page = directory::walk(bytes)?;
    let mut picture = Picture::still(pixels::decode(&page, options)?);
    picture.icc = page.icc.filter(|icc| icc.len() <= options.limits.icc_bytes_max).map(<[u8]>::to_vec);
    Ok(picture)
}
