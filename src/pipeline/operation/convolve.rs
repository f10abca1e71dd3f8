//! `convolve`: a kernel given by the client.

use super::window::{self, Reach, RowWindow, Rows, windows};
use super::{Context, Cost, Operation, with_first};
use crate::pipeline::color::{self, Sample};
use crate::pipeline::invalid::invalid;
use crate::pipeline::param::{Args, Kind, Param, Value};
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Deadline, Error, Raster, Samples, Shape};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "convolve",
    doc: "Convolution of each pixel with its neighbours (sharp's `convolve`, ImageMagick's `-convolve`), on \
          sRGB-encoded samples with premultiplied alpha. The kernel is not flipped. Edge pixels are extended \
          outwards.",
    params: &[Param {
        name: "kernel",
        keys: &["convolve"],
        kind: Kind::Numbers { counts: &[9, 25], max: 10_000_000, places: 4 },
        default: None,
        doc: "3 x 3 or 5 x 5 weights, row by row. They are divided by their sum. If the sum is 0, middle gray is added \
              and alpha is unchanged; a sum that is nearly 0 relative to the weights is refused.",
    }],
    example: "w=300&convolve=0,-1,0,-1,5,-1,0,-1,0",
    revision: 1,
    canonical,
    resolve: None,
    plan,
    apply,
};

/// Canonical arguments: a kernel whose weights are 0 except for the middle one changes nothing.
fn canonical(args: Args) -> Result<Option<Args>, Error> {
    if let Some(value @ Value::Numbers(weights)) = args.get("kernel")
        && cancels(weights)
    {
        let allowed = format!("weights with a sum of 0, or of at least 1/{CANCELS} of what it is without signs");
        return Err(invalid("kernel", &args.params()[0].kind.print(value), allowed));
    }
    Ok(with_first(args)?.filter(|args| !kernel(args).is_identity()))
}

/// Inverse of the smallest accepted sum of weights, relative to the sum of their magnitudes. Sums of 32-bit floats are off
/// by 2^-24 of the latter; divided by a thousandth of it, the error is 1/20 of an 8-bit level.
const CANCELS: i64 = 1_000;

/// Whether the sum of the weights is only a rounding error, and so unusable as a divisor.
fn cancels(weights: &[i64]) -> bool {
    let (sum, size) = (weights.iter().sum::<i64>().abs(), weights.iter().map(|weight| weight.abs()).sum::<i64>());
    sum != 0 && sum * CANCELS < size
}

fn plan(shape: Shape, args: &Args) -> Result<Cost, Error> {
    Ok(Cost::new(shape, working_bytes(shape, &kernel(args))))
}

fn apply(raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    convolved(raster, &kernel(args), context.deadline)
}

fn kernel(args: &Args) -> SquareKernel {
    match args.get("kernel") {
        Some(Value::Numbers(weights)) => SquareKernel::new(weights),
        _ => SquareKernel::new(&[ONE]),
    }
}

/// Weight 1 in the parameter's fixed-point scale.
pub(super) const ONE: i64 = 10_000;

/// A square of weights.
pub(super) struct SquareKernel {
    side: usize,
    /// Weights, divided by their sum.
    weights: Vec<f32>,
    /// Whether the sum of the weights is 0.
    around_gray: bool,
}

impl SquareKernel {
    /// A kernel of 1, 9 or 25 weights, scaled by [`ONE`].
    pub fn new(weights: &[i64]) -> SquareKernel {
        let sum: i64 = weights.iter().sum();
        let divisor = if sum == 0 { ONE } else { sum } as f64;
        let side = weights.len().isqrt();
        let weights = weights.iter().map(|weight| (*weight as f64 / divisor) as f32).collect();
        SquareKernel { side, weights, around_gray: sum == 0 }
    }

    fn is_identity(&self) -> bool {
        let middle = self.weights.len() / 2;
        self.weights.iter().enumerate().all(|(place, weight)| (place == middle) == (*weight != 0.0))
    }

    fn reach(&self) -> Reach {
        Reach { x: self.side / 2, y: self.side / 2 }
    }
}

/// Bytes that [`convolved`] holds in addition to source and result.
pub(super) fn working_bytes(shape: Shape, kernel: &SquareKernel) -> u64 {
    let rows = Rows::of(shape);
    let row = (rows.w * rows.count * size_of::<f32>()) as u64;
    let taps = kernel.weights.len() * size_of::<(f32, &[f32])>();
    window::working_bytes::<f32>(rows, kernel.reach()) + row + taps as u64
}

/// Convolves a raster.
pub(super) fn convolved(raster: Raster, kernel: &SquareKernel, deadline: &Deadline) -> Result<Raster, Error> {
    let samples = match raster.samples() {
        Samples::U8(samples) => Samples::U8(convolved_samples(samples, &raster, kernel, deadline)?),
        Samples::U16(samples) => Samples::U16(convolved_samples(samples, &raster, kernel, deadline)?),
    };
    Ok(Raster::new(raster.size(), raster.channels(), samples))
}

