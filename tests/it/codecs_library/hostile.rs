//! Files made to cost: giants in a few bytes, loops, and places outside the file.

use progimage::pipeline::codec::{self, DecodeOptions};
use progimage::pipeline::{Deadline, Error, Limits};

use crate::fixtures;

/// Refused by decode, with the limits of a server, before memory of the image's size is touched; by `inspect` too where the
/// body alone shows the lie.
fn check(what: &str, name: &str, bytes: &[u8], gate_refuses: bool) {
    let codec = codec::by_name(name).expect("a row of the table");
    assert!((codec.sniff)(bytes), "{what}: not even sniffed as {name}");
    let inspected = (codec.inspect)(bytes);
    assert_eq!(inspected.is_err(), gate_refuses, "{what}: {inspected:?}");
    let (limits, deadline) = (Limits::default(), Deadline::default());
    let options = DecodeOptions { limits: &limits, at_least: None, frames_max: 1, deadline: &deadline };
    let decoded = (codec.decode)(bytes, &options);
    let refused = matches!(decoded, Err(Error::Corrupt { .. } | Error::Limit { .. } | Error::Unsupported { .. }));
    assert!(refused, "{what}: {:?}", decoded.map(|picture| picture.first().size()));
}

/// `bytes` with some overwritten.
fn patched(bytes: &[u8], patches: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for &(at, patch) in patches {
        bytes[at..at + patch.len()].copy_from_slice(patch);
    }
    bytes
}

const GIANT: [u8; 4] = [0, 0, 0xF0, 0];

#[test]
fn gigapixels_in_a_few_bytes_are_refused() {
    let big = [0, 0xF0, 0, 0]; // 15,728,640 from the big end
    check("farbfeld", "farbfeld", &[b"farbfeld".as_slice(), &big, &big, &[0; 34]].concat(), true);
    check("qoi", "qoi", &[b"qoif".as_slice(), &big, &big, &[4, 0], &[0xFD; 50]].concat(), true);
    for (format, head) in [
        ("pgm", "P5 60000 60000 65535\n"),
        ("ppm", "P6 60000 60000 255\n"),
        ("ppm", "P3 60000 60000 255\n"),
        ("pnm", "P1 60000 60000\n"),
        ("pnm", "P4 60000 60000\n"),
        ("pnm", "P7\nWIDTH 4294967295\nHEIGHT 4294967295\nDEPTH 4\nMAXVAL 255\nTUPLTYPE RGB_ALPHA\nENDHDR\n"),
        ("hdr", "#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 60000 +X 60000\n"),
        ("hdr", "#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 4294967295 +X 4294967295\n"),
    ] {
        check(head, format, &[head.as_bytes(), &[b' '; 50]].concat(), true);
    }
    let tga = fixtures::read("rgb_24bit.tga");
    check("tga", "tga", &patched(&tga, &[(12, &[0xFF; 4])]), true);
    let rle = patched(&fixtures::read("rgba_32bit_rle.tga"), &[(12, &[0xFF; 4])]);
    check("tga in packets", "tga", &rle, true);
    let bmp = fixtures::read("rgb_24bit.bmp");
    check("bmp", "bmp", &patched(&bmp, &[(18, &[0xFF, 0xFF, 0, 0, 0xFF, 0xFF, 0, 0])]), true);
    // Run-length codes may leave out everything: only the limits know.
    let rle = patched(&fixtures::read("palette_8bit_rle.bmp"), &[(18, &[0xFF, 0xFF, 0, 0, 0xFF, 0xFF, 0, 0])]);
    check("bmp in runs", "bmp", &rle, false);
    let dds = fixtures::read("dxt1.dds");
    check("dds", "dds", &patched(&dds, &[(12, &GIANT), (16, &GIANT)]), true);
    let png = patched(&fixtures::read("rgba_png.ico"), &[(22 + 16, &[0, 0, 0xF0, 0, 0, 0, 0xF0, 0])]);
    check("a png of an icon", "ico", &png, false);
    let png = patched(&fixtures::read("rgba_png.ico"), &[(22 + 16, &[0xFF; 8])]);
    check("a png of an icon whose bytes exceed 64 bits", "ico", &png, false);
}

#[test]
fn one_row_of_a_wide_hdr_is_held_against_the_limits() {
    let head = b"#?RADIANCE\n\n-Y 1 +X 4000000000\n";
    check("hdr", "hdr", &[head.as_slice(), &[1; 50]].concat(), false);
}

/// Chains of run markers multiply by 256 each: the crate's decoder overflows on the eighth.
#[test]
fn run_markers_of_hdr_do_not_overflow() {
    let head = b"#?RADIANCE\n\n-Y 1 +X 40\n".to_vec();
    for marker in [[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 255]] {
        let body = [[9, 9, 9, 128]].into_iter().chain([marker; 40]).flatten().collect();
        check("markers", "hdr", &[head.clone(), body].concat(), false);
    }
}

