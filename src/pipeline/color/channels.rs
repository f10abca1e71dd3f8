//! Conversion of a raster to channels and depth that an encoder accepts.

use super::linear::Sample;
use super::opaque;
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Channels, Error, Raster, Samples};

/// Reduces 16 bits to 8, rounded to the nearest.
pub fn to_eight_bits(raster: Raster) -> Result<Raster, Error> {
    let (size, channels) = (raster.size(), raster.channels());
    let samples = match raster.into_samples() {
        Samples::U16(samples) => {
            let mut target = try_zeroed(samples.len())?;
            target.iter_mut().zip(samples).for_each(|(target, v)| *target = u8::scaled(v.into(), 65_535));
            target
        }
        Samples::U8(samples) => samples,
    };
    Ok(Raster::new(size, channels, Samples::U8(samples)))
}

/// Converts between gray and RGB, with and without alpha. Added alpha is opaque; removed alpha is ignored (see
/// [`flattened`]). RGB becomes gray by its luminance in linear light, ITU-R BT.709.
pub fn to_channels(raster: Raster, target: Channels) -> Result<Raster, Error> {
    if raster.channels() == target {
        return Ok(raster);
    }
    let (size, source) = (raster.size(), raster.channels());
    let samples = match raster.into_samples() {
        Samples::U8(samples) => Samples::U8(converted(&samples, source, target)?),
        Samples::U16(samples) => Samples::U16(converted(&samples, source, target)?),
    };
    Ok(Raster::new(size, target, samples))
}

fn converted<S: Sample>(samples: &[S], from: Channels, to: Channels) -> Result<Vec<S>, Error> {
    match from.count() {
        1 => converted_from::<S, 1>(samples, to),
        2 => converted_from::<S, 2>(samples, to),
        3 => converted_from::<S, 3>(samples, to),
        _ => converted_from::<S, 4>(samples, to),
    }
}

fn converted_from<S: Sample, const FROM: usize>(samples: &[S], to: Channels) -> Result<Vec<S>, Error> {
    match to.count() {
        1 => each_pixel(samples, pixel::<S, FROM, 1>),
        2 => each_pixel(samples, pixel::<S, FROM, 2>),
        3 => each_pixel(samples, pixel::<S, FROM, 3>),
        _ => each_pixel(samples, pixel::<S, FROM, 4>),
    }
}

/// Converts a pixel of `FROM` samples to `TO` samples; the last of two or four is alpha. The case is selected at
/// compile time.
fn pixel<S: Sample, const FROM: usize, const TO: usize>(source: &[S; FROM]) -> [S; TO] {
    let mut target = [S::MAX; TO];
    match (FROM < 3, TO < 3) {
        (false, true) => target[0] = luminance(source),
        (true, true) => target[0] = source[0],
        (true, false) => target[..3].fill(source[0]),
        (false, false) => target[..3].copy_from_slice(&source[..3]),
    }
    if TO.is_multiple_of(2) && FROM.is_multiple_of(2) {
        target[TO - 1] = source[FROM - 1];
    }
    target
}

/// Applies `change` to every pixel.
pub fn each_pixel<S: Sample, const FROM: usize, const TO: usize>(
    samples: &[S],
    change: impl Fn(&[S; FROM]) -> [S; TO],
) -> Result<Vec<S>, Error> {
    let mut changed = try_zeroed(samples.len() / FROM * TO)?;
    let targets = changed.as_chunks_mut().0.iter_mut();
    targets.zip(samples.as_chunks().0).for_each(|(target, source)| *target = change(source));
    Ok(changed)
}

/// Divides the premultiplied colours of a pixel by its alpha, the last sample.
pub fn straighten<S: Sample>(pixel: &mut [S]) {
    let max: u32 = S::MAX.into();
    let Some((alpha, colours)) = pixel.split_last_mut() else { return };
    let alpha: u32 = (*alpha).into();
    for colour in colours {
        let product: u32 = (*colour).into() * max;
        let straight = (product + alpha / 2).checked_div(alpha).unwrap_or(0).min(max);
        *colour = S::try_from(straight).unwrap_or(*colour);
    }
}

/// Gray with the luminance of a colour, in linear light, ITU-R BT.709.
pub fn luminance<S: Sample>(pixel: &[S]) -> S {
    if pixel[0] == pixel[1] && pixel[1] == pixel[2] {
        return pixel[0];
    }
    let table = S::light_table();
    let light = |sample: S| table[sample.into() as usize];
    S::of_light(0.2126 * light(pixel[0]) + 0.7152 * light(pixel[1]) + 0.0722 * light(pixel[2]))
}

