//! PNG with a palette or few shades of gray: colours, their alpha, and frames of indices packed into the fewest bits
//! that hold them.

use std::borrow::Cow;

use png::BitDepth;

use super::FORMAT;
use super::reduce::Layout;
use crate::pipeline::codec::EncodeOptions;
use crate::pipeline::codec::palette::{self, Settings, reduce};
use crate::pipeline::{Channels, Error, Picture, Raster, Samples, Size};

/// Most colours of a palette.
const COLORS_MAX: usize = 256;

/// Bytes of a chunk without data.
const CHUNK_BYTES: usize = 12;

/// A picture in the form of the file.
pub(super) struct Indexed {
    /// Red, green and blue of each index; empty if the indices are evenly spaced shades of gray.
    pub palette: Vec<u8>,
    /// Alpha of the first indices, up to the last that is not opaque.
    pub alpha: Vec<u8>,
    /// Bits per index.
    pub depth: BitDepth,
    /// Rows, each starting at a whole byte, one frame after the other.
    pub frames: Vec<Vec<u8>>,
}

impl Indexed {
    /// Reduces all frames to one palette, as APNG requires.
    pub fn new(picture: &Picture, colors: usize, options: &EncodeOptions) -> Result<Indexed, Error> {
        let (w, count) = (picture.first().size().w as usize, picture.first().channels().count());
        let settings = Settings { colors, dither_percent: options.dither_percent, binary_alpha: false };
        let frames = picture.frames.iter().map(|frame| samples(&frame.raster)).collect::<Result<Vec<_>, Error>>()?;
        let indexed = reduce(&frames, (w, count), &settings, options.deadline)?;
        Ok(Indexed::from_indices(indexed, w))
    }

    /// The picture without loss, if it has few enough colours and is smaller so than in its layout. A profile of gray
    /// goes with no palette.
    pub fn exact(picture: &Picture, layout: Layout, options: &EncodeOptions) -> Result<Option<Indexed>, Error> {
        if layout.bits > 8 {
            return Ok(None);
        }
        let Size { w, h } = picture.first().size();
        let (w, pixels) = (w as usize, w as usize * h as usize);
        let frames = || picture.frames.iter().map(move |frame| layout.bytes(&frame.raster, 0..pixels));
        if layout.channels == Channels::Gray {
            let values = values(frames());
            let (count, bits) = (values.iter().filter(|used| **used).count(), shade_bits(&values));
            if let Some(depth) = bits.filter(|bits| options.profile || *bits as u8 <= depth(count) as u8) {
                return Ok(Some(Indexed::shades(frames(), depth, w)));
            }
            if count > 16 {
                return Ok(None);
            }
        }
        if options.profile && layout.channels.gray() {
            return Ok(None);
        }
        let count = layout.channels.count();
        let indexed = palette::exact(frames(), count, COLORS_MAX, rgba, options.deadline)?;
        let pixels = pixels * picture.frames.len();
        Ok(indexed
            .filter(|indexed| pays(pixels, count, &indexed.palette))
            .map(|indexed| Indexed::from_indices(indexed, w)))
    }

    /// Gray whose values this many bits hold.
    fn shades<'a>(frames: impl Iterator<Item = Cow<'a, [u8]>>, depth: BitDepth, w: usize) -> Indexed {
        let shade = |value: &u8| value >> (8 - depth as u8);
        let frames = frames.map(|frame| packed(&frame.iter().map(shade).collect::<Vec<u8>>(), w, depth as usize));
        Indexed { palette: Vec::new(), alpha: Vec::new(), depth, frames: frames.collect() }
    }

    fn from_indices(mut indexed: palette::Indexed, w: usize) -> Indexed {
        let depth = depth(indexed.palette.len());
        indexed.frames.iter_mut().for_each(|frame| *frame = packed(frame, w, depth as usize));
        let opaque = indexed.palette.iter().rposition(|color| color[3] < u8::MAX).map_or(0, |last| last + 1);
        Indexed {
            palette: indexed.palette.iter().flat_map(|color| [color[0], color[1], color[2]]).collect(),
            alpha: indexed.palette[..opaque].iter().map(|color| color[3]).collect(),
            depth,
            frames: indexed.frames,
        }
    }
}

