//! `pad`: room of one colour around the image.

use super::canvas::{WHITE, channels_with, laid};
use super::{Cost, Operation};
use crate::pipeline::param::{Args, Kind, Param, Value};
use crate::pipeline::{Error, Raster, Shape, Size};

const EDGE: Kind = Kind::Edge { px_max: 65_535 };
const ZERO: Option<Value> = Some(Value::Number(0));

pub(super) static OPERATION: Operation = Operation {
    name: "pad",
    doc: "Adds room of one colour around the image, after everything else.",
    params: &[
        Param {
            name: "top",
            keys: &["pad"],
            kind: EDGE,
            default: ZERO,
            doc: "`pad=top,right,bottom,left`, one to four values as CSS's `padding` (left as right, bottom and right as top where left out): room above.",
        },
        Param { name: "right", keys: &[], kind: EDGE, default: ZERO, doc: "Room to the right." },
        Param { name: "bottom", keys: &[], kind: EDGE, default: ZERO, doc: "Room below." },
        Param { name: "left", keys: &[], kind: EDGE, default: ZERO, doc: "Room to the left." },
        Param {
            name: "background",
            keys: &["background", "bg"],
            kind: Kind::Color,
            default: Some(Value::Color(WHITE)),
            doc: "Its colour; one that is not opaque adds alpha to the image.",
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
    // The kind holds it within 65535.
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
