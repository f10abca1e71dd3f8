//! Convolution with a sampled Gaussian: each row horizontally, then the surrounding rows together.

use crate::pipeline::operation::window::{self, Reach, Rows, pad, windows};
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Deadline, Error};

/// Pixels on each side; the weights cut off sum to less than 0.05 %.
fn reach(sigma: f64) -> usize {
    (3.5 * sigma).ceil() as usize
}

/// Weights of the middle and of the pixels on each side. They use only multiplications, since the system's
/// exponential may differ in its last bit between CPUs.
fn weights(sigma: f64) -> Vec<f32> {
    // w(k + 1) = w(k) q^(2k + 1) with q = exp(-1 / 2 sigma^2).
    let q = exp_of_minus(1.0 / (2.0 * sigma * sigma));
    let (mut weight, mut factor) = (1.0, q);
    let mut weights = vec![weight];
    for _ in 0..reach(sigma) {
        weight *= factor;
        factor *= q * q;
        weights.push(weight);
    }
    let sum = weights[0] + 2.0 * weights[1..].iter().sum::<f64>();
    weights.into_iter().map(|weight| (weight / sum) as f32).collect()
}

/// exp(-t) for t of at most 8, by the Taylor series of its 16th root.
fn exp_of_minus(t: f64) -> f64 {
    let t = t / 16.0;
    let root = (1..=20).rev().fold(1.0, |sum, n| 1.0 - t / f64::from(n) * sum);
    (0..4).fold(root, |power, _| power * power)
}

/// Bytes that [`blurred`] holds.
pub(super) fn working_bytes(rows: Rows, sigma: f64) -> u64 {
    let padded = (rows.w + 2 * reach(sigma)) * rows.count;
    let pairs = (reach(sigma) + 1) * size_of::<[&[f32]; 2]>();
    let row = rows.w * rows.count;
    window::working_bytes::<f32>(rows, Reach { x: 0, y: reach(sigma) }) + (4 * (padded + row) + pairs) as u64
}

/// Blurs the rows that `source` writes, and calls `each` with the results.
pub(super) fn blurred(
    rows: Rows,
    sigma: f64,
    deadline: &Deadline,
    mut source: impl FnMut(usize, &mut [f32]),
    mut each: impl FnMut(usize, &[f32]),
) -> Result<(), Error> {
    let (weights, reach) = (weights(sigma), reach(sigma));
    let length = rows.w * rows.count;
    let (mut padded, mut row) = (try_zeroed((rows.w + 2 * reach) * rows.count)?, try_zeroed(length)?);
    let sidewards = |y: usize, target: &mut [f32]| {
        source(y, &mut padded[reach * rows.count..][..length]);
        pad(&mut padded, reach, rows.count);
        let from = |x: usize| &padded[x * rows.count..][..length];
        let pairs: Vec<_> = (0..=reach).map(|k| [from(reach - k), from(reach + k)]).collect();
        weighted(target, &weights, &pairs);
    };
    windows(rows, Reach { x: 0, y: reach }, deadline, sidewards, |y, window| {
        let pairs: Vec<_> = (0..=reach as isize).map(|k| [window.row(-k), window.row(k)]).collect();
        weighted(&mut row, &weights, &pairs);
        each(y, &row);
    })
}

/// Sets each sample of `target` to the weighted sum of the pairs of samples at its position; the first pair holds one
/// row twice.
fn weighted(target: &mut [f32], weights: &[f32], pairs: &[[&[f32]; 2]]) {
    // Number of sums that stay in registers.
    const LANES: usize = 16;
    let (blocks, rest) = target.as_chunks_mut::<LANES>();
    let rest_at = blocks.len() * LANES;
    for (place, block) in blocks.iter_mut().enumerate() {
        *block = sums(place * LANES, weights, pairs);
    }
    for (place, one) in rest.iter_mut().enumerate() {
        [*one] = sums(rest_at + place, weights, pairs);
    }
}

fn sums<const N: usize>(at: usize, weights: &[f32], pairs: &[[&[f32]; 2]]) -> [f32; N] {
    let lanes = |row: &[f32]| *row[at..].first_chunk::<N>().expect("rows are as long as the target");
    let mut sums = lanes(pairs[0][0]).map(|value| value * weights[0]);
    for (weight, [one, other]) in weights.iter().zip(pairs).skip(1) {
        let (one, other) = (lanes(one), lanes(other));
        for lane in 0..N {
            sums[lane] += weight * (one[lane] + other[lane]);
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_a_gaussian() {
        for sigma in [0.3, 0.5, 1.0, 3.5] {
            let weights = weights(sigma);
            let sum = weights[0] + 2.0 * weights[1..].iter().sum::<f32>();
            assert!((sum - 1.0).abs() < 1e-6, "{sum}");
            for (k, weight) in weights.iter().enumerate() {
                let expected = (-((k * k) as f64) / (2.0 * sigma * sigma)).exp() * f64::from(weights[0]);
                assert!((f64::from(*weight) - expected).abs() < 1e-7, "{sigma}: {k}");
            }
        }
    }
}
