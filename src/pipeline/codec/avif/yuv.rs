//! Converts planes of AV1 to interleaved samples: range, matrix, chroma subsampling. Gamut and transfer function are
//! converted elsewhere. The opposite direction is in `planes`.
//!
//! Source: ITU-T H.273, section 8.3. Computed in `f32`: 24 bits are exact enough for 16-bit samples, and results do
//! not depend on the processor, since no operation is fused or reordered.

use super::NAME;
use super::container::Cicp;
use crate::pipeline::{Channels, Error, Size};

/// Chroma subsampling. Chroma samples are centred between their luma samples, as decoders assume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// 4:0:0: no chroma.
    Gray,
    /// 4:2:0.
    Half,
    /// 4:2:2.
    HalfWidth,
    /// 4:4:4.
    Full,
}

impl Layout {
    /// Size of a chroma plane.
    pub fn chroma(self, size: Size) -> Size {
        match self {
            Layout::Gray | Layout::Full => size,
            Layout::Half => Size::new(size.w.div_ceil(2), size.h.div_ceil(2)),
            Layout::HalfWidth => Size::new(size.w.div_ceil(2), size.h),
        }
    }
}

/// Planes of a frame: bytes, or native-endian pairs of bytes above 8 bits.
pub(super) struct Planes<B> {
    /// Size of the luma plane.
    pub size: Size,
    /// Size of the chroma planes.
    pub layout: Layout,
    /// Bits per sample: 8, 10 or 12.
    pub bits: u8,
    /// Luma, and two planes of chroma unless gray; each with the distance of rows in bytes.
    pub planes: Vec<(B, usize)>,
}

impl<B: std::ops::Deref<Target = [u8]>> Planes<B> {
    fn row(&self, plane: usize, y: usize, w: usize, row: &mut Vec<f32>) {
        let (bytes, stride) = &self.planes[plane];
        let bytes = &bytes[y * stride..];
        row.clear();
        if self.bits == 8 {
            row.extend(bytes[..w].iter().map(|&code| f32::from(code)));
        } else {
            let codes = bytes.as_chunks::<2>().0[..w].iter();
            row.extend(codes.map(|&code| f32::from(u16::from_ne_bytes(code))));
        }
    }

    /// Computes one row of chroma at the resolution of luma.
    fn chroma_row(&self, plane: usize, y: usize, rows: &mut ChromaRows) {
        let w = self.size.w as usize;
        let chroma = self.layout.chroma(self.size);
        let (chroma_w, chroma_h) = (chroma.w as usize, chroma.h as usize);
        match self.layout {
            Layout::Gray => {}
            Layout::Full => self.row(plane, y, w, &mut rows.wide),
            Layout::HalfWidth => {
                self.row(plane, y, chroma_w, &mut rows.near);
                widen(&rows.near, w, &mut rows.wide);
            }
            Layout::Half => {
                let near = y / 2;
                let far = if y.is_multiple_of(2) { near.saturating_sub(1) } else { (near + 1).min(chroma_h - 1) };
                self.row(plane, near, chroma_w, &mut rows.near);
                self.row(plane, far, chroma_w, &mut rows.far);
                for (near, far) in rows.near.iter_mut().zip(&rows.far) {
                    *near = 0.75 * *near + 0.25 * *far;
                }
                widen(&rows.near, w, &mut rows.wide);
            }
        }
    }
}

/// Interpolates between samples that are centred on two pixels each.
fn widen(row: &[f32], w: usize, wide: &mut Vec<f32>) {
    wide.clear();
    let mut before = row[0];
    for (x, &here) in row.iter().enumerate() {
        let after = row.get(x + 1).copied().unwrap_or(here);
        wide.push(0.75 * here + 0.25 * before);
        wide.push(0.75 * here + 0.25 * after);
        before = here;
    }
    wide.truncate(w);
}

