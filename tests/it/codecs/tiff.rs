//! What the TIFF codec reads, and what it refuses.

use progimage::pipeline::color::to_channels;
use progimage::pipeline::{
    Channels, Deadline, Error, Images, Limits, Orientation, Picture, Pipeline, Raster, Samples, Size, codec,
};

use super::expected::{check, check_light, decoded, gray, levels, narrow, palette, rgb, rgba, wide};
use super::hostile::{patched, refused};
use super::{decode, fractions};
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
    check("cmyk_alpha.tiff", narrow(Channels::Cmyka, mosaic::inks_with_alpha));
    check("rgb_8bit_lzw_reversed.tiff", rgb());
    check("rgb_8bit_zstd_predictor.tiff", rgb());
    let with_alpha = |x, y| {
        let [r, g, b] = mosaic::colour(mosaic::index(x, y, 256));
        [r, g, b, mosaic::rgba(x, y)[3]]
    };
    check("palette_8bit_alpha.tiff", narrow(Channels::Rgba, with_alpha));
}

#[test]
fn fax_pages_of_every_coding_decode_to_the_scene() {
    let black = |x, y| if mosaic::ink(x, y) { [0] } else { [255] };
    for name in ["fax_huffman", "fax_group3", "fax_group3_relative", "fax_group4"] {
        check(&format!("{name}.tiff"), narrow(Channels::Gray, black));
    }
    let white = |x, y| [255 - black(x, y)[0]];
    check("fax_group4_reversed_black_is_zero.tiff", narrow(Channels::Gray, white));
}

/// A Group 4 block that ends early leaves white rows; one that just stops is damaged.
#[test]
fn a_fax_block_that_ends_early_is_white_below_and_a_cut_one_is_refused() {
    let tiff = read("fax_group4.tiff");
    let strip = |tag| entry(&tiff, tag) + 8;
    let place = |at: usize| u32::from_le_bytes(tiff[at..at + 4].try_into().expect("4 bytes")) as usize;
    let first = place(place(strip(273)));
    let blank = decode(&patched(&tiff, &[(first, &[0, 0x10, 0x01])])).expect("an empty block");
    let Samples::U8(samples) = blank.first().samples() else { panic!("8 bits") };
    assert!(samples[..7 * mosaic::W].iter().all(|v| *v == 255), "the first strip is white");
    let cut = patched(&tiff, &[(place(strip(279)), &2_u32.to_le_bytes())]);
    refused("a cut block", "tiff", &cut, false);
}

#[test]
fn tiff_colours_of_video_are_converted_by_their_own_numbers() {
    for (name, shared) in
        [("ycbcr", (1, 1)), ("ycbcr_shared_2x2_deflate", (2, 2)), ("ycbcr_shared_4x1_tiles_lzw", (4, 1))]
    {
        let expected = narrow(Channels::Rgb, |x, y| {
            let [y, cb, cr] = mosaic::ycbcr(x, y, shared).map(f64::from);
            let (cb, cr) = (cb - 128.0, cr - 128.0);
            [y + 1.402 * cr, y - 0.344_136 * cb - 0.714_136 * cr, y + 1.772 * cb].map(|v| v.round() as u8)
        });
        check(&format!("{name}.tiff"), expected);
    }
}

/// A strip is decoded as the JPEG file would be that it was made of.
#[test]
fn tiff_strips_of_jpeg_decode_as_the_jpeg() {
    for (strip, jpeg) in [("jpeg_ycbcr", "baseline_420"), ("jpeg_gray", "gray"), ("jpeg_rgb", "rgb_stored")] {
        let (strip, jpeg) = (decoded(&format!("{strip}.tiff")), decoded(&format!("{jpeg}.jpg")));
        assert_eq!(strip.first(), jpeg.first());
    }
}

#[test]
fn tiff_numbers_of_any_kind_fill_the_range() {
    let deep = |of: fn(u8) -> u16| {
        let samples = mosaic::samples(|x, y| [of(mosaic::gray(x, y))]);
        Raster::new(Size::new(mosaic::W as u32, mosaic::H as u32), Channels::Gray, Samples::U16(samples))
    };
    check("gray_12bit.tiff", deep(|v| ((f64::from(v) * 16.0 + 5.0) * 65_535.0 / 4_095.0).round() as u16));
    check("gray_32bit.tiff", deep(mosaic::wide));
    check("gray_32bit_bigendian_lzw_predictor.tiff", deep(mosaic::wide));
    check("gray_float.tiff", deep(|v| u16::from(v) * 257));
    // The lowest of the scene becomes black, the highest white.
    let grays = mosaic::samples(|x, y| [mosaic::gray(x, y)]);
    let (low, high) = (*grays.iter().min().expect("some"), *grays.iter().max().expect("some"));
    for name in ["gray_16bit_signed.tiff", "gray_float_of_metres.tiff"] {
        for (got, gray) in fractions(decoded(name).first()).iter().zip(&grays) {
            let expected = f64::from(gray - low) / f64::from(high - low);
            assert!((got - expected).abs() < 0.000_02, "{name}: {got}, not {expected}");
        }
    }
}

