//! What the TGA codec reads, and files that are not sniffed as TGA.

use progimage::pipeline::{Channels, codec};

use super::expected::{check, gray, narrow, palette, rgb, rgba, stretched};
use crate::fixtures::mosaic;

#[test]
fn targas_decode_to_the_scene() {
    for name in ["rgb_24bit", "rgb_24bit_bottom_up", "rgb_24bit_right_to_left"] {
        check(&format!("{name}.tga"), rgb());
    }
    check("rgba_32bit.tga", rgba());
    check("rgba_32bit_rle.tga", rgba());
    check("rgb555_16bit.tga", narrow(Channels::Rgb, |x, y| mosaic::rgb(x, y).map(|v| stretched(v, 5))));
    check("gray_8bit.tga", gray());
    check("gray_8bit_rle.tga", narrow(Channels::Gray, |x, y| [mosaic::gray(x / 4, y / 4)]));
    check("palette_8bit.tga", palette(200));
}

#[test]
fn other_data_is_not_taken_for_a_targa() {
    let tga = codec::by_name("tga").expect("a row of the table");
    let texts = [
        "It was the best of times, it was the worst of times, it was the age of wisdom",
        "{\"id\": \"0000\", \"bytes\": 12}",
        "<?xml version=\"1.0\"?><svg xmlns=\"http://www.w3.org/2000/svg\"/>",
        "%PDF-1.7\n%\u{e2}\u{e3}\u{cf}\u{d3}\n1 0 obj",
    ];
    assert!(texts.iter().all(|text| !(tga.sniff)(text.as_bytes())));
    assert!((0..=255).all(|byte| !(tga.sniff)(&[byte; 64])), "a run of one byte");
    // A cursor, an MP4, a font, a gzip, a ZIP, an ELF, a WASM module.
    let heads: [&[u8]; 7] = [
        &[0, 0, 2, 0, 1, 0, 32, 32, 0, 0, 5, 0, 5, 0, 168, 16, 0, 0, 22, 0],
        b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
        &[0, 1, 0, 0, 0, 19, 1, 0, 0, 4, 0, 48, 68, 83, 73, 71, 0, 0, 0, 1],
        &[31, 139, 8, 0, 0, 0, 0, 0, 0, 3, 75, 203, 47, 74, 45, 46, 209, 81, 200, 40],
        b"PK\x03\x04\x14\0\0\0\x08\0\0\0!\0\x9a\x1f\xc1\x9b\x03\0\0\0",
        b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0",
        b"\0asm\x01\0\0\0\x01\x05\x01\x60\0\0\x03\x02\x01\0",
    ];
    assert!(heads.iter().all(|head| !(tga.sniff)(head)));
}
