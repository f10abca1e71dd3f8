//! `posterize`: reduces each colour to few values.

use super::super::{Args, Context, Error, Kind, Operation, Param, Raster, curves, plan_same, rounded, with_first};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "posterize",
    doc: "Reduces each colour to a few values: bands of equal width, as in Pillow's `ImageOps.posterize` for \
          powers of two, spread over the full range, as the function `discrete` of `feComponentTransfer` (Filter \
          Effects Level 1).",
    params: &[Param {
        name: "levels",
        keys: &["posterize"],
        kind: Kind::Integer { min: 2, max: 64, step: 1, unit: "" },
        default: None,
        doc: "Number of values per colour. Unchanged by default.",
    }],
    example: "posterize=4",
    revision: 1,
    canonical: with_first,
    resolve: None,
    plan: plan_same,
    apply,
};

fn apply(raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    // The parameter's kind keeps it above 1.
    let levels = args.number("levels").unwrap_or(2);
    let curve = |value, full| rounded(value * levels / (full + 1) * full, levels - 1);
    curves::applied(raster, &[curve], context.deadline)
}
