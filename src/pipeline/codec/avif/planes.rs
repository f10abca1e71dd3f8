//! Converts interleaved samples to the planes that libaom encodes, always in full range. The opposite direction is in `yuv`.

use super::yuv::{Layout, YuvSample};
use crate::pipeline::Size;

/// Planes of an image to encode, in full range, as codes of `bits` bits.
pub(super) fn planes<S: YuvSample>(samples: &[S], size: Size, form: Form, bits: u8) -> Vec<Vec<u16>> {
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

/// Planes to make from pixels of `count` samples.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// One plane, of one channel.
    Single {
        /// Index of the channel.
        channel: usize,
        /// Samples per pixel.
        count: usize,
    },
    /// Planes of green, blue and red.
    Identity {
        /// Samples per pixel.
        count: usize,
    },
    /// Planes of luma and chroma, with the weights of BT.601.
    Chroma {
        /// Samples per pixel.
        count: usize,
        /// Chroma subsampling.
        layout: Layout,
    },
}

/// Weight of red in luma (BT.601).
const RED: f32 = 0.299;
/// Weight of blue in luma (BT.601).
const BLUE: f32 = 0.114;

fn luma_and_chroma<S: YuvSample>(samples: &[S], size: Size, count: usize, layout: Layout, max: f32) -> Vec<Vec<u16>> {
    let scale = max / S::MAX;
    let code = |pixel: &[S]| (luma_of(rgb(pixel)) * scale + 0.5) as u16;
    let luma = samples.chunks_exact(count).map(code).collect();
    let chroma = layout.chroma(size);
    let [mut blue, mut red] = [(); 2].map(|()| Vec::with_capacity(chroma.pixels() as usize));
    for y in 0..chroma.h as usize {
        let rows = block_rows(samples, size.w as usize * count, layout, y);
        for x in 0..chroma.w as usize {
            let mean = block_mean(rows, count, layout, x);
            let [b, r] = chroma_codes(mean.map(|value| value * scale), max);
            blue.push(b);
            red.push(r);
        }
    }
    vec![luma, blue, red]
}

/// The upper and lower row of the blocks that row `y` of chroma stands for; one row twice where blocks are one row high.
fn block_rows<S>(samples: &[S], stride: usize, layout: Layout, y: usize) -> [&[S]; 2] {
    let height = if layout == Layout::Half { 2 } else { 1 };
    let last = samples.len() / stride - 1;
    [y * height, (y * height + height - 1).min(last)].map(|row| &samples[row * stride..(row + 1) * stride])
}

/// Mean colour of a block. Its four corners are summed, some of them twice where it is narrow, flat or cut by the image's edge;
/// the sums are exact, since four samples have at most 18 bits.
fn block_mean<S: YuvSample>(rows: [&[S]; 2], count: usize, layout: Layout, x: usize) -> [f32; 3] {
    let width = if layout == Layout::Full { 1 } else { 2 };
    let last = rows[0].len() / count - 1;
    let corners = [x * width, (x * width + width - 1).min(last)];
    let mut sum = [0.0; 3];
    for pixel in rows.iter().flat_map(|row| corners.map(|corner| &row[corner * count..])) {
        let rgb = rgb(pixel);
        sum = [0, 1, 2].map(|c| sum[c] + rgb[c]);
    }
    sum.map(|sum| sum * 0.25)
}

/// Codes of the blue and the red difference.
fn chroma_codes([r, g, b]: [f32; 3], max: f32) -> [u16; 2] {
    let zero = (max + 1.0) / 2.0;
    let code = |signal: f32| (signal + zero + 0.5).clamp(0.0, max) as u16;
    let luma = luma_of([r, g, b]);
    [code((b - luma) / (2.0 * (1.0 - BLUE))), code((r - luma) / (2.0 * (1.0 - RED)))]
}

fn luma_of([r, g, b]: [f32; 3]) -> f32 {
    RED * r + (1.0 - RED - BLUE) * g + BLUE * b
}

fn rgb<S: YuvSample>(pixel: &[S]) -> [f32; 3] {
    [0, 1, 2].map(|c| pixel[c].to_f32())
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
