//! Position of a crop: the part with most detail, or the likely subject. Both examine a small image, along the axis
//! on which a crop of the requested ratio can move. Floats are only added, multiplied and rooted, in one order, so
//! results do not depend on the CPU.
//!
//! The approach follows libvips' `smartcrop` (whose "attention" is from smartcrop.js). Code and weights are our own,
//! chosen by comparing crops of photographs to squares and banners.

mod small;

use super::anchor::Anchor;
use crate::pipeline::operation::canvas::Rect;
use crate::pipeline::{Deadline, Error, Raster, Size};
use small::Small;

/// Axis on which a crop can move, and its lengths.
struct CropAxis {
    horizontal: bool,
    /// Pixels of the small image along the axis.
    side: usize,
    /// Pixels along the axis that are kept.
    kept: usize,
}

impl CropAxis {
    fn new(part: Size, small: Size, target: Size) -> CropAxis {
        let wide = u64::from(part.w) * u64::from(target.h);
        let high = u64::from(part.h) * u64::from(target.w);
        let side = if wide > high { small.w } else { small.h };
        let kept = (2 * u64::from(side) * wide.min(high) + wide.max(high)) / (2 * wide.max(high));
        CropAxis { horizontal: wide > high, side: side as usize, kept: (kept as usize).clamp(1, side as usize) }
    }

    /// Centre of the crop that begins at pixel `first`.
    fn anchor(&self, first: usize) -> Anchor {
        let centre = (first as f64 + self.kept as f64 / 2.0) / self.side as f64;
        if self.horizontal { Anchor::at(centre, 0.5) } else { Anchor::at(0.5, centre) }
    }

    /// Indices of the pixels in the line across the axis at `at`.
    fn line(&self, small: Size, at: usize) -> impl Iterator<Item = usize> + use<> {
        let (w, h, horizontal) = (small.w as usize, small.h as usize, self.horizontal);
        (0..if horizontal { h } else { w })
            .map(move |across| if horizontal { across * w + at } else { at * w + across })
    }
}

/// Longer side of the image whose histograms are compared.
const DETAIL_SIDE: u32 = 256;
/// Largest number of slices to remove.
const SLICES: usize = 16;

/// Centre of the part with most detail. Repeatedly removes the slice with less entropy from either end of the axis,
/// until the rest fits.
pub(super) fn busiest(raster: &Raster, part: Rect, target: Size, deadline: &Deadline) -> Result<Anchor, Error> {
    let small = Small::new(raster, part, DETAIL_SIDE, deadline)?;
    let axis = CropAxis::new(part.size, small.size, target);
    let order = |from: usize, to: usize| {
        let mut histogram = [0u32; 64];
        for place in (from..to).flat_map(|at| axis.line(small.size, at)) {
            histogram[(small.luma(place) * 63.99) as usize] += 1;
        }
        histogram.iter().map(|count| u64::from(*count) * log2(*count)).sum::<u64>()
    };
    let (mut first, mut end) = (0, axis.side);
    let slice = (axis.side - axis.kept).div_ceil(SLICES);
    while end - first > axis.kept {
        let slice = slice.min(end - first - axis.kept);
        // Both slices have equally many pixels, so the more ordered one has less entropy.
        let (start, tail) = (order(first, first + slice), order(end - slice, end));
        let near_start = first > axis.side - end;
        if start > tail || (start == tail && !near_start) {
            first += slice;
        } else {
            end -= slice;
        }
    }
    Ok(axis.anchor(first))
}

/// Binary logarithm with 16 fractional bits, by repeated squaring; 0 for 0, which is never added.
fn log2(count: u32) -> u64 {
    let Some(whole) = count.checked_ilog2() else { return 0 };
    let mut mantissa = u64::from(count) << (31 - whole);
    let mut log = u64::from(whole);
    for _ in 0..16 {
        mantissa = (mantissa * mantissa) >> 31;
        let carry = mantissa >> 32;
        mantissa >>= carry;
        log = log << 1 | carry;
    }
    log
}

/// Longer side of the image whose pixels are scored; small enough to even out texture.
const SUBJECT_SIDE: u32 = 48;
/// Divisor of the pixels across the axis that count, strongest first; a subject seldom fills the image.
const STRONGEST: usize = 4;
/// Discount of the lowest line relative to the uppermost, since heads are above bodies.
const DOWNWARDS: f64 = 0.5;
/// Discount of the ends of the part relative to its middle.
const OUTWARDS: f64 = 0.8;

/// Centre of the likely subject: the part with most edges, skin and saturated colours around its middle.
pub(super) fn subject(raster: &Raster, part: Rect, target: Size, deadline: &Deadline) -> Result<Anchor, Error> {
    let small = Small::new(raster, part, SUBJECT_SIDE, deadline)?;
    let axis = CropAxis::new(part.size, small.size, target);
    let (lines, weights) = (line_scores(&small, &axis), centre_weights(axis.kept));
    let score = |lines: &[f64]| lines.iter().zip(&weights).map(|(line, weight)| line * weight).sum::<f64>();
    let first = most_central_best(lines.windows(axis.kept).map(score), axis.side - axis.kept);
    Ok(axis.anchor(first))
}

