//! A Gaussian blur in linear light with premultiplied alpha and extended edges, for `blur` and `sharpen`. Returns
//! rows one by one.
//!
//! The reference is the kernel exp(-x^2 / 2 sigma^2), sampled at whole pixels and normalised. Small sigmas use it
//! directly, cut off at 3.5 sigma ([`separable`]). Larger ones use it on a coarser grid, where it is small again
//! ([`coarse`]), so that time and memory do not grow with sigma. The largest error of both, measured by the tests
//! below, is 20 of 65535 next to a step of full height.
//!
//! Computed in plain f32 in one order of operations, with weights from additions, multiplications and one square
//! root, so equal on every CPU.

mod coarse;
mod separable;

use super::window::Rows;
use crate::pipeline::color::{self, Sample, linear_row};
use crate::pipeline::{Deadline, Error, Raster, Samples, Shape};

/// Smallest sigma per pixel of the coarser grid; below it errors grow quickly.
const SIGMA_PER_STEP: f64 = 1.75;

/// Pixels of the image per pixel of the grid on which it is blurred; 1 is the image itself.
fn step(sigma: f64) -> usize {
    ((sigma / SIGMA_PER_STEP) as usize).max(1)
}

/// Blurs, and calls `each` with every row from the top: linear light, premultiplied if [`has_alpha`].
pub(super) fn blurred(
    raster: &Raster,
    sigma: f64,
    deadline: &Deadline,
    each: impl FnMut(usize, &[f32]),
) -> Result<(), Error> {
    match raster.samples() {
        Samples::U8(samples) => blurred_samples(samples, raster, sigma, deadline, each),
        Samples::U16(samples) => blurred_samples(samples, raster, sigma, deadline, each),
    }
}

/// Whether rows are premultiplied; opaque alpha is treated as an ordinary channel.
pub(super) fn has_alpha(raster: &Raster) -> bool {
    raster.channels().alpha() && !color::opaque(raster)
}

/// Bytes held in addition to source and result.
pub(super) fn working_bytes(shape: Shape, sigma: f64) -> u64 {
    let rows = Rows::of(shape);
    match step(sigma) {
        1 => separable::working_bytes(rows, sigma),
        step => coarse::working_bytes(rows, sigma, step),
    }
}

fn blurred_samples<S: Sample>(
    samples: &[S],
    raster: &Raster,
    sigma: f64,
    deadline: &Deadline,
    each: impl FnMut(usize, &[f32]),
) -> Result<(), Error> {
    let (rows, alpha) = (Rows::of(raster.shape()), has_alpha(raster));
    let length = rows.w * rows.count;
    let source = |y: usize, row: &mut [f32]| linear_row(&samples[y * length..][..length], row, rows.count, alpha);
    match step(sigma) {
        1 => separable::blurred(rows, sigma, deadline, source, each),
        step => coarse::blurred(rows, sigma, step, deadline, source, each),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Channels, Size};

    /// Blurs one line of values by the definition, in 64 bits.
    fn exact(line: &[f64], sigma: f64) -> Vec<f64> {
        let reach = (8.0 * sigma).ceil() as isize;
        let weights: Vec<f64> = (-reach..=reach).map(|k| (-(k * k) as f64 / (2.0 * sigma * sigma)).exp()).collect();
        let sum: f64 = weights.iter().sum();
        let last = line.len() as isize - 1;
        let clamped: Vec<f64> = (-reach..=last + reach).map(|x| line[x.clamp(0, last) as usize]).collect();
        let weighed = |around: &[f64]| around.iter().zip(&weights).map(|(value, weight)| value * weight).sum::<f64>();
        clamped.windows(weights.len()).map(|around| weighed(around) / sum).collect()
    }

    /// Blurs a line of linear light, horizontally or vertically.
    fn blurred_line(line: &[f64], sigma: f64, standing: bool) -> Vec<f64> {
        let encoded = u16::encoded_table();
        let samples = line.iter().map(|value| encoded[*value as usize]).collect();
        let long = line.len() as u32;
        let size = if standing { Size::new(1, long) } else { Size::new(long, 1) };
        let raster = Raster::new(size, Channels::Gray, Samples::U16(samples));
        let mut result = Vec::new();
        let each = |_, row: &[f32]| result.extend(row.iter().map(|value| f64::from(*value)));
        blurred(&raster, sigma, &Deadline::default(), each).expect("small");
        result
    }

    /// Checks steps at every position of the grid, a single pixel, the edges of the image, and noise.
    #[test]
    fn the_error_against_the_exact_kernel_is_small() {
        let lines = |sigma: f64| {
            let long = (12.0 * sigma) as usize + 40;
            let step = |at: usize| (0..long).map(|x| if x < at { 0.0 } else { 65_535.0 }).collect::<Vec<_>>();
            let pixel = |at: usize| (0..long).map(|x| if x == at { 65_535.0 } else { 0.0 }).collect();
            let noise = (0..long).map(|x| if (x * x * 31 + x * 7) % 11 < 5 { 0.0 } else { 65_535.0 }).collect();
            let steps = (0..sigma as usize + 2).step_by(1 + sigma as usize / 8).map(move |at| step(long / 2 + at));
            steps.chain([pixel(0), pixel(long - 2), pixel(long / 2), noise]).collect::<Vec<_>>()
        };
        for sigma in [0.3, 0.5, 1.0, 2.0, 3.49, 3.5, 4.0, 5.24, 5.25, 7.0, 12.25, 31.0, 97.0, 250.0] {
            for line in lines(sigma) {
                let expected = exact(&line, sigma);
                for standing in [false, true] {
                    let result = blurred_line(&line, sigma, standing);
                    let error =
                        result.iter().zip(&expected).map(|(one, other)| (one - other).abs()).fold(0.0, f64::max);
                    assert!(error <= 20.0, "sigma {sigma}: {error}");
                }
            }
        }
    }

    /// A grid of step 2 is the largest: two copies of f32, with a quarter of the pixels each.
    #[test]
    fn the_held_bytes_have_a_bound_whatever_sigma_is() {
        let shape = Shape { size: Size::new(4000, 3000), channels: Channels::Rgba, bits: 8 };
        for sigma in (30..=25_000).step_by(10) {
            let bytes = working_bytes(shape, f64::from(sigma) / 100.0);
            assert!(bytes <= shape.bytes() * 9 / 4, "{sigma}: {bytes}");
        }
    }
}