#[derive(Default)]
struct ChromaRows {
    near: Vec<f32>,
    far: Vec<f32>,
    wide: Vec<f32>,
}

/// Sample of the result.
pub(super) trait YuvSample: Copy {
    /// Largest value.
    const MAX: f32;
    /// Value from 0 to [`YuvSample::MAX`], rounded and clamped.
    fn from_f32(value: f32) -> Self;
    /// Exact conversion.
    fn to_f32(self) -> f32;
}

impl YuvSample for u8 {
    const MAX: f32 = 255.0;

    fn from_f32(value: f32) -> u8 {
        (value + 0.5) as u8
    }

    fn to_f32(self) -> f32 {
        f32::from(self)
    }
}

impl YuvSample for u16 {
    const MAX: f32 = 65535.0;

    fn from_f32(value: f32) -> u16 {
        (value + 0.5) as u16
    }

    fn to_f32(self) -> f32 {
        f32::from(self)
    }
}

/// Destination of samples: a whole image, and the position of a tile in it.
pub(super) struct Target<'a, S> {
    /// Samples of the whole image.
    pub samples: &'a mut [S],
    /// Size of the image.
    pub size: Size,
    /// Channels of the image.
    pub channels: Channels,
    /// Left and top of the tile.
    pub at: (u32, u32),
}

impl<S> Target<'_, S> {
    /// The part of each row that a tile covers, cut at the image's edges.
    fn rows(&mut self, tile: Size) -> impl Iterator<Item = &mut [S]> {
        let count = self.channels.count();
        let (x, y) = self.at;
        let w = tile.w.min(self.size.w.saturating_sub(x)) as usize * count;
        let h = tile.h.min(self.size.h.saturating_sub(y)) as usize;
        let left = x as usize * count;
        let row = self.size.w as usize * count;
        self.samples.chunks_exact_mut(row).skip(y as usize).take(h).map(move |samples| &mut samples[left..left + w])
    }
}

/// Conversion of a code to a signal: luma in 0..=1, chroma in -0.5..=0.5.
struct Range {
    luma_zero: f32,
    luma_scale: f32,
    chroma_zero: f32,
    chroma_scale: f32,
}

impl Range {
    fn new(bits: u8, full: bool) -> Range {
        let unit = f32::from(1u16 << (bits - 8));
        let (zero, luma, chroma) = if full {
            let max = 256.0 * unit - 1.0;
            (0.0, max, max)
        } else {
            (16.0 * unit, 219.0 * unit, 224.0 * unit)
        };
        Range { luma_zero: zero, luma_scale: luma, chroma_zero: 128.0 * unit, chroma_scale: chroma }
    }

    fn luma(&self, code: f32) -> f32 {
        (code - self.luma_zero) / self.luma_scale
    }

    fn chroma(&self, code: f32) -> f32 {
        (code - self.chroma_zero) / self.chroma_scale
    }
}

/// Conversion of luma and chroma to red, green and blue.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Matrix {
    /// No conversion: the planes are green, blue, red.
    Identity,
    /// Luma, green minus purple, orange minus blue.
    YCgCo,
    /// Weights of red and blue in luma.
    Weights { red: f32, blue: f32 },
}

impl Matrix {
    fn new(cicp: Cicp) -> Result<Matrix, Error> {
        let weights = |red, blue| Ok(Matrix::Weights { red, blue });
        match cicp.matrix {
            0 => Ok(Matrix::Identity),
            1 => weights(0.2126, 0.0722),
            4 => weights(0.30, 0.11),
            7 => weights(0.212, 0.087),
            8 => Ok(Matrix::YCgCo),
            9 => weights(0.2627, 0.0593),
            // Derived from the primaries.
            12 => match cicp.primaries {
                1 => weights(0.2126, 0.0722),
                9 => weights(0.2627, 0.0593),
                12 => weights(0.229, 0.0793),
                _ => Err(Error::Unsupported { format: NAME, feature: "a matrix derived from these primaries" }),
            },
            10 | 11 | 13 | 14 => Err(Error::Unsupported { format: NAME, feature: "these matrix coefficients" }),
            // 5 and 6, and libavif's choice for unspecified and reserved codes.
            _ => weights(0.299, 0.114),
        }
    }

