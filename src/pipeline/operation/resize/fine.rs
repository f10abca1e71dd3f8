//! Convolution of linear light in single precision, where 16 bits are too few: samples of 16 bits, whose darks would
//! share levels, and colours premultiplied by alpha, which must not be clamped apart from it. First across, then down,
//! each sum in one order with plain multiplications and additions, so that results do not depend on the CPU.

use crate::pipeline::color::{Sample, encoded_finely, linear_table_f32};
use crate::pipeline::{Channels, Deadline, Error, Shape};

use super::resample::{Kernel, Light};

/// Whether rasters of this shape are convolved here.
pub(super) fn needed(shape: Shape) -> bool {
    shape.bits == 16 || shape.channels.alpha()
}

/// Weights of source pixels for every result pixel along one side.
pub(super) struct Taps {
    /// First source pixel of each result pixel, and the place of its first weight.
    starts: Vec<(usize, usize)>,
    weights: Vec<f32>,
}

impl Taps {
    /// Weights for `count` result pixels that cover `length` pixels from `start` on, of `source` pixels.
    pub fn new(
        kernel: Kernel,
        source: usize,
        (start, length): (f64, f64),
        count: usize,
        deadline: &Deadline,
    ) -> Result<Taps, Error> {
        let scale = length / count as f64;
        let widened = scale.max(1.0);
        let mut taps = Taps { starts: Vec::with_capacity(count + 1), weights: Vec::new() };
        let mut unscaled: Vec<f64> = Vec::new();
        for place in 0..count {
            let center = start + (place as f64 + 0.5) * scale;
            let reach = kernel.support() * widened;
            let first = (center - reach).floor().max(0.0) as usize;
            let end = ((center + reach).ceil() as usize).min(source);
            // One result pixel may be of millions.
            deadline.check()?;
            let weight = |pixel: usize| kernel.weight((pixel as f64 + 0.5 - center) / widened);
            unscaled.clear();
            unscaled.extend((first..end).map(weight));
            let sum: f64 = unscaled.iter().sum();
            taps.starts.push((first, taps.weights.len()));
            taps.weights.extend(unscaled.iter().map(|weight| (weight / sum) as f32));
        }
        taps.starts.push((0, taps.weights.len()));
        Ok(taps)
    }

    /// First source pixel and the weights of every result pixel.
    pub fn each(&self) -> impl Iterator<Item = (usize, &[f32])> {
        self.starts.windows(2).map(|pair| (pair[0].0, &self.weights[pair[0].1..pair[1].1]))
    }
}

/// Convolves a row.
pub(super) fn across<const N: usize>(source: &[[f32; N]], taps: &Taps, target: &mut [[f32; N]]) {
    for (target, (first, weights)) in target.iter_mut().zip(taps.each()) {
        let mut sums = [0.0; N];
        for (pixel, weight) in source[first..].iter().zip(weights) {
            for (sum, sample) in sums.iter_mut().zip(pixel) {
                *sum += sample * weight;
            }
        }
        *target = sums;
    }
}

/// Convolves rows of `target.len()` pixels, the first of which is `source`'s first, to one.
pub(super) fn down<const N: usize>(source: &[[f32; N]], weights: &[f32], target: &mut [[f32; N]]) {
    target.fill([0.0; N]);
    let target = target.as_flattened_mut();
    for (row, weight) in source.as_flattened().chunks_exact(target.len()).zip(weights) {
        target.iter_mut().zip(row).for_each(|(sum, sample)| *sum += sample * weight);
    }
}

/// Encoded samples with straight alpha to light with premultiplied alpha, or plain values to shares of the full one.
pub(super) fn read<S: Sample, const N: usize>(source: &[S], target: &mut [[f32; N]], channels: Channels, light: Light) {
    let full: u32 = S::MAX.into();
    // 255 divides 65535, so that both depths share the table.
    let unit = 65_535 / full;
    let table = linear_table_f32();
    let plain = |sample: S| sample.into() as f32 / full as f32;
    let value = |sample: S| match light {
        Light::Linear => table[(sample.into() * unit) as usize],
        Light::Plain => plain(sample),
    };
    let premultiplied = channels.alpha() && light == Light::Linear;
    for (target, source) in target.iter_mut().zip(source.as_chunks::<N>().0) {
        *target = source.map(value);
        if premultiplied {
            let alpha = plain(source[N - 1]);
            target.iter_mut().for_each(|sample| *sample *= alpha);
            target[N - 1] = alpha;
        }
    }
}

/// The inverse of [`read`]. Overshoot is cut off after colours are divided by their alpha, so that one flat colour stays
/// one.
pub(super) fn write<S: Sample, const N: usize>(
    source: &[[f32; N]],
    target: &mut [S],
    channels: Channels,
    light: Light,
) {
    let full: u32 = S::MAX.into();
    let plain = |value: f32| S::try_from((value.clamp(0.0, 1.0) * full as f32 + 0.5) as u32).unwrap_or(S::MAX);
    let encoded = |value: f32| match light {
        Light::Linear => plain(encoded_finely(value)),
        Light::Plain => plain(value),
    };
    let premultiplied = channels.alpha() && light == Light::Linear;
    for (target, pixel) in target.as_chunks_mut::<N>().0.iter_mut().zip(source) {
        if !premultiplied {
            *target = pixel.map(encoded);
            continue;
        }
        let alpha = plain(pixel[N - 1]);
        let visible = if alpha.into() == 0 { 0.0 } else { 1.0 / pixel[N - 1] };
        *target = pixel.map(|sample| encoded(sample * visible));
        target[N - 1] = alpha;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_one_together_and_stay_inside() {
        for kernel in [Kernel::Lanczos3, Kernel::Mitchell, Kernel::Cubic, Kernel::Linear] {
            for (source, start, length, count) in
                [(100, 0.0, 100.0, 7), (100, 3.3, 50.1, 60), (5, 0.0, 5.0, 333), (1, 0.0, 1.0, 9), (9, 8.5, 0.5, 1)]
            {
                let taps =
                    Taps::new(kernel, source, (start, length), count, &Deadline::default()).expect("no deadline");
                assert_eq!(taps.each().count(), count);
                for (first, weights) in taps.each() {
                    assert!(!weights.is_empty() && first + weights.len() <= source);
                    assert!((weights.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn every_sample_of_sixteen_bits_survives() {
        let samples: Vec<u16> = (0..=65_535).collect();
        let (mut linear, mut back) = (vec![[0.0; 1]; samples.len()], vec![0u16; samples.len()]);
        for light in [Light::Linear, Light::Plain] {
            read(&samples, &mut linear, Channels::Gray, light);
            write(&linear, &mut back, Channels::Gray, light);
            assert!(back == samples);
        }
    }

    #[test]
    fn overshoot_leaves_a_colour_as_it_is() {
        let color = [200u8, 100, 3];
        let mut linear = [[0.0; 4]];
        read(&[200u8, 100, 3, 255], &mut linear, Channels::Rgba, Light::Linear);
        for alpha in [1.2f32, 1.0, 0.5, 0.01] {
            let mut pixel = [0u8; 4];
            write(&[linear[0].map(|sample| sample * alpha)], &mut pixel, Channels::Rgba, Light::Linear);
            assert_eq!(pixel[..3], color, "{alpha}");
        }
        for alpha in [-0.1f32, 0.0, 0.001] {
            let mut pixel = [9u8; 4];
            write(&[linear[0].map(|sample| sample * alpha)], &mut pixel, Channels::Rgba, Light::Linear);
            assert_eq!(pixel, [0; 4], "{alpha}");
        }
    }
}
