//! `sepia`: the brown tone of old prints.

use super::super::matrix::{self, Matrix};
use super::super::{
    Args, Context, Error, Kind, Operation, Param, Raster, Value, plan_rgb, rgb, to_channels, unless_defaults,
};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "sepia",
    doc: "Brown tone of old prints: CSS `sepia(amount/100)` (Filter Effects Level 1).",
    params: &[Param {
        name: "amount",
        keys: &["sepia"],
        kind: Kind::Integer { min: 0, max: 100, step: 1, unit: "%" },
        default: Some(Value::Number(0)),
        doc: "Amount: 0 keeps the colours, 100 replaces them all.",
    }],
    example: "sepia=80",
    revision: 1,
    canonical: unless_defaults,
    resolve: None,
    plan: plan_rgb,
    apply,
};

fn apply(raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    let channels = rgb(raster.channels());
    matrix::applied_to_rgb(to_channels(raster, channels)?, &matrix_of(args), context.deadline)
}

fn matrix_of(args: &Args) -> Matrix {
    const SEPIA: [[f64; 3]; 3] = [[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]];
    let amount = args.number("amount").unwrap_or(0) as f64 / 100.0;
    let kept = |row, column| if row == column { 1.0 - amount } else { 0.0 };
    Matrix::new(std::array::from_fn(|row| std::array::from_fn(|i| SEPIA[row][i] * amount + kept(row, i))))
}
