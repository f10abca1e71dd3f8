//! Resampling in linear light with premultiplied alpha, by bands: source rows are converted to 16-bit linear light,
//! convolved by fast_image_resize, and encoded again. Only one band is held in addition to source and result. Samples
//! of 16 bits and alpha need more than 16 bits of light, and go through `fine`.
//!
//! Results do not depend on the CPU: 16-bit samples are convolved in 64-bit integers on every path of the crate, and
//! kernel weights use additions and multiplications only.
//!
//! Coverage (the alpha of a mask) is not light, and is processed with its plain values.
//!
//! A change of results here requires new revisions of `resize`, `mask` and `overlay`.

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::{InnerPixel, U16, U16x2, U16x3, U16x4};
use fast_image_resize::{Filter, FilterType, PixelTrait, ResizeAlg, ResizeOptions, Resizer};

use super::fine::{self, Taps};
use super::geometry::{Geometry, Region};
use crate::pipeline::color::Sample;
use crate::pipeline::operation::sine::sine_of_turns;
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Deadline, Error, Raster, Samples, Shape, Size};

/// Kernel that weights source pixels.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kernel {
    Lanczos3,
    Mitchell,
    Cubic,
    Linear,
    Nearest,
}

impl Kernel {
    /// Reach of the kernel in source pixels at full size.
    pub(super) fn support(self) -> f64 {
        match self {
            Kernel::Lanczos3 => 3.0,
            Kernel::Mitchell | Kernel::Cubic => 2.0,
            Kernel::Linear => 1.0,
            Kernel::Nearest => 0.0,
        }
    }

    /// Weight at this distance, in source pixels at full size, before weights are divided by their sum.
    pub(super) fn weight(self, x: f64) -> f64 {
        match self {
            Kernel::Lanczos3 => lanczos3(x),
            Kernel::Mitchell => mitchell(x),
            Kernel::Cubic => catmull_rom(x),
            Kernel::Linear => within_reach((1.0 - x.abs()).max(0.0)),
            Kernel::Nearest => 1.0,
        }
    }

    fn algorithm(self) -> ResizeAlg {
        let own = |weight: fn(f64) -> f64, same| {
            ResizeAlg::Convolution(Filter::new("own", weight, self.support()).map_or(same, FilterType::Custom))
        };
        match self {
            Kernel::Lanczos3 => own(lanczos3, FilterType::Lanczos3),
            Kernel::Mitchell => own(mitchell, FilterType::Mitchell),
            Kernel::Cubic => own(catmull_rom, FilterType::CatmullRom),
            Kernel::Linear => ResizeAlg::Convolution(FilterType::Bilinear),
            Kernel::Nearest => ResizeAlg::Nearest,
        }
    }
}

/// Meaning of samples, which determines how they are mixed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Light {
    /// sRGB-encoded colour, mixed as linear light, premultiplied by alpha.
    Linear,
    /// Plain values, mixed without conversion.
    Plain,
}

/// Replaces 0 within a kernel's reach by a tiny weight, which the crate rounds to 0 later.
///
/// The crate skips zeros at both ends of a row's weights, and assumes that no row's weights begin before those of the
/// first (fast_image_resize 6.1.0, `do_convolution`). Kernels with zeros inside violate that: if the middle of the
/// first result row is that of a source row, all weights before it are 0, but those of the second row are not.
fn within_reach(weight: f64) -> f64 {
    if weight == 0.0 { f64::MIN_POSITIVE } else { weight }
}

/// Lanczos kernel with three lobes: sinc(x) sinc(x / 3).
fn lanczos3(x: f64) -> f64 {
    if x.abs() >= 3.0 { 0.0 } else { within_reach(sinc(x) * sinc(x / 3.0)) }
}

/// Cubic kernel of Mitchell and Netravali, for B = C = 1/3.
fn mitchell(x: f64) -> f64 {
    cubic(x, 1.0 / 3.0, 1.0 / 3.0)
}

/// Cubic kernel of Catmull and Rom, for B = 0, C = 1/2.
fn catmull_rom(x: f64) -> f64 {
    cubic(x, 0.0, 0.5)
}

