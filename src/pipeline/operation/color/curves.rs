//! Curves on samples: each result depends on one sample alone, so it is computed once for each of the 256 or 65,536
//! values, and then looked up.

pub(in crate::pipeline::operation) mod brightness;
pub(in crate::pipeline::operation) mod contrast;
pub(in crate::pipeline::operation) mod exposure;
pub(in crate::pipeline::operation) mod gamma;
pub(in crate::pipeline::operation) mod invert;
pub(in crate::pipeline::operation) mod posterize;
pub(in crate::pipeline::operation) mod threshold;

use super::{BAND_PIXELS, Channels, Deadline, Error, Raster, Sample, Samples, full, sample};

/// Applies one curve to every colour sample, or one curve to each sample of a pixel, alpha included. A curve maps a
/// value and the full range to a value, which is clamped to the range. Works in place.
pub fn applied<F: Fn(i64, i64) -> i64>(raster: Raster, curves: &[F], deadline: &Deadline) -> Result<Raster, Error> {
    let (size, channels) = (raster.size(), raster.channels());
    let samples = match raster.into_samples() {
        Samples::U8(samples) => Samples::U8(mapped(samples, channels, curves, deadline)?),
        Samples::U16(samples) => Samples::U16(mapped(samples, channels, curves, deadline)?),
    };
    Ok(Raster::new(size, channels, samples))
}

fn mapped<S: Sample, F: Fn(i64, i64) -> i64>(
    mut samples: Vec<S>,
    channels: Channels,
    curves: &[F],
    deadline: &Deadline,
) -> Result<Vec<S>, Error> {
    let tables: Vec<Vec<S>> = curves.iter().map(table).collect();
    for band in samples.chunks_mut(BAND_PIXELS * channels.count()) {
        deadline.check()?;
        match tables.as_slice() {
            [table] if !channels.alpha() => look_up(band, table),
            [table] => {
                let colors = channels.count() - 1;
                band.chunks_exact_mut(channels.count()).for_each(|pixel| look_up(&mut pixel[..colors], table));
            }
            tables => band.chunks_exact_mut(channels.count()).for_each(|pixel| {
                pixel.iter_mut().zip(tables).for_each(|(sample, table)| *sample = table[(*sample).into() as usize]);
            }),
        }
    }
    Ok(samples)
}

fn look_up<S: Sample>(samples: &mut [S], table: &[S]) {
    samples.iter_mut().for_each(|sample| *sample = table[(*sample).into() as usize]);
}

fn table<S: Sample, F: Fn(i64, i64) -> i64>(curve: &F) -> Vec<S> {
    let full = full::<S>();
    (0..=full).map(|value| sample(curve(value, full))).collect()
}
