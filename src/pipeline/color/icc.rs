//! Conversion of decoded samples to sRGB, by the embedded ICC profile (moxcms), or by the usual formula for CMYK
//! without a profile; HDR is in `hdr`. Tables are read with the perceptual intent, or the first that a profile has, and their black
//! becomes black (`black`).
//!
//! A profile that is broken or does not match the pixels is ignored, as in libvips: a wrong tint is better than no
//! image.

use std::sync::Arc;

use moxcms::{
    CicpColorPrimaries, CicpProfile, CmsError, ColorProfile, DataColorSpace, Layout, LutType, LutWarehouse,
    MatrixCoefficients, ProfileVersion, RenderingIntent, TransferCharacteristics, TransformExecutor, TransformOptions,
};

use super::black;
use super::hdr::{CodePoints, Hdr};
use super::linear::{Sample, decoded};
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Channels, Deadline, Error, Picture, Raster, Samples};

/// Pixels between two checks of the deadline.
const PIXELS: usize = 1 << 14;

/// Converts every frame to sRGB and removes the profile. CMYK becomes RGB; other channels and the depth are
/// unchanged.
///
/// Gray pixels with an RGB profile are converted as equal amounts of red, green and blue.
pub fn to_srgb(mut picture: Picture, deadline: &Deadline) -> Result<Picture, Error> {
    let channels = picture.first().channels();
    if channels == Channels::Cmyka {
        return inks_with_alpha(picture, deadline);
    }
    let icc = picture.icc.take();
    if let Some(hdr) = icc.as_deref().and_then(Hdr::of).filter(|_| channels != Channels::Cmyk) {
        return picture.map(|raster| hdr.shown(raster, deadline));
    }
    let conversion = icc.and_then(|icc| Conversion::new(&icc, channels));
    let conversion = conversion.as_ref();
    if conversion.is_none() && channels != Channels::Cmyk {
        return Ok(picture);
    }
    picture.map(|raster| {
        let size = raster.size();
        let samples = match raster.into_samples() {
            Samples::U8(samples) => Samples::U8(converted(samples, channels, conversion, deadline)?),
            Samples::U16(samples) => Samples::U16(converted(samples, channels, conversion, deadline)?),
        };
        let channels = if channels == Channels::Cmyk { Channels::Rgb } else { channels };
        Ok(Raster::new(size, channels, samples))
    })
}

/// Converts CMYK with alpha by its inks alone, and adds the alpha again.
fn inks_with_alpha(picture: Picture, deadline: &Deadline) -> Result<Picture, Error> {
    let mut alphas = Vec::new();
    let inks = picture.map(|raster| {
        let (raster, alpha) = without_alpha(raster)?;
        alphas.push(alpha);
        Ok(raster)
    })?;
    let mut alphas = alphas.into_iter();
    to_srgb(inks, deadline)?.map(|raster| match alphas.next() {
        Some(alpha) => with_alpha(raster, &alpha),
        None => Ok(raster),
    })
}

/// Inks and alpha, each for itself; the inks stay in their memory.
fn without_alpha(raster: Raster) -> Result<(Raster, Samples), Error> {
    fn split<S: Sample>(mut samples: Vec<S>) -> Result<(Vec<S>, Vec<S>), Error> {
        let mut alpha = try_zeroed(samples.len() / 5)?;
        for (pixel, alpha) in alpha.iter_mut().enumerate() {
            *alpha = samples[pixel * 5 + 4];
            samples.copy_within(pixel * 5..pixel * 5 + 4, pixel * 4);
        }
        samples.truncate(alpha.len() * 4);
        Ok((samples, alpha))
    }
    let size = raster.size();
    let (inks, alpha) = match raster.into_samples() {
        Samples::U8(samples) => split(samples).map(|(inks, alpha)| (Samples::U8(inks), Samples::U8(alpha)))?,
        Samples::U16(samples) => split(samples).map(|(inks, alpha)| (Samples::U16(inks), Samples::U16(alpha)))?,
    };
    Ok((Raster::new(size, Channels::Cmyk, inks), alpha))
}

fn with_alpha(raster: Raster, alpha: &Samples) -> Result<Raster, Error> {
    fn join<S: Sample>(colours: &[S], alpha: &[S]) -> Result<Vec<S>, Error> {
        let mut joined = try_zeroed(alpha.len() * 4)?;
        let pixels = joined.as_chunks_mut::<4>().0.iter_mut().zip(colours.as_chunks::<3>().0).zip(alpha);
        pixels.for_each(|((joined, [r, g, b]), alpha)| *joined = [*r, *g, *b, *alpha]);
        Ok(joined)
    }
    let samples = match (raster.samples(), alpha) {
        (Samples::U8(colours), Samples::U8(alpha)) => Samples::U8(join(colours, alpha)?),
        (Samples::U16(colours), Samples::U16(alpha)) => Samples::U16(join(colours, alpha)?),
        _ => return Ok(raster),
    };
    Ok(Raster::new(raster.size(), Channels::Rgba, samples))
}

