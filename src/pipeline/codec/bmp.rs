//! BMP: reads every variant that the crate `image` decodes (1 to 32 bits, RLE, bit fields, top-down), writes 24 or 32
//! bits. Pixels that RLE skips are black, as in Windows. The header-less bitmap inside an ICO is in `ico`.

use image::codecs::bmp::{BmpDecoder, BmpEncoder};

use super::cursor::Cursor;
use super::image_crate;
use super::{Codec, DecodeOptions, EncodeOptions, Encoder, Header};
use crate::pipeline::{Error, Picture, Size};

pub(super) static CODEC: Codec = Codec {
    name: "bmp",
    extensions: &["bmp"],
    media_type: "image/bmp",
    doc: "Windows bitmap: reads palettes, RLE and bit fields; writes 24 bits, or 32 with alpha.",
    revision: 1,
    shrinks: None,
    metadata: None,
    sniff: |bytes| bytes.starts_with(b"BM") && bytes.get(15..18).is_some_and(|high| high == [0; 3]),
    inspect,
    decode,
    encoder: Some(Encoder { side_px_max: 65_535, encode, ..Encoder::PLAIN }),
};

/// Offset of the bitmap header, after the file header.
const HEADER_AT: usize = 14;

fn inspect(bytes: &[u8]) -> Result<Header, Error> {
    let decoder = BmpDecoder::new(std::io::Cursor::new(bytes)).map_err(|e| image_crate::decode_error("bmp", e))?;
    let header = image_crate::header("bmp", &decoder)?;
    check_body(bytes, header.size)?;
    Ok(Header { icc: profile(bytes).is_some(), working_bytes: u64::from(header.size.w) * 4, ..header })
}

/// Checks that the file holds the pixels at the place that its header states.
fn check_body(bytes: &[u8], size: Size) -> Result<(), Error> {
    let mut at = Cursor::new("bmp", bytes);
    at.seek(10)?;
    let data_at = at.u32_le()? as usize;
    let header_bytes = at.u32_le()? as usize;
    at.skip(if header_bytes == 12 { 6 } else { 10 })?;
    let bits = u64::from(at.u16_le()?);
    let compression = if header_bytes == 12 { 0 } else { at.u32_le()? };
    if data_at < HEADER_AT + header_bytes {
        return Err(Error::corrupt("bmp", "pixel data inside the header"));
    }
    // RLE needs at least one two-byte code; other encodings have rows of whole 32-bit words.
    let least = match compression {
        1 | 2 => 2,
        _ => (u64::from(size.w) * bits).div_ceil(32) * 4 * u64::from(size.h),
    };
    image_crate::body_holds("bmp", bytes.len().saturating_sub(data_at), least)
}

/// ICC profile embedded by a version 5 header.
fn profile(bytes: &[u8]) -> Option<&[u8]> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(HEADER_AT + at..HEADER_AT + at + 4)?.try_into().ok()?));
    if word(0)? != 124 || word(56)? != u32::from_be_bytes(*b"MBED") {
        return None;
    }
    let start = HEADER_AT.checked_add(word(112)? as usize)?;
    bytes.get(start..start.checked_add(word(116)? as usize)?)
}

fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Error> {
    inspect(bytes)?;
    let mut picture = image_crate::still_picture("bmp", bytes, options, BmpDecoder::new)?;
    picture.icc = profile(bytes).filter(|icc| icc.len() <= options.limits.icc_bytes_max).map(<[u8]>::to_vec);
    Ok(picture)
}

fn encode(picture: &Picture, _options: &EncodeOptions) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    image_crate::encode("bmp", BmpEncoder::new(&mut out), picture)?;
    Ok(out)
}
