//! Moves pixels without change: cuts out a part, or places an image on a canvas of one colour. For operations that
//! crop and pad.

use crate::pipeline::color::{Sample, to_channels};
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Channels, Error, Raster, Samples, Size};

/// Opaque white, the default of every `background`.
pub(super) const WHITE: [u8; 4] = [255; 4];

/// A rectangle of whole pixels inside an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipeline) struct Rect {
    pub x: u32,
    pub y: u32,
    pub size: Size,
}

/// Channels that can hold both an image of `channels` and a colour.
pub(super) fn channels_with(channels: Channels, [r, g, b, a]: [u8; 4]) -> Channels {
    Channels::of(channels.gray() && r == g && g == b, channels.alpha() || a < 255)
}

/// A colour as the samples of a pixel with the channels of [`channels_with`].
pub(super) fn pixel<S: Sample>(channels: Channels, color: [u8; 4]) -> Vec<S> {
    let [r, g, b, a] = color.map(|sample| S::scaled(sample.into(), 255));
    match channels {
        Channels::Gray => vec![r],
        Channels::GrayAlpha => vec![r, a],
        Channels::Rgb => vec![r, g, b],
        _ => vec![r, g, b, a],
    }
}

/// Cuts out a part of a raster.
pub(super) fn cut(raster: Raster, part: Rect) -> Result<Raster, Error> {
    let (size, channels) = (raster.size(), raster.channels());
    if part.size == size {
        return Ok(raster);
    }
    let samples = match raster.into_samples() {
        Samples::U8(samples) => Samples::U8(cut_samples(&samples, size, channels.count(), part)?),
        Samples::U16(samples) => Samples::U16(cut_samples(&samples, size, channels.count(), part)?),
    };
    Ok(Raster::new(part.size, channels, samples))
}

fn cut_samples<S: Sample>(samples: &[S], size: Size, count: usize, part: Rect) -> Result<Vec<S>, Error> {
    let (left, row) = (part.x as usize * count, part.size.w as usize * count);
    let mut target = try_zeroed(part.size.h as usize * row)?;
    let sources = samples.chunks_exact(size.w as usize * count).skip(part.y as usize);
    for (target, source) in target.chunks_exact_mut(row).zip(sources) {
        target.copy_from_slice(&source[left..left + row]);
    }
    Ok(target)
}

/// Places a raster on a canvas of `background`, with its upper left corner at `x`, `y`. The raster must lie inside
/// the canvas.
pub(super) fn laid(raster: Raster, canvas: Size, (x, y): (u32, u32), background: [u8; 4]) -> Result<Raster, Error> {
    let channels = channels_with(raster.channels(), background);
    let raster = to_channels(raster, channels)?;
    let part = Rect { x, y, size: raster.size() };
    let samples = match raster.into_samples() {
        Samples::U8(samples) => Samples::U8(laid_samples(&samples, canvas, part, &pixel(channels, background))?),
        Samples::U16(samples) => Samples::U16(laid_samples(&samples, canvas, part, &pixel(channels, background))?),
    };
    Ok(Raster::new(canvas, channels, samples))
}

fn laid_samples<S: Sample>(samples: &[S], canvas: Size, part: Rect, pixel: &[S]) -> Result<Vec<S>, Error> {
    let (left, row) = (part.x as usize * pixel.len(), part.size.w as usize * pixel.len());
    let mut target = filled(canvas, pixel)?;
    let targets = target.chunks_exact_mut(canvas.w as usize * pixel.len()).skip(part.y as usize);
    for (target, source) in targets.zip(samples.chunks_exact(row)) {
        target[left..left + row].copy_from_slice(source);
    }
    Ok(target)
}

/// Samples of a canvas of one colour.
pub(super) fn filled<S: Sample>(canvas: Size, pixel: &[S]) -> Result<Vec<S>, Error> {
    let mut target = try_zeroed(canvas.pixels() as usize * pixel.len())?;
    // Filled by rows, since copying a few bytes costs as much as copying thousands.
    let row = pixel.repeat(canvas.w as usize);
    target.chunks_exact_mut(row.len()).for_each(|target| target.copy_from_slice(&row));
    Ok(target)
}
