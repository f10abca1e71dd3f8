//! farbfeld, read only: 16-bit RGBA without compression.

use super::super::cursor::Cursor;
use super::super::image_crate;
use super::super::{Codec, DecodeOptions, Header};
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Channels, Error, Picture, Raster, Samples};

pub(in crate::pipeline::codec) static CODEC: Codec = Codec {
    name: "farbfeld",
    extensions: &["ff"],
    media_type: "image/x-farbfeld",
    doc: "farbfeld: uncompressed 16-bit RGBA; read only.",
    revision: 1,
    shrinks: None,
    metadata: None,
    sniff: |bytes| bytes.starts_with(b"farbfeld"),
    inspect,
    decode,
    encoder: None,
};

const HEADER_BYTES: usize = 16;
const PIXEL_BYTES: u64 = 8;

fn inspect(bytes: &[u8]) -> Result<Header, Error> {
    let mut at = Cursor::new("farbfeld", bytes);
    at.skip(8)?;
    let size = image_crate::size("farbfeld", at.u32_be()?, at.u32_be()?)?;
    image_crate::body_holds("farbfeld", at.rest().len(), size.pixels().saturating_mul(PIXEL_BYTES))?;
    Ok(image_crate::still(size, Channels::Rgba, 16))
}

fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Error> {
    let header = inspect(bytes)?;
    let count = image_crate::samples_count(header.size, header.channels, 2, options.limits)?;
    options.deadline.check()?;
    let mut samples = try_zeroed::<u16>(count)?;
    let (pairs, _) = bytes[HEADER_BYTES..].as_chunks::<2>();
    for (sample, pair) in samples.iter_mut().zip(pairs) {
        *sample = u16::from_be_bytes(*pair);
    }
    Ok(Picture::still(Raster::new(header.size, header.channels, Samples::U16(samples))))
}
