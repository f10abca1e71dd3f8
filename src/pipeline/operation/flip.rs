//! `flip`: mirrors the image.

use super::{Cost, Operation, with_first};
use crate::pipeline::Orientation;
use crate::pipeline::orient::oriented;
use crate::pipeline::param::{Args, Kind, Param};

pub(super) static OPERATION: Operation = Operation {
    name: "flip",
    doc: "Mirrors the image.",
    params: &[Param {
        name: "direction",
        keys: &["flip"],
        kind: Kind::Choice(&["h", "v", "hv"]),
        default: None,
        doc: "`h` exchanges left and right, `v` top and bottom, `hv` both. No mirroring by default.",
    }],
    example: "flip=h",
    revision: 1,
    canonical: with_first,
    resolve: None,
    plan: |shape, _| Ok(Cost::new(shape, 0)),
    apply: |raster, args, _| oriented(raster, orientation(args)),
};

fn orientation(args: &Args) -> Orientation {
    match args.word("direction") {
        Some("h") => Orientation::FlipHorizontal,
        Some("v") => Orientation::FlipVertical,
        Some("hv") => Orientation::Rotate180,
        _ => Orientation::NoTransforms,
    }
}
