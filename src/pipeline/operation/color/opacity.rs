//! `opacity`: makes the image partly transparent.

use super::{
    Args, Context, Cost, Error, Kind, Operation, Param, Raster, Shape, Value, curves, rounded, to_channels,
    unless_defaults,
};
use crate::pipeline::operation::coverage::with_alpha;

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "opacity",
    doc: "Makes the image partly transparent: CSS `opacity(amount/100)` (Filter Effects Level 1).",
    params: &[Param {
        name: "amount",
        keys: &["opacity"],
        kind: Kind::Integer { min: 0, max: 100, step: 1, unit: "%" },
        default: Some(Value::Number(100)),
        doc: "Factor for alpha; 0 is invisible.",
    }],
    example: "opacity=50",
    revision: 1,
    canonical: unless_defaults,
    resolve: None,
    plan: |shape, _| Ok(Cost::new(Shape { channels: with_alpha(shape.channels), ..shape }, 0)),
    apply,
};

fn apply(raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    let percent = args.number("amount").unwrap_or(100);
    let channels = with_alpha(raster.channels());
    let of_alpha = |alpha: bool| move |value, _| if alpha { rounded(value * percent, 100) } else { value };
    let curves: Vec<_> = (1..=channels.count()).map(|place| of_alpha(place == channels.count())).collect();
    curves::applied(to_channels(raster, channels)?, &curves, context.deadline)
}
