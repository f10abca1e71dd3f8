//! `saturation`: scales the distance of colours from gray.

use super::super::matrix::{self, Matrix};
use super::super::{Args, MORE_OR_LESS, Operation, Param, Value, plan_same, unless_defaults};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "saturation",
    doc: "Raises or lowers the saturation: CSS `saturate(1 + amount/100)` (Filter Effects Level 1).",
    params: &[Param {
        name: "amount",
        keys: &["saturation", "sat"],
        kind: MORE_OR_LESS,
        default: Some(Value::Number(0)),
        doc: "Amount: -100 gives gray, 100 doubles the distance from it.",
    }],
    example: "saturation=60",
    revision: 1,
    canonical: unless_defaults,
    resolve: None,
    plan: plan_same,
    apply: |raster, args, context| matrix::applied(raster, &matrix_of(args), context.deadline),
};

/// Matrix of `feColorMatrix type="saturate"`.
fn matrix_of(args: &Args) -> Matrix {
    let s = (100 + args.number("amount").unwrap_or(0)) as f64 / 100.0;
    let [r, g, b] = [0.213, 0.715, 0.072].map(|weight| weight * (1.0 - s));
    Matrix::new([[r + s, g, b], [r, g + s, b], [r, g, b + s]])
}
