//! What the TIFF codec reads, and what it refuses.

use progimage::pipeline::{Channels, Error, Orientation, codec};

use super::expected::{check, decoded, gray, levels, narrow, palette, rgb, rgba, wide};
use super::hostile::{patched, refused};
use crate::fixtures::mosaic;
use crate::fixtures::read;

#[test]
fn tiff_pages_decode_to_the_scene() {
    for name in [
        "rgb_8bit_strips",
        "rgb_8bit_tiles",
        "rgb_8bit_tiles_lzw_predictor",
        "rgb_8bit_lzw",
        "rgb_8bit_deflate_predictor",
        "rgb_8bit_packbits",
        "rgb_8bit_planar",
        "rgb_8bit_planar_lzw_predictor",
        "rgb_8bit_bigendian",
        "rgb_8bit_bigtiff",
        "rgb_8bit_bigtiff_bigendian",
        "rgb_8bit_orientation6",
        "rgb_8bit_icc",
        "rgb_8bit_two_pages",
        "rgb_8bit_unspecified_sample",
    ] {
        check(&format!("{name}.tiff"), rgb());
    }
    for name in ["rgb_16bit", "rgb_16bit_bigendian", "rgb_16bit_deflate_predictor", "rgb_16bit_bigendian_lzw_predictor"]
    {
        check(&format!("{name}.tiff"), wide(Channels::Rgb, mosaic::rgb));
    }
    check("gray_8bit.tiff", gray());
    check("gray_1bit.tiff", levels(2));
    check("gray_1bit_white_is_zero.tiff", narrow(Channels::Gray, |x, y| [255 * (1 - mosaic::index(x, y, 2)) as u8]));
    check("gray_2bit.tiff", levels(4));
    check("gray_4bit.tiff", levels(16));
    check("gray_16bit.tiff", wide(Channels::Gray, |x, y| [mosaic::gray(x, y)]));
    check("gray_alpha_8bit.tiff", narrow(Channels::GrayAlpha, mosaic::gray_alpha));
    check("rgba_8bit.tiff", rgba());
    let straight = |x: usize, y: usize| [x * 10, y * 10, (x + y) % 52 * 5, 51].map(|v| v as u8);
    check("rgba_8bit_premultiplied.tiff", narrow(Channels::Rgba, straight));
    check("palette_8bit.tiff", palette(256));
    check("palette_4bit.tiff", palette(16));
    check("palette_1bit_packbits.tiff", palette(2));
    check("cmyk_8bit.tiff", narrow(Channels::Cmyk, mosaic::rgba));
    check("cmyk_16bit.tiff", wide(Channels::Cmyk, mosaic::rgba));
}

#[test]
fn tiff_orientation_and_profile_come_with_the_pixels() {
    let header = |name: &str| {
        let bytes = read(name);
        (codec::sniff(&bytes).expect("tiff").inspect)(&bytes).expect("well formed")
    };
    assert_eq!(header("rgb_8bit_orientation6.tiff").orientation, Orientation::Rotate90);
    assert_eq!(header("rgb_8bit_strips.tiff").orientation, Orientation::NoTransforms);
    assert!(header("rgb_8bit_icc.tiff").icc && !header("rgb_8bit_strips.tiff").icc);
    assert_eq!(decoded("rgb_8bit_icc.tiff").icc.as_deref(), Some(b"not a profile, only its bytes".as_slice()));
    assert_eq!(decoded("rgb_8bit_strips.tiff").icc, None);
}

/// The place of a field's entry in the first directory of a little-endian TIFF.
fn entry(bytes: &[u8], tag: u16) -> usize {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes")) as usize;
    let start = word(4);
    let count = usize::from(u16::from_le_bytes([bytes[start], bytes[start + 1]]));
    let mut entries = (0..count).map(|index| start + 2 + 12 * index);
    entries.find(|&at| u16::from_le_bytes([bytes[at], bytes[at + 1]]) == tag).expect("the field is there")
}

