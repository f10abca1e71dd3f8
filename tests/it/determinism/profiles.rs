//! Sources with ICC profiles that take the less usual paths through moxcms: curves that differ by channel, and tables
//! of colours.

use bytes::Bytes;
use moxcms::{ColorProfile, ToneReprCurve};

use crate::fixtures::png::{Chunk, file, iccp};
use crate::fixtures::profiles::device_profile;
use crate::fixtures::read;

pub fn sources() -> Vec<(String, Bytes)> {
    let uneven = uneven_curves();
    let (inks, scanner) = (table(b"prtrCMYKLab ", 4), table(b"scnrRGB Lab ", 3));
    [
        ("rgb_8bit.png+uneven", png_under(&read("rgb_8bit.png"), &uneven)),
        ("rgba_16bit.png+uneven", png_under(&read("rgba_16bit.png"), &uneven)),
        ("rgb_16bit.png+p3", png_under(&read("rgb_16bit.png"), &encoded(&ColorProfile::new_display_p3()))),
        ("gray_16bit.png+uneven", png_under(&read("gray_16bit.png"), &uneven)),
        ("rgba_8bit.png+scanner", png_under(&read("rgba_8bit.png"), &scanner)),
        ("rgb_16bit.png+scanner", png_under(&read("rgb_16bit.png"), &scanner)),
        ("cmyk_adobe.jpg+inks", jpeg_under(&read("cmyk_adobe.jpg"), &inks)),
        ("ycck_adobe.jpg+inks", jpeg_under(&read("ycck_adobe.jpg"), &inks)),
    ]
    .map(|(name, bytes)| (name.to_owned(), Bytes::from(bytes)))
    .into()
}

fn encoded(profile: &ColorProfile) -> Vec<u8> {
    let mut bytes = profile.encode().expect("a matrix profile can be written");
    // The date is fixed, so that a source has the same bytes every day.
    bytes[24..36].fill(0);
    bytes
}

fn uneven_curves() -> Vec<u8> {
    let mut profile = ColorProfile::new_display_p3();
    profile.cicp = None;
    profile.red_trc = Some(ToneReprCurve::Parametric(vec![1.8]));
    profile.green_trc = Some(ToneReprCurve::Parametric(vec![2.2]));
    encoded(&profile)
}

/// A device's profile: a table of three steps for each channel, to Lab.
fn table(kind: &[u8; 12], channels: u8) -> Vec<u8> {
    device_profile(2, kind, &[(b"A2B0", lut16(channels))])
}

fn lut16(channels: u8) -> Vec<u8> {
    let mut lut = b"mft2\0\0\0\0".to_vec();
    lut.extend([channels, 3, 3, 0]);
    for row in [[1u32, 0, 0], [0, 1, 0], [0, 0, 1]] {
        lut.extend(row.iter().flat_map(|entry| (entry << 16).to_be_bytes()));
    }
    // Curves of two entries: straight.
    let straight = |channels: u8| [0u16, u16::MAX].repeat(channels.into());
    let mut entries = vec![2, 2];
    entries.extend(straight(channels));
    for node in 0..3i32.pow(channels.into()) {
        // Some colours without any symmetry; the last channel darkens most.
        let [c, m, y, k] = [node / 27, node / 9 % 3, node / 3 % 3, node % 3];
        let lightness = 65_280 - (c * 5_000 + m * 7_300 + y * 2_900) * (3 - k) / 3 - k * 11_111;
        let [a, b] = [(m - c) * (3 - k) * 4_567, (2 * y - c - m) * (3 - k) * 2_345];
        entries.extend([lightness, 0x8000 + a, 0x8000 + b].map(|entry| entry as u16));
    }
    entries.extend(straight(3));
    lut.extend(entries.into_iter().flat_map(u16::to_be_bytes));
    lut
}

/// The JPEG with a profile after its first marker.
fn jpeg_under(jpeg: &[u8], profile: &[u8]) -> Vec<u8> {
    let segment = [b"ICC_PROFILE\0\x01\x01", profile].concat();
    let length = (segment.len() as u16 + 2).to_be_bytes();
    [&jpeg[..2], &[0xff, 0xe2], &length, &segment, &jpeg[2..]].concat()
}

/// The PNG with a profile after its header.
fn png_under(png: &[u8], profile: &[u8]) -> Vec<u8> {
    const SIGNATURE: usize = 8;
    const HEADER_END: usize = SIGNATURE + 25;
    let chunk: Chunk = (b"iCCP", iccp(profile));
    [&png[..HEADER_END], &file(&[chunk])[SIGNATURE..], &png[HEADER_END..]].concat()
}