fn convolved_samples<S: Sample>(
    samples: &[S],
    raster: &Raster,
    kernel: &SquareKernel,
    deadline: &Deadline,
) -> Result<Vec<S>, Error> {
    let (rows, channels) = (Rows::of(raster.shape()), raster.channels());
    let transparent = channels.alpha() && !color::opaque(raster);
    let length = rows.w * rows.count;
    let mut sums = try_zeroed(length)?;
    // Alpha is kept where it is not written below.
    let mut result = samples.to_vec();
    let source =
        |y: usize, row: &mut [f32]| premultiply(&samples[y * length..][..length], row, rows.count, transparent);
    windows(rows, kernel.reach(), deadline, source, |y, window| {
        weigh(&mut sums, &kernel.taps(window, rows.count, length));
        let target = &mut result[y * length..][..length];
        match (kernel.around_gray, transparent) {
            (true, _) => around_gray(&sums, target, rows.count, channels.alpha()),
            (false, true) => straight(&sums, target, rows.count),
            (false, false) => opaque(&sums, target, rows.count, channels.alpha()),
        }
    })?;
    Ok(result)
}

/// Converts samples to floats, with colours multiplied by alpha.
fn premultiply<S: Sample>(source: &[S], target: &mut [f32], count: usize, transparent: bool) {
    let number = |sample: S| sample.into() as f32;
    target.iter_mut().zip(source).for_each(|(target, sample)| *target = number(*sample));
    if transparent {
        for pixel in target.chunks_exact_mut(count) {
            let alpha = pixel[count - 1] / number(S::MAX);
            pixel[..count - 1].iter_mut().for_each(|color| *color *= alpha);
        }
    }
}

impl SquareKernel {
    /// Weights with the rows that they apply to, each row from the sample under the first of `length` results.
    fn taps<'a>(&self, window: &'a RowWindow<f32>, count: usize, length: usize) -> Vec<(f32, &'a [f32])> {
        let reach = self.reach().y as isize;
        let row = |place: usize| {
            let (dy, x) = ((place / self.side) as isize - reach, place % self.side);
            &window.row(dy)[x * count..][..length]
        };
        let weights = self.weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0);
        weights.map(|(place, weight)| (*weight, row(place))).collect()
    }
}

/// Sets each sample of `target` to the weighted sum of the samples at its position.
fn weigh(target: &mut [f32], taps: &[(f32, &[f32])]) {
    // Number of sums that stay in registers.
    const LANES: usize = 16;
    let (blocks, rest) = target.as_chunks_mut::<LANES>();
    let rest_at = blocks.len() * LANES;
    for (place, block) in blocks.iter_mut().enumerate() {
        *block = sums(place * LANES, taps);
    }
    for (place, one) in rest.iter_mut().enumerate() {
        [*one] = sums(rest_at + place, taps);
    }
}

fn sums<const N: usize>(at: usize, taps: &[(f32, &[f32])]) -> [f32; N] {
    let mut sums = [0.0; N];
    for (weight, row) in taps {
        let values = row[at..].first_chunk::<N>().expect("rows are as long as the target");
        for lane in 0..N {
            sums[lane] += weight * values[lane];
        }
    }
    sums
}

/// A value as a sample, rounded and clamped to its range.
fn sample<S: Sample>(value: f32) -> S {
    let full: u32 = S::MAX.into();
    S::try_from(((value + 0.5) as u32).min(full)).unwrap_or(S::MAX)
}

fn opaque<S: Sample>(sums: &[f32], target: &mut [S], count: usize, alpha: bool) {
    if !alpha {
        return target.iter_mut().zip(sums).for_each(|(target, sum)| *target = sample(*sum));
    }
    for (target, sums) in target.chunks_exact_mut(count).zip(sums.chunks_exact(count)) {
        target[..count - 1].iter_mut().zip(sums).for_each(|(target, sum)| *target = sample(*sum));
    }
}

fn straight<S: Sample>(sums: &[f32], target: &mut [S], count: usize) {
    let full = S::MAX.into() as f32;
    for (target, sums) in target.chunks_exact_mut(count).zip(sums.chunks_exact(count)) {
        let alpha = sums[count - 1].min(full);
        target[count - 1] = sample(alpha);
        let straight = |sum: f32| if alpha > 0.0 { sample(sum / alpha * full) } else { S::default() };
        target[..count - 1].iter_mut().zip(sums).for_each(|(target, sum)| *target = straight(*sum));
    }
}

fn around_gray<S: Sample>(sums: &[f32], target: &mut [S], count: usize, alpha: bool) {
    // 128 or 32768, the rounded half of the range.
    let half = S::MAX.into().div_ceil(2) as f32;
    let colors = if alpha { count - 1 } else { count };
    for (target, sums) in target.chunks_exact_mut(count).zip(sums.chunks_exact(count)) {
        target[..colors].iter_mut().zip(sums).for_each(|(target, sum)| *target = sample(sum + half));
    }
}
