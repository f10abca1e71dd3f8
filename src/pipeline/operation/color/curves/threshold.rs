//! `threshold`: black and white.

use super::super::{
    Args, Context, Error, Kind, Operation, Param, Raster, curves, gray, plan_gray, to_channels, with_first,
};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "threshold",
    doc: "Makes luminance white from a level on and black below it (ITU-R BT.709, in linear light, then \
          sRGB-encoded), in one channel: sharp's `threshold`.",
    params: &[Param {
        name: "level",
        keys: &["threshold"],
        kind: Kind::Integer { min: 0, max: 255, step: 1, unit: "" },
        default: None,
        doc: "Darkest gray that becomes white, in 8-bit levels. Unchanged by default.",
    }],
    example: "threshold=128",
    revision: 2,
    canonical: with_first,
    resolve: None,
    plan: plan_gray,
    apply,
};

fn apply(raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    let level = args.number("level").unwrap_or(0);
    let channels = gray(raster.channels());
    let curve = |value, full| if value >= level * (full / 255) { full } else { 0 };
    curves::applied(to_channels(raster, channels)?, &[curve], context.deadline)
}
