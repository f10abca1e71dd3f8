//! Coverage: the share of each pixel to keep, as rows of 0..=65535 that alpha is multiplied by. [`Rounded`] gives the
//! coverage of a box with rounded corners, which includes circles and ellipses. Computed in integers, so equal on
//! every machine.

use super::{Context, Cost};
use crate::pipeline::color::{self, Sample};
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Channels, Error, Raster, Samples, Shape, Size};

/// Rows between two checks of the deadline.
const BAND_ROWS: usize = 64;

/// Channels with alpha added.
pub fn with_alpha(channels: Channels) -> Channels {
    Channels::of(channels.gray(), true)
}

/// Shape and cost of multiplying alpha.
pub fn plan(shape: Shape) -> Cost {
    Cost::new(Shape { channels: with_alpha(shape.channels), ..shape }, u64::from(shape.size.w) * 2)
}

/// Multiplies alpha by the coverage that `row` writes for each row. Colours are kept even where nothing is visible,
/// since lossy formats mix them into their neighbours.
pub fn covered(raster: Raster, context: &Context<'_>, row: impl FnMut(u32, &mut [u16])) -> Result<Raster, Error> {
    let channels = with_alpha(raster.channels());
    let raster = color::to_channels(raster, channels)?;
    let size = raster.size();
    let samples = match raster.into_samples() {
        Samples::U8(samples) => Samples::U8(covered_samples(samples, size, channels, context, row)?),
        Samples::U16(samples) => Samples::U16(covered_samples(samples, size, channels, context, row)?),
    };
    Ok(Raster::new(size, channels, samples))
}

fn covered_samples<S: Sample>(
    mut samples: Vec<S>,
    size: Size,
    channels: Channels,
    context: &Context<'_>,
    mut row: impl FnMut(u32, &mut [u16]),
) -> Result<Vec<S>, Error> {
    let (w, count) = (size.w as usize, channels.count());
    let mut coverage: Vec<u16> = try_zeroed(w)?;
    for (y, pixels) in samples.chunks_exact_mut(w * count).enumerate() {
        if y % BAND_ROWS == 0 {
            context.deadline.check()?;
        }
        row(y as u32, &mut coverage);
        for (pixel, coverage) in pixels.chunks_exact_mut(count).zip(&coverage) {
            let alpha: u32 = pixel[count - 1].into();
            // At most 65535 * 65535 + 32767, which is below 2^32.
            let rest = (alpha * u32::from(*coverage) + 32_767) / 65_535;
            pixel[count - 1] = S::try_from(rest).unwrap_or(S::MAX);
        }
    }
    Ok(samples)
}

/// Units per pixel side for the position of edges.
const UNITS: i64 = 128;
/// Lines per pixel row along which the edge is measured, each through the middle of its strip.
const LINES: i64 = 64;

/// A centred box with elliptic corners.
pub struct Rounded {
    /// Size of the image.
    pub image: Size,
    /// Size of the box, at most that of the image.
    pub size: Size,
    /// Axes of the ellipse that the four corners form together, at most the size of the box.
    pub corners: Size,
}

impl Rounded {
    /// Writes the share of each pixel of row `y` inside the box: horizontally exact (to 1/128 pixel), vertically the
    /// mean of 64 lines.
    pub fn row(&self, y: u32, row: &mut [u16]) {
        let insets: [i64; LINES as usize] = std::array::from_fn(|line| self.inset(y, line as i64));
        let (least, most) = insets.iter().fold((i64::MAX, 0), |(least, most), n| (least.min(*n), most.max(*n)));
        let end = i64::from(self.image.w) * UNITS;
        for (x, coverage) in row.iter_mut().enumerate() {
            let (left, right) = (x as i64 * UNITS, (x as i64 + 1) * UNITS);
            *coverage = if left >= most && right <= end - most {
                u16::MAX
            } else if right <= least || left >= end - least {
                0
            } else {
                let inside = |inset: &i64| (right.min(end - inset) - left.max(*inset)).max(0);
                u16::scaled(insets.iter().map(inside).sum::<i64>() as u32, (UNITS * LINES) as u32)
            };
        }
    }

