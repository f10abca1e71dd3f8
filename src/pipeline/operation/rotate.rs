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
    plan: |shape, args| {
        let size = shape.size.oriented(orientation(args));
        Ok(Cost { shape: Shape { size, ..shape }, working_bytes: 0 })
    },
    apply: |raster, args, _| oriented(raster, orientation(args)),
};

/// The turn that these arguments ask for.
pub(in crate::pipeline) fn orientation(args: &Args) -> Orientation {
    orientation_of_turn(args.number("angle").unwrap_or(0))
}
