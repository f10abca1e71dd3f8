//! `duotone`: two colours in place of black and white.

use super::grayscale::grayscaled;
use super::{
    Args, Context, Error, Kind, Operation, Param, Raster, curves, opaque, plan_rgb, rgb, rounded, to_channels,
    with_firsts,
};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "duotone",
    doc: "Replaces black by `dark`, white by `light`, and grays by mixtures: CSS `grayscale(1)`, then the function \
          `table` of `feComponentTransfer` (Filter Effects Level 1).",
    params: &[
        Param {
            name: "dark",
            keys: &["duotone"],
            kind: Kind::Color,
            default: None,
            doc: "Colour that replaces black; its alpha is ignored.",
        },
        Param {
            name: "light",
            keys: &[],
            kind: Kind::Color,
            default: None,
            doc: "Colour that replaces white, after a comma in a query; its alpha is ignored.",
        },
    ],
    example: "duotone=1e3264,ffd2a0",
    revision: 1,
    canonical: |args| with_firsts(opaque(opaque(args, "dark"), "light"), 2),
    resolve: None,
    plan: plan_rgb,
    apply,
};

fn apply(raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    let channels = rgb(raster.channels());
    let raster = to_channels(grayscaled(raster, context)?, channels)?;
    let [dark, light] = ["dark", "light"].map(|name| args.color(name).unwrap_or([0; 4]).map(i64::from));
    let mixed = |dark: i64, light: i64| move |value, full| rounded(dark * (full - value) + light * value, 255);
    let curves: [_; 3] = std::array::from_fn(|color| mixed(dark[color], light[color]));
    curves::applied(raster, &curves, context.deadline)
}