    /// Distance from the left edge of the image to the box, and from the box to the right edge, along a line of row
    /// `y`.
    fn inset(&self, y: u32, line: i64) -> i64 {
        // Half the difference of two sizes, in units.
        let margin = |of: u32, within: u32| (i64::from(within) - i64::from(of)) * (UNITS / 2);
        let from_top = i64::from(y) * UNITS + (2 * line + 1) * UNITS / (2 * LINES) - margin(self.size.h, self.image.h);
        let from_edge = from_top.min(i64::from(self.size.h) * UNITS - from_top);
        let left = margin(self.size.w, self.image.w);
        let radius = |axis: u32| i64::from(axis) * (UNITS / 2);
        let (rx, ry) = (radius(self.corners.w), radius(self.corners.h));
        if from_edge < 0 {
            return left + i64::from(self.size.w) * UNITS / 2;
        }
        if from_edge >= ry {
            return left;
        }
        // x = rx sqrt(1 - (dy / ry)^2). Radii are below 2^22, so the root has 8 more bits and all terms fit into 64.
        let dy = ry - from_edge;
        let root = (((ry * ry - dy * dy) << 16) as u64).isqrt() as i64;
        left + rx - (rx * root + (ry << 7)) / (ry << 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coverage(image: Size, size: Size, corners: Size) -> Vec<f64> {
        let rounded = Rounded { image, size, corners };
        let mut all = Vec::new();
        for y in 0..image.h {
            let mut row = vec![0; image.w as usize];
            rounded.row(y, &mut row);
            all.extend(row.iter().map(|v| f64::from(*v) / 65_535.0));
        }
        all
    }

    /// Checks that the sum of coverage is the area.
    fn area(size: Size, corners: Size) {
        let image = Size::new(size.w + 3, size.h + 2);
        let sum: f64 = coverage(image, size, corners).iter().sum();
        let (w, h) = (f64::from(corners.w), f64::from(corners.h));
        let expected = size.pixels() as f64 - w * h * (1.0 - std::f64::consts::FRAC_PI_4);
        assert!((sum - expected).abs() < 0.004 * (w + h) + 0.01, "{size:?} {corners:?}: {sum} of {expected}");
    }

    #[test]
    fn areas_are_those_of_the_shapes() {
        for (w, h) in [(1, 1), (2, 1), (1, 9), (7, 7), (40, 33), (500, 3), (300, 301)] {
            let size = Size::new(w, h);
            area(size, size);
            area(size, Size::new(w.min(h), w.min(h)));
            area(size, Size::new(1, 1));
        }
    }

    #[test]
    fn shapes_are_symmetric_and_full_in_the_middle() {
        for (w, h) in [(9, 9), (10, 7), (33, 64)] {
            let size = Size::new(w, h);
            let all = coverage(size, size, size);
            let turned: Vec<f64> = all.iter().rev().copied().collect();
            assert_eq!(all, turned);
            let at = |x: u32, y: u32| all[(y * w + x) as usize];
            assert!((0..h).all(|y| (0..w).all(|x| at(x, y) == at(w - 1 - x, y))));
            assert_eq!(at(w / 2, h / 2), 1.0);
        }
    }

    #[test]
    fn the_longest_side_does_not_overflow() {
        let size = Size::new(65_535, 65_535);
        let mut row = vec![0; 65_535];
        Rounded { image: size, size, corners: size }.row(32_767, &mut row);
        assert_eq!((row[1], row[32_767], row[65_533]), (65_535, 65_535, 65_535));
        Rounded { image: size, size, corners: size }.row(0, &mut row);
        assert_eq!((row[0], row[65_534]), (0, 0));
        assert!(row[32_767] > 65_000);
    }
}
