//! `posterize`: few values of each colour.

use super::{Args, Context, Error, Kind, Operation, Param, Raster, curves, plan_same, rounded, with_first};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "posterize",
    doc: "Leaves some values of each colour: bands of equal width, as Pillow's `ImageOps.posterize` makes them of a power of two, \
          spread over the whole range, as the function `discrete` of `feComponentTransfer` (Filter Effects Level 1).",
    params: &[Param {
        name: "levels",
        keys: &["posterize"],
        kind: Kind::Integer { min: 2, max: 64, step: 1, unit: "" },
        default: None,
        doc: "Values of each colour; as it is when it is not given.",
    }],
    example: "posterize=4",
    revision: 1,
    canonical: with_first,
    resolve: None,
    plan: plan_same,
    apply,
};

fn apply(raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    // The kind holds it above 1.
    let levels = args.number("levels").unwrap_or(2);
    let curve = |value, full| rounded(value * levels / (full + 1) * full, levels - 1);
    curves::applied(raster, &[curve], context.watch)
}