/// Keeps samples and profile if both are gray or both are RGB, and not HDR; otherwise converts with [`to_srgb`].
pub fn to_srgb_unless_fit(picture: Picture, deadline: &Deadline) -> Result<Picture, Error> {
    if picture.icc.as_deref().and_then(Hdr::of).is_some() {
        return to_srgb(picture, deadline);
    }
    let space =
        picture.icc.as_deref().and_then(|icc| ColorProfile::new_from_slice(icc).ok()).map(|icc| icc.color_space);
    match (space, picture.first().channels()) {
        (Some(DataColorSpace::Gray), Channels::Gray | Channels::GrayAlpha)
        | (Some(DataColorSpace::Rgb), Channels::Rgb | Channels::Rgba) => Ok(picture),
        _ => to_srgb(picture, deadline),
    }
}

/// Code points of an HDR picture; `None` for any other, and where the profile does not state them. Inks are no light,
/// whatever profile stands beside them.
pub fn hdr_code_points(picture: &Picture) -> Option<CodePoints> {
    if picture.first().channels().inks() {
        return None;
    }
    Hdr::of(picture.icc.as_deref()?)?.codes
}

/// Pads the profile to whole words of four bytes, as ICC.1:2022 (7.2.1, 7.2.2) requires. libpng ignores other
/// profiles, and those made from code points need padding.
pub fn in_words(mut icc: Vec<u8>) -> Vec<u8> {
    let whole = icc.len().next_multiple_of(4);
    if let (Some(size), Ok(length)) = (icc.first_chunk_mut(), u32::try_from(whole)) {
        *size = length.to_be_bytes();
        icc.resize(whole, 0);
    }
    icc
}

fn converted<S: Depth>(
    samples: Vec<S>,
    channels: Channels,
    conversion: Option<&Conversion>,
    deadline: &Deadline,
) -> Result<Vec<S>, Error> {
    // Made per frame: animations with a profile are rare, and 8-bit samples need no 16-bit tables.
    let transform = conversion.and_then(|conversion| S::transform(conversion).ok());
    match (channels, transform) {
        (Channels::Cmyk, transform) => from_cmyk(&samples, transform.as_deref(), deadline),
        (_, None) => Ok(samples),
        (channels, Some(transform)) if channels.gray() => through_table(samples, channels, conversion, &*transform),
        (channels, Some(transform)) => in_place(samples, channels, &*transform, deadline),
    }
}

/// Reads a profile, and its version.
///
/// Lab has one encoding in tables of 16 bits and another in all others (ICC.1:2022, 6.3.4.2); moxcms 0.8.1 takes the
/// first for every table before version 4 and the second from there on. Where that is wrong, the profile is read as
/// one of the other version.
fn parsed(icc: &[u8]) -> Option<(ColorProfile, ProfileVersion)> {
    let profile = ColorProfile::new_from_slice(icc).ok()?;
    let version = profile.version();
    let ColorProfile { lut_a_to_b_perceptual, lut_a_to_b_colorimetric, lut_a_to_b_saturation, .. } = &profile;
    let table = [lut_a_to_b_perceptual, lut_a_to_b_colorimetric, lut_a_to_b_saturation].into_iter().flatten().next();
    let Some(LutWarehouse::Lut(table)) = table else { return Some((profile, version)) };
    let meant = match (table.lut_type, version < ProfileVersion::V4_0) {
        (LutType::Lut16, false) => 2,
        (LutType::Lut8, true) => 4,
        _ => return Some((profile, version)),
    };
    let mut other = icc.to_vec();
    *other.get_mut(8)? = meant;
    Some((ColorProfile::new_from_slice(&other).ok()?, version))
}

/// A profile to apply, and the types of its input and output.
struct Conversion {
    profile: ColorProfile,
    target: ColorProfile,
    layouts: (Layout, Layout),
}

