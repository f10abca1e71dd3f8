//! `grayscale`: colours give way to one gray channel.

use super::matrix::{self, Matrix};
use super::{Context, Error, Operation, Raster, gray, plan_gray, switch, to_channels, unless_off};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "grayscale",
    doc: "Makes the image gray, of one channel: CSS `grayscale(1)` (Filter Effects Level 1), the weights of ITU-R BT.709 on sRGB.",
    params: &[switch(&["grayscale"], "Whether to; in colour when it is not given.")],
    example: "grayscale",
    revision: 1,
    canonical: unless_off,
    look: None,
    plan: plan_gray,
    apply: |raster, _, context| grayscaled(raster, context),
};

/// The raster in gray; gray already, it stays as it is. Other bytes from here are those of `duotone`, too: both revisions are raised.
pub fn grayscaled(raster: Raster, context: &Context<'_>) -> Result<Raster, Error> {
    let channels = gray(raster.channels());
    let raster = matrix::applied(raster, &Matrix::new([[0.2126, 0.7152, 0.0722]; 3]), context.watch)?;
    // Red, green and blue are equal now: this takes one of them.
    to_channels(raster, channels)
}