/// Score of each line across the axis: the sum of its strongest pixels. Lower lines are discounted if the axis is vertical.
fn line_scores(small: &Small, axis: &CropAxis) -> Vec<f64> {
    let scores = scores(small);
    let line = |at: usize| {
        let mut line: Vec<f64> = axis.line(small.size, at).map(|place| scores[place]).collect();
        line.sort_unstable_by(|one, other| other.total_cmp(one));
        let strongest = line.iter().take(line.len().div_ceil(STRONGEST)).sum::<f64>();
        if axis.horizontal { strongest } else { strongest * (1.0 - DOWNWARDS * at as f64 / axis.side as f64) }
    };
    (0..axis.side).map(line).collect()
}

/// Weight of each line of a crop: 1 in its middle, less towards its ends.
fn centre_weights(kept: usize) -> Vec<f64> {
    let weight = |place: usize| {
        let from_middle = (2 * place + 1) as f64 / kept as f64 - 1.0;
        1.0 - OUTWARDS * from_middle * from_middle
    };
    (0..kept).map(weight).collect()
}

/// Index of the highest score; of equal ones, the index nearest to the middle of `0..=last`.
fn most_central_best(scores: impl Iterator<Item = f64>, last: usize) -> usize {
    let off_centre = |first: usize| (2 * first).abs_diff(last);
    let best = scores.enumerate().reduce(|best, next| {
        let nearer = next.1 == best.1 && off_centre(next.0) < off_centre(best.0);
        if next.1 > best.1 || nearer { next } else { best }
    });
    best.map_or(0, |(first, _)| first)
}

const SKIN_WEIGHT: f64 = 2.0;
const SATURATION_WEIGHT: f64 = 0.5;

/// Score of every pixel: edges, skin near edges (a face, not a wall) and saturation, multiplied by alpha.
fn scores(small: &Small) -> Vec<f64> {
    let edges: Vec<f64> = (0..small.pixels.len()).map(|place| (edge(small, place) * 2.5).min(0.5)).collect();
    let score = |place: usize| {
        let [r, g, b, a] = small.pixel(place);
        let around = (0.25 + 2.0 * mean_around(&edges, small.size, place)).min(1.0);
        let saturation = r.max(g).max(b) - r.min(g).min(b);
        (edges[place] + SKIN_WEIGHT * skin([r, g, b]) * around + SATURATION_WEIGHT * saturation) * a
    };
    (0..small.pixels.len()).map(score).collect()
}

/// Magnitude of the Laplacian of luma: the difference from the four neighbours.
fn edge(small: &Small, place: usize) -> f64 {
    let (w, h) = (small.size.w as usize, small.size.h as usize);
    let (x, y) = (place % w, place / w);
    let luma = |x: usize, y: usize| small.luma(y.min(h - 1) * w + x.min(w - 1));
    let around = luma(x.saturating_sub(1), y) + luma(x + 1, y) + luma(x, y.saturating_sub(1)) + luma(x, y + 1);
    (4.0 * luma(x, y) - around).abs()
}

/// Mean of the pixels within two of a pixel, cut at the edges of the image.
fn mean_around(values: &[f64], size: Size, place: usize) -> f64 {
    let (w, h) = (size.w as usize, size.h as usize);
    let (x, y) = (place % w, place / w);
    let near = |at: usize, side: usize| at.saturating_sub(2)..(at + 3).min(side);
    let (columns, rows) = (near(x, w), near(y, h));
    let count = (columns.len() * rows.len()) as f64;
    rows.flat_map(|y| columns.clone().map(move |x| values[y * w + x])).sum::<f64>() / count
}

/// Similarity of a colour to skin in its direction in RGB, since shades of skin differ mostly in brightness (vector
/// of smartcrop.js).
fn skin([r, g, b]: [f64; 3]) -> f64 {
    const SKIN: [f64; 3] = [0.78, 0.57, 0.44];
    let length = (r * r + g * g + b * b).sqrt();
    if !(0.08..0.95).contains(&small::luma([r, g, b])) {
        return 0.0;
    }
    let distance = [r, g, b].iter().zip(SKIN).map(|(v, skin)| (v / length - skin) * (v / length - skin)).sum::<f64>();
    (1.0 - distance.sqrt() / 0.2).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_that_of_base_two() {
        for count in (1..=65_536u32).step_by(37) {
            let exact = f64::from(count).log2() * 65_536.0;
            assert!((log2(count) as f64 - exact).abs() <= 2.0, "{count}");
        }
        assert_eq!(log2(65_536), 16 << 16);
    }
}
