//! `trim`: removes borders of one colour. The smallest part is kept that holds all pixels whose difference from the
//! border's colour exceeds a threshold, without specks.

use super::canvas::Rect;
use super::{Context, Cost, Operation, crop, with_first};
use crate::pipeline::color::Sample;
use crate::pipeline::param::{Args, Kind, Param, Value};
use crate::pipeline::plan::Step;
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Deadline, Error, Raster, Samples, Shape, Size};

pub(super) static OPERATION: Operation = Operation {
    name: "trim",
    doc: "Removes borders of the colour of the upper left pixel, including its opacity, or transparent ones where two \
          corners are transparent. Specks of one or two pixels count as border. An image of one colour stays whole; \
          animations are trimmed by their first frame.",
    params: &[
        Param {
            name: "threshold",
            keys: &["trim"],
            kind: Kind::Integer { min: 0, max: 255, step: 1, unit: "" },
            default: None,
            doc: "Largest difference from the border's colour, in 8-bit levels. No trimming by default.",
        },
        Param {
            name: "color",
            keys: &["trim_color"],
            kind: Kind::Color,
            default: None,
            doc: "Colour of the border, such as `transparent`. By default that of the corners.",
        },
        Param {
            name: "line_art",
            keys: &["trim_line_art"],
            kind: Kind::Flag,
            default: Some(Value::Flag(false)),
            doc: "Keeps specks, which are dots in drawings and dust in photographs.",
        },
    ],
    example: "trim=40",
    revision: 2,
    canonical: with_first,
    resolve: Some(resolve),
    plan: |shape, _| Ok(Cost { shape, working_bytes: working_bytes(shape), at_most: true }),
    apply: |raster, args, context| {
        let (operation, args) = resolve(&raster, args, context)?;
        (operation.apply)(raster, &args, context)
    },
};

/// Pixels of a 3 x 3 window that are more than a speck. A line one pixel wide has as many.
const SPECK_PIXELS: u8 = 3;

fn resolve(raster: &Raster, args: &Args, context: &Context<'_>) -> Result<Step, Error> {
    let found = match raster.samples() {
        Samples::U8(samples) => found(samples, raster.shape(), args, context.deadline)?,
        Samples::U16(samples) => found(samples, raster.shape(), args, context.deadline)?,
    };
    let part = found.unwrap_or(crop::whole(raster.size()));
    Ok((&crop::OPERATION, crop::args_of(part)))
}

/// Bytes of three rows, and of their sums.
fn working_bytes(shape: Shape) -> u64 {
    4 * (u64::from(shape.size.w) + 2)
}

/// Smallest part that holds all pixels outside the border; `None` if there are none.
fn found<S: Sample>(samples: &[S], shape: Shape, args: &Args, deadline: &Deadline) -> Result<Option<Rect>, Error> {
    // The parameter's kind keeps it within 255.
    let threshold = S::scaled(args.number("threshold").unwrap_or(0) as u32, 255).into();
    let Some(border) = border(samples, shape, args.color("color"), threshold) else { return Ok(None) };
    let window_min = if args.flag("line_art") { 1 } else { SPECK_PIXELS };
    let (w, h) = (shape.size.w as usize, shape.size.h as usize);
    let row = w * shape.channels.count();
    // Rows have one pixel of border more at either end, and so has the picture above and below.
    let mut window = [try_zeroed::<u8>(w + 2)?, try_zeroed(w + 2)?, try_zeroed(w + 2)?];
    let mut sums = try_zeroed::<u8>(w + 2)?;
    let mut bounds: Option<Bounds> = None;
    for y in 0..=h {
        if y % 256 == 0 {
            deadline.check()?;
        }
        window.rotate_left(1);
        window[2].fill(0);
        if y < h {
            write_far(&samples[y * row..][..row], &border, shape.channels.alpha(), threshold, &mut window[2][1..=w]);
        }
        for (sum, ((above, here), below)) in sums.iter_mut().zip(window[0].iter().zip(&window[1]).zip(&window[2])) {
            *sum = above + here + below;
        }
        // The window is around the row before this one.
        if let Some(outside) = outside(&window, &sums, y, window_min) {
            bounds = Some(bounds.map_or(outside, |bounds| bounds.around(outside)));
        }
    }
    Ok(bounds.map(Bounds::part))
}

