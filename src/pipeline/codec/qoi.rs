//! QOI: the "quite OK image format", 8-bit RGB and RGBA. The colour space byte is informative and ignored.

use image::codecs::qoi::{QoiDecoder, QoiEncoder};

use super::cursor::Cursor;
use super::image_crate;
use super::{Codec, DecodeOptions, EncodeOptions, Encoder, Header};
use crate::pipeline::{Channels, Error, Picture};

pub(super) static CODEC: Codec = Codec {
    name: "qoi",
    extensions: &["qoi"],
    media_type: "image/qoi",
    doc: "Quite OK Image: lossless RGB with or without alpha, fast to read and write.",
    revision: 1,
    shrinks: None,
    metadata: None,
    sniff: |bytes| bytes.starts_with(b"qoif"),
    inspect,
    decode,
    encoder: Some(Encoder { side_px_max: 65_535, encode, ..Encoder::PLAIN }),
};

const HEADER_BYTES: usize = 14;
/// End of the stream: seven zeros and a one.
const END_BYTES: u64 = 8;
/// Most pixels that one byte can encode.
const RUN_PIXELS: u64 = 62;

fn inspect(bytes: &[u8]) -> Result<Header, Error> {
    let mut at = Cursor::new("qoi", bytes);
    at.skip(4)?;
    let size = image_crate::size("qoi", at.u32_be()?, at.u32_be()?)?;
    let channels = match at.u8()? {
        3 => Channels::Rgb,
        4 => Channels::Rgba,
        _ => return Err(at.corrupt("invalid number of channels")),
    };
    if at.u8()? > 1 {
        return Err(at.corrupt("invalid colour space"));
    }
    image_crate::body_holds("qoi", at.rest().len(), size.pixels().div_ceil(RUN_PIXELS) + END_BYTES)?;
    Ok(image_crate::still(size, channels, 8))
}

/// Refuses alpha in files of three channels: the crate's decoder skips it and loses its place.
fn check_chunks(bytes: &[u8], header: &Header) -> Result<(), Error> {
    let mut rest = &bytes[HEADER_BYTES..];
    let mut pixels = header.size.pixels();
    while pixels > 0 {
        let (chunk_bytes, chunk_pixels) = match rest.first() {
            None => return Err(Error::corrupt("qoi", "truncated file")),
            Some(0xFF) if header.channels == Channels::Rgb => {
                return Err(Error::Unsupported { format: "qoi", feature: "alpha in a file of three channels" });
            }
            Some(0xFF) => (5, 1),
            Some(0xFE) => (4, 1),
            Some(&run @ 0xC0..) => (1, u64::from(run & 0x3F) + 1),
            Some(0x80..) => (2, 1),
            Some(_) => (1, 1),
        };
        rest = rest.get(chunk_bytes..).ok_or_else(|| Error::corrupt("qoi", "truncated file"))?;
        pixels = pixels.checked_sub(chunk_pixels).ok_or_else(|| Error::corrupt("qoi", "run beyond the last pixel"))?;
    }
    Ok(())
}

fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Error> {
    let header = inspect(bytes)?;
    options.limits.check(header.size, 1)?;
    check_chunks(bytes, &header)?;
    image_crate::still_picture("qoi", bytes, options, QoiDecoder::new)
}

fn encode(picture: &Picture, _options: &EncodeOptions) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    image_crate::encode("qoi", QoiEncoder::new(&mut out), picture)?;
    Ok(out)
}
