//! TIFF and BigTIFF: the first page as gray, RGB, palette, YCbCr, L*a*b* or CMYK, in integers of up to 64 bits or
//! floats, in strips or tiles, chunky or planar, plain or packed with LZW, deflate, zstd, PackBits, fax codes or JPEG.
//! Results are deflated with the horizontal predictor.
//!
//! Pixels are decoded here because the crate `tiff` has no palette, returns CMYK converted and no gray with alpha,
//! reads past the end of plain strips, and predicts wrongly where it drops samples. Old-style JPEG and camera RAW are
//! refused.

mod colours;
mod directory;
mod encode;
mod fax;
mod metadata;
mod page;
mod pixels;
mod samples;
mod unpack;

use super::{Codec, DecodeOptions, Encoder, Header};
use crate::pipeline::ifd::{TiffFile, corrupt};
use crate::pipeline::{Channels, Error, Picture};

pub(super) static CODEC: Codec = Codec {
    name: "tiff",
    extensions: &["tiff", "tif"],
    media_type: "image/tiff",
    doc: "TIFF: gray, RGB, YCbCr, CIELAB, CMYK, palettes, floats, fax (G3, G4), JPEG, LZW, deflate, zstd; writes deflate.",
    revision: 1,
    shrinks: None,
    metadata: Some(&metadata::METADATA),
    sniff,
    inspect,
    decode,
    encoder: Some(Encoder {
        channels: &[Channels::Gray, Channels::GrayAlpha, Channels::Rgb, Channels::Rgba],
        sixteen_bit: true,
        lossless_bits: 16,
        encode: |picture, _| encode::encode(picture),
        ..Encoder::PLAIN
    }),
};

fn inspect(bytes: &[u8]) -> Result<Header, Error> {
    let first = header(&directory::first(bytes)?);
    // For another page than the first the file is copied.
    let copied = |header: Header| {
        let working_bytes = header.working_bytes.saturating_add(bytes.len() as u64);
        Header { working_bytes, ..header }
    };
    Ok(Header { pages: directory::later(bytes, |page| copied(header(page)))?, ..first })
}

/// Whether a file is a TIFF. Canon CR2, camera RAW, has the form of one and says what it is.
fn sniff(bytes: &[u8]) -> bool {
    let is_raw = bytes.get(8..10) == Some(b"CR");
    matches!(bytes, [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..]) && !is_raw
}

/// The file with another of its pages as the first.
pub(super) fn with_page_first(bytes: &[u8], page: u32) -> Result<Vec<u8>, Error> {
    let file = TiffFile::open(bytes)?;
    let offsets = directory::chain(&file)?;
    let offset = offsets.get(page as usize).ok_or_else(|| corrupt("missing page"))?;
    file.with_first(*offset)
}

fn header(page: &page::Page) -> Header {
    Header {
        size: page.size,
        orientation: page.orientation,
        frames: 1,
        pages: Vec::new(),
        density: page.density,
        channels: page.channels(),
        bits: if page.depth() == page::Depth::Eight { 8 } else { 16 },
        icc: page.icc.is_some(),
        working_bytes: page.working_bytes(),
    }
}

fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Error> {
    let page = directory::first(bytes)?;
    let mut picture = Picture::still(pixels::decode(&page, options)?);
    picture.icc = page.icc.filter(|icc| icc.len() <= options.limits.icc_bytes_max).map(<[u8]>::to_vec);
    Ok(picture)
}
