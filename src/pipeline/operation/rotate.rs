//! `rotate`: turns by right angles. It moves pixels and computes none, so it counts as orientation.

use super::{Cost, Operation};
use crate::pipeline::orient::{orientation_of_turn, oriented};
use crate::pipeline::param::{Args, Kind, Param, Value};
use crate::pipeline::{Orientation, Shape};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "rotate",
    doc: "Turns the image clockwise; comes first, so that width and height are those of the turned image.",
    params: &[Param {
        name: "angle",
        keys: &["rotate"],
        kind: Kind::Integer { min: -360, max: 360, step: 90, unit: "\u{b0}" },
        default: Some(Value::Number(0)),
        doc: "Clockwise angle; multiples of 90 only.",
    }],
    example: "rotate=90",
    revision: 1,
    canonical: |args| Ok(Some(args).filter(|args| orientation(args) != Orientation::NoTransforms)),
    look: None,
    plan: |shape, args| Ok(Cost::new(Shape { size: shape.size.oriented(orientation(args)), ..shape }, 0)),
    apply: |raster, args, _| oriented(raster, orientation(args)),
};

/// The turn, when it is one by a right angle.
pub(in crate::pipeline) fn right_angle(args: &Args) -> Option<Orientation> {
    Some(orientation(args))
}

/// The turn that these arguments ask for.
pub(in crate::pipeline) fn orientation(args: &Args) -> Orientation {
    orientation_of_turn(args.number("angle").unwrap_or(0))
}
