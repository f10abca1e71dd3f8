//! `median`: replaces each sample by the median of its neighbourhood.

mod network;

use std::cell::RefCell;

use super::window::{self, Reach, Rows, windows};
use super::{Context, Cost, Operation, with_first};
use crate::pipeline::color::{self, Sample, encode_row, linear_row};
use crate::pipeline::param::{Args, Kind, Param};
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Deadline, Error, Raster, Samples, Shape};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "median",
    doc: "Median filter: removes specks by replacing each channel by its median in a square window (sharp's \
          `median`, Pillow's `MedianFilter`). With transparency, in linear light with premultiplied alpha. Edge \
          pixels are extended outwards.",
    params: &[Param {
        name: "size",
        keys: &["median"],
        kind: Kind::Choice(&["3", "5", "7"]),
        default: None,
        doc: "Side of the window in pixels.",
    }],
    example: "w=300&median=5",
    revision: 2,
    canonical: with_first,
    resolve: None,
    plan,
    apply,
};

fn side(args: &Args) -> usize {
    match args.word("size") {
        Some("7") => 7,
        Some("5") => 5,
        _ => 3,
    }
}

fn reach(side: usize) -> Reach {
    Reach { x: side / 2, y: side / 2 }
}

fn plan(shape: Shape, args: &Args) -> Result<Cost, Error> {
    let (rows, reach) = (Rows::of(shape), reach(side(args)));
    // With transparency samples have 32 bits: the surrounding rows, their sorted columns, one result, one row of light.
    let padded = ((rows.w + 2 * reach.x) * rows.count * 4) as u64;
    Ok(Cost::new(shape, window::working_bytes::<u32>(rows, reach) + (side(args) as u64 + 2) * padded))
}

fn apply(raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    let median = match side(args) {
        7 => of_raster::<7>,
        5 => of_raster::<5>,
        _ => of_raster::<3>,
    };
    median(raster, context.deadline)
}

fn of_raster<const SIDE: usize>(raster: Raster, deadline: &Deadline) -> Result<Raster, Error> {
    let transparent = raster.channels().alpha() && !color::opaque(&raster);
    let rows = Rows::of(raster.shape());
    let samples = match (raster.samples(), transparent) {
        (Samples::U8(samples), false) => Samples::U8(medians::<SIDE, _>(samples, rows, deadline)?),
        (Samples::U16(samples), false) => Samples::U16(medians::<SIDE, _>(samples, rows, deadline)?),
        (Samples::U8(samples), true) => Samples::U8(premultiplied::<SIDE, _>(samples, rows, deadline)?),
        (Samples::U16(samples), true) => Samples::U16(premultiplied::<SIDE, _>(samples, rows, deadline)?),
    };
    Ok(Raster::new(raster.size(), raster.channels(), samples))
}

/// Medians of encoded samples, for opaque images: their order is equal in linear light.
fn medians<const SIDE: usize, S: Sample + Ord>(
    samples: &[S],
    rows: Rows,
    deadline: &Deadline,
) -> Result<Vec<S>, Error> {
    let length = rows.w * rows.count;
    let mut result = try_zeroed(samples.len())?;
    let source = |y: usize, row: &mut [S]| row.copy_from_slice(&samples[y * length..][..length]);
    each_median::<SIDE, _>(rows, deadline, source, |y, row| result[y * length..][..length].copy_from_slice(row))?;
    Ok(result)
}

/// Medians of premultiplied samples, so that invisible pixels have no weight.
fn premultiplied<const SIDE: usize, S: Sample>(
    samples: &[S],
    rows: Rows,
    deadline: &Deadline,
) -> Result<Vec<S>, Error> {
    let length = rows.w * rows.count;
    let mut result = try_zeroed(samples.len())?;
    // Bits of numbers that are not negative have the order of the numbers. One row serves both closures in turn.
    let light = RefCell::new(try_zeroed::<f32>(length)?);
    let source = |y: usize, row: &mut [u32]| {
        let mut light = light.borrow_mut();
        linear_row(&samples[y * length..][..length], &mut light, rows.count, true);
        row.iter_mut().zip(light.iter()).for_each(|(bits, light)| *bits = light.to_bits());
    };
    each_median::<SIDE, _>(rows, deadline, source, |y, row| {
        let mut light = light.borrow_mut();
        light.iter_mut().zip(row).for_each(|(light, bits)| *light = f32::from_bits(*bits));
        encode_row(&light, &mut result[y * length..][..length], rows.count, true);
    })?;
    Ok(result)
}

fn each_median<const SIDE: usize, S: Ord + Copy + Default>(
    rows: Rows,
    deadline: &Deadline,
    source: impl FnMut(usize, &mut [S]),
    mut each: impl FnMut(usize, &[S]),
) -> Result<(), Error> {
    let reach = reach(SIDE);
    let padded = (rows.w + 2 * reach.x) * rows.count;
    let mut columns = try_zeroed::<S>(SIDE * padded)?;
    let mut row = try_zeroed(rows.w * rows.count)?;
    windows(rows, reach, deadline, source, |y, window| {
        let around: [&[S]; SIDE] = std::array::from_fn(|k| window.row(k as isize - reach.y as isize));
        network::sorted_columns(&around, &mut columns);
        let columns: [&[S]; SIDE] = std::array::from_fn(|rank| &columns[rank * padded..][..padded]);
        network::medians(&columns, rows.count, &mut row);
        each(y, &row);
    })
}
