//! A turn by any angle: every pixel of the canvas looks up its place in the source, in linear light with premultiplied alpha.
//! Between four by four pixels weighed by Catmull-Rom (Keys, "Cubic Convolution Interpolation", 1981, a = -1/2). The image's edges
//! are smoothed by the share of a pixel that it covers, mixed with the background in linear light. Whole numbers throughout, but for
//! where a row begins, so that no result depends on the CPU.

use std::sync::LazyLock;

use crate::pipeline::color::{Sample, encode_row, linear_row};
use crate::pipeline::operation::canvas::{filled, pixel};
use crate::pipeline::operation::sine::{cosine_of_turns, sine_of_turns};
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Error, Raster, Samples, Shape, Size, Watch};

/// How a source lies on its canvas.
pub(super) struct Turn {
    source: Size,
    pub canvas: Size,
    sine: f64,
    cosine: f64,
}

/// A corner that reaches this little into one more row of pixels is not worth it: 1/256 of it would not be seen.
const CORNER: f64 = 1.0 / 256.0;

impl Turn {
    /// A clockwise turn by hundredths of a degree.
    pub fn new(source: Size, angle: i64) -> Turn {
        let turns = angle as f64 / 18_000.0;
        let (sine, cosine) = (sine_of_turns(turns), cosine_of_turns(turns));
        let (w, h) = (f64::from(source.w), f64::from(source.h));
        let side = |a: f64, b: f64| (a.abs() + b.abs() - CORNER).ceil().max(1.0) as u32;
        let canvas = Size::new(side(w * cosine, h * sine), side(w * sine, h * cosine));
        Turn { source, canvas, sine, cosine }
    }

    /// Bytes held beside source and result: the source in linear light, and a row of the canvas.
    pub fn working_bytes(&self, source: Shape) -> u64 {
        2 * source.channels.count() as u64 * (source.size.pixels() + u64::from(self.canvas.w))
    }

    /// Where the centre of a canvas pixel lies in the source, in pixels from its upper left corner.
    fn source_of(&self, x: u32, y: u32) -> (f64, f64) {
        let from_centre = |at: u32, side: u32| f64::from(at) + 0.5 - f64::from(side) / 2.0;
        let (x, y) = (from_centre(x, self.canvas.w), from_centre(y, self.canvas.h));
        let (w, h) = (f64::from(self.source.w), f64::from(self.source.h));
        (x * self.cosine + y * self.sine + w / 2.0, y * self.cosine - x * self.sine + h / 2.0)
    }
}

/// Places between two pixels at which weights are held.
const PHASES: usize = 1024;
/// The sum of four weights. Two sums of 16-bit samples, weights of both signs, stay below 2^31: 1.25 * 1.25 * 2^16 * 2^14.
const ONE: i32 = 1 << ONE_BITS;
const ONE_BITS: u32 = 14;

static WEIGHTS: LazyLock<Vec<[i32; 4]>> = LazyLock::new(|| {
    let weights = |phase: usize| {
        let t = phase as f64 / PHASES as f64;
        let near = |t: f64| (1.5 * t - 2.5) * t * t + 1.0;
        let far = |t: f64| ((-0.5 * t + 2.5) * t - 4.0) * t + 2.0;
        let mut weights =
            [far(1.0 + t), near(t), near(1.0 - t), far(2.0 - t)].map(|weight| (weight * f64::from(ONE)).round() as i32);
        // One colour stays just that colour: what rounding took goes to the nearer pixel.
        weights[if t < 0.5 { 1 } else { 2 }] += ONE - weights.iter().sum::<i32>();
        weights
    };
    (0..PHASES).map(weights).collect()
});

/// Turns a raster whose channels hold the background.
pub(super) fn turned(raster: &Raster, turn: &Turn, background: [u8; 4], watch: &Watch) -> Result<Raster, Error> {
    let shape = raster.shape();
    let samples = match raster.samples() {
        Samples::U8(samples) => Samples::U8(turned_samples(samples, shape, turn, background, watch)?),
        Samples::U16(samples) => Samples::U16(turned_samples(samples, shape, turn, background, watch)?),
    };
    Ok(Raster::new(turn.canvas, shape.channels, samples))
}

