//! `circle`: keeps the largest centred circle.

use super::coverage::{Rounded, covered, plan};
use super::{Operation, switch, unless_off};
use crate::pipeline::Size;

pub(super) static OPERATION: Operation = Operation {
    name: "circle",
    doc: "Makes everything outside the largest centred circle transparent; the size is unchanged. Edges are \
          antialiased by exact area.",
    params: &[switch(&["circle"], "Cuts out the circle; in JSON the operation's name is enough.")],
    example: "w=300&h=300&fit=cover&circle",
    revision: 1,
    canonical: unless_off,
    resolve: None,
    plan: |shape, _| Ok(plan(shape)),
    apply: |raster, _, context| {
        let (image, side) = (raster.size(), raster.size().w.min(raster.size().h));
        let square = Size::new(side, side);
        let circle = Rounded { image, size: square, corners: square };
        covered(raster, context, |y, row| circle.row(y, row))
    },
};