/// Family of cubic kernels: Mitchell, Netravali, Reconstruction Filters in Computer Graphics, 1988, equation 8.
fn cubic(x: f64, b: f64, c: f64) -> f64 {
    let x = x.abs();
    let [cube, square, line, constant] = match x {
        ..1.0 => [12.0 - 9.0 * b - 6.0 * c, -18.0 + 12.0 * b + 6.0 * c, 0.0, 6.0 - 2.0 * b],
        ..2.0 => [-b - 6.0 * c, 6.0 * b + 30.0 * c, -12.0 * b - 48.0 * c, 8.0 * b + 24.0 * c],
        _ => return 0.0,
    };
    within_reach((((cube * x + square) * x + line) * x + constant) / 6.0)
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { sine_of_turns(x) / (std::f64::consts::PI * x) }
}

/// Largest linear light buffer of a band in bytes, unless it gives fewer than [`BAND_ROWS_MIN`] result rows.
const BAND_BYTES: f64 = (8 << 20) as f64;
/// Smallest number of result rows per band; with fewer, most of the work would be on rows that neighbouring bands
/// share.
const BAND_ROWS_MIN: f64 = 16.0;

/// Result rows per band. Depends only on sizes, never on the machine.
fn band_rows(shape: Shape, geometry: &Geometry, kernel: Kernel) -> u32 {
    let scale = geometry.region.h / f64::from(geometry.scaled.h);
    let source_row = f64::from(shape.size.w) * shape.channels.count() as f64 * 2.0;
    let target_row = f64::from(geometry.scaled.w) * shape.channels.count() as f64 * 2.0;
    let rows = BAND_BYTES / source_row.max(target_row) - 2.0 * kernel.support() * scale.max(1.0);
    ((rows / scale.max(1.0)).max(BAND_ROWS_MIN) as u32).min(geometry.scaled.h)
}

/// Bytes held in addition to source and result.
pub(super) fn working_bytes(shape: Shape, geometry: &Geometry, kernel: Kernel) -> u64 {
    if !geometry.resamples() || kernel == Kernel::Nearest {
        return 0;
    }
    let rows = band_rows(shape, geometry, kernel);
    let scale = geometry.region.h / f64::from(geometry.scaled.h);
    let pixel = shape.channels.count() as u64 * 2;
    let reach = |scale: f64| (2.0 * kernel.support() * scale.max(1.0)).ceil() as u64 + 3;
    let source_rows = ((f64::from(rows) * scale).ceil() as u64 + reach(scale)).min(u64::from(shape.size.h));
    let (w, target_w) = (u64::from(shape.size.w), u64::from(geometry.scaled.w));
    let rows_bytes = if fine::needed(shape) {
        // Floats: one row of the source, all rows of the band in the result's width, and one of the result.
        2 * pixel * (w + source_rows * target_w + target_w)
    } else {
        pixel * (source_rows * (w + target_w) + u64::from(rows) * target_w)
    };
    // Each weight is held as f64, then as i32.
    let horizontal = reach(geometry.region.w / f64::from(geometry.scaled.w)) * target_w;
    rows_bytes + 12 * (horizontal + reach(scale) * u64::from(rows))
}

/// Upper bound on [`working_bytes`] for any source within `source` and result within `scaled`, with at most `shrinks`
/// source rows or columns per result row or column. Bands are assumed as large as possible, or as low as possible.
pub(super) fn working_bytes_at_most(source: Shape, scaled: Size, shrinks: f64, kernel: Kernel) -> u64 {
    if kernel == Kernel::Nearest {
        return 0;
    }
    let pixel = source.channels.count() as u64 * 2;
    let (w, h, target_w, target_h) =
        (u64::from(source.size.w), u64::from(source.size.h), u64::from(scaled.w), u64::from(scaled.h));
    let reach = (2.0 * kernel.support() * shrinks).ceil() as u64 + 3;
    let source_rows = (BAND_ROWS_MIN * shrinks).ceil() as u64 + reach;
    let band = |of: u64, row: u64, rows_min: u64, rows: u64| {
        row.saturating_mul(rows).min(of * BAND_BYTES as u64 + row.saturating_mul(rows_min))
    };
    let bands = if fine::needed(source) {
        2 * (pixel * (w + target_w) + band(1, pixel * target_w, source_rows, h))
    } else {
        band(2, pixel * (w + target_w), source_rows, h) + band(1, pixel * target_w, BAND_ROWS_MIN as u64, target_h)
    };
    // Weights: each row of them covers its share of the source, plus what it shares with its neighbours.
    let weights = |side: u64, target: u64| (2.0 * kernel.support() * 1.5 * side as f64) as u64 + (2 * 3 + 4) * target;
    bands + 12 * (weights(w, target_w) + weights(h, target_h))
}

