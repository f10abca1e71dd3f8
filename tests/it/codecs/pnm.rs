//! What the PNM codec reads, and what it refuses.

use progimage::pipeline::Channels;

use super::expected::{check, gray, narrow, rgb, rgba, wide};
use super::hostile::refused;
use crate::fixtures::mosaic;

#[test]
fn anymaps_decode_to_the_scene() {
    let bitmap = || narrow(Channels::Gray, |x, y| [255 * (1 - mosaic::index(x, y, 2)) as u8]);
    check("bitmap_ascii.pnm", bitmap());
    check("bitmap_binary.pnm", bitmap());
    check("gray_ascii.pgm", gray());
    check("gray_binary.pgm", gray());
    check("gray_16bit.pgm", wide(Channels::Gray, |x, y| [mosaic::gray(x, y)]));
    check("rgb_ascii.ppm", rgb());
    check("rgb_binary.ppm", rgb());
    check("rgb_16bit.ppm", wide(Channels::Rgb, mosaic::rgb));
    check("rgb_maxval_51.ppm", narrow(Channels::Rgb, |x, y| mosaic::rgb(x, y).map(|v| v / 5 * 5)));
    check("gray_alpha.pnm", narrow(Channels::GrayAlpha, mosaic::gray_alpha));
    check("rgba.pnm", rgba());
    check("rgba_16bit.pnm", wide(Channels::Rgba, mosaic::rgba));
}

#[test]
fn decimal_samples_cut_inside_a_number_are_refused() {
    refused("a last sample of 25 instead of 255", "pgm", b"P2\n2 2\n255\n1 2 3 25", true);
}
