//! `equalize`: makes all luminances equally frequent.

use super::super::tone::{self, KNOTS};
use super::super::{Args, Context, Error, Operation, Raster, Step, plan_same, switch, unless_off};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "equalize",
    doc: "Histogram equalisation: makes all luminances about equally frequent, by the table of Pillow's \
          `ImageOps.equalize` on luminance, so that colours keep their CIE a* and b*. Animations use the histogram \
          of their first frame.",
    params: &[switch(&["equalize"], "Equalizes the image; in JSON the operation's name is enough.")],
    example: "equalize",
    revision: 2,
    canonical: unless_off,
    resolve: Some(resolve),
    plan: plan_same,
    apply: |raster, args, context| tone::resolved(resolve, raster, args, context),
};

fn resolve(raster: &Raster, _: &Args, context: &Context<'_>) -> Result<Step, Error> {
    Ok(tone::step(equalized(&tone::histogram(raster, context.deadline)?)))
}

/// Share of the pixels below each gray. The curve is the identity if fewer than 255 pixels differ from the lightest
/// gray.
fn equalized(bins: &[u64; KNOTS]) -> [i64; KNOTS] {
    let lightest = bins.iter().rfind(|bin| **bin > 0).copied().unwrap_or(0);
    let step = (bins.iter().sum::<u64>() - lightest) / 255;
    if step == 0 {
        return tone::identity();
    }
    let mut below = step / 2;
    bins.map(|bin| {
        let gray = (below / step).min(255) as i64;
        below += bin;
        gray * 257
    })
}
