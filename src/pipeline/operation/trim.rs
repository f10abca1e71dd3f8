//! `trim`: removes borders of one colour, as libvips' `find_trim` does. After a 3 x 3 median, the smallest part is
//! kept that holds all pixels whose difference from the upper left pixel exceeds a threshold.

use super::canvas::Rect;
use super::{Context, Cost, Operation, crop, with_first};
use crate::pipeline::color::Sample;
use crate::pipeline::param::{Args, Kind, Param};
use crate::pipeline::plan::Step;
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Deadline, Error, Raster, Samples, Shape, Size};

pub(super) static OPERATION: Operation = Operation {
    name: "trim",
    doc: "Removes borders of the colour of the upper left pixel, including its opacity (libvips' find_trim: after \
          a 3 x 3 median, so that specks and lines one pixel wide count as border). An image of one colour stays \
          whole; animations are trimmed by their first frame.",
    params: &[Param {
        name: "threshold",
        keys: &["trim"],
        kind: Kind::Integer { min: 0, max: 255, step: 1, unit: "" },
        default: None,
        doc: "Largest difference from the border's colour, in 8-bit levels. No trimming by default.",
    }],
    example: "trim=40",
    revision: 1,
    canonical: with_first,
    resolve: Some(resolve),
    plan: |shape, _| Ok(Cost { shape, working_bytes: working_bytes(shape), at_most: true }),
    apply: |raster, args, context| {
        let (operation, args) = resolve(&raster, args, context)?;
        (operation.apply)(raster, &args, context)
    },
};

fn resolve(raster: &Raster, args: &Args, context: &Context<'_>) -> Result<Step, Error> {
    // The parameter's kind keeps it within 255.
    let threshold = args.number("threshold").unwrap_or(0) as u32;
    let shape = raster.shape();
    let found = match raster.samples() {
        Samples::U8(samples) => found(samples, shape, threshold, context.deadline)?,
        Samples::U16(samples) => found(samples, shape, threshold * 257, context.deadline)?,
    };
    let part = found.unwrap_or(crop::whole(raster.size()));
    Ok((&crop::OPERATION, crop::args_of(part)))
}

/// Bytes of a row of sides, and of the sums of three rows.
fn working_bytes(shape: Shape) -> u64 {
    4 * u64::from(shape.size.w) * shape.channels.count() as u64
}

/// Smallest part that holds all pixels outside the border.
fn found<S: Sample>(samples: &[S], shape: Shape, threshold: u32, deadline: &Deadline) -> Result<Option<Rect>, Error> {
    let (count, Size { w, h }) = (shape.channels.count(), shape.size);
    let row = w as usize * count;
    let border = &samples[..count];
    let mut sides = [try_zeroed::<u8>(row)?, try_zeroed(row)?, try_zeroed(row)?];
    let mut sums = try_zeroed::<u8>(row)?;
    let mut bounds: Option<(usize, usize, usize, usize)> = None;
    let fill = |sides: &mut Vec<u8>, y: usize| {
        write_sides(&samples[y * row..][..row], border, shape.channels.alpha(), threshold, sides);
    };
    // The row above the first is the first, and the row below the last is the last.
    fill(&mut sides[0], 0);
    fill(&mut sides[1], 0);
    for y in 0..h as usize {
        if y % 256 == 0 {
            deadline.check()?;
        }
        fill(&mut sides[2], (y + 1).min(h as usize - 1));
        for (sum, ((above, here), below)) in sums.iter_mut().zip(sides[0].iter().zip(&sides[1]).zip(&sides[2])) {
            *sum = above + here + below;
        }
        if let Some((first, last)) = ends(&sums, count) {
            let (left, top, right, _) = bounds.unwrap_or((first, y, last, y));
            bounds = Some((left.min(first), top, right.max(last), y));
        }
        sides.rotate_left(1);
    }
    Ok(bounds.map(|(left, top, right, bottom)| {
        let size = Size::new((right - left + 1) as u32, (bottom - top + 1) as u32);
        Rect { x: left as u32, y: top as u32, size }
    }))
}

/// Side of the border's colour on which a sample lies. Nine of either value fit next to each other into a byte.
const NEAR: u8 = 0;
const ABOVE: u8 = 0x01;
const BELOW: u8 = 0x10;

/// Compares colours after laying them on the border's colour by their alpha; alpha is compared directly.
fn write_sides<S: Sample>(samples: &[S], border: &[S], alpha: bool, threshold: u32, sides: &mut [u8]) {
    let count = border.len();
    let full: u32 = S::MAX.into();
    for (pixel, sides) in samples.chunks_exact(count).zip(sides.chunks_exact_mut(count)) {
        let opacity = if alpha { pixel[count - 1].into() } else { full };
        for (channel, side) in sides.iter_mut().enumerate() {
            let (sample, border): (u32, u32) = (pixel[channel].into(), border[channel].into());
            let weight = if alpha && channel == count - 1 { full } else { opacity };
            // At most 65535 * 65535, which is below 2^32.
            let far = sample.abs_diff(border) * weight / full > threshold;
            *side = if !far {
                NEAR
            } else if sample > border {
                ABOVE
            } else {
                BELOW
            };
        }
    }
}

/// First and last pixel of a row outside the border, from the sums of three rows. The median of nine samples is
/// outside if at least five of them are.
fn ends(sums: &[u8], count: usize) -> Option<(usize, usize)> {
    let pixels = sums.len() / count;
    let is_kept = |x: &usize| {
        let (left, right) = (x.saturating_sub(1), (x + 1).min(pixels - 1));
        (0..count).any(|channel| {
            let sum = [left, *x, right].iter().map(|x| sums[x * count + channel]).sum::<u8>();
            // 5 + 3 carries into the highest bit of four; 9 + 3 does not carry out of it.
            (sum + 0x33) & 0x88 != 0
        })
    };
    let first = (0..pixels).find(is_kept)?;
    Some((first, (0..pixels).rfind(is_kept).unwrap_or(first)))
}
