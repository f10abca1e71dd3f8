//! What BMP reads.

use progimage::pipeline::Channels;

use super::expected::{check, narrow, palette, rgb, rgba, stretched};
use crate::fixtures::mosaic;

#[test]
fn bitmaps_decode_to_the_scene() {
    for name in ["rgb_24bit", "rgb_24bit_topdown", "rgb_24bit_core_header", "rgbx_32bit"] {
        check(&format!("{name}.bmp"), rgb());
    }
    check("rgba_32bit_bitfields.bmp", rgba());
    let rgb555 = |x, y| mosaic::rgb(x, y).map(|v| stretched(v, 5));
    check("rgb555_16bit.bmp", narrow(Channels::Rgb, rgb555));
    let rgb565 = |x, y| {
        let [r, g, b] = mosaic::rgb(x, y);
        [stretched(r, 5), stretched(g, 6), stretched(b, 5)]
    };
    check("rgb565_16bit_bitfields.bmp", narrow(Channels::Rgb, rgb565));
    check("palette_1bit.bmp", palette(2));
    check("palette_4bit.bmp", palette(16));
    check("palette_8bit.bmp", palette(256));
    check("palette_8bit_rle.bmp", narrow(Channels::Rgb, |x, y| mosaic::colour(mosaic::index(x / 3, y, 200))));
    check("palette_4bit_rle.bmp", palette(16));
}
