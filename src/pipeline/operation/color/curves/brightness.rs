//! `brightness`: scales every colour.

use super::super::{
    Args, Context, Error, MORE_OR_LESS, Operation, Param, Raster, Value, curves, plan_same, rounded, unless_defaults,
};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "brightness",
    doc: "Brightens or darkens the image: CSS `brightness(1 + amount/100)` (Filter Effects Level 1).",
    params: &[Param {
        name: "amount",
        keys: &["brightness", "bri"],
        kind: MORE_OR_LESS,
        default: Some(Value::Number(0)),
        doc: "Amount: -100 gives black, 100 doubles every colour sample.",
    }],
    example: "brightness=25",
    revision: 1,
    canonical: unless_defaults,
    resolve: None,
    plan: plan_same,
    apply,
};

fn apply(raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    let percent = 100 + args.number("amount").unwrap_or(0);
    curves::applied(raster, &[|value, _| rounded(value * percent, 100)], context.deadline)
}