#[test]
fn tiff_floats_are_linear_light() {
    let rgb = |x, y| {
        let [r, g, b, _] = mosaic::linear(x, y);
        [r, g, b]
    };
    check_light("rgb_float_deflate_predictor.tiff", Channels::Rgb, rgb);
    check_light("rgb_float_bigendian_lzw_predictor.tiff", Channels::Rgb, rgb);
    let half = |x, y| rgb(x, y).map(|v| half::f16::from_f32(v).to_f32());
    check_light("rgb_half_float_planar.tiff", Channels::Rgb, half);
    check_light("rgba_float_premultiplied.tiff", Channels::Rgba, mosaic::linear);
}

/// sRGB of L*a*b* relative to D50, by the definitions: to XYZ, Bradford's adaptation to D65, the matrix, the curve.
fn srgb_of_lab([l, a, b]: [f64; 3]) -> [f64; 3] {
    let f = (l + 16.0) / 116.0;
    let light = |f: f64| if f > 6.0 / 29.0 { f.powi(3) } else { (f - 4.0 / 29.0) * 3.0 * (6.0_f64 / 29.0).powi(2) };
    let xyz = [light(f + a / 500.0) * 0.9642, light(f), light(f - b / 200.0) * 0.8249];
    let times = |matrix: [[f64; 3]; 3], v: [f64; 3]| matrix.map(|row| row[0] * v[0] + row[1] * v[1] + row[2] * v[2]);
    let adapted = [
        [0.955_576_6, -0.023_039_3, 0.063_163_6],
        [-0.028_289_5, 1.009_941_6, 0.021_007_7],
        [0.012_298_2, -0.020_483, 1.329_909_8],
    ];
    let rgb = [
        [3.240_454_2, -1.537_138_5, -0.498_531_4],
        [-0.969_266, 1.876_010_8, 0.041_556],
        [0.055_643_4, -0.204_025_9, 1.057_225_2],
    ];
    times(rgb, times(adapted, xyz))
        .map(|x| if x <= 0.003_130_8 { 12.92 * x } else { 1.055 * x.powf(1.0 / 2.4) - 0.055 })
}