#[test]
fn tiff_pages_that_lie_are_refused() {
    let tiff = read("rgb_8bit_strips.tiff");
    let end = tiff.len() - 4;
    let first = tiff[4..8].to_vec();
    refused("a loop of one page", "tiff", &patched(&tiff, &[(end, &first)]), true);
    refused("a next page outside", "tiff", &patched(&tiff, &[(end, &[0xF0; 4])]), true);
    refused("a first page outside", "tiff", &patched(&tiff, &[(4, &[0xF0; 4])]), true);
    let (w, h) = (entry(&tiff, 256) + 8, entry(&tiff, 257) + 8);
    refused("sides of 65,535", "tiff", &patched(&tiff, &[(w, &[0xFF; 2]), (h, &[0xFF; 2])]), true);
    let rows = entry(&tiff, 278) + 8;
    refused("one strip", "tiff", &patched(&tiff, &[(h, &[0xFF; 2]), (rows, &[0xFF; 2])]), true);
    let lengths = entry(&tiff, 279);
    refused("more strips than values", "tiff", &patched(&tiff, &[(lengths + 4, &[0xFF; 4])]), true);
    refused("values outside", "tiff", &patched(&tiff, &[(lengths + 8, &[0xF0; 4])]), true);
    let tiles = read("rgb_8bit_tiles_lzw_predictor.tiff");
    let (w, h) = (entry(&tiles, 322) + 8, entry(&tiles, 323) + 8);
    refused("tiles of 65,535", "tiff", &patched(&tiles, &[(w, &[0xFF; 2]), (h, &[0xFF; 2])]), true);
}

/// A small file with one deflated tile of gigabytes, of which one pixel is visible. The crate would inflate it whole.
#[test]
fn a_tiff_tile_far_larger_than_its_image_is_refused() {
    let tiff = read("rgb_8bit_tiles_lzw_predictor.tiff");
    let (w, h) = (entry(&tiff, 322) + 8, entry(&tiff, 323) + 8);
    let tile = |w_px: u16, h_px: u16| patched(&tiff, &[(w, &w_px.to_le_bytes()), (h, &h_px.to_le_bytes())]);
    let inspect = codec::by_name("tiff").expect("a row of the table").inspect;
    let refused =
        |bytes: &[u8]| matches!(inspect(bytes), Err(Error::Corrupt { reason, .. }) if reason.contains("larger"));
    assert!(!refused(&tile(1024, 1024)));
    assert!(refused(&tile(1040, 16)));
    assert!(refused(&tile(16, 1040)));
}

#[test]
fn a_tiff_strip_of_137_gigabytes_is_refused() {
    // 131,071 x 65,535 pixels of 16 bytes in one strip, as BigTIFF can say it.
    let tiff = read("rgb_8bit_bigtiff.tiff");
    let word = |at: usize| u64::from_le_bytes(tiff[at..at + 8].try_into().expect("8 bytes")) as usize;
    let start = word(8);
    let entry = |tag: u16| {
        let mut entries = (0..word(start)).map(|index| start + 8 + 20 * index);
        entries.find(|&at| tiff[at..at + 2] == tag.to_le_bytes()).expect("the field is there")
    };
    let long = |value: u64| [&4_u16.to_le_bytes()[..], &1_u64.to_le_bytes(), &value.to_le_bytes()].concat();
    let strip = [&16_u16.to_le_bytes()[..], &1_u64.to_le_bytes(), &137_000_000_000_u64.to_le_bytes()].concat();
    let (w, h, rows) = (long(131_071), long(65_535), long(65_535));
    let giant = [(entry(256) + 2, &w[..]), (entry(257) + 2, &h), (entry(278) + 2, &rows), (entry(279) + 2, &strip)];
    refused("a long strip", "tiff", &patched(&tiff, &giant), true);
}