/// Scales `geometry.region` of a raster to `geometry.scaled`.
pub(super) fn resampled(
    raster: &Raster,
    geometry: &Geometry,
    kernel: Kernel,
    light: Light,
    deadline: &Deadline,
) -> Result<Raster, Error> {
    let resampling = Resampling { shape: raster.shape(), geometry, kernel, light, deadline };
    let samples = match raster.samples() {
        Samples::U8(samples) => Samples::U8(resampling.samples(samples)?),
        Samples::U16(samples) => Samples::U16(resampling.samples(samples)?),
    };
    Ok(Raster::new(geometry.scaled, raster.channels(), samples))
}

/// Settings of one resampling, for samples of either depth.
struct Resampling<'a> {
    /// Shape of the source.
    shape: Shape,
    geometry: &'a Geometry,
    kernel: Kernel,
    light: Light,
    deadline: &'a Deadline,
}

impl Resampling<'_> {
    fn samples<S: Sample>(&self, samples: &[S]) -> Result<Vec<S>, Error> {
        match (self.kernel, fine::needed(self.shape), self.shape.channels.count()) {
            (Kernel::Nearest, ..) => nearest(samples, self.shape, self.geometry),
            (_, true, 1) => self.in_fine_bands::<S, 1>(samples),
            (_, true, 2) => self.in_fine_bands::<S, 2>(samples),
            (_, true, 3) => self.in_fine_bands::<S, 3>(samples),
            (_, true, _) => self.in_fine_bands::<S, 4>(samples),
            (_, false, 1) => self.in_bands::<S, U16>(samples),
            (_, false, 2) => self.in_bands::<S, U16x2>(samples),
            (_, false, 3) => self.in_bands::<S, U16x3>(samples),
            (_, false, _) => self.in_bands::<S, U16x4>(samples),
        }
    }

    fn in_fine_bands<S: Sample, const N: usize>(&self, samples: &[S]) -> Result<Vec<S>, Error> {
        let Resampling { shape: Shape { size, channels, .. }, geometry, kernel, light, deadline } = *self;
        let (w, target_w) = (size.w as usize, geometry.scaled.w as usize);
        let columns = Taps::new(kernel, w, (geometry.region.x, geometry.region.w), target_w, deadline)?;
        let mut result = try_zeroed(geometry.scaled.pixels() as usize * N)?;
        let rows = band_rows(self.shape, geometry, kernel);
        let (mut linear, mut narrow, mut row) = (vec![[0.0; N]; w], Vec::new(), vec![[0.0; N]; target_w]);
        for (band, result) in result.chunks_mut(rows as usize * target_w * N).enumerate() {
            deadline.check()?;
            let count = result.len() / (target_w * N);
            let band = Band::new(geometry, kernel, band as u32 * rows, count as u32);
            narrow.resize(band.source_rows() * target_w, [0.0; N]);
            let source = samples[band.first as usize * w * N..].chunks_exact(w * N);
            for (source, narrow) in source.zip(narrow.chunks_exact_mut(target_w)) {
                deadline.check()?;
                fine::read(source, &mut linear, channels, light);
                fine::across(&linear, &columns, narrow);
            }
            let taps = Taps::new(kernel, band.source_rows(), (band.region.y, band.region.h), count, deadline)?;
            for (result, (first, weights)) in result.chunks_exact_mut(target_w * N).zip(taps.each()) {
                fine::down(&narrow[first * target_w..], weights, &mut row);
                fine::write(&row, result, channels, light);
            }
        }
        Ok(result)
    }

    fn in_bands<S: Sample, P: PixelTrait + InnerPixel<Component = u16>>(&self, samples: &[S]) -> Result<Vec<S>, Error> {
        let Resampling { shape, geometry, kernel, light, deadline } = *self;
        let (count, target) = (shape.channels.count(), geometry.scaled);
        let (source_row, target_row) = (shape.size.w as usize * count, target.w as usize * count);
        let mut result = try_zeroed(target.h as usize * target_row)?;
        let rows = band_rows(shape, geometry, kernel);
        let mut resizer = Resizer::new();
        let (mut linear, mut scaled) = (Vec::<P>::new(), vec![P::default(); rows as usize * target.w as usize]);
        for (band, result) in result.chunks_mut(rows as usize * target_row).enumerate() {
            deadline.check()?;
            let first_row = band as u32 * rows;
            let band = Band::new(geometry, kernel, first_row, (result.len() / target_row) as u32);
            linear.resize(band.source_rows() * shape.size.w as usize, P::default());
            let source = &samples[band.first as usize * source_row..band.end as usize * source_row];
            match light {
                Light::Linear => linear_row(source, P::components_mut(&mut linear)),
                Light::Plain => rescaled_row(source, P::components_mut(&mut linear)),
            }
            let scaled = &mut scaled[..result.len() / count];
            convolve(&mut resizer, (&linear, shape.size.w), (scaled, target.w), band.region, kernel)?;
            match light {
                Light::Linear => encode_row(P::components(scaled), result),
                Light::Plain => rescaled_row(P::components(scaled), result),
            }
        }
        Ok(result)
    }
}

