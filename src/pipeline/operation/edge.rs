//! `edge`: shows changes of brightness.

use super::window::{self, Reach, Rows, windows};
use super::{Context, Cost, Operation, switch, unless_off};
use crate::pipeline::color::{self, Sample};
use crate::pipeline::param::Args;
use crate::pipeline::{Channels, Deadline, Error, Raster, Samples, Shape};

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "edge",
    doc: "Edge detection: the magnitude of the Sobel gradient (weights 1 2 1) of luminance (ITU-R BT.709, encoded \
          in sRGB), multiplied by alpha. The result is gray; alpha is unchanged.",
    params: &[switch(&["edge"], "Shows edges; in JSON the operation's name is enough.")],
    example: "w=300&edge",
    revision: 2,
    canonical: unless_off,
    resolve: None,
    plan,
    apply,
};

const REACH: Reach = Reach { x: 1, y: 1 };

fn gray(channels: Channels) -> Channels {
    Channels::of(true, channels.alpha())
}

/// Rows of the luminance.
fn rows(shape: Shape) -> Rows {
    Rows { count: 1, ..Rows::of(shape) }
}

fn plan(shape: Shape, _: &Args) -> Result<Cost, Error> {
    let result = Shape { channels: gray(shape.channels), ..shape };
    // The luminance and the result are held at the same time.
    Ok(Cost::new(result, result.bytes() + window::working_bytes::<i32>(rows(shape), REACH)))
}

fn apply(raster: Raster, _: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    let channels = gray(raster.channels());
    let raster = color::to_channels(raster, channels)?;
    let (rows, count) = (rows(raster.shape()), channels.count());
    let samples = match raster.samples() {
        Samples::U8(samples) => Samples::U8(edges(samples, rows, count, context.deadline)?),
        Samples::U16(samples) => Samples::U16(edges(samples, rows, count, context.deadline)?),
    };
    Ok(Raster::new(raster.size(), channels, samples))
}

fn edges<S: Sample>(samples: &[S], rows: Rows, count: usize, deadline: &Deadline) -> Result<Vec<S>, Error> {
    let length = rows.w * count;
    let mut result = samples.to_vec();
    let source = |y: usize, row: &mut [i32]| {
        for (target, pixel) in row.iter_mut().zip(samples[y * length..][..length].chunks_exact(count)) {
            *target = seen(pixel);
        }
    };
    windows(rows, REACH, deadline, source, |y, window| {
        let [above, middle, below] = [-1, 0, 1].map(|dy| window.row(dy).windows(3));
        let pixels = result[y * length..][..length].chunks_exact_mut(count);
        for (((pixel, above), middle), below) in pixels.zip(above).zip(middle).zip(below) {
            pixel[0] = magnitude([above, middle, below]);
        }
    })?;
    Ok(result)
}

/// Luminance of a pixel multiplied by alpha, so that transparent areas have no edges.
fn seen<S: Sample>(pixel: &[S]) -> i32 {
    let luminance: u32 = pixel[0].into();
    match pixel.get(1).copied() {
        Some(alpha) if alpha != S::MAX => {
            let full = u64::from(S::MAX.into());
            ((u64::from(luminance) * u64::from(alpha.into()) + full / 2) / full) as i32
        }
        _ => luminance as i32,
    }
}

/// Magnitude of the gradient, clamped to full intensity.
fn magnitude<S: Sample>([a, m, b]: [&[i32]; 3]) -> S {
    let x = (a[2] - a[0]) + 2 * (m[2] - m[0]) + (b[2] - b[0]);
    let y = (b[0] - a[0]) + 2 * (b[1] - a[1]) + (b[2] - a[2]);
    let (x, y) = (x as f32, y as f32);
    // The square root is exact to the last bit on every CPU (IEEE 754).
    S::try_from(((x * x + y * y).sqrt() + 0.5) as u32).unwrap_or(S::MAX)
}
