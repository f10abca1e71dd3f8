//! Writes PNG, and APNG for several frames. [`super::metadata`] adds metadata and profiles.

use std::borrow::Cow;
use std::io::Write;

use png::{BitDepth, ColorType, DeflateCompression, Filter};

use super::FORMAT;
use super::indexed::Indexed;
use super::reduce::Layout;
use crate::pipeline::codec::{Effort, EncodeOptions, Step};
use crate::pipeline::{Channels, Deadline, Delay, Error, Picture, Raster};

/// Rows between two checks of the deadline.
const BAND_ROWS: usize = 64;

/// Steps of the effort. The default is the best compromise. Means of seven photographs of 512 and 720 px, RGB,
/// milliseconds and KiB on one core, adaptive filters, zlib-rs: fdeflate 2 and 282, level 2 8 and 277, 4 11 and 265,
/// 5 10 and 263, 6 15 and 260, 7 27 and 256, 9 85 and 258; always Paeth at level 5 10 and 266, always Up 10 and 283.
/// miniz_oxide, the crate's default, takes 21 and 270 at level 5, 43 and 265 at 6; libdeflate, which the crate cannot
/// use, takes 7 and 264 at 5 on filtered rows. The vector code of zlib-rs is exact: its bytes do not depend on the
/// processor.
///
/// Level 1 gives more bytes than fdeflate, and level 9 more than 8, at several times the cost, so the effort leaves
/// both out. Four photographs at 512 px, KiB: fdeflate 280, level 2 277, 3 266, 4 260, 5 258, 6 254, 7 249, 8 246.
///
/// Results are of any size: an encode stops at its deadline.
pub(super) const EFFORT: Effort = Effort {
    default: 5,
    steps: &[
        Step::free(0),
        Step::free(1),
        Step::free(3),
        Step::free(4),
        Step::free(5),
        Step::free(6),
        Step::free(7),
        Step::free(8),
    ],
};

fn compression(effort: u8) -> DeflateCompression {
    match effort {
        0 => DeflateCompression::FdeflateUltraFast,
        effort => DeflateCompression::Level(effort.clamp(2, 8)),
    }
}

/// Encodes every frame whole, in the fewest bits that hold the picture: without loss unless `colors` asks for it.
pub(super) fn encode(picture: &Picture, options: &EncodeOptions) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, picture.first().size().w, picture.first().size().h);
    encoder.set_deflate_compression(compression(options.effort.unwrap_or(EFFORT.default)));
    let layout = Layout::of(picture, options.profile);
    let indexed = match options.colors {
        Some(colors) => Some(Indexed::new(picture, usize::from(colors), options)?),
        None => Indexed::exact(picture, layout, options)?,
    };
    match (&indexed, &picture.frames[..]) {
        (Some(indexed), _) => write_indexed(encoder, picture, indexed, options.deadline)?,
        (None, [frame]) => still(in_layout(encoder, layout), &frame.raster, layout, options.deadline)?,
        (None, frames) => {
            let pixels = picture.first().size().pixels() as usize;
            let data = |place: usize| layout.bytes(&frames[place].raster, 0..pixels);
            whole(in_layout(encoder, layout), picture, data, options.deadline)?;
        }
    }
    Ok(bytes)
}

fn in_layout<'a, W: Write>(mut encoder: png::Encoder<'a, W>, layout: Layout) -> png::Encoder<'a, W> {
    encoder.set_color(color(layout.channels));
    encoder.set_depth(if layout.bits == 16 { BitDepth::Sixteen } else { BitDepth::Eight });
    encoder.set_filter(Filter::Adaptive);
    encoder
}

