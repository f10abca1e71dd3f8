//! `grayscale`: replaces colours by one gray channel.

use super::super::{
    Channels, Context, Error, Operation, Raster, Sample, Samples, gray, plan_gray, sample, switch, unless_off,
};
use super::Row;
use crate::pipeline::color::each_pixel;

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "grayscale",
    doc: "Converts to one gray channel: CSS `grayscale(1)` (Filter Effects Level 1), with the weights of ITU-R BT.709 on sRGB.",
    params: &[switch(&["grayscale"], "Converts to gray; in JSON the operation's name is enough.")],
    example: "grayscale",
    revision: 1,
    canonical: unless_off,
    resolve: None,
    plan: plan_gray,
    apply: |raster, _, context| grayscaled(raster, context),
};

/// Converts a raster to gray, unless it is gray already. A change of results here requires new revisions of
/// `grayscale` and `duotone`.
pub fn grayscaled(raster: Raster, context: &Context<'_>) -> Result<Raster, Error> {
    context.deadline.check()?;
    let (size, channels) = (raster.size(), raster.channels());
    if channels.gray() {
        return Ok(raster);
    }
    let samples = match raster.into_samples() {
        Samples::U8(samples) => Samples::U8(grays(&samples, channels)?),
        Samples::U16(samples) => Samples::U16(grays(&samples, channels)?),
    };
    Ok(Raster::new(size, gray(channels), samples))
}

fn grays<S: Sample>(samples: &[S], channels: Channels) -> Result<Vec<S>, Error> {
    let weights = Row::new([0.2126, 0.7152, 0.0722]);
    let value = |sample: S| {
        let value: u32 = sample.into();
        i64::from(value)
    };
    let gray = |r, g, b| sample(weights.times([value(r), value(g), value(b)]));
    if channels.alpha() {
        each_pixel(samples, |&[r, g, b, alpha]| [gray(r, g, b), alpha])
    } else {
        each_pixel(samples, |&[r, g, b]| [gray(r, g, b)])
    }
}
