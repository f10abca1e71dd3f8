//! What PNG reads and writes, against a reference decoder.

mod animation;
pub mod hostile;
mod reduced;
mod reference;

use image::DynamicImage;
use progimage::pipeline::{Channels, Error, Limits, Picture, Raster, Samples, Size};

use super::{bytes, corpus, decode, decode_within, encode, files, inspect};
use crate::fixtures::png::{deep, oriented_name, rgba};
use crate::fixtures::profiles::swapped_profile;
use crate::fixtures::scene::{self, H, W};
use crate::fixtures::{read, sources};

fn wide(raster: &Raster) -> Vec<u16> {
    match raster.samples() {
        Samples::U8(samples) => samples.iter().map(|&sample| u16::from(sample)).collect(),
        Samples::U16(samples) => samples.clone(),
    }
}

/// Checks that a file decodes as the reference decodes it, sample for sample.
fn check_reference(name: &str, file: &[u8]) {
    let picture = decode(file).unwrap_or_else(|error| panic!("{name}: {error}"));
    let (first, expected) = (picture.first(), reference::decode(file));
    let shape = (first.size().w, first.size().h, first.channels().count());
    assert_eq!(shape, (expected.w, expected.h, expected.channels), "{name}");
    assert!(wide(first) == expected.samples, "{name}: the samples differ");
}

#[test]
fn stills_equal_the_reference_sample_for_sample() {
    let stills = sources().into_iter().filter(|(name, _)| name.ends_with(".png") && !name.starts_with("animated"));
    let count = stills.map(|(name, file)| check_reference(&name, &file)).count();
    assert!(count >= 29, "{count} fixtures");
}

#[test]
fn the_scene_is_in_the_samples() {
    // The reference reads what the generator wrote. This compares both with the scene itself.
    assert_eq!(bytes(&decode(&read("rgb_8bit.png")).expect("valid")), scene::samples(scene::rgb));
    assert_eq!(bytes(&decode(&read("rgba_interlaced.png")).expect("valid")), scene::samples(rgba));
    let deep_rgb = scene::samples(|x, y| scene::rgb(x, y).map(|sample| deep(sample, x, y)));
    assert_eq!(wide(decode(&read("rgb_16bit_interlaced.png")).expect("valid").first()), deep_rgb);
}

#[test]
fn pngsuite_equals_the_reference_and_its_broken_files_give_no_picture() {
    let Some(folder) = corpus("pngsuite") else { return };
    let files = files(folder).into_iter().filter(|(name, _)| name.ends_with(".png"));
    let (mut valid, mut broken) = (0, 0);
    for (name, file) in files {
        if name.starts_with('x') {
            assert!(decode(&file).is_err(), "{name} gives a picture");
            broken += 1;
        } else {
            check_reference(&name, &file);
            valid += 1;
        }
    }
    assert!(valid >= 160 && broken >= 14, "{valid} valid, {broken} broken");
}

#[test]
fn orientation_turns_every_file_upright() {
    for orientation in 1..=8 {
        let file = read(oriented_name(orientation));
        let (header, picture) = (inspect(&file).expect("valid"), decode(&file).expect("valid"));
        assert_eq!(header.orientation.to_exif(), orientation);
        let stored = image::RgbImage::from_raw(header.size.w, header.size.h, bytes(&picture).to_vec());
        let mut turned = DynamicImage::ImageRgb8(stored.expect("full rows"));
        turned.apply_orientation(header.orientation);
        assert!(turned.as_bytes() == scene::color().as_raw(), "{orientation}");
    }
}

#[test]
fn a_profile_is_inflated_up_to_the_bound() {
    let profile = swapped_profile();
    let within = |icc_bytes_max| {
        let limits = Limits { icc_bytes_max, ..Limits::default() };
        decode_within(&read("icc_swapped.png"), &limits, None).expect("valid").icc
    };
    assert!(within(profile.len()) == Some(profile.clone()));
    assert_eq!(within(profile.len() - 1), None);
}

#[test]
fn code_points_and_gamma_become_a_profile() {
    let icc = decode(&read("cicp_display_p3.png")).expect("valid").icc.expect("a profile");
    let (profile, p3) =
        (moxcms::ColorProfile::new_from_slice(&icc).expect("valid"), moxcms::ColorProfile::new_display_p3());
    let near = |left: f64, right: f64| (left - right).abs() < 0.001;
    assert!(near(profile.red_colorant.x, p3.red_colorant.x) && near(profile.green_colorant.y, p3.green_colorant.y));
    assert_eq!(decode(&read("cicp_display_p3.png")).expect("valid").icc, Some(icc), "the same at any time of day");
    let icc = decode(&read("gama_alone.png")).expect("valid").icc.expect("a profile");
    let linear = moxcms::ColorProfile::new_from_slice(&icc).expect("valid");
    assert_eq!(linear.red_trc, Some(moxcms::ToneReprCurve::Parametric(vec![1.0])));
}

#[test]
fn what_is_written_is_read_back_exactly() {
    let channels = [Channels::Gray, Channels::GrayAlpha, Channels::Rgb, Channels::Rgba];
    for channels in channels {
        for size in [Size::new(1, 1), Size::new(W, H), Size::new(3, 200), Size::new(300, 1)] {
            let count = size.pixels() as usize * channels.count();
            let noise = (0..count).map(|at| ((at * at % 251 + at) % 256) as u16 * 257);
            let eight = Samples::U8(noise.clone().map(|sample| sample as u8).collect());
            for samples in [eight, Samples::U16(noise.collect())] {
                let picture = Picture::still(Raster::new(size, channels, samples));
                let decoded = decode(&encode("png", &picture, None)).expect("valid");
                assert!(reduced::shown(decoded.first()) == reduced::shown(picture.first()), "{channels:?} {size:?}");
            }
        }
    }
}

#[test]
fn pixels_with_a_wrong_checksum_give_no_picture() {
    for name in ["palette_trns.png", "animated.png", "rgba_16bit.png"] {
        let file = read(name);
        let mut at = 8;
        while at < file.len() {
            let length = u32::from_be_bytes(file[at..at + 4].try_into().expect("four")) as usize;
            let mut wrong = file.clone();
            wrong[at + 8 + length] ^= 1;
            let chunk = String::from_utf8_lossy(&file[at + 4..at + 8]).into_owned();
            let decoded = decode(&wrong);
            if matches!(chunk.as_str(), "IHDR" | "PLTE" | "IDAT") {
                assert!(matches!(decoded, Err(Error::Corrupt { .. })), "{name}: {chunk}");
            } else {
                assert!(decoded.is_ok(), "{name}: {chunk} is no part of the picture, or of its first frame");
            }
            at += length + 12;
        }
    }
}