fn turned_samples<S: Sample>(
    samples: &[S],
    shape: Shape,
    turn: &Turn,
    background: [u8; 4],
    watch: &Watch,
) -> Result<Vec<S>, Error> {
    let (count, alpha) = (shape.channels.count(), shape.channels.alpha());
    let mut source = try_zeroed::<u16>(samples.len())?;
    linear_row(samples, &mut source, count, alpha);
    let background = pixel::<S>(shape.channels, background);
    let mut target = filled(turn.canvas, &background)?;
    let mut linear_background = vec![0; count];
    linear_row(&background, &mut linear_background, count, alpha);
    let mut row = try_zeroed::<u16>(turn.canvas.w as usize * count)?;
    for (y, target) in target.chunks_exact_mut(turn.canvas.w as usize * count).enumerate() {
        if y % 16 == 0 {
            watch.check()?;
        }
        let covered = match count {
            1 => fill_row::<1>(&source, turn, y as u32, &linear_background, &mut row),
            2 => fill_row::<2>(&source, turn, y as u32, &linear_background, &mut row),
            3 => fill_row::<3>(&source, turn, y as u32, &linear_background, &mut row),
            _ => fill_row::<4>(&source, turn, y as u32, &linear_background, &mut row),
        };
        let samples = covered.start * count..covered.end * count;
        encode_row(&row[samples.clone()], &mut target[samples], count, alpha);
    }
    Ok(target)
}

/// Fills the part of a row that the image covers, and says which that is.
fn fill_row<const N: usize>(
    source: &[u16],
    turn: &Turn,
    y: u32,
    background: &[u16],
    row: &mut [u16],
) -> std::ops::Range<usize> {
    let (pixels, _) = source.as_chunks::<N>();
    let mut covered = 0..0;
    for (x, target) in row.as_chunks_mut::<N>().0.iter_mut().enumerate() {
        let (u, v) = turn.source_of(x as u32, y);
        let share = coverage(u, turn.source.w) * coverage(v, turn.source.h) / COVERED;
        if share == 0 {
            if covered.is_empty() { continue } else { break }
        }
        covered = if covered.is_empty() { x..x + 1 } else { covered.start..x + 1 };
        *target = interpolated(pixels, turn.source, u, v);
        for (target, background) in target.iter_mut().zip(background) {
            let mixed = u32::from(*target) * share + u32::from(*background) * (COVERED - share);
            *target = ((mixed + COVERED / 2) / COVERED) as u16;
        }
    }
    covered
}

/// A pixel that the image covers in full.
const COVERED: u32 = 256;

/// How much of a pixel around this place is inside of a side.
fn coverage(at: f64, side: u32) -> u32 {
    let inside = at.min(f64::from(side) - at) + 0.5;
    (inside * f64::from(COVERED)).round().clamp(0.0, f64::from(COVERED)) as u32
}

/// The colour at a place; beyond its edges the image goes on as it ends.
fn interpolated<const N: usize>(pixels: &[[u16; N]], size: Size, u: f64, v: f64) -> [u16; N] {
    let (columns, horizontal) = taps(u, size.w);
    let (rows, vertical) = taps(v, size.h);
    let mut sums = [ONE / 2; N];
    for (row, vertical) in rows.into_iter().zip(vertical) {
        let row = &pixels[row * size.w as usize..][..size.w as usize];
        let mut across = [ONE / 2; N];
        for (column, horizontal) in columns.into_iter().zip(horizontal) {
            for (sum, sample) in across.iter_mut().zip(row[column]) {
                *sum += i32::from(sample) * horizontal;
            }
        }
        for (sum, across) in sums.iter_mut().zip(across) {
            *sum += (across >> ONE_BITS) * vertical;
        }
    }
    sums.map(|sum| (sum >> ONE_BITS).clamp(0, 65_535) as u16)
}

/// The four pixels along one side around a place, and their weights.
fn taps(at: f64, side: u32) -> ([usize; 4], &'static [i32; 4]) {
    let phases = (at - 0.5) * PHASES as f64;
    let phases = phases.round() as i64;
    let (first, phase) = (phases.div_euclid(PHASES as i64) - 1, phases.rem_euclid(PHASES as i64));
    let last = i64::from(side) - 1;
    ([0, 1, 2, 3].map(|tap| (first + tap).clamp(0, last) as usize), &WEIGHTS[phase as usize])
}
