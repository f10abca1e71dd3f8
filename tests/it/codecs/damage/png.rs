//! Damaged and odd PNG files.

use progimage::pipeline::codec::by_name;
use progimage::pipeline::{Channels, Error, Missing, Picture, Samples};

use super::super::{decode, decode_frames, decode_tolerantly, fixtures, inspect, pixel};
use crate::fixtures::png::{Chunk, control, file, frame, header};
use crate::fixtures::read;
use progimage::pipeline::Limits;

/// Places, names and lengths of the chunks.
fn chunks(bytes: &[u8]) -> Vec<(usize, String, usize)> {
    let (mut at, mut found) = (8, Vec::new());
    while at + 12 <= bytes.len() {
        let length = u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four")) as usize;
        found.push((at, String::from_utf8_lossy(&bytes[at + 4..at + 8]).into_owned(), length));
        at += length + 12;
    }
    found
}

fn end(bytes: &[u8]) -> usize {
    chunks(bytes).last().expect("an end").0
}

/// A still of 4 x 2 gray pixels with these chunks before its data.
fn gray(depth: u8, before: Vec<Chunk>, rows: &[u8]) -> Vec<u8> {
    let data = (b"IDAT", fdeflate::compress_to_vec(rows));
    file(&[vec![header(4, 2, 0, depth, 0)], before, vec![data, (b"IEND", vec![])]].concat())
}

#[test]
fn a_png_without_a_good_end_is_whole() {
    for (name, bytes) in fixtures(&["png"]) {
        let whole = decode(&bytes).expect("valid");
        let end = end(&bytes);
        let mut wrong = bytes.clone();
        *wrong.last_mut().expect("not empty") ^= 1;
        let junk = [&bytes[..end], b"\0\0\0\x05juNK12345678"].concat();
        for damaged in [&bytes[..end], &bytes[..end + 6], &bytes[..end - 2], &wrong, &junk] {
            let shown = decode(damaged).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(shown.frames == whole.frames && shown.missing.is_none(), "{name}: {} bytes", damaged.len());
        }
    }
}

