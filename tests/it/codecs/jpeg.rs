//! What the JPEG codec reads and writes.

use image::DynamicImage;
use progimage::pipeline::codec::{DecodeOptions, EncodeOptions};
use progimage::pipeline::{Channels, Deadline, Error, Limits, Picture, Raster, Samples, Size};

use super::{bytes, decode, decode_within, difference, encode, inspect, row};
use crate::fixtures::jpeg::{find_segment, ink, many_scans, oriented_name};
use crate::fixtures::profiles::swapped_profile;
use crate::fixtures::scene::{self, H, W};
use crate::fixtures::{photo, read};

/// Mean error of quality 92 on the scene; its edges are hard.
const CLOSE: f64 = 4.0;

#[test]
fn every_colour_space_and_sampling_shows_the_scene() {
    let check = |name: &str, channels: Channels, expected: &[u8], close: f64| {
        let picture = decode(&read(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(picture.first().channels(), channels, "{name}");
        let error = difference(bytes(&picture), expected);
        assert!(error < close, "{name}: mean error {error}");
    };
    let (color, gray, ink) = (scene::color().into_raw(), scene::gray().into_raw(), scene::samples(ink));
    check("baseline_444.jpg", Channels::Rgb, &color, CLOSE);
    check("baseline_422.jpg", Channels::Rgb, &color, 2.0 * CLOSE);
    check("baseline_420.jpg", Channels::Rgb, &color, 2.0 * CLOSE);
    check("progressive.jpg", Channels::Rgb, &color, 2.0 * CLOSE);
    check("rgb_stored.jpg", Channels::Rgb, &color, CLOSE);
    check("gray.jpg", Channels::Gray, &gray, CLOSE);
    check("restarts.jpg", Channels::Gray, &gray, CLOSE);
    check("cmyk_adobe.jpg", Channels::Cmyk, &ink, CLOSE);
    check("ycck_adobe.jpg", Channels::Cmyk, &ink, 2.0 * CLOSE); // ink that no YCC has is clamped
    check("cmyk_plain.jpg", Channels::Cmyk, &ink, CLOSE);
}

#[test]
fn progressive_and_sequential_of_the_same_coefficients_are_the_same_picture() {
    for name in ["progressive.jpg", "arithmetic.jpg", "arithmetic_progressive.jpg"] {
        assert_eq!(decode(&read(name)), decode(&read("baseline_420.jpg")), "{name}");
    }
}

#[test]
fn orientation_turns_every_file_upright() {
    for orientation in 1..=8 {
        let file = read(oriented_name(orientation));
        let (header, picture) = (inspect(&file).expect("valid"), decode(&file).expect("valid"));
        assert_eq!(header.orientation.to_exif(), orientation);
        assert_eq!(header.size.oriented(header.orientation), Size::new(W, H));
        let stored = image::RgbImage::from_raw(header.size.w, header.size.h, bytes(&picture).to_vec());
        let mut turned = DynamicImage::ImageRgb8(stored.expect("full rows"));
        turned.apply_orientation(header.orientation);
        assert!(difference(turned.as_bytes(), scene::color().as_raw()) < CLOSE, "{orientation}");
    }
}

#[test]
fn a_profile_is_joined_from_its_parts_and_skipped_past_the_bound() {
    let profile = swapped_profile();
    let check = |name: &str, icc_bytes_max: usize, expected: Option<&Vec<u8>>| {
        let limits = Limits { icc_bytes_max, ..Limits::default() };
        let picture = decode_within(&read(name), &limits, None).expect("valid");
        assert!(picture.icc.as_ref() == expected, "{name} within {icc_bytes_max}");
    };
    for name in ["icc_swapped.jpg", "icc_in_three_parts.jpg"] {
        check(name, profile.len(), Some(&profile));
        check(name, profile.len() - 1, None);
    }
    let whole = read("icc_in_three_parts.jpg");
    let (at, length) = find_segment(&whole, 0xe2).expect("a part");
    let lacking = [&whole[..at], &whole[at + length..]].concat();
    assert_eq!(decode(&lacking).expect("the picture is whole").icc, None);
}

#[test]
fn shrink_on_load_stays_at_or_above_what_is_asked_and_shows_the_same() {
    let file = photo("toy.jpg");
    let whole = decode(&file).expect("valid");
    let check = |least: (u32, u32), expected: (u32, u32)| {
        let picture = decode_within(&file, &Limits::default(), Some(Size::new(least.0, least.1))).expect("valid");
        let size = Size::new(expected.0, expected.1);
        assert_eq!(picture.first().size(), size);
        let full = image::RgbImage::from_raw(2048, 1270, bytes(&whole).to_vec()).expect("full rows");
        let thumbnail = image::imageops::thumbnail(&full, size.w, size.h);
        let error = difference(bytes(&picture), thumbnail.as_raw());
        assert!(error < 4.0, "{expected:?}: mean error {error}");
    };
    check((1025, 100), (2048, 1270));
    check((1024, 635), (1024, 635));
    check((512, 318), (512, 318));
    check((512, 319), (1024, 635));
    check((1, 1), (256, 159));
}

#[test]
fn scans_are_counted_before_decoding() {
    let check = |scans: usize, allowed: bool| {
        let file = many_scans(scans);
        match decode(&file) {
            Err(Error::Limit { name: "scans_max", value, max: 100 }) => {
                assert!(!allowed && value == scans as u64, "{scans} scans: counted {value}");
            }
            // A repeated scan is no valid progression. It reaches libjpeg because the count is within the bound.
            result => assert!(allowed, "{scans} scans: {result:?}"),
        }
    };
    check(100, true);
    check(101, false);
    check(1000, false);
    let scans = 10;
    let limit = |scans_max| decode_within(&read("progressive.jpg"), &Limits { scans_max, ..Limits::default() }, None);
    assert!(limit(scans).is_ok());
    assert_eq!(limit(scans - 1), Err(Error::Limit { name: "scans_max", value: 10, max: 9 }));
}

/// A file without its end marker is whole where its scans hold every bit of every coefficient.
#[test]
fn a_missing_end_marker_loses_nothing_where_the_scans_are_whole() {
    for name in ["baseline_420.jpg", "progressive.jpg"] {
        let file = read(name);
        assert_eq!(decode(&file[..file.len() - 2]), decode(&file), "{name}");
    }
    let refused = |what: &str, bytes: &[u8]| {
        let result = decode(bytes);
        assert!(matches!(result, Err(Error::Corrupt { .. })), "{what}: {result:?}");
    };
    let file = read("progressive.jpg");
    let scans: Vec<usize> = (2..file.len() - 1).filter(|&at| file[at..at + 2] == [0xff, 0xda]).collect();
    for scan in &scans[1..] {
        refused("a scan is missing", &file[..*scan]);
    }
    refused("the last scan is cut", &file[..file.len() - 40]);
    // The end of arithmetic codes is known by the marker after them.
    for name in ["arithmetic.jpg", "arithmetic_progressive.jpg"] {
        let file = read(name);
        refused(name, &file[..file.len() - 2]);
    }
}

#[test]
fn padding_between_segments_is_no_corruption() {
    let file = read("baseline_420.jpg");
    let padded = [&file[..file.len() - 2], &[0, 0, 0], &file[file.len() - 2..], b"trailer"].concat();
    assert_eq!(decode(&padded), decode(&file));
}

#[test]
fn stray_bytes_between_segments_change_nothing() {
    let file = read("baseline_420.jpg");
    // The segments up to the scan, each before bytes of none, among them a zero after 0xff.
    let (mut strewn, mut at) = (file[..2].to_vec(), 2);
    while file[at + 1] != 0xda {
        let end = at + 2 + usize::from(u16::from_be_bytes([file[at + 2], file[at + 3]]));
        strewn.extend(&file[at..end]);
        strewn.extend([7, 0, 0xff, 0, 9]);
        at = end;
    }
    strewn.extend([1, 2, 3]);
    strewn.extend(&file[at..]);
    let header = |file: &[u8]| format!("{:?}", inspect(file));
    assert_eq!(header(&strewn), header(&file));
    assert_eq!(decode(&strewn), decode(&file));
    let strip = row("jpeg").encoder.and_then(|encoder| encoder.strip).expect("JPEG can");
    assert_eq!(strip(&strewn).unwrap(), strip(&file).unwrap());
}

#[test]
fn a_component_without_a_scan_is_corrupt() {
    let file = read("progressive.jpg");
    let second = (2..file.len() - 1).filter(|&at| file[at..at + 2] == [0xff, 0xda]).nth(1).expect("scans");
    let only_first = [&file[..second], &[0xff, 0xd9]].concat();
    // The first scan has the DC of all components, which libjpeg accepts as a coarse picture.
    assert!(decode(&only_first).is_ok());
    let (at, _) = find_segment(&file, 0xda).expect("a scan");
    let none = [&file[..at], &[0xff, 0xd9]].concat();
    assert!(matches!(decode(&none), Err(Error::Corrupt { .. })));
    // A frame of three components with a scan of the first only. libjpeg would fill in a flat colour without a warning.
    let gray = read("gray.jpg");
    let (at, length) = find_segment(&gray, 0xc0).expect("a frame header");
    let mut frame = gray[at..at + length].to_vec();
    (frame[3], frame[9]) = (17, 3);
    frame.extend([2, 0x11, 0, 3, 0x11, 0]);
    let two_missing = [&gray[..at], &frame, &gray[at + length..]].concat();
    assert_eq!(inspect(&two_missing).expect("well formed").channels, Channels::Rgb);
    let refused = decode(&two_missing);
    assert!(matches!(&refused, Err(Error::Corrupt { reason, .. }) if reason.contains("no scan")), "{refused:?}");
}

#[test]
fn what_libjpeg_cannot_read_is_unsupported_at_the_gate() {
    let check = |at: usize, value: u8, feature: &str| {
        let mut file = read("baseline_444.jpg");
        let (frame, _) = find_segment(&file, 0xc0).expect("a frame header");
        file[frame + at] = value;
        match inspect(&file) {
            Err(Error::Unsupported { feature: told, .. }) => assert!(told.contains(feature), "{told}"),
            other => panic!("{feature}: {other:?}"),
        }
    };
    check(1, 0xc3, "lossless");
    check(1, 0xcb, "lossless");
    check(1, 0xc5, "hierarchical");
    check(4, 12, "8 bits");
}

#[test]
fn a_prefix_without_a_frame_header_is_refused_at_the_gate() {
    let file = read("icc_swapped.jpg");
    let (frame, length) = find_segment(&file, 0xc0).expect("a frame header");
    for cut in 3..frame + length {
        assert!(matches!(inspect(&file[..cut]), Err(Error::Corrupt { .. })), "{cut} bytes");
    }
    assert!(inspect(&file[..frame + length]).is_ok());
}

#[test]
fn photographs_survive_a_round_trip_and_weigh_less_at_lower_quality() {
    let source = decode_within(&photo("street.jpg"), &Limits::default(), Some(Size::new(512, 1))).expect("valid");
    let size_at = |quality: Option<u8>| {
        let file = encode("jpeg", &source, quality);
        let again = decode(&file).expect("what was written");
        (file.len(), difference(bytes(&again), bytes(&source)))
    };
    let sizes: Vec<(usize, f64)> = [1, 20, 50, 80, 95, 100].map(|quality| size_at(Some(quality))).to_vec();
    assert!(sizes.is_sorted_by(|low, high| low.0 < high.0 && low.1 > high.1), "{sizes:?}");
    assert_eq!(size_at(None), size_at(Some(80)));
    assert!(sizes[3].1 < 6.0, "{sizes:?}");
}

#[test]
fn colour_is_written_sequential_and_halved_both_ways() {
    let source = decode(&read("rgb_8bit.png")).expect("valid");
    let file = encode("jpeg", &source, None);
    let (at, _) = find_segment(&file, 0xc0).or(find_segment(&file, 0xc1)).expect("a sequential frame header");
    assert_eq!([file[at + 11], file[at + 14], file[at + 17]], [0x22, 0x11, 0x11]);
    let gray = Raster::new(Size::new(W, H), Channels::Gray, Samples::U8(scene::gray().into_raw()));
    let again = decode(&encode("jpeg", &Picture::still(gray), Some(95))).expect("what was written");
    assert_eq!(again.first().channels(), Channels::Gray);
    assert!(difference(bytes(&again), scene::gray().as_raw()) < CLOSE);
}

#[test]
fn what_the_encoder_does_not_take_is_an_error() {
    let encoder = row("jpeg").encoder.as_ref().expect("it is written");
    let deadline = Deadline::default();
    let options = EncodeOptions::new(&deadline);
    let wide = Raster::new(Size::new(65_501, 1), Channels::Gray, Samples::U8(vec![0; 65_501]));
    let alpha = Raster::new(Size::new(1, 1), Channels::Rgba, Samples::U8(vec![0; 4]));
    for raster in [wide, alpha] {
        let result = (encoder.encode)(&Picture::still(raster), &options);
        assert!(matches!(result, Err(Error::Encode { format: "jpeg", .. })), "{result:?}");
    }
}

#[test]
fn limits_of_pixels_are_a_second_line_of_defence() {
    let limits = Limits { pixels_max: u64::from(W * H) - 1, ..Limits::default() };
    let deadline = Deadline::default();
    let options = DecodeOptions::new(&limits, &deadline);
    for name in ["baseline_420.jpg", "rgb_8bit.png"] {
        let format = if name.ends_with("jpg") { "jpeg" } else { "png" };
        let result = (row(format).decode)(&read(name), &options);
        assert!(matches!(result, Err(Error::Limit { name: "pixels_max", .. })), "{result:?}");
    }
}
