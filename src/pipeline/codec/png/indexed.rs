//! PNG with a palette: colours, their alpha, and frames of indices packed into the fewest bits that hold them.

use png::BitDepth;

use super::FORMAT;
use crate::pipeline::codec::EncodeOptions;
use crate::pipeline::codec::palette::{Settings, reduce};
use crate::pipeline::{Error, Picture, Raster, Samples};

/// A picture in the form of the file.
pub(super) struct Indexed {
    /// Red, green and blue of each index.
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
        let mut indexed = reduce(&frames, (w, count), &settings, options.deadline)?;
        let depth = depth(indexed.palette.len());
        indexed.frames.iter_mut().for_each(|frame| *frame = packed(frame, w, depth as usize));
        let opaque = indexed.palette.iter().rposition(|color| color[3] < u8::MAX).map_or(0, |last| last + 1);
        Ok(Indexed {
            palette: indexed.palette.iter().flat_map(|color| [color[0], color[1], color[2]]).collect(),
            alpha: indexed.palette[..opaque].iter().map(|color| color[3]).collect(),
            depth,
            frames: indexed.frames,
        })
    }
}

fn samples(raster: &Raster) -> Result<&[u8], Error> {
    match raster.samples() {
        Samples::U8(samples) if raster.channels().count() >= 3 => Ok(samples),
        _ => Err(Error::Encode { format: FORMAT, reason: "the samples are not 8-bit colours".to_owned() }),
    }
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
