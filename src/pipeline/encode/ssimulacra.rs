//! `quality=auto`: the lowest quality that reaches a score of SSIMULACRA2 (Cloudinary, 2022; 100: no difference, 90:
//! none visible, 70: slight). The crate `fast-ssim2` (BSD, MIT) gives scores that do not depend on the processor, in
//! a sixth of the time of `ssimulacra2`. The crates for Butteraugli and DSSIM have other licences.

use fast_ssim2::{PixelDescriptor, PixelSlice, Ssimulacra2Error, Ssimulacra2Reference};

use crate::pipeline::codec::{Codec, DecodeOptions, EncodeOptions, Encoder};
use crate::pipeline::raster::Shape;
use crate::pipeline::{Channels, Error, Limits, Picture, Raster, Samples, Size, color};

/// Largest number of tries, each an encode, a decode and a comparison.
const TRIES_MAX: u32 = 6;

/// Range of the search: scores below it mean little; above it files grow without visible gain.
const QUALITY_MIN: u8 = 30;
const QUALITY_MAX: u8 = 95;

/// Excess over the wanted score that ends the search.
const TOLERANCE: f64 = 0.5;

/// Pixels above which a picture is scored by tiles from all parts of it, which bounds the time.
const PIXELS_MAX: u64 = 400_000;
const TILE_PX: u32 = 128;
const TILES: u32 = 4;

/// Background for alpha, and filler for pictures too small to score.
const BEHIND: [u8; 4] = [128, 128, 128, 255];

/// Upper bound on memory for scoring a picture of this shape, in addition to the picture: 90 bytes per pixel were
/// measured; the codec needs more.
pub fn working_bytes(shape: Shape) -> u64 {
    160 * shape.size.pixels().min(PIXELS_MAX)
}

/// Returns the lowest quality that reaches the encoder's score, or the highest of the range if none does. Only the
/// first frame of an animation is scored.
pub(super) fn quality(
    codec: &Codec,
    encoder: &Encoder,
    picture: &Picture,
    options: &EncodeOptions,
) -> Result<u8, Error> {
    let sample = Picture::still(sample(picture.first()));
    let size = sample.first().size();
    let failed = |error: Ssimulacra2Error| Error::Encode { format: codec.name, reason: error.to_string() };
    let pixels = shown(sample.first().clone())?;
    let reference = Ssimulacra2Reference::new(&slice(&pixels, size).map_err(failed)?).map_err(failed)?;
    let score = |quality| {
        options.deadline.check()?;
        let bytes = (encoder.encode)(&sample, &EncodeOptions { quality: Some(quality), ..*options })?;
        let limits = Limits::default();
        let decode = DecodeOptions::new(&limits, options.deadline);
        let pixels = shown((codec.decode)(&bytes, &decode)?.into_first())?;
        slice(&pixels, size).and_then(|slice| reference.compare(&slice)).map_err(failed)
    };
    lowest(encoder.quality.unwrap_or(QUALITY_MAX), f64::from(encoder.score), score)
}

/// Bisects the range of qualities, starting at `first`.
fn lowest(first: u8, wanted: f64, mut score: impl FnMut(u8) -> Result<f64, Error>) -> Result<u8, Error> {
    let (mut low, mut high, mut quality) = (QUALITY_MIN, QUALITY_MAX, first);
    for _ in 0..TRIES_MAX {
        let score = score(quality)?;
        if score < wanted {
            low = quality + 1;
        } else {
            high = quality;
        }
        if low >= high || (wanted..wanted + TOLERANCE).contains(&score) {
            break;
        }
        quality = low.midpoint(high);
    }
    Ok(high)
}

fn slice(pixels: &[u8], size: Size) -> Result<PixelSlice<'_>, Ssimulacra2Error> {
    PixelSlice::new(pixels, size.w, size.h, size.w as usize * 3, PixelDescriptor::RGB8_SRGB)
        .map_err(|_| Ssimulacra2Error::InvalidImageSize)
}