impl Conversion {
    /// `None` if no conversion is needed: the profile is broken, does not match the pixels, or changes no value by
    /// more than one of 255 steps, so that it is effectively sRGB.
    fn new(icc: &[u8], channels: Channels) -> Option<Conversion> {
        let (profile, version) = parsed(icc)?;
        let (target, layouts) = match (profile.color_space, channels) {
            (DataColorSpace::Rgb, Channels::Rgba) => (ColorProfile::new_srgb(), (Layout::Rgba, Layout::Rgba)),
            (DataColorSpace::Rgb, Channels::Rgb | Channels::Gray | Channels::GrayAlpha) => {
                (ColorProfile::new_srgb(), (Layout::Rgb, Layout::Rgb))
            }
            (DataColorSpace::Gray, Channels::Gray | Channels::GrayAlpha) => (gray_srgb(), (Layout::Gray, Layout::Gray)),
            (DataColorSpace::Cmyk, Channels::Cmyk) => (ColorProfile::new_srgb(), (Layout::Rgba, Layout::Rgb)),
            _ => return None,
        };
        let mut conversion = Conversion { profile, target, layouts };
        if conversion.profile.color_space != DataColorSpace::Gray {
            let black = black::of_version(&conversion.profile, version).or_else(|| conversion.darkest())?;
            black::compensate(&mut conversion.target, black);
        }
        conversion.changes_something().ok()?.then_some(conversion)
    }

    /// The darkest colour of the profile in linear sRGB: all inks, or no light.
    fn darkest(&self) -> Option<[f64; 3]> {
        let transform = u16::transform(self).ok()?;
        let (from, to) = self.layouts;
        let darkest = if self.profile.color_space == DataColorSpace::Cmyk { u16::MAX } else { 0 };
        let (source, mut target) = (vec![darkest; from.channels()], vec![0; to.channels()]);
        transform.transform(&source, &mut target).ok()?;
        let linear = |channel: usize| decoded(f64::from(target[channel]) / 65_535.0);
        Some([linear(0), linear(1), linear(2)])
    }

    /// The intent for which the profile has a table; without any, all intents are alike.
    fn options(&self) -> TransformOptions {
        let ColorProfile { lut_a_to_b_perceptual, lut_a_to_b_colorimetric, lut_a_to_b_saturation, .. } = &self.profile;
        let rendering_intent = match (lut_a_to_b_perceptual, lut_a_to_b_colorimetric, lut_a_to_b_saturation) {
            (None, Some(_), _) => RenderingIntent::RelativeColorimetric,
            (None, None, Some(_)) => RenderingIntent::Saturation,
            _ => RenderingIntent::Perceptual,
        };
        TransformOptions { rendering_intent, ..TransformOptions::default() }
    }

    /// Compares a grid of colours with their conversion by the profile.
    fn changes_something(&self) -> Result<bool, CmsError> {
        let transform = u8::transform(self)?;
        if self.profile.color_space == DataColorSpace::Cmyk {
            return Ok(true);
        }
        let steps = || (0..=255u8).step_by(17);
        let colors: Vec<u8> = match self.layouts.0 {
            Layout::Gray => steps().collect(),
            Layout::Rgb => grid(steps).into_iter().flatten().collect(),
            _ => grid(steps).into_iter().flat_map(|[r, g, b]| [r, g, b, 255]).collect(),
        };
        let mut converted = vec![0; colors.len()];
        transform.transform(&colors, &mut converted)?;
        Ok(colors.iter().zip(converted).any(|(before, after)| before.abs_diff(after) > 1))
    }
}

fn grid<I: Iterator<Item = u8>>(steps: impl Fn() -> I + Copy) -> Vec<[u8; 3]> {
    steps().flat_map(|r| steps().flat_map(move |g| steps().map(move |b| [r, g, b]))).collect()
}

/// Gray with sRGB's curve.
fn gray_srgb() -> ColorProfile {
    let mut profile = ColorProfile::new_gray_with_gamma(2.2);
    profile.gray_trc = ColorProfile::new_srgb().red_trc;
    profile
}

type Transform<S> = dyn TransformExecutor<S> + Send + Sync;

/// Constructor of moxcms for each depth.
trait Depth: Sample {
    fn transform(conversion: &Conversion) -> Result<Arc<Transform<Self>>, CmsError>;
}

impl Depth for u8 {
    fn transform(conversion: &Conversion) -> Result<Arc<Transform<u8>>, CmsError> {
        let Conversion { profile, target, layouts: (from, to) } = conversion;
        profile.create_transform_8bit(*from, target, *to, conversion.options())
    }
}

impl Depth for u16 {
    fn transform(conversion: &Conversion) -> Result<Arc<Transform<u16>>, CmsError> {
        let Conversion { profile, target, layouts: (from, to) } = conversion;
        profile.create_transform_16bit(*from, target, *to, conversion.options())
    }
}

fn refused(error: CmsError) -> Error {
    Error::corrupt("icc", error)
}