/// Linear light of samples without alpha, in the whole numbers that are fine enough for 8 bits.
fn linear_row<S: Sample>(source: &[S], target: &mut [u16]) {
    let table = S::linear_table();
    target.iter_mut().zip(source).for_each(|(target, source)| *target = table[(*source).into() as usize]);
}

/// The inverse of [`linear_row`].
fn encode_row<S: Sample>(source: &[u16], target: &mut [S]) {
    let table = S::encoded_table();
    target.iter_mut().zip(source).for_each(|(target, source)| *target = table[usize::from(*source)]);
}

fn rescaled_row<S: Sample, T: Sample>(source: &[S], target: &mut [T]) {
    target.iter_mut().zip(source).for_each(|(target, source)| *target = T::scaled((*source).into(), S::MAX.into()));
}

/// Source rows needed for some result rows.
struct Band {
    /// First row.
    first: u32,
    /// Row after the last.
    end: u32,
    /// Region to scale, relative to `first`.
    region: Region,
}

impl Band {
    fn new(geometry: &Geometry, kernel: Kernel, first_row: u32, rows: u32) -> Band {
        let Geometry { source: Size { h, .. }, region, scaled, .. } = *geometry;
        let scale = region.h / f64::from(scaled.h);
        let top = region.y + f64::from(first_row) * scale;
        let bottom = (region.y + f64::from(first_row + rows) * scale).min(f64::from(h));
        // One row more than the kernel reaches, so that it is cut off only at the edges of the image.
        let reach = kernel.support() * scale.max(1.0) + 1.0;
        let first = (top - reach).floor().max(0.0);
        let end = (bottom + reach).ceil().min(f64::from(h));
        Band { first: first as u32, end: end as u32, region: Region { y: top - first, h: bottom - top, ..region } }
    }

    fn source_rows(&self) -> usize {
        (self.end - self.first) as usize
    }
}

fn convolve<P: PixelTrait + InnerPixel>(
    resizer: &mut Resizer,
    (source, source_w): (&[P], u32),
    (target, target_w): (&mut [P], u32),
    region: Region,
    kernel: Kernel,
) -> Result<(), Error> {
    let failed = |reason: String| Error::Encode { format: "resize", reason };
    let rows = |pixels: usize, w: u32| (pixels / w as usize) as u32;
    let (source_h, target_h) = (rows(source.len(), source_w), rows(target.len(), target_w));
    let source = TypedImageRef::new(source_w, source_h, source).map_err(|error| failed(error.to_string()))?;
    let mut target =
        TypedImage::from_pixels_slice(target_w, target_h, target).map_err(|error| failed(error.to_string()))?;
    let options = ResizeOptions::new()
        .resize_alg(kernel.algorithm())
        .crop(region.x, region.y, region.w, region.h)
        .use_alpha(false);
    resizer.resize_typed(&source, &mut target, &options).map_err(|error| failed(error.to_string()))
}

