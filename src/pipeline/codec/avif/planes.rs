//! From interleaved samples to the planes that libaom encodes, always in full range. The other way is `yuv`.

use super::yuv::{Layout, Sample};
use crate::pipeline::Size;

/// The planes of an image that is to be encoded, in full range. Codes of `bits`.
pub(super) fn planes<S: Sample>(samples: &[S], size: Size, form: Form, bits: u8) -> Vec<Vec<u16>> {
    let max = f32::from((1u16 << bits) - 1);
    let code = |value: f32| (value * max / S::MAX + 0.5) as u16;
    match form {
        Form::Single { channel, count } => {
            vec![samples.chunks_exact(count).map(|pixel| code(pixel[channel].to_f32())).collect()]
        }
        Form::Identity { count } => {
            [1, 2, 0].map(|c| samples.chunks_exact(count).map(|pixel| code(pixel[c].to_f32())).collect()).into()
        }
        Form::Chroma { count, layout } => luma_and_chroma(samples, size, count, layout, max),
    }
}

/// Which planes to make of pixels of `count` samples.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// One channel alone.
    Single {
        /// Which one.
        channel: usize,
        /// Samples of a pixel.
        count: usize,
    },
    /// Green, blue, red.
    Identity {
        /// Samples of a pixel.
        count: usize,
    },
    /// Luma and chroma by the weights of BT.601.
    Chroma {
        /// Samples of a pixel.
        count: usize,
        /// How often chroma is sampled.
        layout: Layout,
    },
}

fn luma_and_chroma<S: Sample>(samples: &[S], size: Size, count: usize, layout: Layout, max: f32) -> Vec<Vec<u16>> {
    const RED: f32 = 0.299;
    const BLUE: f32 = 0.114;
    let scale = max / S::MAX;
    let w = size.w as usize;
    let chroma = layout.chroma(size);
    let (across, every_row) = (if layout == Layout::Full { 1 } else { 2 }, layout != Layout::Half);
    let zero = (max + 1.0) / 2.0;
    let mut luma = Vec::with_capacity(samples.len() / count);
    let (mut first, mut second) = (Vec::with_capacity(chroma.pixels() as usize), Vec::new());
    // Four times red, green and blue: over two pixels of a row and over two rows, or the same more often.
    let mut sums = vec![[0.0f32; 3]; chroma.w as usize];
    for (y, row) in samples.chunks_exact(w * count).enumerate() {
        for pixel in row.chunks_exact(count) {
            let [r, g, b] = [0, 1, 2].map(|c| pixel[c].to_f32());
            luma.push(((RED * r + (1.0 - RED - BLUE) * g + BLUE * b) * scale + 0.5) as u16);
        }
        let last_row = y + 1 == size.h as usize;
        // The last row of an odd height, and the last pixel of an odd width, count twice.
        let times = if every_row || last_row && y.is_multiple_of(2) { 2.0 } else { 1.0 };
        for (pair, sum) in row.chunks(across * count).zip(&mut sums) {
            let right = pair.get(count..).filter(|right| !right.is_empty()).unwrap_or(pair);
            for c in 0..3 {
                sum[c] += times * (pair[c].to_f32() + right[c].to_f32());
            }
        }
        if every_row || y % 2 == 1 || last_row {
            for sum in &mut sums {
                let [r, g, b] = sum.map(|sum| sum * 0.25 * scale);
                let luma = RED * r + (1.0 - RED - BLUE) * g + BLUE * b;
                let code = |signal: f32| (signal + zero + 0.5).clamp(0.0, max) as u16;
                first.push(code((b - luma) / (2.0 * (1.0 - BLUE))));
                second.push(code((r - luma) / (2.0 * (1.0 - RED))));
                *sum = [0.0; 3];
            }
        }
    }
    vec![luma, first, second]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gray_survives_the_way_to_planes_and_back() {
        for value in 0..=255u8 {
            let size = Size::new(3, 3);
            for (layout, chroma) in [(Layout::Half, 4), (Layout::HalfWidth, 6), (Layout::Full, 9)] {
                let codes = planes(&[value; 27], size, Form::Chroma { count: 3, layout }, 8);
                assert_eq!(codes.iter().map(Vec::len).collect::<Vec<_>>(), [9, chroma, chroma]);
                assert!(codes[0].iter().all(|&code| code == u16::from(value)), "{value}");
                assert!(codes[1].iter().chain(&codes[2]).all(|&code| code == 128), "{value}");
            }
        }
    }
}
