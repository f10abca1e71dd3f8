//! `ellipse`: keeps the ellipse that touches all four sides.

use super::coverage::{Rounded, covered, plan};
use super::{Operation, switch, unless_off};

pub(super) static OPERATION: Operation = Operation {
    name: "ellipse",
    doc: "Makes everything outside the ellipse that touches all four sides transparent. Edges are antialiased by \
          exact area.",
    params: &[switch(&["ellipse"], "Cuts out the ellipse; in JSON the operation's name is enough.")],
    example: "w=300&ellipse",
    revision: 1,
    canonical: unless_off,
    resolve: None,
    plan: |shape, _| Ok(plan(shape)),
    apply: |raster, _, context| {
        let image = raster.size();
        let ellipse = Rounded { image, size: image, corners: image };
        covered(raster, context, |y, row| ellipse.row(y, row))
    },
};
