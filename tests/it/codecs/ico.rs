//! What the ICO codec reads, and what it refuses.

use progimage::pipeline::{Channels, codec};

use super::decode_small;
use super::expected::{check, decoded, narrow, rgba};
use super::hostile::{patched, refused};
use crate::fixtures::mosaic;
use crate::fixtures::read;

#[test]
fn icons_decode_to_their_largest_image() {
    let masked = |pixel: fn(usize, usize) -> [u8; 3]| {
        narrow(Channels::Rgba, move |x, y| {
            let [r, g, b] = pixel(x, y);
            [r, g, b, if mosaic::masked(x, y) { 0 } else { 255 }]
        })
    };
    check("rgba_png.ico", rgba());
    check("rgba_32bit_bitmap.ico", rgba());
    let opaque = |x, y| {
        let [r, g, b] = mosaic::rgb(x, y);
        [r, g, b, 255]
    };
    check("rgb_png.ico", narrow(Channels::Rgba, opaque));
    check("rgb_24bit_bitmap_mask.ico", masked(mosaic::rgb));
    check("palette_8bit_bitmap_mask.ico", masked(|x, y| mosaic::colour(mosaic::index(x, y, 256))));
    check("palette_8bit_cursor.ico", masked(|x, y| mosaic::colour(mosaic::index(x, y, 256))));
    // A mask does not count beside alpha.
    check("rgba_32bit_bitmap_masked_out.ico", rgba());
    check("rgba_32bit_bitmap_no_mask.ico", rgba());
    // The lower half is masked; what lacks a mask is opaque.
    let half = narrow(Channels::Rgba, |x, y| {
        let [r, g, b] = mosaic::rgb(x, y);
        [r, g, b, if y >= mosaic::H - mosaic::H / 2 { 0 } else { 255 }]
    });
    check("rgb_24bit_bitmap_half_a_mask.ico", half);
    check("largest_of_three.ico", masked(|x, y| mosaic::colour(mosaic::index(x, y, 256))));
}

#[test]
fn an_alpha_that_is_empty_throughout_is_none() {
    let mut file = read("rgba_32bit_bitmap_masked_out.ico");
    let at = u32::from_le_bytes(file[18..22].try_into().expect("four")) as usize + 40;
    for place in 0..mosaic::W * mosaic::H {
        file[at + 4 * place + 3] = 0;
    }
    let codec = codec::sniff(&file).unwrap();
    let masked = decode_small(codec, &file).unwrap();
    let alphas = |picture: &progimage::pipeline::Picture| match picture.first().samples() {
        progimage::pipeline::Samples::U8(samples) => samples.iter().skip(3).step_by(4).copied().collect::<Vec<_>>(),
        progimage::pipeline::Samples::U16(_) => unreachable!("eight bits"),
    };
    assert!(alphas(&masked).iter().all(|alpha| *alpha == 0), "the mask hides all of it");
    // Without a mask it is opaque.
    file.truncate(at + 4 * mosaic::W * mosaic::H);
    let length = (file.len() - (at - 40)) as u32;
    file[14..18].copy_from_slice(&length.to_le_bytes());
    assert!(alphas(&decode_small(codec, &file).unwrap()).iter().all(|alpha| *alpha == 255));
}

#[test]
fn an_image_knows_its_length_where_the_directory_does_not() {
    for name in ["rgba_png.ico", "rgb_24bit_bitmap_mask.ico", "palette_8bit_cursor.ico", "largest_of_three.ico"] {
        let (file, expected) = (read(name), decoded(name));
        for length in [0_u32, 8, u32::MAX] {
            let file = patched(&file, &[(14, &length.to_le_bytes())]);
            let codec = codec::sniff(&file).unwrap();
            assert!(decode_small(codec, &file).unwrap() == expected, "{name} of {length} bytes");
        }
    }
    let cut = read("rgb_24bit_bitmap_mask.ico");
    refused("cut within its pixels", "ico", &cut[..cut.len() / 2], true);
}

#[test]
fn icon_entries_outside_or_inside_the_directory_are_refused() {
    let ico = read("rgba_png.ico");
    refused("pointing at itself", "ico", &patched(&ico, &[(18, &[0; 4])]), true);
    refused("pointing at its own entry", "ico", &patched(&ico, &[(18, &[6, 0, 0, 0])]), true);
    refused("pointing outside", "ico", &patched(&ico, &[(18, &[0xF0; 4])]), true);
    refused("more entries than bytes", "ico", &patched(&ico, &[(4, &[0xFF; 2])]), true);
}