    /// Constants of [`Mix`].
    fn mix(self) -> Mix {
        match self {
            Matrix::Identity => Mix { red: (0.0, 1.0), green: (0.0, 0.0), blue: (1.0, 0.0) },
            Matrix::YCgCo => Mix { red: (-1.0, 1.0), green: (1.0, 0.0), blue: (-1.0, -1.0) },
            Matrix::Weights { red, blue } => {
                let green = 1.0 - red - blue;
                let (to_red, to_blue) = (2.0 * (1.0 - red), 2.0 * (1.0 - blue));
                Mix {
                    red: (0.0, to_red),
                    green: (-blue * to_blue / green, -red * to_red / green),
                    blue: (to_blue, 0.0),
                }
            }
        }
    }
}

/// Contributions of the two chroma signals to red, green and blue.
struct Mix {
    red: (f32, f32),
    green: (f32, f32),
    blue: (f32, f32),
}

/// Writes a decoded tile in the channels of the target: gray, or red, green and blue. Alpha is unchanged.
pub(super) fn paint<S: YuvSample, B: std::ops::Deref<Target = [u8]>>(
    planes: &Planes<B>,
    cicp: Cicp,
    mut target: Target<S>,
) -> Result<(), Error> {
    if target.channels.gray() != (planes.layout == Layout::Gray) {
        return Err(Error::corrupt(NAME, "colour format differs from the header"));
    }
    if planes.layout == Layout::Gray {
        paint_gray(planes, cicp.full_range, target, 0);
        return Ok(());
    }
    let matrix = Matrix::new(cicp)?;
    if matrix == Matrix::Identity && planes.layout != Layout::Full {
        return Err(Error::corrupt(NAME, "subsampled red, green and blue"));
    }
    let (range, mix) = (Range::new(planes.bits, cicp.full_range), matrix.mix());
    // All planes of the identity have luma's range, and luma is green alone.
    let (only_green, range) = match matrix {
        Matrix::Identity => (1.0, Range { chroma_zero: range.luma_zero, chroma_scale: range.luma_scale, ..range }),
        _ => (0.0, range),
    };
    let count = target.channels.count();
    let (mut luma, mut first, mut second) = (Vec::new(), ChromaRows::default(), ChromaRows::default());
    for (y, row) in target.rows(planes.size).enumerate() {
        planes.row(0, y, planes.size.w as usize, &mut luma);
        planes.chroma_row(1, y, &mut first);
        planes.chroma_row(2, y, &mut second);
        let codes = luma.iter().zip(&first.wide).zip(&second.wide);
        for (pixel, ((&luma, &first), &second)) in row.chunks_exact_mut(count).zip(codes) {
            let (luma, first, second) = (range.luma(luma), range.chroma(first), range.chroma(second));
            let others = luma * (1.0 - only_green);
            pixel[0] = S::from_f32((others + mix.red.0 * first + mix.red.1 * second) * S::MAX);
            pixel[1] = S::from_f32((luma + mix.green.0 * first + mix.green.1 * second) * S::MAX);
            pixel[2] = S::from_f32((others + mix.blue.0 * first + mix.blue.1 * second) * S::MAX);
        }
    }
    Ok(())
}

/// Writes the luma of a tile as the target's alpha.
pub(super) fn paint_alpha<S: YuvSample, B: std::ops::Deref<Target = [u8]>>(
    planes: &Planes<B>,
    full_range: bool,
    target: Target<S>,
) {
    let alpha = target.channels.count() - 1;
    paint_gray(planes, full_range, target, alpha);
}

