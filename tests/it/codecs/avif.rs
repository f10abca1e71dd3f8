//! What AVIF reads and writes.

use progimage::pipeline::{Channels, Error, Limits, Orientation, Picture, Raster, Samples, Size};

use super::{assert_corrupt, check_close, decode, decode_frames, inspect, limit_name, pixel, psnr};
use crate::fixtures::avif::{Item, av01, av1, avif, bmff, grid, in_parts, ispe};
use crate::fixtures::pattern::{SIZE, deep_pattern, pattern};
use crate::fixtures::profiles::display_p3;
use crate::fixtures::read;

#[test]
fn fixtures_show_the_pattern_they_were_made_of() {
    // Hard edges between saturated colours differ as much as 4:2:0 makes them. Matrices and ranges are what is checked
    // here.
    check_close("8bit_420.avif", &pattern(Channels::Rgb), 25.0);
    check_close("lossless_444.avif", &pattern(Channels::Rgb), f64::INFINITY);
    check_close("10bit.avif", &deep_pattern(), 25.0);
    check_close("alpha.avif", &pattern(Channels::Rgba), 25.0);
    check_close("gray.avif", &pattern(Channels::Gray), 38.0);
    check_close("rotated_irot_1.avif", &pattern(Channels::Rgb), 25.0);
}

#[test]
fn premultiplied_avif_is_divided() {
    let got = decode(&read("premultiplied.avif")).unwrap();
    let Samples::U8(expected) = pattern(Channels::Rgb).first().samples().clone() else { panic!() };
    let expected = expected.as_chunks::<3>().0.iter().flat_map(|pixel| [pixel[0], pixel[1], pixel[2], 128]).collect();
    let expected = Raster::new(SIZE, Channels::Rgba, Samples::U8(expected));
    assert!(psnr(got.first(), &expected) > 26.0);
    assert_eq!(pixel(got.first(), 20, 20)[3], 128);
}