/// Converts samples by small copies, since a transform reads and writes different buffers; this saves a second image.
fn in_place<S: Depth>(
    mut samples: Vec<S>,
    channels: Channels,
    transform: &Transform<S>,
    deadline: &Deadline,
) -> Result<Vec<S>, Error> {
    let mut copy = vec![S::default(); PIXELS * channels.count()];
    for chunk in samples.chunks_mut(PIXELS * channels.count()) {
        deadline.check()?;
        let copy = &mut copy[..chunk.len()];
        copy.copy_from_slice(chunk);
        transform.transform(copy, chunk).map_err(refused)?;
    }
    Ok(samples)
}

/// Converts gray by a table of every value, which is exact and faster than a conversion of every pixel.
fn through_table<S: Depth>(
    mut samples: Vec<S>,
    channels: Channels,
    conversion: Option<&Conversion>,
    transform: &Transform<S>,
) -> Result<Vec<S>, Error> {
    let width = conversion.map_or(1, |conversion| conversion.layouts.0.channels());
    let full: u32 = S::MAX.into();
    let ramp: Vec<S> = (0..=full).flat_map(|v| vec![S::try_from(v).unwrap_or(S::MAX); width]).collect();
    let mut table = vec![S::default(); ramp.len()];
    transform.transform(&ramp, &mut table).map_err(refused)?;
    for sample in samples.iter_mut().step_by(channels.count()) {
        // Of red, green and blue, green is the closest to luminance.
        *sample = table[(*sample).into() as usize * width + width / 2];
    }
    Ok(samples)
}

fn from_cmyk<S: Depth>(samples: &[S], transform: Option<&Transform<S>>, deadline: &Deadline) -> Result<Vec<S>, Error> {
    let mut target = try_zeroed(samples.len() / 4 * 3)?;
    for (target, source) in target.chunks_mut(PIXELS * 3).zip(samples.chunks(PIXELS * 4)) {
        deadline.check()?;
        match transform {
            Some(transform) => transform.transform(source, target).map_err(refused)?,
            None => by_formula(source, target),
        }
    }
    Ok(target)
}

/// Converts CMYK without a profile: each ink removes its share of white, and black of the rest: (1 - ink) * (1 -
/// black).
fn by_formula<S: Sample>(source: &[S], target: &mut [S]) {
    let full: u32 = S::MAX.into();
    for (target, source) in target.as_chunks_mut::<3>().0.iter_mut().zip(source.as_chunks::<4>().0) {
        let left = |ink: S| full - ink.into();
        for (target, ink) in target.iter_mut().zip(source) {
            let light = (left(*ink) * left(source[3]) + full / 2) / full;
            *target = S::try_from(light).unwrap_or(S::MAX);
        }
    }
}

/// ICC profile for code points of ITU-T H.273.
pub fn cicp_profile(primaries: CicpColorPrimaries, transfer: TransferCharacteristics) -> ColorProfile {
    ColorProfile::new_from_cicp(CicpProfile {
        color_primaries: primaries,
        transfer_characteristics: transfer,
        matrix_coefficients: MatrixCoefficients::Identity,
        full_range: true,
    })
}