/// Colour of the border; `None` if no pixel of this shape has it. A rim on any side leaves two corners transparent.
fn border<S: Sample>(samples: &[S], shape: Shape, color: Option<[u8; 4]>, threshold: u32) -> Option<Vec<S>> {
    let (count, gray, alpha) = (shape.channels.count(), shape.channels.gray(), shape.channels.alpha());
    if let Some([r, g, b, a]) = color {
        let wanted = if gray { vec![r, a] } else { vec![r, g, b, a] };
        let exists = (!gray || r == g && g == b) && (alpha || a == u8::MAX);
        return exists.then(|| wanted[..count].iter().map(|&value| S::scaled(u32::from(value), 255)).collect());
    }
    let Size { w, h } = shape.size;
    let corners = [(0, 0), (w - 1, 0), (0, h - 1), (w - 1, h - 1)];
    let pixel = |(x, y): (u32, u32)| &samples[(y as usize * w as usize + x as usize) * count..][..count];
    let clear = |corner: &&(u32, u32)| alpha && pixel(**corner)[count - 1].into() <= threshold;
    let transparent = corners.iter().filter(clear).count() >= 2;
    Some(if transparent { vec![S::default(); count] } else { pixel(corners[0]).to_vec() })
}

/// Sets 1 for each pixel whose difference from the border exceeds the threshold. Colours are compared after laying
/// them on the border's colour by their alpha; alpha is compared directly.
fn write_far<S: Sample>(samples: &[S], border: &[S], alpha: bool, threshold: u32, far: &mut [u8]) {
    let count = border.len();
    let full: u32 = S::MAX.into();
    for (pixel, far) in samples.chunks_exact(count).zip(far) {
        let opacity = if alpha { pixel[count - 1].into() } else { full };
        let differs = |channel: usize| {
            let (sample, border): (u32, u32) = (pixel[channel].into(), border[channel].into());
            let weight = if alpha && channel == count - 1 { full } else { opacity };
            // At most 65535 * 65535, which is below 2^32.
            sample.abs_diff(border) * weight / full > threshold
        };
        *far = u8::from((0..count).any(differs));
    }
}

/// Columns and rows of pixels, the last ones included, counted from 1.
#[derive(Clone, Copy)]
struct Bounds {
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

impl Bounds {
    fn around(self, other: Bounds) -> Bounds {
        Bounds {
            left: self.left.min(other.left),
            top: self.top.min(other.top),
            right: self.right.max(other.right),
            bottom: self.bottom.max(other.bottom),
        }
    }

    fn part(self) -> Rect {
        let size = Size::new((self.right - self.left + 1) as u32, (self.bottom - self.top + 1) as u32);
        Rect { x: self.left as u32 - 1, y: self.top as u32 - 1, size }
    }
}

/// Bounds of the pixels in those windows of 3 x 3, around the row that is the `y`th, that hold at least `least`.
/// `sums` are those of the three rows.
fn outside(rows: &[Vec<u8>; 3], sums: &[u8], y: usize, least: u8) -> Option<Bounds> {
    let is_kept = |x: &usize| sums[*x..x + 3].iter().sum::<u8>() >= least;
    let first = (0..sums.len() - 2).find(is_kept)?;
    let last = (first..sums.len() - 2).rfind(is_kept).unwrap_or(first);
    let drawn = |row: &usize| (first..=last).any(|x| is_kept(&x) && rows[*row][x..x + 3].contains(&1));
    Some(Bounds {
        left: (first..first + 3).find(|x| sums[*x] > 0)?,
        top: y + (0..3).find(drawn)? - 1,
        right: (last..last + 3).rfind(|x| sums[*x] > 0)?,
        bottom: y + (0..3).rfind(drawn)? - 1,
    })
}