#[test]
fn orientation_comes_from_irot_and_imir() {
    assert_eq!(inspect(&read("rotated_irot_1.avif")).unwrap().orientation, Orientation::Rotate270);
    assert_eq!(inspect(&read("mirrored_imir_1.avif")).unwrap().orientation, Orientation::FlipHorizontal);
    // The properties that libavif writes for each EXIF orientation.
    type Property = (&'static [u8; 4], u8);
    let table: [(u8, &[Property]); 8] = [
        (1, &[]),
        (2, &[(b"imir", 1)]),
        (3, &[(b"irot", 2)]),
        (4, &[(b"imir", 0)]),
        (5, &[(b"irot", 1), (b"imir", 0)]),
        (6, &[(b"irot", 3)]),
        (7, &[(b"irot", 3), (b"imir", 0)]),
        (8, &[(b"irot", 1)]),
    ];
    let data = av1(&pattern(Channels::Rgb), false);
    for (exif, transforms) in table {
        let properties = transforms.iter().map(|(kind, value)| (bmff(kind, &[*value]), true)).collect();
        let file = avif(&[av01(data.clone(), SIZE, properties)], &[]);
        assert_eq!(Some(inspect(&file).unwrap().orientation), Orientation::from_exif(exif), "{exif}");
    }
    // Mirrored first, then turned: the other diagonal.
    let properties = vec![(bmff(b"imir", &[0]), true), (bmff(b"irot", &[1]), true)];
    let file = avif(&[av01(data, SIZE, properties)], &[]);
    assert_eq!(inspect(&file).unwrap().orientation, Orientation::Rotate270FlipH);
}

#[test]
fn colour_beyond_srgb_comes_as_a_profile() {
    assert_eq!(decode(&read("icc_display_p3.avif")).unwrap().icc, Some(display_p3()));
    let profile = decode(&read("cicp_display_p3.avif")).unwrap().icc.expect("a profile made of CICP");
    moxcms::ColorProfile::new_from_slice(&profile).expect("a valid profile");
}

#[test]
fn a_grid_is_put_together_and_cut() {
    let picture = decode(&read("grid.avif")).unwrap();
    let near = |x, expected: [u8; 3]| {
        let got = pixel(picture.first(), x, 49);
        assert!(got.iter().zip(expected).all(|(&got, expected)| got.abs_diff(expected) < 6), "{x}: {got:?}");
    };
    assert_eq!(picture.first().size(), Size::new(100, 50));
    near(0, [200, 40, 30]);
    near(63, [200, 40, 30]);
    near(64, [30, 60, 210]);
    near(99, [30, 60, 210]);
}

#[test]
fn codestreams_that_differ_from_their_headers_are_refused() {
    let data = av1(&pattern(Channels::Rgb), false);
    for size in [Size::new(44, 31), Size::new(45, 32), Size::new(1, 1), Size::new(4000, 4000)] {
        assert_corrupt("ispe of another size", &avif(&[av01(data.clone(), size, vec![])], &[]));
    }
}

#[test]
fn sides_of_avif_whose_bytes_exceed_64_bits_are_counted_at_the_gate() {
    let size = Size::new(u32::MAX, u32::MAX);
    let bomb = avif(&[av01(av1(&pattern(Channels::Rgb), false), size, vec![])], &[]);
    assert_eq!(inspect(&bomb).unwrap().working_bytes, u64::MAX);
    assert_eq!(limit_name(decode_frames(&bomb, &Limits::default(), 1)), "pixels_max");
}

#[test]
fn uses_of_avif_that_are_not_read_are_named() {
    let check = |what: &str, file: &[u8]| {
        let got = inspect(file);
        assert!(matches!(got, Err(Error::Unsupported { format: "avif", .. })), "{what}: {got:?}");
    };
    let data = av1(&pattern(Channels::Rgb), false);
    let with = |property| avif(&[av01(data.clone(), SIZE, vec![property])], &[]);
    check("an unknown essential property", &with((bmff(b"lsel", &[0, 1]), true)));
    assert_corrupt("nothing to show", &[bmff(b"ftyp", b"avis\0\0\0\0avis"), bmff(b"moov", b"")].concat());
    let hevc = Item { kind: b"hvc1", data: vec![1], properties: vec![ispe(SIZE)] };
    check("another codec", &avif(&[hevc], &[]));
    let frame_headers = b"\x1a\x01\0".repeat(40);
    let data = [data, frame_headers].concat();
    check("many frames", &avif(&[av01(data, SIZE, vec![])], &[]));
}

#[test]
fn grids_whose_tiles_do_not_fit_are_refused() {
    let data = av1(&plain_rgb(Size::new(64, 64)), false);
    let grid = |rows: u8, columns: u8, w: u16, h: u16, tiles: u16| {
        let data_of_grid = [&[0, 0, rows - 1, columns - 1][..], &w.to_be_bytes(), &h.to_be_bytes()].concat();
        let size = ispe(Size::new(u32::from(w), u32::from(h)));
        let mut items = vec![Item { kind: b"grid", data: data_of_grid, properties: vec![size] }];
        items.extend((0..tiles).map(|_| av01(data.clone(), Size::new(64, 64), vec![])));
        avif(&items, &[(b"dimg", 1, (2..2 + tiles).collect())])
    };
    assert!(decode(&grid(2, 2, 128, 128, 4)).is_ok());
    assert_corrupt("too few tiles", &grid(2, 2, 128, 128, 3));
    assert_corrupt("tiles that do not reach", &grid(2, 2, 129, 128, 4));
    assert_corrupt("tiles that are not seen", &grid(2, 2, 64, 128, 4));
    assert_corrupt("no size", &grid(1, 1, 0, 64, 1));
    let bomb = grid(1, 1, 65_535, 65_535, 1);
    assert_corrupt("a huge grid of one tile", &bomb);
}

/// A file of 256 KiB that took a gigabyte when it was inspected.
#[test]
fn a_tile_in_parts_is_not_copied_for_each_place_that_names_it() {
    assert_eq!(decode(&grid(2)).unwrap(), decode(&read("grid.avif")).unwrap());
    let tile = Size::new(64, 64);
    let named = |times: u8, parts: usize| {
        let side = u16::from(times) * 64;
        let data = [&[0, 0, times - 1, times - 1][..], &side.to_be_bytes(), &side.to_be_bytes()].concat();
        let size = ispe(Size::new(u32::from(side), u32::from(side)));
        let grid = Item { kind: b"grid", data, properties: vec![size] };
        let items = [grid, av01(av1(&plain_rgb(tile), false), tile, vec![])];
        in_parts(&items, &[(b"dimg", 1, vec![2; usize::from(times).pow(2)])], parts)
    };
    assert!(decode(&named(8, 1)).is_ok(), "what lies in one part is not copied");
    assert!(decode(&named(2, 2)).is_ok(), "few copies");
    let bomb = named(32, 2);
    assert!(matches!(inspect(&bomb), Err(Error::Corrupt { .. })), "more copies than the file is long");
}

fn plain_rgb(size: Size) -> Picture {
    let samples = vec![90; size.pixels() as usize * 3];
    Picture::still(Raster::new(size, Channels::Rgb, Samples::U8(samples)))
}

#[test]
fn hidden_frames_of_avif_are_held_to_the_pixels_of_an_animation() {
    let hidden = b"\x1a\x01\0".repeat(2);
    let data = [av1(&pattern(Channels::Rgb), false), hidden].concat();
    let file = avif(&[av01(data, SIZE, vec![])], &[]);
    let limits = |frames_pixels_max| Limits { frames_pixels_max, ..Limits::default() };
    assert!(decode_frames(&file, &limits(3 * SIZE.pixels()), 1).is_ok());
    assert_eq!(limit_name(decode_frames(&file, &limits(3 * SIZE.pixels() - 1), 1)), "frames_pixels_max");
}
