//! OpenEXR, read only: one part of RGB or RGBA, scanlines or tiles. Linear light, divided by alpha, is clipped to
//! 0..=1 and encoded in 16-bit sRGB. The picture is the display window; parts of it outside the data window are
//! black. Deep data, several parts, luminance-chroma, subsampling and DWA compression are refused.

mod gate;

use image::ImageDecoder;
use image::codecs::openexr::OpenExrDecoder;

use super::image_crate::{self, PolledReader, srgb16};
use super::{Codec, DecodeOptions, Header};
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Channels, Error, Picture, Raster, Samples};

pub(super) static CODEC: Codec = Codec {
    name: "exr",
    extensions: &["exr"],
    media_type: "image/x-exr",
    doc: "OpenEXR: linear RGB and RGBA of one part, clipped at 1 and encoded in 16-bit sRGB; read only.",
    revision: 1,
    shrinks: None,
    metadata: None,
    sniff: |bytes| bytes.starts_with(&gate::MAGIC),
    inspect: |bytes| gate::walk(bytes).map(|layout| layout.header),
    decode,
    encoder: None,
};

fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Error> {
    let gate::Layout { header, data, block } = gate::walk(bytes)?;
    // The crate holds whole blocks of the data window, which may be larger than the picture.
    options.limits.check(data, 1)?;
    options.limits.check(block, 1)?;
    let count = image_crate::samples_count(header.size, header.channels, 4, options.limits)?;
    let failed = |error| options.deadline.check().err().unwrap_or_else(|| image_crate::decode_error("exr", error));
    let decoder = OpenExrDecoder::new(PolledReader::new(bytes, options.deadline)).map_err(failed)?;
    if decoder.dimensions() != (header.size.w, header.size.h) || !matches_channels(&decoder, header.channels) {
        return Err(Error::corrupt("exr", "inconsistent header"));
    }
    let mut linear = try_zeroed::<f32>(count)?;
    decoder.read_image(bytemuck::cast_slice_mut(&mut linear)).map_err(failed)?;
    let samples = encode_samples(&linear, &header, options)?;
    Ok(Picture::still(Raster::new(header.size, header.channels, Samples::U16(samples))))
}

fn matches_channels(decoder: &impl ImageDecoder, channels: Channels) -> bool {
    usize::from(decoder.color_type().channel_count()) == channels.count()
}

fn encode_samples(linear: &[f32], header: &Header, options: &DecodeOptions) -> Result<Vec<u16>, Error> {
    let mut samples = try_zeroed::<u16>(linear.len())?;
    let row_samples = header.size.w as usize * header.channels.count();
    for (row, linear) in samples.chunks_exact_mut(row_samples).zip(linear.chunks_exact(row_samples)) {
        options.deadline.check()?;
        if header.channels == Channels::Rgb {
            row.iter_mut().zip(linear).for_each(|(sample, &value)| *sample = srgb16(value));
        } else {
            let pixels = row.as_chunks_mut::<4>().0.iter_mut().zip(linear.as_chunks::<4>().0);
            pixels.for_each(|(pixel, &linear)| *pixel = encode_pixel(linear));
        }
    }
    Ok(samples)
}

/// Converts a pixel to straight alpha: the format has linear alpha and premultiplied colour.
fn encode_pixel([r, g, b, a]: [f32; 4]) -> [u16; 4] {
    let alpha = if a > 0.0 { a.min(1.0) } else { 0.0 };
    if alpha == 0.0 {
        return [0; 4];
    }
    let [r, g, b] = [r, g, b].map(|value| srgb16(value / alpha));
    [r, g, b, (alpha * 65535.0 + 0.5) as u16]
}