/// Bytes of a profile, with a constant date (ICC.1:2022, 7.2.10).
///
/// moxcms writes the time of encoding: equal sources would give other bytes from second to second.
pub fn profile_bytes(profile: &ColorProfile) -> Option<Vec<u8>> {
    const DATE: [u16; 6] = [2000, 1, 1, 0, 0, 0];
    let mut icc = profile.encode().ok()?;
    icc.get_mut(24..36)?.copy_from_slice(DATE.map(u16::to_be_bytes).as_flattened());
    Some(icc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Size;

    #[test]
    fn bytes_of_a_profile_do_not_depend_on_the_time() {
        let icc = profile_bytes(&ColorProfile::new_display_p3()).expect("encodes");
        assert_eq!(icc[24..36], [7, 208, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0]);
    }

    /// Converts one pixel with a profile, in 8 and 16 bits.
    fn converted(channels: Channels, pixel: &[u8], icc: Option<Vec<u8>>) -> (Vec<u8>, Vec<u16>) {
        let wide = pixel.iter().map(|v| u16::from(*v) * 257).collect();
        let convert = |samples| {
            let mut picture = Picture::still(Raster::new(Size::new(1, 1), channels, samples));
            picture.icc = icc.clone();
            let mut picture = to_srgb(picture, &Deadline::default()).expect("no deadline");
            assert_eq!(picture.icc, None);
            picture.frames.remove(0).raster.into_samples()
        };
        match (convert(Samples::U8(pixel.to_vec())), convert(Samples::U16(wide))) {
            (Samples::U8(eight), Samples::U16(sixteen)) => (eight, sixteen),
            other => panic!("depth changed: {other:?}"),
        }
    }

    fn check(channels: Channels, pixel: &[u8], profile: Option<ColorProfile>, expected: &[u8]) {
        let icc = profile.map(|profile| profile.encode().expect("encodes"));
        let (eight, sixteen) = converted(channels, pixel, icc);
        assert_eq!(eight.len(), expected.len());
        for ((eight, sixteen), expected) in eight.iter().zip(sixteen).zip(expected) {
            let sixteen = (f64::from(sixteen) / 257.0).round() as u8;
            assert!(eight.abs_diff(*expected) <= 1, "{pixel:?}: {eight} of {expected}");
            assert!(sixteen.abs_diff(*expected) <= 1, "{pixel:?} in 16 bits: {sixteen} of {expected}");
        }
    }

    /// Expected values were computed from the primaries and curves of the two standards, outside this program.
    #[test]
    fn wide_gamuts_become_srgb() {
        let p3 = || Some(ColorProfile::new_display_p3());
        check(Channels::Rgb, &[128, 128, 128], p3(), &[128, 128, 128]);
        check(Channels::Rgb, &[200, 100, 50], p3(), &[215, 93, 31]);
        check(Channels::Rgba, &[200, 100, 50, 77], p3(), &[215, 93, 31, 77]);
        let adobe = || Some(ColorProfile::new_adobe_rgb());
        check(Channels::Rgb, &[128, 128, 128], adobe(), &[129, 129, 129]);
        check(Channels::Rgb, &[100, 110, 80], adobe(), &[96, 110, 77]);
    }

    #[test]
    fn gray_goes_through_gray_and_rgb_profiles() {
        // 0.5 of gamma 1.0 is 188 of sRGB.
        let linear = || Some(ColorProfile::new_gray_with_gamma(1.0));
        check(Channels::Gray, &[128], linear(), &[188]);
        check(Channels::GrayAlpha, &[128, 9], linear(), &[188, 9]);
        check(Channels::GrayAlpha, &[128, 9], Some(ColorProfile::new_adobe_rgb()), &[129, 9]);
    }

    #[test]
    fn inks_are_no_light() {
        let pq = cicp_profile(CicpColorPrimaries::Bt2020, TransferCharacteristics::Smpte2084);
        let codes = |channels: Channels| {
            let samples = Samples::U8(vec![9; channels.count()]);
            let mut picture = Picture::still(Raster::new(Size::new(1, 1), channels, samples));
            picture.icc = profile_bytes(&pq);
            hdr_code_points(&picture)
        };
        assert!(codes(Channels::Rgb).is_some());
        assert_eq!(codes(Channels::Cmyk), None);
    }

    #[test]
    fn profiles_end_with_a_whole_word() {
        assert_eq!(in_words(vec![0, 0, 0, 5, 9]), [0, 0, 0, 8, 9, 0, 0, 0]);
        assert_eq!(in_words(vec![0, 0, 0, 8, 9, 8, 7, 6]), [0, 0, 0, 8, 9, 8, 7, 6]);
        assert_eq!(in_words(vec![1, 2]), [1, 2]);
    }

    #[test]
    fn cmyk_without_a_profile_goes_by_the_formula() {
        check(Channels::Cmyk, &[0, 0, 0, 0], None, &[255, 255, 255]);
        check(Channels::Cmyk, &[255, 0, 0, 0], None, &[0, 255, 255]);
        check(Channels::Cmyk, &[0, 0, 0, 255], None, &[0, 0, 0]);
        check(Channels::Cmyk, &[0, 51, 102, 51], None, &[204, 163, 122]);
    }

    #[test]
    fn profiles_that_are_srgb_broken_or_of_other_pixels_change_nothing() {
        let pixel = [1, 100, 200];
        let unchanged = |icc| {
            let (eight, sixteen) = converted(Channels::Rgb, &pixel, icc);
            assert_eq!(eight, pixel);
            assert_eq!(sixteen, [257, 25_700, 51_400]);
        };
        unchanged(None);
        unchanged(Some(Vec::new()));
        unchanged(Some(vec![0xff; 4000]));
        unchanged(ColorProfile::new_srgb().encode().ok());
        unchanged(ColorProfile::new_gray_with_gamma(1.0).encode().ok());
        let whole = ColorProfile::new_display_p3().encode().expect("encodes");
        for len in (0..whole.len()).step_by(7) {
            converted(Channels::Rgb, &pixel, Some(whole[..len].to_vec()));
        }
    }
}