/// Copies the pixel under the centre of each result pixel.
fn nearest<S: Sample>(samples: &[S], shape: Shape, geometry: &Geometry) -> Result<Vec<S>, Error> {
    let Geometry { region, scaled, .. } = *geometry;
    let (count, w) = (shape.channels.count(), shape.size.w as usize);
    let under = |start: f64, length: f64, of: u32, at: u32, last: u32| {
        ((start + (f64::from(at) + 0.5) * length / f64::from(of)) as u32).min(last - 1) as usize
    };
    let columns: Vec<usize> = (0..scaled.w).map(|x| under(region.x, region.w, scaled.w, x, shape.size.w)).collect();
    let mut target = try_zeroed(scaled.pixels() as usize * count)?;
    for (y, row) in target.chunks_exact_mut(scaled.w as usize * count).enumerate() {
        let source = &samples[under(region.y, region.h, scaled.h, y as u32, shape.size.h) * w * count..][..w * count];
        for (target, x) in row.chunks_exact_mut(count).zip(&columns) {
            target.copy_from_slice(&source[x * count..][..count]);
        }
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Channels;

    #[test]
    fn no_weight_within_reach_is_nothing() {
        for (weight, reach) in [(lanczos3 as fn(f64) -> f64, 3.0), (mitchell, 2.0), (catmull_rom, 2.0)] {
            for step in 0..=4000 {
                let x = f64::from(step) / 1000.0;
                assert_eq!(weight(x) != 0.0, x < reach, "{x}");
                assert_eq!(weight(x), weight(-x));
            }
        }
    }

    #[test]
    fn cubics_are_mitchell_and_netravalis() {
        for (x, mitchells, catmull_roms) in
            [(0.0, 8.0 / 9.0, 1.0), (1.0, 1.0 / 18.0, 0.0), (1.5, -5.0 / 144.0, -1.0 / 16.0)]
        {
            assert!((mitchell(x) - mitchells).abs() < 1e-15, "{x}: {}", mitchell(x));
            assert!((catmull_rom(x) - catmull_roms).abs() < 1e-15, "{x}: {}", catmull_rom(x));
        }
    }

    /// Checks regions whose first or last result row is centred on a source row, where weights of kernels end with
    /// zeros.
    #[test]
    fn a_slope_stays_one_wherever_the_region_begins() {
        let size = Size { w: 4, h: 24 };
        let slope = (0..size.h).flat_map(|y| [y as u16 * 2000; 4]).collect();
        let raster = Raster::new(size, Channels::Gray, Samples::U16(slope));
        for kernel in [Kernel::Lanczos3, Kernel::Mitchell, Kernel::Cubic, Kernel::Linear] {
            for (first, scale) in (4..8).flat_map(|first| [0.25, 0.5, 0.75, 1.0].map(|scale| (f64::from(first), scale)))
            {
                // The middle of the first result row is that of source row `first`.
                let (y, rows) = (first + 0.5 - scale / 2.0, 12);
                let region = Region { x: 0.0, y, w: 4.0, h: scale * f64::from(rows) };
                let scaled = Size { w: 8, h: rows };
                let geometry = Geometry { source: size, region, scaled, uncropped: scaled, result: scaled };
                let result =
                    resampled(&raster, &geometry, kernel, Light::Plain, &Deadline::default()).expect("resampled");
                let Samples::U16(samples) = result.samples() else { panic!("of the same depth") };
                for (row, pixels) in samples.chunks(8).enumerate() {
                    let expected = (first + row as f64 * scale) * 2000.0;
                    assert!((f64::from(pixels[0]) - expected).abs() < 150.0, "{first} {scale} {row}: {pixels:?}");
                }
            }
        }
    }

    #[test]
    fn the_kernel_is_lanczos3() {
        for step in 0..=3000 {
            let x = f64::from(step) / 1000.0;
            let pi_x = std::f64::consts::PI * x;
            let expected = if step == 0 { 1.0 } else { 3.0 * pi_x.sin() * (pi_x / 3.0).sin() / (pi_x * pi_x) };
            assert!((lanczos3(x) - expected).abs() < 1e-14, "{x}: {} of {expected}", lanczos3(x));
            assert_eq!(lanczos3(x), lanczos3(-x));
        }
    }
}
