//! `radius`: rounds the corners.

use super::coverage::{Rounded, covered, plan};
use super::{Operation, with_first};
use crate::pipeline::Size;
use crate::pipeline::param::{Args, Kind, Param};

pub(super) static OPERATION: Operation = Operation {
    name: "radius",
    doc: "Rounds the corners to quarter circles, transparent outside (CSS Backgrounds and Borders Level 3, \
          border-radius). Edges are antialiased by exact area.",
    params: &[Param {
        name: "radius",
        keys: &["radius"],
        kind: Kind::IntegerOr { min: 1, max: 16_384, unit: "px", word: "max" },
        default: None,
        doc: "Radius of the corners, at most half the shorter side; `max` is that half.",
    }],
    example: "w=300&radius=40",
    revision: 1,
    canonical: with_first,
    resolve: None,
    plan: |shape, _| Ok(plan(shape)),
    apply: |raster, args, context| {
        let image = raster.size();
        let rounded = Rounded { image, size: image, corners: corners(image, args) };
        covered(raster, context, |y, row| rounded.row(y, row))
    },
};

fn corners(image: Size, args: &Args) -> Size {
    let shorter = image.w.min(image.h);
    // The parameter's kind keeps it within 16384.
    let diameter = args.number("radius").map_or(shorter, |radius| shorter.min(2 * radius as u32));
    Size::new(diameter, diameter)
}
