//! `emboss`: a relief that is lit from the top left.

use super::convolve::{Kernel, ONE, convolved, working_bytes};
use super::{Cost, Operation, switch, unless_off};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "emboss",
    doc: "Makes a relief: each sample of colour less that of the neighbour at the top left, around middle gray (the kernel -1 at the top \
          left and 1 in the middle, as ImageMagick and sharp read it); sRGB-encoded, weighed by alpha, which stays.",
    params: &[switch(&["emboss"], "Whether it is done; in JSON the operation's name is enough.")],
    example: "w=300&emboss",
    revision: 1,
    canonical: unless_off,
    resolve: None,
    plan: |shape, _| Ok(Cost::new(shape, working_bytes(shape, &kernel()))),
    apply: |raster, _, context| convolved(raster, &kernel(), context.watch),
};

fn kernel() -> Kernel {
    Kernel::new(&[-ONE, 0, 0, 0, ONE, 0, 0, 0, 0])
}
