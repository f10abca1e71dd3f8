//! What DDS reads: compressed blocks.

use progimage::pipeline::{Channels, Raster, Samples, Size};

use super::expected::check;
use crate::fixtures::mosaic;

#[test]
fn blocks_decode_to_the_scene() {
    let texel = |x: usize, y: usize| {
        let (first, second, mask) = mosaic::block(x / 4, y / 4);
        let second_taken = mask >> (y % 4 * 4 + x % 4) & 1 == 1;
        let [r, g, b] = if second_taken { second } else { first };
        let (a, other) = mosaic::block_alpha(x / 4, y / 4);
        // The crate rounds 5 and 6 bits down.
        [u16::from(r) * 255 / 31, u16::from(g) * 255 / 63, u16::from(b) * 255 / 31]
            .map(|v| v as u8)
            .into_iter()
            .chain([if second_taken { other } else { a }])
            .collect::<Vec<u8>>()
    };
    let texels = |count: usize| {
        let pixels = (0..16).flat_map(|y| (0..20).map(move |x| (x, y)));
        Samples::U8(pixels.flat_map(|(x, y)| texel(x, y).into_iter().take(count)).collect())
    };
    check("dxt1.dds", Raster::new(Size::new(20, 16), Channels::Rgb, texels(3)));
    check("dxt5.dds", Raster::new(Size::new(20, 16), Channels::Rgba, texels(4)));
}
