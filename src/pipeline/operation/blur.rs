//! `blur`: a Gaussian blur.

use super::gaussian::{blurred, has_alpha, working_bytes};
use super::{Context, Cost, Operation, with_first};
use crate::pipeline::color::{Sample, encode_row};
use crate::pipeline::param::{Args, Kind, Param};
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Error, Raster, Samples};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "blur",
    doc: "Gaussian blur (`blur()` of CSS Filter Effects Level 1, sharp's `blur`), in linear light with \
          premultiplied alpha. Edge pixels are extended outwards.",
    params: &[Param {
        name: "sigma",
        keys: &["blur"],
        kind: Kind::Decimal { min: 30, max: 25_000, places: 2, unit: "px" },
        default: None,
        doc: "Standard deviation; larger values take no longer.",
    }],
    example: "w=300&blur=4",
    revision: 2,
    canonical: with_first,
    resolve: None,
    plan: |shape, args| Ok(Cost::new(shape, working_bytes(shape, sigma(args)))),
    apply,
};

/// Standard deviation in pixels.
fn sigma(args: &Args) -> f64 {
    args.number("sigma").unwrap_or(30) as f64 / 100.0
}

fn apply(raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    let samples = match raster.samples() {
        Samples::U8(samples) => Samples::U8(encoded(&raster, samples.len(), sigma(args), context)?),
        Samples::U16(samples) => Samples::U16(encoded(&raster, samples.len(), sigma(args), context)?),
    };
    Ok(Raster::new(raster.size(), raster.channels(), samples))
}

fn encoded<S: Sample>(raster: &Raster, samples: usize, sigma: f64, context: &Context<'_>) -> Result<Vec<S>, Error> {
    let (count, alpha) = (raster.channels().count(), has_alpha(raster));
    let mut result = try_zeroed(samples)?;
    blurred(raster, sigma, context.deadline, |y, row| {
        encode_row(row, &mut result[y * row.len()..][..row.len()], count, alpha);
    })?;
    Ok(result)
}
