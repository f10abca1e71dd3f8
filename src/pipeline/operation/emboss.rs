//! `emboss`: a relief that is lit from the top left.

use super::convolve::{Kernel, ONE, convolved, working_bytes};
use super::{Cost, Operation, switch, unless_off};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "emboss",
    doc: "Makes a gray relief: each pixel less its neighbour at the top left, around middle gray (the kernel of Pillow's \
          `EMBOSS`); of sRGB-encoded samples, weighed by alpha, which stays.",
    params: &[switch(&["emboss"], "Whether it is done; in JSON the operation's name is enough.")],
    example: "w=300&emboss",
    revision: 1,
    canonical: unless_off,
    look: None,
    plan: |shape, _| Ok(Cost::new(shape, working_bytes(shape, &kernel()))),
    apply: |raster, _, context| convolved(raster, &kernel(), context.watch),
};

fn kernel() -> Kernel {
    Kernel::new(&[-ONE, 0, 0, 0, ONE, 0, 0, 0, 0])
}
