//! Netpbm formats in three rows: PPM (P3, P6), PGM (P2, P5) and PNM (reads P1, P4, P7; writes P5, P6 or P7 by
//! channels). Samples are scaled to the full range of 8 or 16 bits.

use image::codecs::pnm::{PnmDecoder, PnmSubtype, SampleEncoding};

use super::image_crate;
use super::{Codec, DecodeOptions, EncodeOptions, Encoder, Header};
use crate::pipeline::{Channels, Error, Picture, Raster, Samples, Size};

pub(super) static PPM: Codec = Codec {
    name: "ppm",
    extensions: &["ppm"],
    media_type: "image/x-portable-pixmap",
    doc: "Portable pixmap: uncompressed RGB of 8 or 16 bits.",
    revision: 1,
    shrinks: None,
    metadata: None,
    sniff: |bytes| sniff(bytes, b"36"),
    inspect: |bytes| inspect("ppm", bytes),
    decode: |bytes, options| decode("ppm", bytes, options),
    encoder: Some(Encoder { channels: &[Channels::Rgb], encode: |picture, _| encode("ppm", picture), ..ENCODER }),
};

pub(super) static PGM: Codec = Codec {
    name: "pgm",
    extensions: &["pgm"],
    media_type: "image/x-portable-graymap",
    doc: "Portable graymap: uncompressed gray of 8 or 16 bits.",
    revision: 2,
    shrinks: None,
    metadata: None,
    sniff: |bytes| sniff(bytes, b"25"),
    inspect: |bytes| inspect("pgm", bytes),
    decode: |bytes, options| decode("pgm", bytes, options),
    encoder: Some(Encoder { channels: &[Channels::Gray], encode: |picture, _| encode("pgm", picture), ..ENCODER }),
};

pub(super) static PNM: Codec = Codec {
    name: "pnm",
    extensions: &["pnm"],
    media_type: "image/x-portable-anymap",
    doc: "Portable anymap: reads bitmaps and PAM; writes P5, P6 or (with alpha) P7 of 8 or 16 bits, uncompressed.",
    revision: 1,
    shrinks: None,
    metadata: None,
    sniff: |bytes| sniff(bytes, b"14") || bytes.starts_with(b"P7\n"),
    inspect: |bytes| inspect("pnm", bytes),
    decode: |bytes, options| decode("pnm", bytes, options),
    encoder: Some(Encoder { encode: |picture, _| encode("pnm", picture), ..ENCODER }),
};

const ENCODER: Encoder = Encoder {
    channels: &[Channels::Gray, Channels::GrayAlpha, Channels::Rgb, Channels::Rgba],
    sixteen_bit: true,
    lossless_bits: 16,
    encode: |picture, _: &EncodeOptions| encode("pnm", picture),
    ..Encoder::PLAIN
};

fn sniff(bytes: &[u8], digits: &[u8; 2]) -> bool {
    matches!(bytes, [b'P', digit, b'\t' | b'\n' | b'\r' | b' ' | b'#', ..] if digits.contains(digit))
}

fn inspect(format: &'static str, bytes: &[u8]) -> Result<Header, Error> {
    let decoder = PnmDecoder::new(bytes).map_err(|e| image_crate::decode_error(format, e))?;
    let header = image_crate::header(format, &decoder)?;
    let subtype = decoder.subtype();
    let (body, _) = decoder.into_inner();
    let samples = header.size.pixels().saturating_mul(header.channels.count() as u64);
    let least = match subtype {
        PnmSubtype::Bitmap(SampleEncoding::Binary) => u64::from(header.size.w).div_ceil(8) * u64::from(header.size.h),
        PnmSubtype::Bitmap(SampleEncoding::Ascii) => samples,
        // Each sample has at least a digit and a separator.
        PnmSubtype::Graymap(SampleEncoding::Ascii) | PnmSubtype::Pixmap(SampleEncoding::Ascii) => {
            samples.saturating_mul(2)
        }
        _ => samples.saturating_mul(u64::from(header.bits / 8)),
    };
    image_crate::body_holds(format, body.len(), least)?;
    // Every decimal sample must be followed by white space; otherwise a cut last sample would pass for a smaller one.
    let decimal = matches!(bytes, [b'P', b'2' | b'3', ..]);
    if decimal && body.last().is_some_and(u8::is_ascii_digit) {
        return Err(Error::corrupt(format, "truncated file"));
    }
    Ok(header)
}

fn decode(format: &'static str, bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Error> {
    inspect(format, bytes)?;
    image_crate::still_picture(format, bytes, options, PnmDecoder::new)
}

/// Writes the header, then the samples, high byte first. The crate's encoder cannot write P5 and P6 of 16 bits.
fn encode(format: &'static str, picture: &Picture) -> Result<Vec<u8>, Error> {
    let raster = picture.first();
    let mut out = binary_header(format, raster)?.into_bytes();
    match raster.samples() {
        Samples::U8(samples) => out.extend(samples),
        Samples::U16(samples) => out.extend(samples.iter().flat_map(|sample| sample.to_be_bytes())),
    }
    Ok(out)
}

/// Header of P5 for gray, P6 for RGB, P7 with alpha.
fn binary_header(format: &'static str, raster: &Raster) -> Result<String, Error> {
    let Size { w, h } = raster.size();
    let max = if matches!(raster.samples(), Samples::U16(_)) { 65_535 } else { 255 };
    let pam = |depth: u32, tuple: &str| {
        format!("P7\nWIDTH {w}\nHEIGHT {h}\nDEPTH {depth}\nMAXVAL {max}\nTUPLTYPE {tuple}\nENDHDR\n")
    };
    match raster.channels() {
        Channels::Gray => Ok(format!("P5\n{w} {h}\n{max}\n")),
        Channels::Rgb => Ok(format!("P6\n{w} {h}\n{max}\n")),
        Channels::GrayAlpha => Ok(pam(2, "GRAYSCALE_ALPHA")),
        Channels::Rgba => Ok(pam(4, "RGB_ALPHA")),
        Channels::Cmyk | Channels::Cmyka => Err(image_crate::encode_error(format, "cannot hold CMYK")),
    }
}
