//! Writes GIF, each frame with its own palette. Frames of opaque animations hold only the rectangle that changed;
//! others clear the screen between frames, since a drawn pixel cannot become transparent in any other way.

use std::borrow::Cow;

use weezl::encode::Encoder as Lzw;
use weezl::{BitOrder, LzwStatus};

use super::{Area, NAME};
use crate::pipeline::codec::animation::DelayRounding;
use crate::pipeline::codec::palette::{self, Settings};
use crate::pipeline::codec::{EncodeOptions, eight_bit_samples};
use crate::pipeline::{Deadline, Delay, Error, Picture, Raster, Size};

/// Alpha below which a pixel is transparent; GIF has no partial transparency.
const ALPHA_MIN: u8 = 128;

pub(super) fn encode(picture: &Picture, options: &EncodeOptions) -> Result<Vec<u8>, Error> {
    let Size { w, h } = picture.first().size();
    let (w, h) = (side(w)?, side(h)?);
    let mut file = Vec::new();
    let mut encoder = gif::Encoder::new(&mut file, w, h, &[]).map_err(failed)?;
    if picture.frames.len() > 1 {
        write_plays(&mut encoder, picture.plays)?;
    }
    let clears = picture.frames.len() > 1 && shows_through(picture)?;
    let mut delays = DelayRounding::to_parts(100);
    let mut previous: Option<&[u8]> = None;
    for frame in &picture.frames {
        options.deadline.check()?;
        let samples = eight_bit_samples(NAME, &frame.raster)?;
        let area = match previous {
            Some(previous) if !clears => changed(previous, samples, &frame.raster),
            _ => Area { x: 0, y: 0, w: usize::from(w), h: usize::from(h) },
        };
        let dispose = if clears { gif::DisposalMethod::Background } else { gif::DisposalMethod::Keep };
        let delay = hundredths(frame.delay, &mut delays);
        let frame = gif::Frame { delay, dispose, ..draw(&frame.raster, samples, area, clears, options)? };
        encoder.write_lzw_pre_encoded_frame(&frame).map_err(failed)?;
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

/// Writes the number of plays: the extension counts repetitions after the first; without it the animation plays once.
fn write_plays(encoder: &mut gif::Encoder<&mut Vec<u8>>, plays: u32) -> Result<(), Error> {
    let repeat = match plays {
        0 => gif::Repeat::Infinite,
        1 => return Ok(()),
        plays => gif::Repeat::Finite(u16::try_from(plays - 1).unwrap_or(u16::MAX)),
    };
    encoder.set_repeat(repeat).map_err(failed)
}

/// Whether an RGB or RGBA pixel is drawn.
fn opaque(pixel: &[u8]) -> bool {
    pixel.get(3).is_none_or(|&alpha| alpha >= ALPHA_MIN)
}

fn shows_through(picture: &Picture) -> Result<bool, Error> {
    for frame in &picture.frames {
        let count = frame.raster.channels().count();
        if eight_bit_samples(NAME, &frame.raster)?.chunks_exact(count).any(|pixel| !opaque(pixel)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Smallest rectangle around all differences; one pixel if there is none, since a frame cannot be empty.
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

/// Draws an area of a frame. A frame that is cleared has a transparent index even if no pixel has it: some decoders clear to
/// the background colour otherwise.
fn draw(
    raster: &Raster,
    samples: &[u8],
    area: Area,
    is_cleared: bool,
    options: &EncodeOptions,
) -> Result<gif::Frame<'static>, Error> {
    let (w, count) = (raster.size().w as usize, raster.channels().count());
    let mut pixels = Vec::with_capacity(area.w * area.h * count);
    for row in samples.chunks_exact(w * count).skip(area.y).take(area.h) {
        pixels.extend_from_slice(&row[area.x * count..(area.x + area.w) * count]);
    }
    let mut colors = options.colors.map_or(256, usize::from);
    let is_opaque = pixels.chunks_exact(count).all(opaque);
    if is_cleared && is_opaque {
        colors = (colors - 1).max(1);
    }
    let settings = Settings { colors, dither_percent: options.dither_percent, binary_alpha: true };
    let mut indexed = palette::reduce(&[&pixels], (area.w, count), &settings, options.deadline)?;
    if is_cleared && is_opaque {
        indexed.palette.push([0; 4]);
    }
    let transparent = indexed.palette.iter().position(|color| color[3] == 0);
    Ok(gif::Frame {
        left: area.x as u16,
        top: area.y as u16,
        width: area.w as u16,
        height: area.h as u16,
        palette: Some(indexed.palette.iter().flat_map(|color| [color[0], color[1], color[2]]).collect()),
        transparent: transparent.map(|index| index as u8),
        buffer: Cow::Owned(packed(&indexed.frames.swap_remove(0), options.deadline)?),
        ..gif::Frame::default()
    })
}

/// LZW data, byte for byte as the crate `gif` writes it, with checks of the deadline in between.
fn packed(mut indices: &[u8], deadline: &Deadline) -> Result<Vec<u8>, Error> {
    const STEP_BYTES: usize = 4 << 10;
    let colors = indices.iter().max().map_or(1, |&last| u32::from(last) + 1);
    let code_bits = colors.max(4).next_power_of_two().trailing_zeros() as u8;
    let (mut packed, mut step) = (vec![code_bits], [0; STEP_BYTES]);
    let mut lzw = Lzw::new(BitOrder::Lsb, code_bits);
    lzw.finish();
    loop {
        deadline.check()?;
        let done = lzw.encode_bytes(indices, &mut step);
        packed.extend_from_slice(&step[..done.consumed_out]);
        indices = &indices[done.consumed_in..];
        match done.status {
            Ok(LzwStatus::Ok) => {}
            Ok(LzwStatus::Done) => return Ok(packed),
            status => return Err(Error::Encode { format: NAME, reason: format!("LZW: {status:?}") }),
        }
    }
}

/// Shortest delay in hundredths of a second: players take a tenth of a second for less.
const DELAY_MIN: u32 = 2;

/// Delay in hundredths of a second. Zero stays zero.
fn hundredths(delay: Delay, rounding: &mut DelayRounding) -> u16 {
    let mut rounded = rounding.round(delay);
    if delay.numerator > 0 && rounded < DELAY_MIN {
        rounding.forget();
        rounded = DELAY_MIN;
    }
    u16::try_from(rounded).unwrap_or(u16::MAX)
}

fn failed(error: gif::EncodingError) -> Error {
    Error::Encode { format: NAME, reason: error.to_string() }
}
