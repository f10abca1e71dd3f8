//! `gamma`: lightens or darkens the middle tones and keeps black and white.

use super::super::{Args, Context, Error, Kind, Operation, Param, Raster, Value, curves, plan_same, unless_defaults};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "gamma",
    doc: "Raises every sample to the power 1/gamma, as libvips (`gamma`) and ImageMagick (`-gamma`) do.",
    params: &[Param {
        name: "gamma",
        keys: &["gamma"],
        kind: Kind::Decimal { min: 10, max: 1000, places: 2, unit: "" },
        default: Some(Value::Number(100)),
        doc: "Gamma: above 1 lightens the middle tones, below 1 darkens them.",
    }],
    example: "gamma=1.8",
    revision: 1,
    canonical: unless_defaults,
    resolve: None,
    plan: plan_same,
    apply,
};

fn apply(raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    let hundredths = args.number("gamma").unwrap_or(100);
    curves::applied(raster, &[|value, full| raised(value, full, hundredths).round() as i64], context.deadline)
}

fn raised(value: i64, full: i64, hundredths: i64) -> f64 {
    (value as f64 / full as f64).powf(100.0 / hundredths as f64) * full as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that differences in the last of 53 bits between mathematical libraries change no curve: no value lies
    /// within 1e-10 of the middle of two integers. All gammas were checked once; this test checks every tenth, with
    /// 16 bits.
    #[test]
    fn curves_do_not_depend_on_the_mathematical_library() {
        let safe = |exact: f64| ((exact - exact.floor()) - 0.5).abs() > 1e-10;
        for hundredths in 10..=1000 {
            assert!((0..=255).all(|value| safe(raised(value, 255, hundredths))), "{hundredths}");
            if hundredths % 10 == 0 {
                assert!((0..=65_535).all(|value| safe(raised(value, 65_535, hundredths))), "{hundredths}");
            }
        }
    }
}
