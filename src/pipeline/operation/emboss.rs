//! `emboss`: a relief lit from the top left.

use super::convolve::{ONE, SquareKernel, convolved, working_bytes};
use super::{Cost, Operation, switch, unless_off};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "emboss",
    doc: "Relief: each colour sample minus its neighbour at the top left, plus middle gray (the kernel with -1 at \
          the top left and 1 in the middle, in the order of ImageMagick and sharp). On sRGB-encoded samples with \
          premultiplied alpha; alpha is unchanged.",
    params: &[switch(&["emboss"], "Applies the relief; in JSON the operation's name is enough.")],
    example: "w=300&emboss",
    revision: 1,
    canonical: unless_off,
    resolve: None,
    plan: |shape, _| Ok(Cost::new(shape, working_bytes(shape, &kernel()))),
    apply: |raster, _, context| convolved(raster, &kernel(), context.deadline),
};

fn kernel() -> SquareKernel {
    SquareKernel::new(&[-ONE, 0, 0, 0, ONE, 0, 0, 0, 0])
}