/// Composites a raster with alpha over `background`, whose alpha is ignored. A gray raster on a coloured background
/// becomes RGB.
///
/// Mixes sRGB-encoded samples, as browsers do (CSS Compositing, "source-over"), so that shadows and antialiased edges
/// look as their author saw them.
pub fn flattened(raster: Raster, background: [u8; 4]) -> Result<Raster, Error> {
    if !raster.channels().alpha() {
        return Ok(raster);
    }
    let [r, g, b, _] = background;
    let gray = raster.channels().gray() && (opaque(&raster) || (r == g && g == b));
    let with_alpha = if gray { Channels::GrayAlpha } else { Channels::Rgba };
    let raster = to_channels(raster, with_alpha)?;
    let size = raster.size();
    let samples = match raster.into_samples() {
        Samples::U8(samples) => Samples::U8(laid_on(&samples, with_alpha, [r, g, b])?),
        Samples::U16(samples) => {
            Samples::U16(laid_on(&samples, with_alpha, [r, g, b].map(|v| u16::scaled(v.into(), 255)))?)
        }
    };
    Ok(Raster::new(size, if gray { Channels::Gray } else { Channels::Rgb }, samples))
}

fn laid_on<S: Sample>(samples: &[S], channels: Channels, background: [S; 3]) -> Result<Vec<S>, Error> {
    let (count, full): (usize, u32) = (channels.count(), S::MAX.into());
    let mut target = try_zeroed(samples.len() / count * (count - 1))?;
    for (target, source) in target.chunks_exact_mut(count - 1).zip(samples.chunks_exact(count)) {
        let alpha: u32 = source[count - 1].into();
        for ((target, source), background) in target.iter_mut().zip(source).zip(background) {
            let (source, background): (u32, u32) = ((*source).into(), background.into());
            // At most 65535 * 65535 + 32767, which is below 2^32.
            let mixed = (source * alpha + background * (full - alpha) + full / 2) / full;
            *target = S::try_from(mixed).unwrap_or(S::MAX);
        }
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Size;

    fn pixel8(channels: Channels, samples: &[u8]) -> Raster {
        Raster::new(Size::new(1, 1), channels, Samples::U8(samples.to_vec()))
    }

    fn pixel16(channels: Channels, samples: &[u16]) -> Raster {
        Raster::new(Size::new(1, 1), channels, Samples::U16(samples.to_vec()))
    }

    #[test]
    fn sixteen_bits_become_the_nearest_eight() {
        for v in 0..=65_535u16 {
            let eight = to_eight_bits(pixel16(Channels::Gray, &[v])).expect("small");
            let expected = (f64::from(v) / 257.0).round() as u8;
            assert_eq!(eight, pixel8(Channels::Gray, &[expected]), "{v}");
        }
    }

    #[test]
    fn gray_survives_rgb_at_both_depths() {
        for v in (0..=65_535u16).step_by(7) {
            let gray = pixel16(Channels::GrayAlpha, &[v, 9]);
            let rgba = to_channels(gray.clone(), Channels::Rgba).expect("small");
            assert_eq!(rgba, pixel16(Channels::Rgba, &[v, v, v, 9]));
            assert_eq!(to_channels(rgba, Channels::GrayAlpha), Ok(gray));
        }
    }

    #[test]
    fn gray_of_a_colour_is_its_luminance() {
        let check = |rgb: [u8; 3], expected| {
            assert_eq!(
                to_channels(pixel8(Channels::Rgb, &rgb), Channels::Gray),
                Ok(pixel8(Channels::Gray, &[expected]))
            );
        };
        // 255 x encoded(0.2126), (0.7152), (0.0722).
        check([255, 0, 0], 127);
        check([0, 255, 0], 220);
        check([0, 0, 255], 76);
    }

    fn check_flat(source: Raster, background: [u8; 4], expected: Raster) {
        assert_eq!(flattened(source, background), Ok(expected));
    }

    #[test]
    fn alpha_is_laid_on_the_background() {
        let white = [255, 255, 255, 255];
        check_flat(pixel8(Channels::Rgba, &[10, 20, 30, 255]), white, pixel8(Channels::Rgb, &[10, 20, 30]));
        check_flat(pixel8(Channels::Rgba, &[10, 20, 30, 0]), [1, 2, 3, 0], pixel8(Channels::Rgb, &[1, 2, 3]));
        check_flat(pixel8(Channels::GrayAlpha, &[0, 128]), white, pixel8(Channels::Gray, &[127]));
        check_flat(pixel8(Channels::GrayAlpha, &[50, 0]), [1, 2, 3, 255], pixel8(Channels::Rgb, &[1, 2, 3]));
        check_flat(pixel8(Channels::GrayAlpha, &[50, 255]), [1, 2, 3, 255], pixel8(Channels::Gray, &[50]));
        check_flat(pixel16(Channels::Rgba, &[0, 0, 0, 32_768]), white, pixel16(Channels::Rgb, &[32_767; 3]));
        check_flat(pixel16(Channels::Rgba, &[65_535; 4]), [0, 0, 0, 0], pixel16(Channels::Rgb, &[65_535; 3]));
    }
}
