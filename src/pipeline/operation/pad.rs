//! `pad`: padding of one colour around the image.

use super::canvas::{WHITE, channels_with, laid};
use super::{Cost, Operation};
use crate::pipeline::param::{Args, Kind, Param, Value};
use crate::pipeline::{Error, Raster, Shape, Size};

const EDGE: Kind = Kind::Edge { px_max: 65_535 };
const ZERO: Option<Value> = Some(Value::Number(0));

pub(super) static OPERATION: Operation = Operation {
    name: "pad",
    doc: "Padding of one colour around the image, applied after all other operations.",
    params: &[
        Param {
            name: "top",
            keys: &["pad"],
            kind: EDGE,
            default: ZERO,
            doc: "Padding at the top. In a query `pad=top,right,bottom,left` takes one to four values, as CSS's `padding` \
                  does: left defaults to right, right and bottom to top.",
        },
        Param { name: "right", keys: &[], kind: EDGE, default: ZERO, doc: "Padding on the right." },
        Param { name: "bottom", keys: &[], kind: EDGE, default: ZERO, doc: "Padding at the bottom." },
        Param { name: "left", keys: &[], kind: EDGE, default: ZERO, doc: "Padding on the left." },
        Param {
            name: "background",
            keys: &["background", "bg"],
            kind: Kind::Color,
            default: Some(Value::Color(WHITE)),
            doc: "Colour of the padding; one that is not opaque adds alpha to the image.",
        },
    ],
    example: "w=300&pad=20,40&bg=336699",
    revision: 1,
    canonical: |args| Ok(Some(args).filter(|args| EDGES.iter().any(|name| edge(args, name) > 0))),
    resolve: None,
    plan: |shape, args| {
        let channels = channels_with(shape.channels, background(args));
        let converted = if channels == shape.channels { 0 } else { Shape { channels, ..shape }.bytes() };
        Ok(Cost::new(Shape { size: padded(shape.size, args), channels, ..shape }, converted))
    },
    apply: |raster, args, _| apply(raster, args),
};

const EDGES: [&str; 4] = ["top", "right", "bottom", "left"];

fn edge(args: &Args, name: &str) -> u32 {
    // The parameter's kind keeps it within 65535.
    args.number(name).unwrap_or(0) as u32
}

fn background(args: &Args) -> [u8; 4] {
    args.color("background").unwrap_or(WHITE)
}

fn padded(size: Size, args: &Args) -> Size {
    let [top, right, bottom, left] = EDGES.map(|name| edge(args, name));
    Size::new(size.w.saturating_add(left + right), size.h.saturating_add(top + bottom))
}

fn apply(raster: Raster, args: &Args) -> Result<Raster, Error> {
    let canvas = padded(raster.size(), args);
    laid(raster, canvas, (edge(args, "left"), edge(args, "top")), background(args))
}