#[test]
fn an_ancillary_chunk_with_a_wrong_checksum_is_ignored() {
    let rows = [0, 10, 20, 30, 40, 0, 50, 60, 70, 80];
    let plain = decode(&gray(8, vec![], &rows)).expect("valid");
    let bodies: [Chunk; 7] = [
        (b"tRNS", vec![0, 10]),
        (b"tEXt", b"Comment\0hello".to_vec()),
        (b"gAMA", 100_000u32.to_be_bytes().to_vec()),
        (b"iCCP", b"x\0\0nonsense".to_vec()),
        (b"eXIf", b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0".to_vec()),
        (b"acTL", [1u32, 0].map(u32::to_be_bytes).concat()),
        (b"pHYs", vec![0; 9]),
    ];
    for chunk in bodies {
        let name = String::from_utf8_lossy(chunk.0).into_owned();
        let mut bytes = gray(8, vec![chunk], &rows);
        let (at, found, length) = chunks(&bytes)[1].clone();
        assert_eq!(found, name);
        bytes[at + 8 + length] ^= 0x55;
        let shown = decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(shown, plain, "{name}");
        let header = inspect(&bytes).expect("valid");
        assert_eq!((header.channels, header.icc, header.orientation.to_exif()), (Channels::Gray, false, 1), "{name}");
        // What leaves under `never_larger` has no bad chunk either.
        let strip = by_name("png").and_then(|png| png.encoder?.strip).expect("png can");
        assert_eq!(chunks(&strip(&bytes).expect("it is whole")).len(), 3, "{name}");
    }
}

#[test]
fn code_points_that_cannot_be_used_are_ignored() {
    let rows = [0, 1, 2, 3, 4, 5, 6, 0, 7, 8, 9, 10, 11, 12];
    let with = |points: &[u8]| {
        let data = (b"IDAT", fdeflate::compress_to_vec(&rows));
        let still = vec![header(2, 2, 2, 8, 0), (b"cICP", points.to_vec()), data, (b"IEND", vec![])];
        decode(&file(&still)).unwrap_or_else(|error| panic!("{points:?}: {error}"))
    };
    for points in [&[1, 13, 1, 1][..], &[9, 16, 9, 0], &[1, 13, 0, 7], &[1, 13, 0], &[12, 99, 0, 1], &[]] {
        assert_eq!(with(points).icc, None, "{points:?}");
    }
    assert!(with(&[12, 13, 0, 1]).icc.is_some());
    // The camera curve of BT.709 is displayed as sRGB.
    let srgb = with(&[12, 13, 0, 1]).icc;
    for camera in [1, 6, 14, 15] {
        assert_eq!(with(&[12, camera, 0, 1]).icc, srgb, "{camera}");
    }
}

#[test]
fn bits_of_a_transparent_level_above_the_depth_do_not_count() {
    let check = |depth: u8, trns: [u8; 2], rows: &[u8], clear: [bool; 4]| {
        let picture = decode(&gray(depth, vec![(b"tRNS", trns.to_vec())], rows)).expect("valid");
        let alphas = [0, 1, 2, 3].map(|x| pixel(picture.first(), x, 0)[1] == 0);
        assert_eq!((picture.first().channels(), alphas), (Channels::GrayAlpha, clear), "{depth} bits, {trns:?}");
    };
    for high in [0, 0xff] {
        check(1, [high, 0x01 | high], &[0, 0b0101_0000, 0, 0], [false, true, false, true]);
        check(1, [high, high & 0xfe], &[0, 0b0101_0000, 0, 0], [true, false, true, false]);
        check(2, [high, 0x02 | high & 0xf0], &[0, 0b00_01_10_11, 0, 0], [false, false, true, false]);
        check(4, [high, 0x07 | high & 0xf0], &[0, 0x07, 0x70, 0, 0, 0], [false, true, true, false]);
        check(8, [high, 30], &[0, 10, 20, 30, 40, 0, 0, 0, 0, 0], [false, false, true, false]);
    }
}

#[test]
fn a_png_cut_in_its_data_is_refused_or_shown_in_part() {
    for (name, rest) in [
        ("rgb_8bit.png", vec![128; 3]),
        ("rgba_8bit.png", vec![0; 4]),
        ("gray_8bit.png", vec![128]),
        ("palette_4bit.png", vec![128; 3]),
        ("palette_trns.png", vec![0; 4]),
    ] {
        let bytes = read(name);
        let whole = decode(&bytes).expect("valid");
        let (at, _, length) = chunks(&bytes).into_iter().find(|chunk| chunk.1 == "IDAT").expect("data");
        let cut = &bytes[..at + 8 + length * 2 / 3];
        assert!(matches!(decode(cut), Err(Error::Corrupt { .. })), "{name}");
        let shown = decode_tolerantly(cut).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((shown.first().shape(), shown.missing), (whole.first().shape(), Some(Missing::Pixels)), "{name}");
        let (w, h) = (whole.first().size().w, whole.first().size().h);
        assert_eq!(pixel(shown.first(), 0, 0), pixel(whole.first(), 0, 0), "{name}");
        assert_eq!(pixel(shown.first(), w - 1, h - 1), rest, "{name}");
    }
    let bytes = read("rgb_16bit.png");
    let shown = decode_tolerantly(&bytes[..bytes.len() * 2 / 3]).expect("a part");
    assert!(matches!(shown.first().samples(), Samples::U16(samples) if samples.last() == Some(&0x8080)));
    // An interlaced picture is seen as a whole before its last pass.
    let bytes = read("rgba_interlaced.png");
    let (at, _, length) = chunks(&bytes).into_iter().find(|chunk| chunk.1 == "IDAT").expect("data");
    let shown = decode_tolerantly(&bytes[..at + 8 + length * 2 / 3]).expect("a part");
    let whole = decode(&bytes).expect("valid");
    let (w, h) = (whole.first().size().w, whole.first().size().h);
    let near = |x, y| pixel(shown.first(), x, y)[3].abs_diff(pixel(whole.first(), x, y)[3]) < 40;
    let seen = (0..w * h).filter(|at| near(at % w, at / w)).count();
    assert!(seen as u32 > w * h * 4 / 5, "{seen} of {}", w * h);
}

#[test]
fn pixels_with_a_wrong_checksum_are_refused_or_told_of() {
    let mut bytes = read("rgb_8bit.png");
    let (at, _, length) = chunks(&bytes).into_iter().find(|chunk| chunk.1 == "IDAT").expect("data");
    bytes[at + 8 + length] ^= 1;
    assert!(decode(&bytes).is_err());
    let shown = decode_tolerantly(&bytes).expect("all is there");
    assert_eq!(shown.missing, Some(Missing::Pixels));
    assert!(shown.frames == decode(&read("rgb_8bit.png")).expect("valid").frames);
}

/// An animation of a gray pixel: 10 in the default image, 20 and 30 after it.
fn three(change: impl FnOnce(&mut Vec<Chunk>)) -> Vec<u8> {
    let data = |level: u8| fdeflate::compress_to_vec(&[0, level]);
    let place = |number| control(number, [1, 1, 0, 0], [1, 10], [0, 0]);
    let mut all = vec![
        header(1, 1, 0, 8, 0),
        (b"acTL", [3u32, 0].map(u32::to_be_bytes).concat()),
        place(0),
        (b"IDAT", data(10)),
        place(1),
        frame(2, data(20)),
        place(3),
        frame(4, data(30)),
        (b"IEND", vec![]),
    ];
    change(&mut all);
    file(&all)
}

fn levels(picture: &Picture) -> Vec<u8> {
    picture.frames.iter().map(|frame| pixel(&frame.raster, 0, 0)[0]).collect()
}

#[test]
fn an_animation_with_an_error_in_its_order_shows_the_default_image() {
    assert_eq!(levels(&decode(&three(|_| {})).expect("valid")), [10, 20, 30]);
    type Change = fn(&mut Vec<Chunk>);
    let changes: [(&str, Change); 16] = [
        ("it begins with 1", |all| all[2].1[3] = 1),
        ("a number is left out", |all| all[6].1[3] = 4),
        ("a number twice", |all| all[5].1[3] = 1),
        ("frames in another order", |all| all.swap(4, 6)),
        ("data before its control", |all| all.swap(4, 5)),
        ("no control before the data", |all| drop(all.remove(4))),
        ("a control without data", |all| drop(all.remove(5))),
        ("two controls before the default image", |all| all.insert(3, all[2].clone())),
        ("fewer frames than announced", |all| all[1].1[3] = 4),
        ("a frame of no width", |all| all[4].1[4..8].fill(0)),
        ("a frame outside the canvas", |all| all[4].1[15] = 1),
        ("an unknown disposal", |all| all[4].1[24] = 3),
        ("an unknown blending", |all| all[4].1[25] = 2),
        ("a short control", |all| all[4].1.truncate(20)),
        ("data without a number", |all| all[5].1.truncate(3)),
        ("frame data before the image data", |all| all.swap(3, 5)),
    ];
    for (what, change) in changes {
        let bytes = three(change);
        let shown = decode(&bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!((levels(&shown), shown.missing), (vec![10], None), "{what}");
        let header = inspect(&bytes).expect("valid");
        assert_eq!((header.frames, header.channels), (1, Channels::Gray), "{what}");
    }
    // A wrong checksum makes no valid control.
    let mut bytes = three(|_| {});
    let (at, name, length) = chunks(&bytes)[4].clone();
    assert_eq!(name, "fcTL");
    bytes[at + 8 + length] ^= 1;
    assert_eq!(levels(&decode(&bytes).expect("shown")), [10]);
    // More frames than announced: those that are announced.
    assert_eq!(levels(&decode(&three(|all| all[1].1[3] = 2)).expect("shown")), [10, 20]);
}

#[test]
fn an_animation_is_shown_up_to_its_last_whole_frame() {
    let bytes = three(|_| {});
    let starts: Vec<usize> =
        chunks(&bytes).into_iter().filter(|chunk| chunk.1 == "fdAT").map(|chunk| chunk.0).collect();
    // Before the data of the last frame.
    for cut in starts[1] - 38..starts[1] + 8 {
        let shown = decode(&bytes[..cut]).expect("two frames are whole");
        assert_eq!((levels(&shown), shown.missing), (vec![10, 20], Some(Missing::Frames)), "{cut}");
    }
    for (number, start) in starts.into_iter().enumerate() {
        let length = u32::from_be_bytes(bytes[start..start + 4].try_into().expect("four")) as usize;
        let mut wrong = bytes.clone();
        wrong[start + 8 + length] ^= 1;
        for damaged in [&bytes[..start + 14], &wrong] {
            let shown = decode(damaged).expect("its first frames are whole");
            assert_eq!((levels(&shown), shown.missing), ([10, 20, 30][..=number].to_vec(), Some(Missing::Frames)));
            let first = decode_frames(damaged, &Limits::default(), 1).expect("whole");
            assert_eq!((levels(&first), first.missing), (vec![10], None));
        }
        let shown = decode_tolerantly(&wrong).expect("shown");
        assert_eq!(
            (levels(&shown), shown.missing),
            (vec![10, 20, 30], Some(Missing::Pixels)),
            "the sum does not count"
        );
    }
}
