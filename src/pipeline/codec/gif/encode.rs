//! Writes GIF: each frame with its own palette. Opaque animations hold only the rectangle that changed; others clear the screen
//! between frames, since a drawn pixel can become transparent in no other way.

use std::borrow::Cow;

use super::NAME;
use crate::pipeline::codec::EncodeOptions;
use crate::pipeline::codec::palette::{self, Settings};
use crate::pipeline::{Delay, Error, Picture, Raster, Samples, Size};

/// Alpha below this is transparent: GIF knows nothing between.
const ALPHA_MIN: u8 = 128;

/// Part of a canvas.
#[derive(Clone, Copy)]
struct Area {
    x: usize,
    y: usize,
    w: usize,
    h: usize,
}

pub(super) fn encode(picture: &Picture, options: &EncodeOptions) -> Result<Vec<u8>, Error> {
    let Size { w, h } = picture.first().size();
    let (w, h) = (side(w)?, side(h)?);
    let mut file = Vec::new();
    let mut encoder = gif::Encoder::new(&mut file, w, h, &[]).map_err(failed)?;
    if picture.frames.len() > 1 {
        write_plays(&mut encoder, picture.plays)?;
    }
    let clears = picture.frames.len() > 1 && shows_through(picture)?;
    let mut previous: Option<&[u8]> = None;
    for frame in &picture.frames {
        options.watch.check()?;
        let samples = samples(&frame.raster)?;
        let area = match previous {
            Some(previous) if !clears => changed(previous, samples, &frame.raster),
            _ => Area { x: 0, y: 0, w: usize::from(w), h: usize::from(h) },
        };
        let dispose = if clears { gif::DisposalMethod::Background } else { gif::DisposalMethod::Keep };
        let frame =
            gif::Frame { delay: hundredths(frame.delay), dispose, ..draw(&frame.raster, samples, area, options)? };
        encoder.write_frame(&frame).map_err(failed)?;
        previous = Some(samples);
    }
    drop(encoder);
    Ok(file)
}

fn side(side: u32) -> Result<u16, Error> {
    u16::try_from(side).map_err(|_| Error::Limit {
        name: "side_px_max",
        value: u64::from(side),
        max: u64::from(u16::MAX),
    })
}

/// The extension counts repetitions after the first play; without it the animation plays once.
fn write_plays(encoder: &mut gif::Encoder<&mut Vec<u8>>, plays: u32) -> Result<(), Error> {
    let repeat = match plays {
        0 => gif::Repeat::Infinite,
        1 => return Ok(()),
        plays => gif::Repeat::Finite(u16::try_from(plays - 1).unwrap_or(u16::MAX)),
    };
    encoder.set_repeat(repeat).map_err(failed)
}

/// Whether a pixel of RGB or RGBA is drawn at all.
fn opaque(pixel: &[u8]) -> bool {
    pixel.get(3).is_none_or(|&alpha| alpha >= ALPHA_MIN)
}

fn shows_through(picture: &Picture) -> Result<bool, Error> {
    for frame in &picture.frames {
        let count = frame.raster.channels().count();
        if samples(&frame.raster)?.chunks_exact(count).any(|pixel| !opaque(pixel)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The smallest rectangle that holds every difference; one pixel when there is none, since a frame cannot be empty.
fn changed(previous: &[u8], samples: &[u8], raster: &Raster) -> Area {
    let (w, count) = (raster.size().w as usize, raster.channels().count());
    let mut bounds: Option<(usize, usize, usize, usize)> = None;
    for (y, (old, new)) in previous.chunks_exact(w * count).zip(samples.chunks_exact(w * count)).enumerate() {
        let Some(first) = old.iter().zip(new).position(|(old, new)| old != new) else { continue };
        let last = old.iter().zip(new).rposition(|(old, new)| old != new).unwrap_or(first);
        let (left, right) = (first / count, last / count);
        bounds = Some(match bounds {
            None => (left, y, right, y),
            Some((x0, y0, x1, _)) => (x0.min(left), y0, x1.max(right), y),
        });
    }
    let (x0, y0, x1, y1) = bounds.unwrap_or_default();
    Area { x: x0, y: y0, w: x1 - x0 + 1, h: y1 - y0 + 1 }
}

fn draw(raster: &Raster, samples: &[u8], area: Area, options: &EncodeOptions) -> Result<gif::Frame<'static>, Error> {
    let (w, count) = (raster.size().w as usize, raster.channels().count());
    let mut pixels = Vec::with_capacity(area.w * area.h * count);
    for row in samples.chunks_exact(w * count).skip(area.y).take(area.h) {
        pixels.extend_from_slice(&row[area.x * count..(area.x + area.w) * count]);
    }
    let colors = options.colors.map_or(256, usize::from);
    let settings = Settings { colors, dither_percent: options.dither_percent, binary_alpha: true };
    let mut indexed = palette::reduce(&[&pixels], (area.w, count), &settings, options.watch)?;
    let transparent = indexed.palette.iter().position(|color| color[3] == 0);
    Ok(gif::Frame {
        left: area.x as u16,
        top: area.y as u16,
        width: area.w as u16,
        height: area.h as u16,
        palette: Some(indexed.palette.iter().flat_map(|color| [color[0], color[1], color[2]]).collect()),
        transparent: transparent.map(|index| index as u8),
        buffer: Cow::Owned(indexed.frames.swap_remove(0)),
        ..gif::Frame::default()
    })
}

/// Rounded; zero stays zero, which players take as they please.
fn hundredths(delay: Delay) -> u16 {
    let denominator = u64::from(delay.denominator);
    let hundredths = (u64::from(delay.numerator) * 100 + denominator / 2) / denominator;
    u16::try_from(hundredths).unwrap_or(u16::MAX)
}

fn samples(raster: &Raster) -> Result<&[u8], Error> {
    match raster.samples() {
        Samples::U8(samples) => Ok(samples),
        Samples::U16(_) => Err(Error::Encode { format: NAME, reason: "16-bit samples were not reduced".into() }),
    }
}

fn failed(error: gif::EncodingError) -> Error {
    Error::Encode { format: NAME, reason: error.to_string() }
}