fn write_indexed<'a>(
    mut encoder: png::Encoder<'a, &mut Vec<u8>>,
    picture: &Picture,
    indexed: &'a Indexed,
    deadline: &Deadline,
) -> Result<(), Error> {
    encoder.set_depth(indexed.depth);
    if indexed.palette.is_empty() {
        encoder.set_color(ColorType::Grayscale);
    } else {
        encoder.set_color(ColorType::Indexed);
        encoder.set_palette(indexed.palette.as_slice());
    }
    if !indexed.alpha.is_empty() {
        encoder.set_trns(indexed.alpha.as_slice());
    }
    // Neighbouring indices have nothing in common that a filter could remove.
    encoder.set_filter(Filter::NoFilter);
    whole(encoder, picture, |place| indexed.frames[place].as_slice().into(), deadline)
}

fn still(
    encoder: png::Encoder<&mut Vec<u8>>,
    raster: &Raster,
    layout: Layout,
    deadline: &Deadline,
) -> Result<(), Error> {
    let mut writer = encoder.write_header().map_err(failed)?;
    let mut stream = writer.stream_writer().map_err(failed)?;
    let pixels = raster.size().pixels() as usize;
    let band = raster.size().w as usize * BAND_ROWS;
    for at in (0..pixels).step_by(band) {
        deadline.check()?;
        let bytes = layout.bytes(raster, at..(at + band).min(pixels));
        stream.write_all(&bytes).map_err(|error| failed(error.into()))?;
    }
    stream.finish().map_err(failed)?;
    writer.finish().map_err(failed)
}

/// Encodes each frame in one piece.
fn whole<'a>(
    mut encoder: png::Encoder<&mut Vec<u8>>,
    picture: &Picture,
    data: impl Fn(usize) -> Cow<'a, [u8]>,
    deadline: &Deadline,
) -> Result<(), Error> {
    let animated = picture.frames.len() > 1;
    if animated {
        let count = u32::try_from(picture.frames.len()).expect("a picture's frames were counted in 32 bits");
        encoder.set_animated(count, picture.plays.min(i32::MAX as u32)).map_err(failed)?;
    }
    let mut writer = encoder.write_header().map_err(failed)?;
    for (place, frame) in picture.frames.iter().enumerate() {
        deadline.check()?;
        if animated {
            let (numerator, denominator) = fraction(frame.delay);
            writer.set_frame_delay(numerator, denominator).map_err(failed)?;
        }
        writer.write_image_data(&data(place)).map_err(failed)?;
    }
    writer.finish().map_err(failed)
}

fn color(channels: Channels) -> ColorType {
    match channels {
        Channels::Gray => ColorType::Grayscale,
        Channels::GrayAlpha => ColorType::GrayscaleAlpha,
        Channels::Rgb => ColorType::Rgb,
        Channels::Rgba | Channels::Cmyk | Channels::Cmyka => ColorType::Rgba,
    }
}

/// Delay as a 16-bit fraction: exact if possible, otherwise the finest decimal fraction that holds it, at most 65,535
/// s.
fn fraction(delay: Delay) -> (u16, u16) {
    let exact = (u16::try_from(delay.numerator), u16::try_from(delay.denominator));
    if let (Ok(numerator), Ok(denominator)) = exact {
        return (numerator, denominator);
    }
    let rounded = |unit: u16| {
        let (numerator, denominator) = (u64::from(delay.numerator), u64::from(delay.denominator));
        let count = (numerator * u64::from(unit) + denominator / 2) / denominator;
        u16::try_from(count).ok().map(|count| (count, unit))
    };
    [10_000, 1000, 100, 10, 1].into_iter().find_map(rounded).unwrap_or((u16::MAX, 1))
}

pub(super) fn failed(error: png::EncodingError) -> Error {
    Error::Encode { format: FORMAT, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_keep_their_fraction_or_the_nearest_that_fits() {
        let check = |numerator, denominator, expected| {
            assert_eq!(fraction(Delay { numerator, denominator }), expected, "{numerator}/{denominator}");
        };
        check(1, 30, (1, 30));
        check(65_535, 1000, (65_535, 1000));
        check(100_000, 1000, (10_000, 100));
        check(1_000_000, 300_000, (33_333, 10_000));
        check(u32::MAX, 1, (65_535, 1));
    }
}
