//! `equalize`: every luminance equally often.

use super::tone::{self, KNOTS};
use super::{Args, Context, Error, Operation, Raster, Step, plan_same, switch, unless_off};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "equalize",
    doc: "Makes every luminance about equally frequent: the table of Pillow's `ImageOps.equalize`, made of luminance, so that colours \
          keep their CIE a* and b*. An animation is treated as its first frame is.",
    params: &[switch(&["equalize"], "Whether to; as it is when it is not given.")],
    example: "equalize",
    revision: 1,
    canonical: unless_off,
    resolve: Some(resolve),
    plan: plan_same,
    apply: |raster, args, context| tone::resolved(resolve, raster, args, context),
};

fn resolve(raster: &Raster, _: &Args, context: &Context<'_>) -> Result<Step, Error> {
    Ok(tone::step(equalized(&tone::histogram(raster, context.watch)?)))
}

/// The share of pixels below each gray. Fewer than 255 of them beside the lightest gray are left alone.
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
