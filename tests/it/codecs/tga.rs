//! What the TGA codec reads, and files that are not sniffed as TGA.

use progimage::pipeline::{Channels, Raster, Samples, Size, codec};

use super::expected::{check, gray, narrow, palette, rgb, rgba, stretched};
use crate::fixtures::{mosaic, read};

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

/// Place of the descriptor in the header, which holds the number of alpha bits.
const DESCRIPTOR: usize = 17;

/// A fixture whose header names this number of alpha bits.
fn with_alpha_bits(name: &str, bits: u8) -> Vec<u8> {
    let mut file = read(name);
    file[DESCRIPTOR] = file[DESCRIPTOR] & 0xF0 | bits;
    file
}

/// A file with the extension area of version 2.0, which states a type of alpha, and the footer.
fn extended(mut file: Vec<u8>, attributes_type: u8) -> Vec<u8> {
    let at = file.len() as u32;
    let mut area = vec![0; 495];
    area[..2].copy_from_slice(&495_u16.to_le_bytes());
    area[494] = attributes_type;
    file.extend(area);
    file.extend(at.to_le_bytes());
    file.extend([0; 4]);
    file.extend(b"TRUEVISION-XFILE.\0");
    file
}

fn check_file(what: &str, file: &[u8], expected: &Raster) {
    let tga = codec::sniff(file).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!((tga.inspect)(file).unwrap().channels, expected.channels(), "{what}");
    let picture = super::decode_small(tga, file).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(picture.first() == expected, "{what}: {:?}", picture.first());
}

#[test]
fn a_fourth_byte_is_alpha_where_the_file_says_so() {
    for name in ["rgba_32bit.tga", "rgba_32bit_rle.tga"] {
        check_file(name, &with_alpha_bits(name, 0), &rgb());
        for bits in [0, 8] {
            let file = |attributes_type| extended(with_alpha_bits(name, bits), attributes_type);
            for none in [0, 1, 2] {
                check_file(&format!("{name}, {bits} bits, type {none}"), &file(none), &rgb());
            }
            check_file(&format!("{name}, {bits} bits, type 3"), &file(3), &rgba());
            let unknown = if bits == 0 { rgb() } else { rgba() };
            check_file(&format!("{name}, {bits} bits, type 200"), &file(200), &unknown);
        }
    }
}

#[test]
fn an_extension_area_that_is_not_there_says_nothing() {
    let whole = extended(read("rgba_32bit.tga"), 0);
    let footer_at = whole.len() - 26;
    for place in [0, whole.len() as u32 - 400, u32::MAX - 490, u32::MAX] {
        let mut file = whole.clone();
        file[footer_at..footer_at + 4].copy_from_slice(&place.to_le_bytes());
        check_file(&format!("area at {place}"), &file, &rgba());
    }
    check_file("no signature", &whole[..whole.len() - 1], &rgba());
}

#[test]
fn premultiplied_colours_are_divided() {
    let mut file = vec![0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 1, 0, 32, 0x20 | 8];
    file.extend([64, 32, 0, 128, 9, 9, 9, 0, 30, 20, 10, 255]);
    let alpha = |pixels: [u8; 12]| {
        let samples = Samples::U8(pixels.to_vec());
        Raster::new(Size::new(3, 1), Channels::Rgba, samples)
    };
    let straight = alpha([0, 32, 64, 128, 9, 9, 9, 0, 10, 20, 30, 255]);
    let divided = alpha([0, 64, 128, 128, 0, 0, 0, 0, 10, 20, 30, 255]);
    check_file("straight", &extended(file.clone(), 3), &straight);
    check_file("premultiplied", &extended(file, 4), &divided);
}

#[test]
fn the_one_bit_of_16_bit_colours_is_no_alpha() {
    let opaque = narrow(Channels::Rgb, |x, y| mosaic::rgb(x, y).map(|v| stretched(v, 5)));
    for bits in [0, 1, 8] {
        for set in [false, true] {
            let mut file = with_alpha_bits("rgb555_16bit.tga", bits);
            for high in file[18..].iter_mut().skip(1).step_by(2) {
                *high = *high & 0x7F | u8::from(set) << 7;
            }
            check_file(&format!("{bits} bits, {set}"), &file, &opaque);
            check_file(&format!("{bits} bits, {set}, an area"), &extended(file, 3), &opaque);
        }
    }
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