#[test]
fn tiff_lab_is_relative_to_d50() {
    for (name, tolerance) in [("lab_8bit", 0.006), ("lab_16bit", 0.000_5), ("lab_16bit_icc", 0.000_5)] {
        let picture = decoded(&format!("{name}.tiff"));
        let lab = |x, y| {
            let [l, a, b] = mosaic::lab(x, y);
            // The fixture of 8 bits holds whole numbers of L* of 255.
            if name == "lab_8bit" { [l.round() * 100.0 / 255.0, a.round(), b.round()] } else { [l, a, b] }
        };
        let expected = mosaic::samples(|x, y| srgb_of_lab(lab(x, y)));
        for (place, (got, expected)) in fractions(picture.first()).iter().zip(expected).enumerate() {
            assert!(
                (got - expected.clamp(0.0, 1.0)).abs() < tolerance,
                "{name}, sample {place}: {got}, not {expected}"
            );
        }
    }
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

/// Renders a page.
fn page(tiff: &[u8], frame: &str) -> Result<Picture, Error> {
    let query = [("frame".to_owned(), frame.to_owned()), ("metadata".to_owned(), "none".to_owned())];
    let pipeline = Pipeline::from_query(codec::by_name("png").expect("a row"), &query)?;
    let source = bytes::Bytes::copy_from_slice(tiff);
    decode(&pipeline.run(&source, &Images::new(), &Limits::default(), &Deadline::default())?.bytes)
}

#[test]
fn a_page_of_a_tiff_is_chosen_by_its_number() {
    let tiff = read("rgb_8bit_two_pages.tiff");
    let header = (codec::by_name("tiff").expect("a row").inspect)(&tiff).expect("two pages");
    assert_eq!((header.frames, header.page_count()), (1, 2));
    assert_eq!(page(&tiff, "0").expect("a page").first(), &rgb());
    assert_eq!(page(&tiff, "all").expect("a page").first(), &rgb());
    // The PNG of a black page is gray.
    let black = to_channels(page(&tiff, "1").expect("a page").into_first(), Channels::Rgb).expect("small");
    assert_eq!(black, narrow(Channels::Rgb, |_, _| [0, 0, 0]));
    let beyond = page(&tiff, "2").expect_err("two pages").to_string();
    assert!(beyond.contains("frame") && beyond.contains("0 to 1"), "{beyond}");
    let alone = page(&read("rgb_8bit_strips.tiff"), "1").expect_err("one page").to_string();
    assert!(alone.contains("one frame"), "{alone}");
    // What a page tells of its author is its own.
    let mut told = patched(&tiff, &[]);
    let at = told.len() as u32;
    told.extend(b"someone\0");
    let planes = entry(&told, 284);
    told[planes..planes + 12].copy_from_slice(
        &[&315_u16.to_le_bytes()[..], &2_u16.to_le_bytes(), &8_u32.to_le_bytes(), &at.to_le_bytes()].concat(),
    );
    let tells = |frame: &str| {
        let query = [("frame".to_owned(), frame.to_owned()), ("metadata".to_owned(), "all".to_owned())];
        let png = codec::by_name("png").expect("a row");
        let pipeline = Pipeline::from_query(png, &query).expect("valid");
        let made = pipeline.run(&told.clone().into(), &Images::new(), &Limits::default(), &Deadline::default());
        made.expect("renders").bytes.windows(7).any(|word| word == b"someone")
    };
    assert_eq!((tells("0"), tells("1")), (true, false));
    // A page that is not read does not hide others, and is an error by itself.
    let second = u32::from_le_bytes(tiff[first_directory_end(&tiff)..][..4].try_into().expect("4 bytes")) as usize;
    let compression =
        (second + 2..).step_by(12).find(|&at| tiff[at..at + 2] == 259_u16.to_le_bytes()).expect("a field");
    let unread = patched(&tiff, &[(compression + 8, &[99])]);
    assert_eq!(page(&unread, "0").expect("a page").first(), &rgb());
    assert!(matches!(page(&unread, "1"), Err(Error::Unsupported { feature: "this page", .. })));
}

/// The place of the offset of the second page.
fn first_directory_end(tiff: &[u8]) -> usize {
    let first = u32::from_le_bytes(tiff[4..8].try_into().expect("4 bytes")) as usize;
    first + 2 + 12 * usize::from(u16::from_le_bytes([tiff[first], tiff[first + 1]]))
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
    for (what, next) in [("a loop of one page", first.as_slice()), ("a next page outside", &[0xF0; 4])] {
        assert_eq!(decode(&patched(&tiff, &[(end, next)])).expect(what).first(), &rgb(), "{what}");
    }
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
    let strips = read("jpeg_ycbcr.tiff");
    let sides: Vec<usize> = [256, 257, 278].map(|tag| entry(&strips, tag)).into();
    let long = [&[4, 0, 1, 0, 0, 0][..], &[0xFF; 4]].concat();
    let giant: Vec<(usize, &[u8])> = sides.iter().map(|at| (at + 2, &long[..])).collect();
    refused("JPEG with sides of 32 bits", "tiff", &patched(&strips, &giant), false);
    refused("tiles of 65,535", "tiff", &patched(&tiles, &[(w, &[0xFF; 2]), (h, &[0xFF; 2])]), true);
}

/// A page may name a million chunks and fail at the last one, and a thousand pages may share them.
#[test]
fn chunks_of_tiff_pages_that_fail_are_counted() {
    let pages = |chunks: u32| {
        let mut tiff = read("rgb_8bit_two_pages.tiff");
        let link = first_directory_end(&tiff);
        let second = tiff[link..link + 4].to_vec();
        tiff.resize(tiff.len().next_multiple_of(2), 0);
        let (table, directory) = (tiff.len(), tiff.len() + 4 * chunks as usize);
        tiff.resize(directory, 0);
        tiff[link..link + 4].copy_from_slice(&(directory as u32).to_le_bytes());
        // Without a width it cannot be read.
        let entry = [273_u16.to_le_bytes(), 4_u16.to_le_bytes()].concat();
        let places = [chunks.to_le_bytes(), (table as u32).to_le_bytes()].concat();
        tiff.extend([&1_u16.to_le_bytes()[..], &entry, &places, &second].concat());
        let header = (codec::by_name("tiff").expect("a row").inspect)(&tiff).expect("its first page is fine");
        header.pages.iter().map(Option::is_some).collect::<Vec<_>>()
    };
    assert_eq!(pages(9), [false, true]);
    assert_eq!(pages(1 << 20), [false], "after this page nothing is read");
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
