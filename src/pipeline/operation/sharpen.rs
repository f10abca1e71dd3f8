//! `sharpen`: an unsharp mask.

use super::gaussian::{blurred, has_alpha, working_bytes};
use super::{Context, Cost, Operation, with_first};
use crate::pipeline::color::{Sample, straight_row};
use crate::pipeline::param::{Args, Kind, Param, Value};
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Error, Raster, Samples, Shape};

const SIGMA: Kind = Kind::Decimal { min: 30, max: 1_000, places: 2, unit: "px" };

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "sharpen",
    doc: "Unsharp mask: adds the difference from a Gaussian blur (ImageMagick's `-unsharp`), in linear light; \
          alpha is unchanged.",
    params: &[
        Param {
            name: "sigma",
            keys: &["sharpen"],
            kind: SIGMA,
            default: None,
            doc: "Standard deviation of the blur; finer details are sharpened.",
        },
        Param {
            name: "amount",
            keys: &[],
            kind: Kind::Decimal { min: 0, max: 1_000, places: 2, unit: "" },
            default: Some(Value::Number(100)),
            doc: "Factor for the added difference.",
        },
        Param {
            name: "threshold",
            keys: &[],
            kind: Kind::Integer { min: 0, max: 255, step: 1, unit: "" },
            default: Some(Value::Number(0)),
            doc: "Smallest difference from the blurred image that is sharpened, in 8-bit sRGB levels.",
        },
    ],
    example: "w=300&sharpen=1,1.5,3",
    revision: 2,
    canonical,
    resolve: None,
    plan,
    apply,
};

fn canonical(args: Args) -> Result<Option<Args>, Error> {
    Ok(with_first(args)?.filter(|args| args.number("amount") != Some(0)))
}

fn plan(shape: Shape, args: &Args) -> Result<Cost, Error> {
    let row = u64::from(shape.size.w) * shape.channels.count() as u64 * 4;
    Ok(Cost::new(shape, working_bytes(shape, sigma(args)) + row))
}

/// Standard deviation in pixels.
fn sigma(args: &Args) -> f64 {
    args.number("sigma").unwrap_or(30) as f64 / 100.0
}

fn apply(raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    let samples = match raster.samples() {
        Samples::U8(samples) => Samples::U8(sharpened(&raster, samples, args, context)?),
        Samples::U16(samples) => Samples::U16(sharpened(&raster, samples, args, context)?),
    };
    Ok(Raster::new(raster.size(), raster.channels(), samples))
}

fn sharpened<S: Sample>(raster: &Raster, samples: &[S], args: &Args, context: &Context<'_>) -> Result<Vec<S>, Error> {
    let (channels, alpha) = (raster.channels(), has_alpha(raster));
    let count = channels.count();
    let full: u32 = S::MAX.into();
    let mask = UnsharpMask {
        amount: args.number("amount").unwrap_or(100) as f32 / 100.0,
        threshold: args.number("threshold").unwrap_or(0) as u32 * (full / 255),
    };
    let mut result = samples.to_vec();
    let mut local = try_zeroed::<f32>(raster.size().w as usize * count)?;
    blurred(raster, sigma(args), context.deadline, |y, row| {
        local.copy_from_slice(row);
        if alpha {
            // Colour around each pixel; transparent neighbours do not contribute.
            straight_row(&mut local, count);
        }
        let target = &mut result[y * row.len()..][..row.len()];
        if channels.alpha() {
            for (target, local) in target.chunks_exact_mut(count).zip(local.chunks_exact(count)) {
                mask.add(&mut target[..count - 1], local);
            }
        } else {
            mask.add(target, &local);
        }
    })?;
    Ok(result)
}

/// Settings for the added difference.
struct UnsharpMask {
    /// Factor for the difference.
    amount: f32,
    /// Threshold in levels of the samples.
    threshold: u32,
}

impl UnsharpMask {
    /// Adds the difference from `blurred`, a row of linear light.
    fn add<S: Sample>(&self, samples: &mut [S], blurred: &[f32]) {
        let table = S::light_table();
        for (sample, blurred) in samples.iter_mut().zip(blurred) {
            let level: u32 = (*sample).into();
            if self.threshold > 0 && level.abs_diff(S::of_light(*blurred).into()) < self.threshold {
                continue;
            }
            let light = table[level as usize];
            *sample = S::of_light(light + (light - blurred) * self.amount);
        }
    }
}
