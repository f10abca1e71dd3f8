//! What BMP reads.

use progimage::pipeline::{Channels, Error, codec};

use super::decode;
use super::expected::{check, decoded, narrow, palette, rgb, rgba, stretched};
use super::hostile::patched;
use crate::fixtures::{mosaic, read};

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

#[test]
fn bitmaps_with_unusual_headers_decode_to_the_scene() {
    for name in ["rgb_24bit_no_planes", "rgb_24bit_os2", "rgb_24bit_os2_short"] {
        check(&format!("{name}.bmp"), rgb());
    }
    check("palette_8bit_offset_inside_palette.bmp", palette(256));
    let short = read("rgb_24bit_topdown.bmp");
    assert_eq!(mosaic::W * 3 % 4, 3, "a row has one byte of padding");
    let unpadded = decode(&short[..short.len() - 1]).expect("only padding is missing");
    assert_eq!(unpadded.first(), &rgb());
    check("palette_8bit_rle_topdown.bmp", narrow(Channels::Rgb, |x, y| mosaic::colour(mosaic::index(x / 3, y, 200))));
    check("palette_4bit_os2.bmp", palette(16));
    check("rgba_32bit_alpha_bitfields.bmp", rgba());
    check("png_inside.bmp", rgba());
    assert_eq!(decoded("jpeg_inside.bmp").first(), decoded("baseline_444.jpg").first());
}

/// What is not read is named, and is not called corrupt.
#[test]
fn bitmaps_that_are_not_read_are_unsupported_by_name() {
    let file = read("rgb_24bit.bmp");
    let long = |value: u32| value.to_le_bytes();
    let os2 = read("rgb_24bit_os2.bmp");
    let check = |bytes: &[u8], patches: &[(usize, &[u8])], part: &str| {
        let result = (codec::by_name("bmp").expect("a row").inspect)(&patched(bytes, patches));
        assert!(
            matches!(&result, Err(Error::Unsupported { feature, .. }) if feature.contains(part)),
            "{part}: {result:?}"
        );
    };
    check(&file, &[(30, &long(11))], "CMYK");
    check(&file, &[(30, &long(99))], "compression");
    check(&file, &[(28, &[64, 0])], "bits");
    check(&file, &[(14, &long(200))], "header");
    check(&file, &[(18, &long(65_536))], "65,535");
    check(&os2, &[(30, &long(3))], "Huffman");
    check(&os2, &[(30, &long(4))], "24-bit");
}
