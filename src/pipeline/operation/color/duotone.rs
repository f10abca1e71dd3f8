//! `duotone`: two colours instead of black and white.

use super::grayscale::grayscaled;
use super::{
    Args, Context, Error, Kind, Operation, Param, Raster, curves, opaque, plan_rgb, rgb, rounded, to_channels,
    with_firsts,
};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "duotone",
    doc: "Makes the image gray, then `dark` of its black, `light` of its white and a mixture of what lies between: CSS \
          `grayscale(1)` and the function `table` of `feComponentTransfer` (Filter Effects Level 1).",
    params: &[
        Param {
            name: "dark",
            keys: &["duotone"],
            kind: Kind::Color,
            default: None,
            doc: "What black becomes; its alpha is not used.",
        },
        Param {
            name: "light",
            keys: &[],
            kind: Kind::Color,
            default: None,
            doc: "What white becomes, behind a comma; its alpha is not used.",
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
    curves::applied(raster, &curves, context.watch)
}
