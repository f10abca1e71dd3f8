//! `rotate`: turns the image. A right angle moves pixels and computes none, so it counts as orientation; [`free`]
//! computes the pixels for any other angle.

mod free;

use super::canvas::{WHITE, channels_with};
use super::{Context, Cost, Operation};
use crate::pipeline::color::to_channels;
use crate::pipeline::orient::{orientation_of_turn, oriented};
use crate::pipeline::param::{Args, Kind, Param, Value};
use crate::pipeline::{Error, Orientation, Raster, Shape};
use free::Turn;

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "rotate",
    doc: "Turns the image clockwise. Multiples of 90 degrees are applied first, so that width and height refer to \
          the turned image. Other angles are applied after resizing, on a canvas that holds the whole image \
          (bicubic, Catmull-Rom, in linear light).",
    params: &[
        Param {
            name: "angle",
            keys: &["rotate"],
            kind: Kind::Decimal { min: -36_000, max: 36_000, places: 2, unit: "\u{b0}" },
            default: Some(Value::Number(0)),
            doc: "Clockwise angle.",
        },
        Param {
            name: "background",
            keys: &["background", "bg"],
            kind: Kind::Color,
            default: Some(Value::Color(WHITE)),
            doc: "Colour of the corners that an angle leaves; one that is not opaque adds alpha to the image.",
        },
    ],
    example: "w=300&rotate=12.5&bg=ffffff00",
    revision: 4,
    canonical,
    resolve: None,
    plan,
    apply,
};

/// A right angle in hundredths of a degree.
const RIGHT: i64 = 9_000;

fn angle(args: &Args) -> i64 {
    args.number("angle").unwrap_or(0)
}

/// Canonical arguments: the angle is above -180 degrees and at most 180, and a right angle has no background.
fn canonical(args: Args) -> Result<Option<Args>, Error> {
    let turned = angle(&args).rem_euclid(4 * RIGHT);
    let nearest = if turned > 2 * RIGHT { turned - 4 * RIGHT } else { turned };
    let mut args = args.with("angle", Value::Number(nearest));
    if nearest % RIGHT == 0 {
        args.reset("background");
    }
    Ok(Some(args).filter(|_| nearest != 0))
}

/// The turn as an orientation, if it is by a right angle.
pub(in crate::pipeline) fn right_angle(args: &Args) -> Option<Orientation> {
    let angle = angle(args);
    Some(orientation_of_turn(angle / 100)).filter(|_| angle % RIGHT == 0)
}

fn background(args: &Args) -> [u8; 4] {
    args.color("background").unwrap_or(WHITE)
}

fn plan(shape: Shape, args: &Args) -> Result<Cost, Error> {
    if let Some(orientation) = right_angle(args) {
        return Ok(Cost::new(Shape { size: shape.size.oriented(orientation), ..shape }, 0));
    }
    let channels = channels_with(shape.channels, background(args));
    let source = Shape { channels, ..shape };
    let converted = if channels == shape.channels { 0 } else { source.bytes() };
    let turn = Turn::new(shape.size, angle(args));
    Ok(Cost::new(Shape { size: turn.canvas, ..source }, converted + turn.working_bytes(source)))
}

fn apply(raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    if let Some(orientation) = right_angle(args) {
        return oriented(raster, orientation);
    }
    let channels = channels_with(raster.channels(), background(args));
    let raster = to_channels(raster, channels)?;
    free::turned(&raster, &Turn::new(raster.size(), angle(args)), background(args), context.deadline)
}
