//! `exposure`: simulates a longer or shorter exposure.

use super::super::{Args, Context, Error, Kind, Operation, Param, Raster, Value, curves, plan_same, unless_defaults};
use crate::pipeline::color::{decoded, encoded};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "exposure",
    doc: "Multiplies linear light (IEC 61966-2-1) by 2^stops, like ImageMagick's `-colorspace RGB -evaluate Multiply`.",
    params: &[Param {
        name: "stops",
        keys: &["exposure"],
        kind: Kind::Decimal { min: -500, max: 500, places: 2, unit: "EV" },
        default: Some(Value::Number(0)),
        doc: "Exposure value: each whole step doubles the light, each negative one halves it.",
    }],
    example: "exposure=1",
    revision: 1,
    canonical: unless_defaults,
    resolve: None,
    plan: plan_same,
    apply,
};

fn apply(raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    let gain = gain(args.number("stops").unwrap_or(0));
    curves::applied(raster, &[|value, full| exposed(value, full, gain).round() as i64], context.deadline)
}

fn gain(hundredths: i64) -> f64 {
    (hundredths as f64 / 100.0).exp2()
}

fn exposed(value: i64, full: i64, gain: f64) -> f64 {
    encoded((decoded(value as f64 / full as f64) * gain).min(1.0)) * full as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that differences in the last bits between mathematical libraries change no curve. Whole stops on the
    /// straight part of the curve use no library function.
    #[test]
    fn curves_do_not_depend_on_the_mathematical_library() {
        let safe = |exact: f64| ((exact - exact.floor()) - 0.5).abs() > 1e-10;
        for hundredths in -500..=500 {
            let gain = gain(hundredths);
            let foot = |full: i64| if hundredths % 100 == 0 { full * 4_045 / 100_000 + 1 } else { 0 };
            assert!((foot(255)..=255).all(|value| safe(exposed(value, 255, gain))), "{hundredths}");
            if hundredths % 10 == 0 {
                assert!((foot(65_535)..=65_535).all(|value| safe(exposed(value, 65_535, gain))), "{hundredths}");
            }
        }
    }
}
