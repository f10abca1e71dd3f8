//! `noise`: reproducible grain.

use super::{Context, Cost, Operation};
use crate::pipeline::color::Sample;
use crate::pipeline::param::{Args, Kind, Param, Value};
use crate::pipeline::{Error, Raster, Samples};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "noise",
    doc: "Gaussian noise on each channel except alpha (libvips' `gaussnoise`), on sRGB-encoded samples. It depends \
          only on the seed and the position of the pixel (SplitMix64), so equal requests give equal images.",
    params: &[
        Param {
            name: "amount",
            keys: &["noise"],
            kind: Kind::Integer { min: 0, max: 100, step: 1, unit: "%" },
            default: Some(Value::Number(0)),
            doc: "Standard deviation, in percent of the full range.",
        },
        Param {
            name: "seed",
            keys: &[],
            kind: Kind::Integer { min: 0, max: u32::MAX as i64, step: 1, unit: "" },
            default: Some(Value::Number(0)),
            doc: "Seed; different seeds give different noise.",
        },
    ],
    example: "w=300&noise=8,1",
    revision: 1,
    canonical: |args| Ok(Some(args).filter(|args| amount(args) > 0)),
    resolve: None,
    plan: |shape, _| Ok(Cost::new(shape, 0)),
    apply,
};

fn amount(args: &Args) -> i64 {
    args.number("amount").unwrap_or(0)
}

fn apply(raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    let (size, channels) = (raster.size(), raster.channels());
    // The parameter's kind keeps it within 32 bits.
    let seed = args.number("seed").unwrap_or(0) as u64;
    let (count, colors) = (channels.count(), channels.count() - usize::from(channels.alpha()));
    let row = size.w as usize * count;
    let samples = match raster.into_samples() {
        Samples::U8(mut samples) => {
            for (y, row) in samples.chunks_exact_mut(row).enumerate() {
                context.deadline.check()?;
                add(row, [count, colors], amount(args), start(seed, y));
            }
            Samples::U8(samples)
        }
        Samples::U16(mut samples) => {
            for (y, row) in samples.chunks_exact_mut(row).enumerate() {
                context.deadline.check()?;
                add(row, [count, colors], amount(args), start(seed, y));
            }
            Samples::U16(samples)
        }
    };
    Ok(Raster::new(size, channels, samples))
}

/// State of the generator at the start of a row.
fn start(seed: u64, y: usize) -> u64 {
    mixed(seed << 32 | y as u64)
}

/// Increment of SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", 2014).
const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;

fn mixed(state: u64) -> u64 {
    let state = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ state >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ state >> 31
}

/// Adds noise with a standard deviation in hundredths of the full range.
fn add<S: Sample>(row: &mut [S], [count, colors]: [usize; 2], amount: i64, start: u64) {
    let full = i64::from(S::MAX.into());
    // Rounded once: the product with a number of at most 2040 fits into 64 bits.
    let factor = (amount * full * (1 << 16)) as f64 / (100.0 * DEVIATION);
    let factor = (factor + 0.5) as i64;
    let mut state = start;
    for pixel in row.chunks_exact_mut(count) {
        for sample in &mut pixel[..colors] {
            state = state.wrapping_add(INCREMENT);
            let noise = (gaussian(state) * factor + (1 << 15)) >> 16;
            let value = (i64::from((*sample).into()) + noise).clamp(0, full);
            *sample = S::try_from(value as u32).unwrap_or(S::MAX);
        }
    }
}

/// Sum of sixteen bytes minus its mean: nearly Gaussian by the central limit theorem, with a standard deviation of
/// [`DEVIATION`].
fn gaussian(state: u64) -> i64 {
    let sum = sum_of_bytes(mixed(state)) + sum_of_bytes(mixed(!state));
    sum as i64 - 2040
}

/// The square root of 16 (256^2 - 1) / 12.
const DEVIATION: f64 = 295.602_2;

fn sum_of_bytes(bytes: u64) -> u64 {
    let pairs = (bytes & 0x00ff_00ff_00ff_00ff) + (bytes >> 8 & 0x00ff_00ff_00ff_00ff);
    pairs.wrapping_mul(0x0001_0001_0001_0001) >> 48
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_gaussian() {
        let count = 200_000u64;
        let mut state = start(7, 0);
        let mut next = || {
            state = state.wrapping_add(INCREMENT);
            gaussian(state) as f64 / DEVIATION
        };
        let values: Vec<f64> = (0..count).map(|_| next()).collect();
        let mean = |power: i32| values.iter().map(|value| value.powi(power)).sum::<f64>() / count as f64;
        assert!(mean(1).abs() < 0.01, "{}", mean(1));
        assert!((mean(2) - 1.0).abs() < 0.02, "{}", mean(2));
        assert!(mean(3).abs() < 0.05, "{}", mean(3));
        assert!((mean(4) - 3.0).abs() < 0.15, "{}", mean(4));
        let neighbours = values.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / count as f64;
        assert!(neighbours.abs() < 0.01, "{neighbours}");
    }
}
