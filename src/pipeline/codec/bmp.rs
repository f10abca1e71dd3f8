//! BMP of Windows and OS/2: reads 1 to 32 bits, RLE, bit fields with or without alpha, JPEG and PNG inside; writes 24 or
//! 32 bits. Pixels that RLE skips are black, as in Windows. The header-less bitmap inside an ICO is in `ico`.

mod header;

use std::borrow::Cow;

use image::codecs::bmp::{BmpDecoder, BmpEncoder};

use super::image_crate;
use super::{Codec, DecodeOptions, EncodeOptions, Encoder, Header};
use crate::pipeline::orient::oriented;
use crate::pipeline::{Error, Orientation, Picture, Size};
use header::{Bitmap, FILE_HEADER, Pixels};

pub(super) static CODEC: Codec = Codec {
    name: FORMAT,
    extensions: &["bmp"],
    media_type: "image/bmp",
    doc: "Bitmap of Windows and OS/2: reads palettes, RLE, bit fields, JPEG and PNG inside; writes 24 bits, or 32 with alpha.",
    revision: 1,
    shrinks: None,
    metadata: None,
    sniff: |bytes| bytes.starts_with(b"BM") && bytes.get(15..18).is_some_and(|high| high == [0; 3]),
    inspect,
    decode,
    encoder: Some(Encoder { side_px_max: 65_535, encode, ..Encoder::PLAIN }),
};

/// The codec's name, also in errors.
const FORMAT: &str = "bmp";

fn inspect(bytes: &[u8]) -> Result<Header, Error> {
    let bitmap = Bitmap::read(bytes)?;
    let (file, row_bytes) = match &bitmap.pixels {
        Pixels::File(codec, file) => return of_file(codec, file, bitmap.size),
        Pixels::Rows(file, _) => (file, u64::from(bitmap.size.w) * 4),
    };
    let decoder = BmpDecoder::new(std::io::Cursor::new(file)).map_err(|e| image_crate::decode_error(FORMAT, e))?;
    let header = image_crate::header(FORMAT, &decoder)?;
    let copy = if matches!(file, Cow::Owned(_)) { file.len() as u64 } else { 0 };
    Ok(Header { icc: profile(bytes).is_some(), working_bytes: row_bytes + copy, ..header })
}

/// Header of a JPEG or PNG that is the pixels of a bitmap.
fn of_file(codec: &Codec, file: &[u8], size: Size) -> Result<Header, Error> {
    let header = (codec.inspect)(file)?;
    if header.size != size {
        return Err(Error::corrupt(FORMAT, "inconsistent header"));
    }
    Ok(Header { frames: 1, ..header })
}

/// ICC profile embedded by a version 5 header.
fn profile(bytes: &[u8]) -> Option<&[u8]> {
    let word =
        |at: usize| Some(u32::from_le_bytes(bytes.get(FILE_HEADER + at..FILE_HEADER + at + 4)?.try_into().ok()?));
    if word(0)? != 124 || word(56)? != u32::from_be_bytes(*b"MBED") {
        return None;
    }
    let start = FILE_HEADER.checked_add(word(112)? as usize)?;
    bytes.get(start..start.checked_add(word(116)? as usize)?)
}

fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Error> {
    inspect(bytes)?;
    let (file, upside_down) = match Bitmap::read(bytes)?.pixels {
        Pixels::File(codec, file) => {
            return (codec.decode)(file, &DecodeOptions { at_least: None, frames_max: 1, ..*options });
        }
        Pixels::Rows(file, upside_down) => (file, upside_down),
    };
    let mut picture = image_crate::still_picture(FORMAT, &file, options, BmpDecoder::new)?;
    if upside_down {
        picture = picture.map(|raster| oriented(raster, Orientation::FlipVertical))?;
    }
    picture.icc = profile(bytes).filter(|icc| icc.len() <= options.limits.icc_bytes_max).map(<[u8]>::to_vec);
    Ok(picture)
}

fn encode(picture: &Picture, _options: &EncodeOptions) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    image_crate::encode(FORMAT, BmpEncoder::new(&mut out), picture)?;
    Ok(out)
}
