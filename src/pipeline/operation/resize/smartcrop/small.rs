//! [`Small`]: a part of an image, reduced so far that every pixel can be examined.

use crate::pipeline::color::Sample;
use crate::pipeline::operation::canvas::Rect;
use crate::pipeline::{Channels, Deadline, Error, Raster, Samples, Size};

/// A small image whose pixels are means of equally many source pixels, sRGB-encoded, which is close to perception.
pub struct Small {
    pub size: Size,
    /// Red, green and blue multiplied by alpha; alpha.
    pub pixels: Vec<[u8; 4]>,
}

impl Small {
    /// Reduces a part of a raster to at most `side` pixels in its longer side; never enlarges.
    pub fn new(raster: &Raster, part: Rect, side: u32, deadline: &Deadline) -> Result<Small, Error> {
        let longer = part.size.w.max(part.size.h).max(side);
        let scaled = |px: u32| ((u64::from(px) * u64::from(side)).div_ceil(u64::from(longer)) as u32).clamp(1, px);
        let size = if longer == side { part.size } else { Size::new(scaled(part.size.w), scaled(part.size.h)) };
        let mut pixels = Vec::with_capacity(size.pixels() as usize);
        for y in 0..size.h {
            deadline.check()?;
            let rows = cell(y, size.h, part.y, part.size.h);
            for x in 0..size.w {
                let columns = cell(x, size.w, part.x, part.size.w);
                pixels.push(match raster.samples() {
                    Samples::U8(samples) => mean(samples, raster, columns, rows.clone()),
                    Samples::U16(samples) => mean(samples, raster, columns, rows.clone()),
                });
            }
        }
        Ok(Small { size, pixels })
    }

    /// Samples of a pixel in 0..=1.
    pub fn pixel(&self, place: usize) -> [f64; 4] {
        self.pixels[place].map(|sample| f64::from(sample) / 255.0)
    }

    /// Brightness of a pixel in 0..=1; transparent pixels are dark.
    pub fn luma(&self, place: usize) -> f64 {
        let [r, g, b, a] = self.pixel(place);
        luma([r, g, b]) * a
    }
}

/// Luma with the weights of ITU-R BT.709.
pub fn luma([r, g, b]: [f64; 3]) -> f64 {
    0.2126 * r + 0.7152 * g + 0.0722 * b
}

/// Source pixels along one side that form a small pixel.
fn cell(at: u32, of: u32, start: u32, side: u32) -> std::ops::Range<usize> {
    let edge = |at: u32| start as usize + (u64::from(at) * u64::from(side) / u64::from(of)) as usize;
    edge(at)..edge(at + 1)
}

fn mean<S: Sample>(
    samples: &[S],
    raster: &Raster,
    columns: std::ops::Range<usize>,
    rows: std::ops::Range<usize>,
) -> [u8; 4] {
    let (count, w, channels) = (raster.channels().count(), raster.size().w as usize, raster.channels());
    let full: u64 = S::MAX.into().into();
    let pixels = (columns.len() * rows.len()) as u64;
    // At most 2^34 pixels of two samples of 2^16, so no sum overflows.
    let (mut sums, mut opacity) = ([0u64; 3], 0u64);
    for row in rows {
        for pixel in samples[(row * w + columns.start) * count..(row * w + columns.end) * count].chunks_exact(count) {
            let alpha = if channels.alpha() { u64::from(pixel[count - 1].into()) } else { full };
            opacity += alpha;
            for (sum, place) in sums.iter_mut().zip(places(channels)) {
                *sum += u64::from(pixel[place].into()) * alpha;
            }
        }
    }
    let [r, g, b] = sums.map(|sum| share(sum, opacity.max(1) * full));
    [r, g, b, share(opacity, pixels * full)]
}

/// Indices of red, green and blue in a pixel.
fn places(channels: Channels) -> [usize; 3] {
    if channels.gray() { [0; 3] } else { [0, 1, 2] }
}

fn share(value: u64, of: u64) -> u8 {
    (u128::from(value) * 255 / u128::from(of)) as u8
}
