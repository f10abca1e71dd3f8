//! `vignette`: darkens towards the corners.

use super::{Context, Cost, Operation, unless_defaults};
use crate::pipeline::color::Sample;
use crate::pipeline::param::{Args, Kind, Param, Value};
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Deadline, Error, Raster, Samples, Size};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "vignette",
    doc: "Darkens towards the corners like a lens of 90\u{b0} (the cosine fourth law), in linear light; alpha is \
          unchanged.",
    params: &[Param {
        name: "amount",
        keys: &["vignette"],
        kind: Kind::Integer { min: 0, max: 100, step: 1, unit: "%" },
        default: Some(Value::Number(0)),
        doc: "Loss of light in the corners.",
    }],
    example: "w=300&vignette=70",
    revision: 2,
    canonical: unless_defaults,
    resolve: None,
    plan: |shape, _| Ok(Cost::new(shape, u64::from(shape.size.w) * 4)),
    apply,
};

fn apply(raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    let amount = args.number("amount").unwrap_or(0) as f32 / 100.0;
    let (size, channels) = (raster.size(), raster.channels());
    let colors = channels.count() - usize::from(channels.alpha());
    let samples = match raster.into_samples() {
        Samples::U8(samples) => {
            Samples::U8(darkened(samples, size, [channels.count(), colors], amount, context.deadline)?)
        }
        Samples::U16(samples) => {
            Samples::U16(darkened(samples, size, [channels.count(), colors], amount, context.deadline)?)
        }
    };
    Ok(Raster::new(size, channels, samples))
}

fn darkened<S: Sample>(
    mut samples: Vec<S>,
    size: Size,
    [count, colors]: [usize; 2],
    amount: f32,
    deadline: &Deadline,
) -> Result<Vec<S>, Error> {
    let table = S::light_table();
    let mut shares = try_zeroed(size.w as usize)?;
    for (y, row) in samples.chunks_exact_mut(size.w as usize * count).enumerate() {
        deadline.check()?;
        shares_of_row(&mut shares, y, size, amount);
        for (pixel, share) in row.chunks_exact_mut(count).zip(&shares) {
            for sample in &mut pixel[..colors] {
                *sample = S::of_light(table[(*sample).into() as usize] * share);
            }
        }
    }
    Ok(samples)
}

/// Share of light that remains in each pixel of a row.
fn shares_of_row(shares: &mut [f32], y: usize, size: Size, amount: f32) {
    // Distances from the middle in half pixels, which are whole numbers.
    let (w, h) = (size.w as f32, size.h as f32);
    let corner = w * w + h * h;
    let dy = (2 * y + 1) as f32 - h;
    for (x, share) in shares.iter_mut().enumerate() {
        let dx = (2 * x + 1) as f32 - w;
        // Square of the tangent: 1 in the corners, where cos^4 is a quarter.
        let tangent = (dx * dx + dy * dy) / corner;
        let cosine = 1.0 / (1.0 + tangent);
        let lost = (1.0 - cosine * cosine) / 0.75;
        *share = 1.0 - amount * lost;
    }
}
