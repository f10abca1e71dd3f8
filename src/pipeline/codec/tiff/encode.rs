//! Writes TIFF: strips of about 1 MB, horizontal predictor, deflate. Chunky, little-endian, straight alpha.

use std::io::Cursor;

use tiff::encoder::colortype::{ColorType, Gray8, Gray16, RGB8, RGB16, RGBA8, RGBA16};
use tiff::encoder::{Compression, DeflateLevel, Predictor, TiffEncoder, TiffValue};
use tiff::tags::{PhotometricInterpretation, SampleFormat, Tag};

use super::super::image_crate::encode_error;
use crate::pipeline::{Channels, Error, Picture, Raster, Samples};

/// Value of `ExtraSamples` for alpha that is not premultiplied.
const STRAIGHT_ALPHA: [u16; 1] = [2];

pub(super) fn encode(picture: &Picture) -> Result<Vec<u8>, Error> {
    let raster = picture.first();
    match (raster.samples(), raster.channels()) {
        (Samples::U8(samples), Channels::Gray) => write::<Gray8>(raster, samples),
        (Samples::U8(samples), Channels::GrayAlpha) => write::<GrayAlpha8>(raster, samples),
        (Samples::U8(samples), Channels::Rgb) => write::<RGB8>(raster, samples),
        (Samples::U8(samples), Channels::Rgba) => write::<RGBA8>(raster, samples),
        (Samples::U16(samples), Channels::Gray) => write::<Gray16>(raster, samples),
        (Samples::U16(samples), Channels::GrayAlpha) => write::<GrayAlpha16>(raster, samples),
        (Samples::U16(samples), Channels::Rgb) => write::<RGB16>(raster, samples),
        (Samples::U16(samples), Channels::Rgba) => write::<RGBA16>(raster, samples),
        (_, Channels::Cmyk | Channels::Cmyka) => Err(encode_error("tiff", "CMYK is not written")),
    }
}

fn write<C: ColorType>(raster: &Raster, samples: &[C::Inner]) -> Result<Vec<u8>, Error>
where
    [C::Inner]: TiffValue,
{
    let failed = |error: tiff::TiffError| encode_error("tiff", error);
    let mut out = Vec::new();
    let mut encoder = TiffEncoder::new(Cursor::new(&mut out))
        .map_err(failed)?
        .with_compression(Compression::Deflate(DeflateLevel::Fast))
        .with_predictor(Predictor::Horizontal);
    let size = raster.size();
    let mut page = encoder.new_image::<C>(size.w, size.h).map_err(failed)?;
    if raster.channels().alpha() {
        page.encoder().write_tag(Tag::ExtraSamples, STRAIGHT_ALPHA.as_slice()).map_err(failed)?;
    }
    page.write_data(samples).map_err(failed)?;
    Ok(out)
}

/// Colour type of 8-bit gray with alpha, which the crate lacks.
struct GrayAlpha8;
/// Colour type of 16-bit gray with alpha, which the crate lacks.
struct GrayAlpha16;

impl ColorType for GrayAlpha8 {
    type Inner = u8;
    const TIFF_VALUE: PhotometricInterpretation = PhotometricInterpretation::BlackIsZero;
    const BITS_PER_SAMPLE: &'static [u16] = &[8, 8];
    const SAMPLE_FORMAT: &'static [SampleFormat] = &[SampleFormat::Uint; 2];

    fn horizontal_predict(row: &[u8], result: &mut Vec<u8>) {
        result.extend((0..row.len()).map(|i| row[i].wrapping_sub(if i < 2 { 0 } else { row[i - 2] })));
    }
}

impl ColorType for GrayAlpha16 {
    type Inner = u16;
    const TIFF_VALUE: PhotometricInterpretation = PhotometricInterpretation::BlackIsZero;
    const BITS_PER_SAMPLE: &'static [u16] = &[16, 16];
    const SAMPLE_FORMAT: &'static [SampleFormat] = &[SampleFormat::Uint; 2];

    fn horizontal_predict(row: &[u16], result: &mut Vec<u16>) {
        result.extend((0..row.len()).map(|i| row[i].wrapping_sub(if i < 2 { 0 } else { row[i - 2] })));
    }
}
