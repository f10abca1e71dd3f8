//! [`smears`]: whether a picture needs all of its chroma. Looks at pixels alone, so that equal pictures have equal
//! answers; which encoder asks does not matter.

use crate::pipeline::color::Sample;
use crate::pipeline::{Raster, Samples};

/// Pixels above which no picture is said to smear: it is seen scaled down, and planes of full chroma take memory.
pub const PIXELS_MAX: u64 = 4_000_000;

/// Change of chroma within a block of 2 x 2 pixels, in 8-bit levels, that 4:2:0 smears visibly; and the least that counts
/// as a change.
const EDGE_LEVELS: i32 = 96;
const CHANGE_LEVELS: i32 = 24;

/// Shares of such edges from which on a picture smears: one in so many blocks, and one in so many changes. Of twelve
/// photographs at 2048 px no block is an edge, at 100 px at most one in 200, and one change in 70. Of a line of red text it
/// is one block in ten, and nearly all changes.
const BLOCKS_PER_EDGE: usize = 1000;
const CHANGES_PER_EDGE: usize = 20;

/// Blocks above which only some rows of them are looked at.
const BLOCKS_MAX: usize = 1 << 18;

/// Whether halved chroma would smear the picture, as it does coloured text and drawings. Blocks that are not opaque do
/// not count, since hidden pixels have any colour.
pub fn smears(raster: &Raster) -> bool {
    if raster.channels().gray() || raster.size().pixels() > PIXELS_MAX {
        return false;
    }
    let (w, count) = (raster.size().w as usize, raster.channels().count());
    match raster.samples() {
        Samples::U8(samples) => has_edges(samples, (w, count), i32::from),
        Samples::U16(samples) => has_edges(samples, (w, count), |sample| i32::from(sample >> 8)),
    }
}

fn has_edges<S: Sample>(samples: &[S], (w, count): (usize, usize), level: impl Fn(S) -> i32 + Copy) -> bool {
    let pairs = samples.len() / (2 * w * count);
    let step = (pairs * (w / 2)).div_ceil(BLOCKS_MAX).max(1);
    let (mut blocks, mut changes, mut edges) = (0, 0, 0);
    for rows in samples.chunks_exact(2 * w * count).step_by(step) {
        let (above, below) = rows.split_at(w * count);
        for (above, below) in above.chunks_exact(2 * count).zip(below.chunks_exact(2 * count)) {
            let change = change(above.chunks_exact(count).chain(below.chunks_exact(count)), level);
            blocks += 1;
            changes += usize::from(change > CHANGE_LEVELS);
            edges += usize::from(change > EDGE_LEVELS);
        }
    }
    edges * BLOCKS_PER_EDGE > blocks && edges * CHANGES_PER_EDGE > changes
}

/// Largest change of chroma (ITU-R BT.601) within a block; 0 if it is not opaque.
fn change<'a, S: Sample>(pixels: impl Iterator<Item = &'a [S]>, level: impl Fn(S) -> i32) -> i32 {
    let (mut low, mut high) = ([i32::MAX; 2], [i32::MIN; 2]);
    for pixel in pixels {
        if pixel.get(3).is_some_and(|&alpha| alpha != S::MAX) {
            return 0;
        }
        let [r, g, b] = [level(pixel[0]), level(pixel[1]), level(pixel[2])];
        let chroma = [(-43 * r - 85 * g + 128 * b) / 256, (128 * r - 107 * g - 21 * b) / 256];
        low = [low[0].min(chroma[0]), low[1].min(chroma[1])];
        high = [high[0].max(chroma[0]), high[1].max(chroma[1])];
    }
    (high[0] - low[0]).max(high[1] - low[1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{Channels, Size};

    /// Whether it smears: a white picture of 200 x 100 with columns of a colour, one pixel wide, down part of its height.
    fn check(channels: Channels, color: &[u8], columns: std::ops::Range<usize>, rows: usize) -> bool {
        let drawn = |at: usize| columns.contains(&(at % 200)) && at.is_multiple_of(2) && at / 200 < rows;
        let pixel = |at: usize| if drawn(at) { color.to_vec() } else { vec![255; channels.count()] };
        let samples: Vec<u8> = (0..20_000).flat_map(pixel).collect();
        let wide = Samples::U16(samples.iter().map(|&sample| u16::from(sample) * 257).collect());
        let answer = smears(&Raster::new(Size::new(200, 100), channels, Samples::U8(samples)));
        assert_eq!(answer, smears(&Raster::new(Size::new(200, 100), channels, wide)));
        answer
    }

    #[test]
    fn edges_of_colour_smear_and_edges_of_gray_do_not() {
        assert!(check(Channels::Rgb, &[255, 0, 0], 0..200, 100));
        assert!(check(Channels::Rgb, &[0, 0, 255], 50..60, 40));
        assert!(!check(Channels::Rgb, &[0, 0, 0], 0..200, 100));
        assert!(!check(Channels::Rgb, &[200, 180, 170], 0..200, 100));
        assert!(!check(Channels::Rgb, &[255, 0, 0], 50..60, 2));
        assert!(check(Channels::Rgba, &[255, 0, 0, 255], 0..200, 100));
        assert!(!check(Channels::Rgba, &[255, 0, 0, 0], 0..200, 100));
        assert!(!check(Channels::Gray, &[0], 0..200, 100));
    }

    #[test]
    fn pictures_that_are_too_narrow_or_too_large_do_not_smear() {
        let red = |w: u32, h: u32| {
            let samples = (0..w * h).flat_map(|at| if at % 2 == 0 { [255, 0, 0] } else { [255; 3] }).collect();
            smears(&Raster::new(Size::new(w, h), Channels::Rgb, Samples::U8(samples)))
        };
        assert!(red(2000, 2000));
        assert!(!red(2000, 2001));
        assert!(!red(1, 100));
        assert!(!red(100, 1));
        assert!(red(2, 2));
    }
}