fn position(bytes: &[u8], needle: &[u8]) -> usize {
    bytes.windows(needle.len()).position(|window| window == needle).expect("the fixture has it")
}

#[test]
fn exr_windows_and_tables_that_lie_are_refused() {
    let exr = fixtures::read("rgb_float.exr");
    let data = position(&exr, b"dataWindow\0box2i\0") + 21;
    let display = position(&exr, b"displayWindow\0box2i\0") + 24;
    let far = 60_000_u32.to_le_bytes();
    check("a giant of data", "exr", &patched(&exr, &[(data + 8, &far), (data + 12, &far)]), true);
    check("a giant to show", "exr", &patched(&exr, &[(display + 8, &far), (display + 12, &far)]), false);
    check("a window inside out", "exr", &patched(&exr, &[(data + 8, &[0xFF; 8]), (data, &far)]), true);
    let table = exr.len() - 18 * (8 + 8 + 21 * 12);
    let second: [u8; 8] = exr[table + 8..table + 16].try_into().expect("8 bytes");
    check("one chunk twice", "exr", &patched(&exr, &[(table, &second)]), true);
    check("a chunk outside", "exr", &patched(&exr, &[(table, &[0xFF; 8])]), true);
    check("a chunk inside the header", "exr", &patched(&exr, &[(table, &[0; 8])]), true);
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
    let tiff = fixtures::read("rgb_8bit_strips.tiff");
    let end = tiff.len() - 4;
    let first = tiff[4..8].to_vec();
    check("a loop of one page", "tiff", &patched(&tiff, &[(end, &first)]), true);
    check("a next page outside", "tiff", &patched(&tiff, &[(end, &[0xF0; 4])]), true);
    check("a first page outside", "tiff", &patched(&tiff, &[(4, &[0xF0; 4])]), true);
    let (w, h) = (entry(&tiff, 256) + 8, entry(&tiff, 257) + 8);
    check("sides of 65,535", "tiff", &patched(&tiff, &[(w, &[0xFF; 2]), (h, &[0xFF; 2])]), true);
    let rows = entry(&tiff, 278) + 8;
    check("one strip", "tiff", &patched(&tiff, &[(h, &[0xFF; 2]), (rows, &[0xFF; 2])]), true);
    let lengths = entry(&tiff, 279);
    check("more strips than values", "tiff", &patched(&tiff, &[(lengths + 4, &[0xFF; 4])]), true);
    check("values outside", "tiff", &patched(&tiff, &[(lengths + 8, &[0xF0; 4])]), true);
    let tiles = fixtures::read("rgb_8bit_tiles_lzw_predictor.tiff");
    let (w, h) = (entry(&tiles, 322) + 8, entry(&tiles, 323) + 8);
    check("tiles of 65,535", "tiff", &patched(&tiles, &[(w, &[0xFF; 2]), (h, &[0xFF; 2])]), true);
}

/// One deflated tile of gigabytes is a small file, and inflated whole for the one pixel of it that is seen.
#[test]
fn a_tiff_tile_far_larger_than_its_image_is_refused() {
    let tiff = fixtures::read("rgb_8bit_tiles_lzw_predictor.tiff");
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
    let tiff = fixtures::read("rgb_8bit_bigtiff.tiff");
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
    check("a long strip", "tiff", &patched(&tiff, &giant), true);
}

#[test]
fn icon_entries_outside_or_inside_the_directory_are_refused() {
    let ico = fixtures::read("rgba_png.ico");
    check("pointing at itself", "ico", &patched(&ico, &[(18, &[0; 4])]), true);
    check("pointing at its own entry", "ico", &patched(&ico, &[(18, &[6, 0, 0, 0])]), true);
    check("pointing outside", "ico", &patched(&ico, &[(18, &[0xF0; 4])]), true);
    check("longer than the file", "ico", &patched(&ico, &[(14, &[0xF0; 4])]), true);
    check("more entries than bytes", "ico", &patched(&ico, &[(4, &[0xFF; 2])]), true);
}

#[test]
fn decimal_samples_cut_inside_a_number_are_refused() {
    check("a last sample of 25 instead of 255", "pgm", b"P2\n2 2\n255\n1 2 3 25", true);
}

/// The crate reads the four bytes of such a colour as four pixels and clips the run that follows: a wrong picture, accepted.
#[test]
fn qoi_alpha_in_a_file_without_alpha_is_refused() {
    let colour_and_run = [0xFF, 1, 2, 3, 4, 0xC0 | 18];
    let head = [b"qoif".as_slice(), &[0, 0, 0, 20], &[0, 0, 0, 1], &[3, 0]].concat();
    check("alpha", "qoi", &[&head[..], &colour_and_run, &[0, 0, 0, 0, 0, 0, 0, 1]].concat(), false);
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
