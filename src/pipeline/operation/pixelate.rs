//! `pixelate`: squares of one colour.

use super::{Context, Cost, Operation, with_first};
use crate::pipeline::color::{self, Sample, encode_row, linear_row};
use crate::pipeline::param::{Args, Kind, Param};
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Error, Raster, Samples, Shape};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "pixelate",
    doc: "Replaces squares by their mean colour, in linear light with premultiplied alpha (`vips_shrink`). Squares \
          start at the top left; those at the right and bottom edges are cut off.",
    params: &[Param {
        name: "size",
        keys: &["pixelate"],
        kind: Kind::Integer { min: 2, max: 512, step: 1, unit: "px" },
        default: None,
        doc: "Side of a square.",
    }],
    example: "w=300&pixelate=10",
    revision: 2,
    canonical: with_first,
    resolve: None,
    plan: |shape, args| Ok(Cost::new(shape, working_bytes(shape, side(args)))),
    apply,
};

fn side(args: &Args) -> usize {
    // The parameter's kind keeps it within 2..512.
    args.number("size").unwrap_or(2) as usize
}

fn working_bytes(shape: Shape, side: usize) -> u64 {
    let (w, count) = (shape.size.w as usize, shape.channels.count());
    // A row of linear light; for each square its sums, their means, and the written colour.
    (w * count * 4 + w.div_ceil(side) * count * (8 + 4 + 2)) as u64
}

fn apply(raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    let samples = match raster.samples() {
        Samples::U8(samples) => Samples::U8(pixelated(samples, &raster, side(args), context)?),
        Samples::U16(samples) => Samples::U16(pixelated(samples, &raster, side(args), context)?),
    };
    Ok(Raster::new(raster.size(), raster.channels(), samples))
}

fn pixelated<S: Sample>(samples: &[S], raster: &Raster, side: usize, context: &Context<'_>) -> Result<Vec<S>, Error> {
    let (w, count) = (raster.size().w as usize, raster.channels().count());
    let alpha = raster.channels().alpha() && !color::opaque(raster);
    let squares = w.div_ceil(side) * count;
    let (mut linear, mut sums) = (try_zeroed(w * count)?, try_zeroed::<f64>(squares)?);
    let (mut means, mut encoded) = (try_zeroed::<f32>(squares)?, try_zeroed(squares)?);
    let mut result = try_zeroed(samples.len())?;
    let band = side * w * count;
    for (target, source) in result.chunks_mut(band).zip(samples.chunks(band)) {
        context.deadline.check()?;
        sums.fill(0.0);
        for row in source.chunks_exact(w * count) {
            linear_row(row, &mut linear, count, alpha);
            add(&linear, &mut sums, side, count);
        }
        let h = source.len() / (w * count);
        for (place, (mean, sum)) in means.iter_mut().zip(&sums).enumerate() {
            let pixels = side.min(w - place / count * side) * h;
            *mean = (sum / pixels as f64) as f32;
        }
        encode_row(&means, &mut encoded, count, alpha);
        paint(&encoded, target, w, side, count);
    }
    Ok(result)
}

/// Adds a row to the sums of its squares.
fn add(row: &[f32], sums: &mut [f64], side: usize, count: usize) {
    for (sums, pixels) in sums.chunks_exact_mut(count).zip(row.chunks(side * count)) {
        for (channel, sum) in sums.iter_mut().enumerate() {
            let samples = pixels.iter().skip(channel).step_by(count);
            *sum += samples.map(|sample| f64::from(*sample)).sum::<f64>();
        }
    }
}

/// Fills the rows of a band with the colours of its squares.
fn paint<S: Sample>(squares: &[S], band: &mut [S], w: usize, side: usize, count: usize) {
    let (first, others) = band.split_at_mut(w * count);
    for (pixels, square) in first.chunks_mut(side * count).zip(squares.chunks_exact(count)) {
        pixels.chunks_exact_mut(count).for_each(|pixel| pixel.copy_from_slice(square));
    }
    others.chunks_exact_mut(w * count).for_each(|row| row.copy_from_slice(first));
}
