//! `invert`: the negative.

use super::{Operation, curves, plan_same, switch, unless_off};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "invert",
    doc: "Gives the negative; alpha stays: CSS `invert(1)` (Filter Effects Level 1).",
    params: &[switch(&["invert"], "Whether to; as it is when it is not given.")],
    example: "invert",
    revision: 1,
    canonical: unless_off,
    resolve: None,
    plan: plan_same,
    apply: |raster, _, context| curves::applied(raster, &[|value, full| full - value], context.watch),
};
