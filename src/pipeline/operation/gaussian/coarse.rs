//! A large Gaussian blur as a small one on a coarser grid: the image is scaled down with a cubic B-spline, blurred,
//! and scaled up with the same spline. All three kernels are nearly Gaussian, and variances of successive kernels add
//! up, so the one in the middle is chosen to make the sum the requested sigma squared. (M. Unser, "Splines: a perfect
//! fit for signal and image processing", IEEE Signal Processing Magazine, 1999.)

use super::separable;
use crate::pipeline::operation::window::Rows;
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Deadline, Error};

/// Cells of the grid beyond each edge of the image. The outermost cell covers only extended edge pixels, so clamping
/// the grid equals clamping the image.
const BEYOND: usize = 3;
/// Rows of the grid that one row of the image affects: four inside, and those beyond the edge.
const REACHED: usize = 8;

/// Number of cells along a side of `length` pixels.
fn cells(length: usize, step: usize) -> usize {
    length.div_ceil(step) + 2 * BEYOND
}

fn grid(rows: Rows, step: usize) -> Rows {
    Rows { w: cells(rows.w, step), h: cells(rows.h, step), ..rows }
}

/// Sigma of the blur on the grid, in cells: each spline contributes a variance of a third of a cell.
fn sigma_of_grid(sigma: f64, step: usize) -> f64 {
    let sigma = sigma / step as f64;
    (sigma * sigma - 2.0 / 3.0).sqrt()
}

/// Bytes that [`blurred`] holds.
pub(super) fn working_bytes(rows: Rows, sigma: f64, step: usize) -> u64 {
    let grid = grid(rows, step);
    let samples = 2 * grid.w * grid.h * grid.count + (REACHED + 2) * rows.w * rows.count;
    // Weights of pixels in cells, in both directions, and their starts.
    let weights = 8 * 4 * (rows.w + rows.h + 16 * step) + 64 * (grid.w + grid.h);
    (4 * samples + weights) as u64 + separable::working_bytes(grid, sigma_of_grid(sigma, step))
}

/// Blurs the rows that `source` writes, and calls `each` with the results.
pub(super) fn blurred(
    rows: Rows,
    sigma: f64,
    step: usize,
    deadline: &Deadline,
    source: impl FnMut(usize, &mut [f32]),
    each: impl FnMut(usize, &[f32]),
) -> Result<(), Error> {
    let grid = grid(rows, step);
    let length = grid.w * grid.count;
    let small = scaled_down(rows, grid, step, deadline, source)?;
    let mut small_blurred = try_zeroed(small.len())?;
    let read = |y: usize, row: &mut [f32]| row.copy_from_slice(&small[y * length..][..length]);
    let write = |y: usize, row: &[f32]| small_blurred[y * length..][..length].copy_from_slice(row);
    separable::blurred(grid, sigma_of_grid(sigma, step), deadline, read, write)?;
    drop(small);
    scaled_up(&small_blurred, rows, grid, step, deadline, each)
}

/// Cubic B-spline at `t` cells from its middle.
fn spline(t: f64) -> f64 {
    match t.abs() {
        t if t < 1.0 => (4.0 - 6.0 * t * t + 3.0 * t * t * t) / 6.0,
        t if t < 2.0 => (2.0 - t) * (2.0 - t) * (2.0 - t) / 6.0,
        _ => 0.0,
    }
}

/// Consecutive neighbours and their weights.
struct Taps {
    first: usize,
    weights: Vec<f32>,
}

/// Weights of pixels in each cell along a side; pixels beyond the edge repeat the edge.
fn taps_of_cells(length: usize, step: usize) -> Vec<Taps> {
    let taps = |cell: usize| {
        let (step, last) = (step as i64, length as i64 - 1);
        let start = (cell as i64 - BEYOND as i64) * step;
        let pixels = start - 2 * step..start + 3 * step;
        let first = pixels.start.clamp(0, last);
        let mut weights = vec![0.0; (pixels.end.clamp(0, last) - first + 1) as usize];
        for pixel in pixels {
            // Difference of both middles, in half pixels.
            let distance = (2 * pixel + 1) - (2 * start + step);
            weights[(pixel.clamp(0, last) - first) as usize] += spline(distance as f64 / (2 * step) as f64);
        }
        let weights = weights.into_iter().map(|weight| (weight / step as f64) as f32).collect();
        Taps { first: first as usize, weights }
    };
    (0..cells(length, step)).map(taps).collect()
}

/// First of four neighbouring cells and their weights, for each pixel along a side.
fn taps_of_pixels(length: usize, step: usize) -> Vec<(usize, [f32; 4])> {
    let taps = |pixel: usize| {
        // Distance of the pixel's middle from that of the first cell, in half pixels; both include the cells beyond
        // the edge.
        let from = 2 * pixel + 1 + 2 * BEYOND * step - step;
        let (below, past) = (from / (2 * step), (from % (2 * step)) as f64 / (2 * step) as f64);
        (below - 1, [past + 1.0, past, past - 1.0, past - 2.0].map(|t| spline(t) as f32))
    };
    (0..length).map(taps).collect()
}

