//! `tint`: gives the whole image one hue.

use super::lab::{self, ONE};
use super::{
    Args, Context, Error, Kind, Operation, Param, Raster, curves, gray, opaque, plan_rgb, rgb, rounded, to_channels,
    with_first,
};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "tint",
    doc: "Gives every pixel the chroma of one colour, strongest in the middle tones, and keeps its luminance: sharp's `tint`.",
    params: &[Param {
        name: "color",
        keys: &["tint"],
        kind: Kind::Color,
        default: None,
        doc: "Colour of the tint; its lightness and alpha are ignored. No tint by default.",
    }],
    example: "tint=ff8000",
    revision: 2,
    canonical: |args| with_first(opaque(args, "color")),
    resolve: None,
    plan: plan_rgb,
    apply,
};

fn apply(raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    let channels = raster.channels();
    let luminance = to_channels(raster, gray(channels))?;
    let chroma = chroma(args);
    let curves = [0, 1, 2].map(|color| move |value, full| tinted(value, full, chroma)[color]);
    curves::applied(to_channels(luminance, rgb(channels))?, &curves, context.deadline)
}

/// `f(X) - f(Y)` and `f(Z) - f(Y)` of the colour: a* and b* without their constant factors.
fn chroma(args: &Args) -> [i64; 2] {
    let [r, g, b, _] = args.color("color").unwrap_or([0; 4]);
    let [x, y, z] = lab::xyz([r, g, b].map(lab::of_sample)).map(lab::f);
    [x - y, z - y]
}

/// Result for a gray: L* is kept, and a* and b* are weighted by `1 - 4 (L*/100 - 1/2)^2`, so that black and white are
/// unchanged.
fn tinted(gray: i64, full: i64, [a, b]: [i64; 2]) -> [i64; 3] {
    let y = lab::f(lab::of_sample((gray * (65_535 / full)) as u16));
    let from_middle = (116 * y - 16 * ONE) / 100 - ONE / 2;
    let weight = ONE - 4 * from_middle * from_middle / ONE;
    let xyz = [y + a * weight / ONE, y, y + b * weight / ONE].map(lab::light);
    lab::rgb(xyz).map(|light| rounded(i64::from(lab::sample::<u16>(light)) * full, 65_535))
}