fn paint_gray<S: YuvSample, B: std::ops::Deref<Target = [u8]>>(
    planes: &Planes<B>,
    full_range: bool,
    mut target: Target<S>,
    channel: usize,
) {
    let range = Range::new(planes.bits, full_range);
    let count = target.channels.count();
    let mut luma = Vec::new();
    for (y, row) in target.rows(planes.size).enumerate() {
        planes.row(0, y, planes.size.w as usize, &mut luma);
        for (pixel, &luma) in row.chunks_exact_mut(count).zip(&luma) {
            pixel[channel] = S::from_f32(range.luma(luma) * S::MAX);
        }
    }
}

/// Divides colours by alpha.
pub(super) fn unpremultiply<S: YuvSample>(samples: &mut [S], channels: Channels) {
    for pixel in samples.chunks_exact_mut(channels.count()) {
        if let Some((alpha, colors)) = pixel.split_last_mut() {
            let scale = if alpha.to_f32() > 0.0 { S::MAX / alpha.to_f32() } else { 0.0 };
            for color in colors {
                *color = S::from_f32(color.to_f32() * scale);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cicp(matrix: u8, full_range: bool) -> Cicp {
        Cicp { primaries: 1, transfer: 13, matrix, full_range }
    }

    fn painted(bits: u8, codes: [u16; 3], cicp: Cicp) -> [u16; 3] {
        let bytes = |code: u16| if bits == 8 { vec![code as u8] } else { code.to_ne_bytes().to_vec() };
        let planes = codes.iter().map(|&code| (bytes(code), 2)).collect();
        let planes = Planes { size: Size::new(1, 1), layout: Layout::Full, bits, planes };
        let mut samples = [0u16; 3];
        let target = Target { samples: &mut samples[..], size: Size::new(1, 1), channels: Channels::Rgb, at: (0, 0) };
        paint(&planes, cicp, target).unwrap();
        samples
    }

    #[test]
    fn black_white_and_primaries_are_where_the_standard_puts_them() {
        let check = |bits, codes, cicp, expected: [u16; 3]| {
            let got = painted(bits, codes, cicp);
            let near = got.iter().zip(expected).all(|(&got, expected)| got.abs_diff(expected) <= 300);
            assert!(near, "{codes:?} of {bits} bits, {cicp:?}: {got:?}, not {expected:?}");
        };
        const MAX: u16 = u16::MAX;
        for matrix in [1, 2, 5, 6, 9] {
            check(8, [235, 128, 128], cicp(matrix, false), [MAX; 3]);
            check(8, [16, 128, 128], cicp(matrix, false), [0; 3]);
            check(10, [940, 512, 512], cicp(matrix, false), [MAX; 3]);
            check(12, [4095, 2048, 2048], cicp(matrix, true), [MAX; 3]);
        }
        check(8, [76, 85, 255], cicp(6, true), [MAX, 0, 0]);
        check(8, [63, 102, 240], cicp(1, false), [MAX, 0, 0]);
        check(8, [54, 99, 255], cicp(1, true), [MAX, 0, 0]);
        check(8, [29, 255, 107], cicp(6, true), [0, 0, MAX]);
        check(8, [128, 255, 128], cicp(8, true), [0, MAX, 0]);
        check(8, [10, 20, 30], cicp(0, true), [30 * 257, 10 * 257, 20 * 257]);
    }

    #[test]
    fn chroma_is_interpolated_between_centres() {
        let mut wide = Vec::new();
        widen(&[0.0, 8.0], 3, &mut wide);
        assert_eq!(wide, [0.0, 2.0, 6.0]);
        widen(&[5.0], 1, &mut wide);
        assert_eq!(wide, [5.0]);
    }

    #[test]
    fn premultiplied_colours_are_divided_by_alpha() {
        let mut samples = [64u8, 0, 128, 128, 9, 9, 9, 0];
        unpremultiply(&mut samples, Channels::Rgba);
        assert_eq!(samples, [128, 0, 255, 128, 0, 0, 0, 0]);
    }
}
