//! `invert`: the negative of the image.

use super::super::{Operation, curves, plan_same, switch, unless_off};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "invert",
    doc: "Negative of the image; alpha is unchanged: CSS `invert(1)` (Filter Effects Level 1).",
    params: &[switch(&["invert"], "Inverts the image; in JSON the operation's name is enough.")],
    example: "invert",
    revision: 1,
    canonical: unless_off,
    resolve: None,
    plan: plan_same,
    apply: |raster, _, context| curves::applied(raster, &[|value, full| full - value], context.deadline),
};