fn samples(raster: &Raster) -> Result<&[u8], Error> {
    match raster.samples() {
        Samples::U8(samples) if raster.channels().count() >= 3 => Ok(samples),
        _ => Err(Error::Encode { format: FORMAT, reason: "the samples are not 8-bit colours".to_owned() }),
    }
}

/// Which values occur.
fn values<'a>(frames: impl Iterator<Item = Cow<'a, [u8]>>) -> [bool; 256] {
    let mut used = [false; 256];
    for frame in frames {
        frame.iter().for_each(|&value| used[usize::from(value)] = true);
    }
    used
}

/// Fewest bits, below 8, whose evenly spaced shades are all that occurs.
fn shade_bits(used: &[bool; 256]) -> Option<BitDepth> {
    let holds = |step: usize| used.iter().enumerate().all(|(value, used)| !used || value % step == 0);
    let depths = [(255, BitDepth::One), (85, BitDepth::Two), (17, BitDepth::Four)];
    depths.into_iter().find(|(step, _)| holds(*step)).map(|(_, depth)| depth)
}

fn rgba(pixel: &[u8]) -> [u8; 4] {
    match *pixel {
        [r, g, b, a] => [r, g, b, a],
        [r, g, b] => [r, g, b, u8::MAX],
        [gray, alpha] => [gray, gray, gray, alpha],
        _ => [pixel[0], pixel[0], pixel[0], u8::MAX],
    }
}

/// Whether a palette saves clearly more than it takes, since deflate also shortens what is saved.
fn pays(pixels: usize, count: usize, palette: &[[u8; 4]]) -> bool {
    let saved = pixels * count - pixels * depth(palette.len()) as usize / 8;
    let alpha = palette.iter().any(|color| color[3] < u8::MAX);
    let taken = CHUNK_BYTES + 3 * palette.len() + if alpha { CHUNK_BYTES + palette.len() } else { 0 };
    saved > 4 * taken
}

fn depth(colors: usize) -> BitDepth {
    match colors {
        0..=2 => BitDepth::One,
        3..=4 => BitDepth::Two,
        5..=16 => BitDepth::Four,
        _ => BitDepth::Eight,
    }
}

/// Packs indices, the leftmost into the highest bits.
fn packed(indices: &[u8], w: usize, bits: usize) -> Vec<u8> {
    let byte = |indices: &[u8]| {
        let shifted = indices.iter().enumerate().map(|(place, index)| index << (8 - bits * (place + 1)));
        shifted.fold(0, |byte, index| byte | index)
    };
    indices.chunks_exact(w).flat_map(|row| row.chunks(8 / bits).map(byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fewest_bits_hold_the_shades() {
        let check = |values: &[u8], bits: Option<u8>| {
            let depth = shade_bits(&super::values([Cow::Borrowed(values)].into_iter()));
            assert_eq!(depth.map(|depth| depth as u8), bits, "{values:?}");
        };
        check(&[0], Some(1));
        check(&[255, 0, 255], Some(1));
        check(&[85, 255], Some(2));
        check(&[0, 17, 255], Some(4));
        check(&[0, 18, 255], None);
    }

    #[test]
    fn a_palette_is_not_longer_than_what_it_saves() {
        assert!(pays(1024, 3, &[[0, 0, 0, 255]; 16]));
        assert!(!pays(256, 3, &[[0, 0, 0, 255]; 200]));
        assert!(!pays(2, 1, &[[0, 0, 0, 255]; 2]));
    }

    #[test]
    fn rows_begin_at_whole_bytes() {
        assert_eq!(packed(&[1, 0, 1, 1, 1, 1], 3, 1), [0b1010_0000, 0b1110_0000]);
        assert_eq!(packed(&[3, 1, 2, 0, 1], 5, 2), [0b1101_1000, 0b0100_0000]);
        assert_eq!(packed(&[15, 1, 7], 3, 4), [0xf1, 0x70]);
        assert_eq!(packed(&[200, 1], 1, 8), [200, 1]);
        for (colors, bits) in [(1, 1), (2, 1), (3, 2), (4, 2), (5, 4), (16, 4), (17, 8), (256, 8)] {
            assert_eq!(depth(colors) as u8, bits);
        }
    }
}