/// Converts to 8-bit RGB on gray.
fn shown(raster: Raster) -> Result<Vec<u8>, Error> {
    let rgb = color::to_channels(color::flattened(raster, BEHIND)?, Channels::Rgb)?;
    match color::to_eight_bits(rgb)?.into_samples() {
        Samples::U8(samples) => Ok(samples),
        Samples::U16(_) => unreachable!("reduced to eight bits"),
    }
}

/// The picture itself, or tiles of it.
fn sample(raster: &Raster) -> Raster {
    let size = raster.size();
    if size.pixels() <= PIXELS_MAX {
        return raster.clone();
    }
    let (columns, rows) = (places(size.w), places(size.h));
    let tile = Size::new(size.w.min(TILE_PX), size.h.min(TILE_PX));
    let target = Size::new(tile.w * columns.len() as u32, tile.h * rows.len() as u32);
    let count = raster.channels().count();
    let spans = rows.iter().flat_map(|top| *top..top + tile.h).flat_map(|y| {
        let first = y as usize * size.w as usize;
        columns.iter().map(move |left| (first + *left as usize) * count)
    });
    let length = tile.w as usize * count;
    let samples = match raster.samples() {
        Samples::U8(samples) => Samples::U8(spans.flat_map(|at| &samples[at..at + length]).copied().collect()),
        Samples::U16(samples) => Samples::U16(spans.flat_map(|at| &samples[at..at + length]).copied().collect()),
    };
    Raster::new(target, raster.channels(), samples)
}

/// Offsets of the tiles along a side: spread from edge to edge, without overlap.
fn places(side: u32) -> Vec<u32> {
    let count = (side / TILE_PX).clamp(1, TILES);
    let room = side.saturating_sub(TILE_PX);
    (0..count).map(|place| room * place / (count - 1).max(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_quality_that_keeps_to_the_score_is_found_in_few_tries() {
        for enough in 1..=100u8 {
            for first in [65, 75, 80] {
                let mut tries = 0;
                let found = lowest(first, 50.0, |quality| {
                    tries += 1;
                    // Scores rise so steeply that no try is close enough to end the search early.
                    Ok(50.0 + 10.0 * (f64::from(quality) - f64::from(enough)) + 1.0)
                });
                let found = found.expect("no error");
                let best = enough.clamp(QUALITY_MIN, QUALITY_MAX);
                assert!(tries <= TRIES_MAX && (best..=best + 1).contains(&found), "{found} for {enough} from {first}");
            }
        }
    }

    #[test]
    fn a_score_that_is_near_enough_ends_the_search() {
        let mut tries = 0;
        let found = lowest(80, 70.0, |_| {
            tries += 1;
            Ok(70.3)
        });
        assert_eq!((found, tries), (Ok(80), 1));
    }

    #[test]
    fn tiles_come_from_the_whole_picture() {
        assert_eq!(places(100), [0]);
        assert_eq!(places(256), [0, 128]);
        assert_eq!(places(1000), [0, 290, 581, 872]);
        let size = Size::new(1000, 700);
        let samples = (0..size.pixels() as u32).flat_map(|place| [(place % 1000 / 4) as u8, (place / 1000 / 4) as u8]);
        let raster = Raster::new(size, Channels::GrayAlpha, Samples::U8(samples.collect()));
        let tiles = sample(&raster);
        assert_eq!(tiles.size(), Size::new(512, 512));
        let Samples::U8(samples) = tiles.samples() else { unreachable!("as it was") };
        assert_eq!(samples[..2], [0, 0]);
        assert_eq!(samples[samples.len() - 2..], [249, 174]);
        let small = Raster::new(Size::new(2, 1), Channels::Gray, Samples::U16(vec![1, 2]));
        assert_eq!(sample(&small), small);
        let narrow = Raster::new(Size::new(1, 500_000), Channels::Gray, Samples::U8(vec![7; 500_000]));
        assert_eq!(sample(&narrow).size(), Size::new(1, 512));
    }
}
