//! `hue`: rotates hues.

use super::super::matrix::{self, Matrix};
use super::super::{Args, Error, Kind, Operation, Param, Value, plan_same, unless_defaults};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "hue",
    doc: "Rotates every hue: CSS `hue-rotate(angle)` (Filter Effects Level 1).",
    params: &[Param {
        name: "angle",
        keys: &["hue"],
        kind: Kind::Integer { min: -360, max: 360, step: 1, unit: "\u{b0}" },
        default: Some(Value::Number(0)),
        doc: "Angle; positive values turn red towards yellow.",
    }],
    example: "hue=90",
    revision: 1,
    canonical,
    resolve: None,
    plan: plan_same,
    apply: |raster, args, context| matrix::applied(raster, &matrix_of(angle(args)), context.deadline),
};

/// Canonical arguments: the angle is within one turn.
fn canonical(args: Args) -> Result<Option<Args>, Error> {
    let angle = angle(&args);
    unless_defaults(args.with("angle", Value::Number(angle)))
}

fn angle(args: &Args) -> i64 {
    args.number("angle").unwrap_or(0).rem_euclid(360)
}

fn matrix_of(angle: i64) -> Matrix {
    Matrix::new(rows(angle))
}

/// Matrix of `feColorMatrix type="hueRotate"`.
fn rows(angle: i64) -> [[f64; 3]; 3] {
    const GRAY: [[f64; 3]; 3] = [[0.213, 0.715, 0.072]; 3];
    const COS: [[f64; 3]; 3] = [[0.787, -0.715, -0.072], [-0.213, 0.285, -0.072], [-0.213, -0.715, 0.928]];
    const SIN: [[f64; 3]; 3] = [[-0.213, -0.715, 0.928], [0.143, 0.140, -0.283], [-0.787, 0.715, 0.072]];
    let (sin, cos) = (angle as f64).to_radians().sin_cos();
    std::array::from_fn(|row| std::array::from_fn(|i| GRAY[row][i] + cos * COS[row][i] + sin * SIN[row][i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that no coefficient depends on the last of 53 bits, in which mathematical libraries differ (some choose
    /// by CPU).
    #[test]
    fn coefficients_do_not_depend_on_the_mathematical_library() {
        for angle in 0..360 {
            for coefficient in rows(angle).concat() {
                let scaled = coefficient * f64::from(1 << 24);
                assert!(((scaled - scaled.floor()) - 0.5).abs() > 1e-7, "{angle}");
            }
        }
    }
}