/// Scales the image down to the grid. Each row of pixels is added to the rows of cells that it affects; a complete
/// row is then scaled horizontally.
fn scaled_down(
    rows: Rows,
    grid: Rows,
    step: usize,
    deadline: &Deadline,
    mut source: impl FnMut(usize, &mut [f32]),
) -> Result<Vec<f32>, Error> {
    let (columns, lines) = (taps_of_cells(rows.w, step), taps_of_cells(rows.h, step));
    let length = rows.w * rows.count;
    let (mut row, mut sums) = (try_zeroed(length)?, try_zeroed::<f32>(REACHED * length)?);
    let mut small = try_zeroed(grid.w * grid.h * grid.count)?;
    let mut complete = 0;
    for y in 0..rows.h {
        deadline.check()?;
        source(y, &mut row);
        for (cell, taps) in lines.iter().enumerate().skip(complete).take_while(|(_, taps)| taps.first <= y) {
            let sum = &mut sums[cell % REACHED * length..][..length];
            let weight = taps.weights[y - taps.first];
            sum.iter_mut().zip(&row).for_each(|(sum, value)| *sum += weight * value);
        }
        while lines.get(complete).is_some_and(|taps| taps.first + taps.weights.len() - 1 <= y) {
            let sum = &mut sums[complete % REACHED * length..][..length];
            let target = &mut small[complete * grid.w * grid.count..][..grid.w * grid.count];
            sidewards_down(sum, target, &columns, rows.count);
            sum.fill(0.0);
            complete += 1;
        }
    }
    Ok(small)
}

fn sidewards_down(source: &[f32], target: &mut [f32], columns: &[Taps], count: usize) {
    match count {
        1 => sidewards_down_of::<1>(source, target, columns),
        2 => sidewards_down_of::<2>(source, target, columns),
        3 => sidewards_down_of::<3>(source, target, columns),
        _ => sidewards_down_of::<4>(source, target, columns),
    }
}

fn sidewards_down_of<const COUNT: usize>(source: &[f32], target: &mut [f32], columns: &[Taps]) {
    let (source, target) = (source.as_chunks::<COUNT>().0, target.as_chunks_mut::<COUNT>().0);
    for (target, taps) in target.iter_mut().zip(columns) {
        let mut sums = [0.0; COUNT];
        for (weight, pixel) in taps.weights.iter().zip(&source[taps.first..]) {
            sums.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += weight * value);
        }
        *target = sums;
    }
}

/// Scales the grid up to the image. The four rows of cells around a row of pixels are added up; each is scaled
/// horizontally when first needed.
fn scaled_up(
    small: &[f32],
    rows: Rows,
    grid: Rows,
    step: usize,
    deadline: &Deadline,
    mut each: impl FnMut(usize, &[f32]),
) -> Result<(), Error> {
    let (columns, lines) = (taps_of_pixels(rows.w, step), taps_of_pixels(rows.h, step));
    let length = rows.w * rows.count;
    let (mut row, mut wide) = (try_zeroed::<f32>(length)?, try_zeroed(4 * length)?);
    let mut next = 0;
    for (y, (first, weights)) in lines.into_iter().enumerate() {
        deadline.check()?;
        for cell in next.max(first)..first + 4 {
            let source = &small[cell * grid.w * grid.count..][..grid.w * grid.count];
            sidewards_up(source, &mut wide[cell % 4 * length..][..length], &columns, rows.count);
        }
        next = first + 4;
        let [a, b, c, d] = [0, 1, 2, 3].map(|k| &wide[(first + k) % 4 * length..][..length]);
        for ((((target, a), b), c), d) in row.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *target = weights[0] * a + weights[1] * b + weights[2] * c + weights[3] * d;
        }
        each(y, &row);
    }
    Ok(())
}

fn sidewards_up(source: &[f32], target: &mut [f32], columns: &[(usize, [f32; 4])], count: usize) {
    match count {
        1 => sidewards_up_of::<1>(source, target, columns),
        2 => sidewards_up_of::<2>(source, target, columns),
        3 => sidewards_up_of::<3>(source, target, columns),
        _ => sidewards_up_of::<4>(source, target, columns),
    }
}

fn sidewards_up_of<const COUNT: usize>(source: &[f32], target: &mut [f32], columns: &[(usize, [f32; 4])]) {
    let (source, target) = (source.as_chunks::<COUNT>().0, target.as_chunks_mut::<COUNT>().0);
    for (target, (first, weights)) in target.iter_mut().zip(columns) {
        let mut sums = [0.0; COUNT];
        for (weight, cell) in weights.iter().zip(&source[*first..]) {
            sums.iter_mut().zip(cell).for_each(|(sum, value)| *sum += weight * value);
        }
        *target = sums;
    }
}
