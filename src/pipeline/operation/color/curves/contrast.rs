//! `contrast`: distance from middle gray.

use super::super::{
    Args, Context, Error, MORE_OR_LESS, Operation, Param, Raster, Value, curves, plan_same, rounded, unless_defaults,
};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "contrast",
    doc: "Raises or lowers the contrast around middle gray: CSS `contrast(1 + amount/100)` (Filter Effects Level 1).",
    params: &[Param {
        name: "amount",
        keys: &["contrast", "con"],
        kind: MORE_OR_LESS,
        default: Some(Value::Number(0)),
        doc: "Amount: -100 gives middle gray, 100 doubles the distance from it.",
    }],
    example: "contrast=30",
    revision: 1,
    canonical: unless_defaults,
    resolve: None,
    plan: plan_same,
    apply,
};

fn apply(raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    let percent = 100 + args.number("amount").unwrap_or(0);
    // Computed in halves, since the middle of the range is not a whole value.
    let curve = |value, full| rounded((2 * value - full) * percent + 100 * full, 200);
    curves::applied(raster, &[curve], context.deadline)
}
