//! Masks, shapes, the colour key and overlays.

use std::collections::HashMap;
use std::path::PathBuf;

use bytes::Bytes;
use progimage::digest::Digest;
use progimage::pipeline::operation::{Context, by_name};
use progimage::pipeline::param::Args;
use progimage::pipeline::{Channels, Deadline, Error, Images, Limits, Pipeline, Raster, Samples, Size, codec};

/// Applies `name(args)`; `ID` in `args` is the id of `other`.
fn apply(raster: Raster, other: Option<Raster>, name: &str, args: &str) -> Raster {
    let id = Digest::of(b"other");
    let operation = by_name(name).expect(name);
    let args = Args::parse(operation.params, &args.replace("ID", &id.to_string())).expect(args);
    let args = (operation.canonical)(args).expect("they go together").expect("something to do");
    let planned = (operation.plan)(raster.shape(), &args).expect("small");
    let images: HashMap<Digest, Raster> = other.map(|other| (id, other)).into_iter().collect();
    let result = (operation.apply)(raster, &args, &Context { deadline: &Deadline::default(), images: &images });
    let result = result.expect("small");
    assert_eq!(result.shape(), planned.shape);
    result
}

fn eight(w: u32, channels: Channels, samples: &[u8]) -> Raster {
    Raster::new(Size::new(w, (samples.len() / channels.count()) as u32 / w), channels, Samples::U8(samples.to_vec()))
}

fn sixteen(w: u32, channels: Channels, samples: &[u16]) -> Raster {
    Raster::new(Size::new(w, (samples.len() / channels.count()) as u32 / w), channels, Samples::U16(samples.to_vec()))
}

use Channels::{Gray, GrayAlpha, Rgb, Rgba};

fn masked(raster: Raster, mask: Raster, args: &str, expected: Raster) {
    assert_eq!(apply(raster, Some(mask), "mask", &format!("source=ID&{args}")), expected, "{args}");
}

#[test]
fn a_mask_multiplies_alpha_by_its_own() {
    let mask = eight(3, GrayAlpha, &[9, 0, 9, 51, 9, 255]);
    masked(eight(3, Gray, &[1, 2, 3]), mask.clone(), "", eight(3, GrayAlpha, &[1, 0, 2, 51, 3, 255]));
    masked(eight(3, Gray, &[1, 2, 3]), mask.clone(), "invert=true", eight(3, GrayAlpha, &[1, 255, 2, 204, 3, 0]));
    let rgba = eight(3, Rgba, &[1, 2, 3, 255, 4, 5, 6, 100, 7, 8, 9, 10]);
    masked(rgba, mask.clone(), "", eight(3, Rgba, &[1, 2, 3, 0, 4, 5, 6, 20, 7, 8, 9, 10]));
    // Each depth with the other.
    masked(sixteen(3, Gray, &[1, 2, 3]), mask, "", sixteen(3, GrayAlpha, &[1, 0, 2, 13_107, 3, 65_535]));
    let mask = sixteen(2, GrayAlpha, &[0, 13_107, 0, 65_535]);
    masked(eight(2, Gray, &[1, 2]), mask, "", eight(2, GrayAlpha, &[1, 51, 2, 255]));
}

#[test]
fn a_mask_without_alpha_covers_everything() {
    let mask = eight(1, Rgb, &[0, 0, 0]);
    masked(eight(2, Rgb, &[1, 2, 3, 4, 5, 6]), mask.clone(), "", eight(2, Rgba, &[1, 2, 3, 255, 4, 5, 6, 255]));
    masked(eight(1, Gray, &[7]), mask, "invert=true", eight(1, GrayAlpha, &[7, 0]));
}

#[test]
fn luma_is_the_luminance_of_encoded_values_times_alpha() {
    let luma = |mask: Raster, expected: u8| {
        masked(eight(1, Gray, &[7]), mask, "mode=luma", eight(1, GrayAlpha, &[7, expected]))
    };
    // 0.2125, 0.7154, 0.0721 of 255, and rebeccapurple, which the standard's readers know as 27.134 %.
    luma(eight(1, Rgb, &[255, 0, 0]), 54);
    luma(eight(1, Rgb, &[0, 255, 0]), 182);
    luma(eight(1, Rgb, &[0, 0, 255]), 18);
    luma(eight(1, Rgb, &[0x66, 0x33, 0x99]), 69);
    luma(eight(1, Gray, &[100]), 100);
    luma(eight(1, GrayAlpha, &[100, 51]), 20);
    luma(eight(1, Rgba, &[255, 255, 255, 51]), 51);
}

/// Masks do not overshoot: what a mask covers stays opaque next to its edge, at every size.
#[test]
fn a_stretched_mask_has_neither_holes_nor_ghosts() {
    let mask = eight(16, Gray, &[[0u8; 8], [255; 8]].concat().repeat(16));
    for side in [5, 8, 33, 64] {
        let raster = eight(side, Gray, &vec![7; (side * side) as usize]);
        let result = apply(raster, Some(mask.clone()), "mask", "source=ID&mode=luma");
        let Samples::U8(samples) = result.samples() else { panic!("8 bits") };
        let alphas: Vec<u8> = samples.chunks_exact(2).take(side as usize).map(|pixel| pixel[1]).collect();
        assert!(alphas.is_sorted(), "{alphas:?}");
        assert_eq!((alphas[0], alphas[side as usize - 1]), (0, 255));
        // Plain coverage: the middle is half, not half the light.
        if side == 5 {
            assert!(alphas[2].abs_diff(128) <= 1, "{alphas:?}");
        }
    }
}

#[test]
fn shapes_keep_the_size_and_the_middle() {
    let flat = || eight(5, Rgb, &[9; 5 * 3 * 3]);
    let alpha = |name: &str, args: &str| {
        let Samples::U8(samples) = apply(flat(), None, name, args).into_samples() else { panic!("8 bits") };
        samples.chunks_exact(4).map(|pixel| pixel[3]).collect::<Vec<_>>()
    };
    let circle = alpha("circle", "");
    assert_eq!([circle[0], circle[5], circle[7], circle[14]], [0, 0, 255, 0]);
    // The corner of a circle of diameter 3 by its exact area: 0.5451 of the pixel.
    assert!(circle[1].abs_diff(139) <= 1 && circle[1] == circle[13], "{circle:?}");
    let ellipse = alpha("ellipse", "");
    assert_eq!([ellipse[0], ellipse[4], ellipse[10]], [ellipse[14]; 3]);
    assert_eq!((ellipse[7], ellipse[6]), (255, 255));
    // A quarter circle of radius 1 leaves pi / 4 of the corner's pixel.
    let rounded = alpha("radius", "radius=1");
    assert_eq!(rounded, [[200, 255, 255, 255, 200], [255; 5], [200, 255, 255, 255, 200]].concat());
    assert_eq!(alpha("radius", "radius=2"), alpha("radius", "radius=max"));
    assert_eq!(alpha("radius", "radius=16384"), alpha("radius", "radius=max"));
}

#[test]
fn a_square_is_cut_to_the_same_circle_by_every_shape() {
    for side in [1, 2, 9, 64] {
        let flat = eight(side, Gray, &vec![9; (side * side) as usize]);
        let circle = apply(flat.clone(), None, "circle", "");
        assert_eq!(apply(flat.clone(), None, "ellipse", ""), circle);
        assert_eq!(apply(flat, None, "radius", "radius=max"), circle);
    }
}

#[test]
fn a_colour_key_is_transparent_up_to_its_tolerance_and_opaque_past_the_ramp() {
    let check = |raster: Raster, args: &str, expected: Raster| {
        assert_eq!(apply(raster, None, "transparent", args), expected, "{args}");
    };
    let pixels = eight(3, Rgb, &[255, 255, 255, 255, 255, 254, 0, 0, 0]);
    let exact = eight(3, Rgba, &[255, 255, 255, 0, 255, 255, 254, 255, 0, 0, 0, 255]);
    check(pixels.clone(), "color=ffffff", exact);
    let one = eight(3, Rgba, &[255, 255, 255, 0, 255, 255, 254, 0, 0, 0, 0, 255]);
    check(pixels.clone(), "color=ffffff&tolerance=1", one);
    let all = eight(3, Rgba, &[255, 255, 255, 0, 255, 255, 254, 0, 0, 0, 0, 0]);
    check(pixels, "color=ffffff&tolerance=255", all);
    // Distance 60 of a ramp from 40 to 80: half, and the colour of which half laid on white is 195.
    let ramp = eight(3, Gray, &[215, 195, 175]);
    check(ramp, "color=ffffff&tolerance=40", eight(3, GrayAlpha, &[215, 0, 135, 128, 175, 255]));
    // Gray cannot be subtracted from a colour.
    check(eight(1, Gray, &[60]), "color=000001&tolerance=40", eight(1, GrayAlpha, &[60, 128]));
    let wide = sixteen(2, GrayAlpha, &[257 * 60, 65_535, 0, 65_535]);
    check(wide, "color=000000&tolerance=40", sixteen(2, GrayAlpha, &[257 * 120, 32_768, 0, 0]));
}

fn laid(base: Raster, overlay: Raster, args: &str, expected: Raster) {
    assert_eq!(apply(base, Some(overlay), "overlay", &format!("source=ID&{args}")), expected, "{args}");
}

#[test]
fn an_overlay_lies_at_its_place() {
    let base = || eight(4, Gray, &[0; 12]);
    let dot = || eight(1, Gray, &[1]);
    let at = |args: &str, places: &[usize]| {
        let pixels: Vec<u8> = (0..12).flat_map(|place| [u8::from(places.contains(&place)); 3]).collect();
        laid(base(), dot(), args, eight(4, Rgb, &pixels));
    };
    at("", &[5]);
    at("gravity=northwest", &[0]);
    at("gravity=southeast", &[11]);
    at("gravity=east", &[7]);
    at("gravity=0.34,1", &[9]);
    at("gravity=southeast&x=-1&y=-2", &[2]);
    at("x=-1&y=1", &[8]);
    at("x=3", &[]);
    at("x=-65535&y=65535", &[]);
    at("tile=true", &(0..12).collect::<Vec<_>>());
    let stripe = eight(2, GrayAlpha, &[1, 255, 1, 0]);
    let columns: Vec<u8> = (0..12).flat_map(|place| [u8::from(place % 2 == 1); 3]).collect();
    laid(base(), stripe, "tile=true&gravity=northwest&x=1", eight(4, Rgb, &columns));
    // Larger than the base: its middle is seen.
    let large: Vec<u8> = (0..36).collect();
    let middle: Vec<u8> = [7, 8, 9, 10, 13, 14, 15, 16, 19, 20, 21, 22].iter().flat_map(|v| [*v; 3]).collect();
    laid(base(), eight(6, Gray, &large), "y=2", {
        let up: Vec<u8> = [1u8, 2, 3, 4, 7, 8, 9, 10, 13, 14, 15, 16].iter().flat_map(|v| [*v; 3]).collect();
        eight(4, Rgb, &up)
    });
    laid(eight(4, Gray, &[0; 12]), eight(6, Gray, &large[..30]), "", eight(4, Rgb, &middle));
}

#[test]
fn opacity_and_alpha_mix_and_an_opaque_base_stays_opaque() {
    let white = || eight(1, Gray, &[255]);
    laid(eight(1, Rgb, &[0, 0, 100]), white(), "opacity=40", eight(1, Rgb, &[102, 102, 162]));
    laid(eight(1, Rgba, &[0, 0, 100, 255]), white(), "opacity=40", eight(1, Rgba, &[102, 102, 162, 255]));
    // Half of white on half of black: three quarters, of which two thirds are white.
    let half = eight(1, GrayAlpha, &[0, 128]);
    laid(half, eight(1, GrayAlpha, &[255, 128]), "", eight(1, Rgba, &[170, 170, 170, 192]));
    laid(eight(1, GrayAlpha, &[9, 0]), white(), "", eight(1, Rgba, &[255, 255, 255, 255]));
    laid(sixteen(1, Gray, &[1]), eight(1, GrayAlpha, &[255, 51]), "", sixteen(1, Rgb, &[13_108; 3]));
    laid(eight(1, Gray, &[100]), sixteen(1, Gray, &[32_768]), "blend=multiply", eight(1, Rgb, &[50; 3]));
}

/// Only the visible part of an overlay is scaled. It must equal that part of the whole, also for an overlay that would
/// not fit into memory.
#[test]
fn a_scaled_overlay_is_a_window_of_the_whole() {
    let samples: Vec<u16> = (0..24 * 18 * 3).map(|v: u32| (v.wrapping_mul(2_654_435_761) >> 16) as u16).collect();
    let image = sixteen(24, Rgb, &samples);
    let whole = apply(image.clone(), None, "resize", "width=60&height=45&fit=fill&enlarge=true");
    let Samples::U16(whole) = whole.samples() else { panic!("16 bits") };
    for (x, y) in [(0, 0), (-13, -7), (-49, -40), (-30, 3)] {
        let base = sixteen(11, Rgb, &vec![0; 11 * 9 * 3]);
        let args = format!("source=ID&width=60&gravity=northwest&x={x}&y={y}");
        let Samples::U16(seen) = apply(base, Some(image.clone()), "overlay", &args).into_samples() else {
            panic!("16 bits")
        };
        for (place, seen) in seen.chunks_exact(3).enumerate() {
            let (at_x, at_y) = (place as i32 % 11 - x, place as i32 / 11 - y);
            let inside = (0..60).contains(&at_x) && (0..45).contains(&at_y);
            for (channel, seen) in seen.iter().enumerate() {
                let expected = if inside { whole[(at_y * 60 + at_x) as usize * 3 + channel] } else { 0 };
                // The same weights but for the last bits of their positions; dark values are steep.
                assert!(seen.abs_diff(expected) <= 40, "{x},{y} {at_x},{at_y}: {seen} of {expected}");
            }
        }
    }
    // 16384 x 4.9 million pixels.
    let line = eight(1, Gray, &[200; 300]);
    let base = eight(3, Gray, &[0; 9]);
    laid(base, line, "width=16384", eight(3, Rgb, &[200; 27]));
}

#[test]
fn large_tiles_wrap_where_they_end() {
    let base = || eight(4, Gray, &[0; 4]);
    let ramp: Vec<u8> = (0..6).collect();
    let row = |values: [u8; 4]| eight(4, Rgb, &values.map(|v| [v; 3]).concat());
    laid(base(), eight(6, Gray, &ramp), "tile=true&gravity=northwest&x=2", row([4, 5, 0, 1]));
    laid(base(), eight(6, Gray, &ramp), "tile=true&gravity=northwest&x=-600", row([0, 1, 2, 3]));
}

#[test]
fn an_image_that_is_not_there_is_named() {
    let id = Digest::of(b"none");
    for name in ["mask", "overlay"] {
        let operation = by_name(name).expect(name);
        let args = Args::parse(operation.params, &format!("source={id}")).expect("an id");
        let context = Context { deadline: &Deadline::default(), images: &HashMap::new() };
        let result = (operation.apply)(eight(1, Gray, &[1]), &args, &context);
        assert_eq!(result, Err(Error::MissingImage { id }));
    }
}

fn golden(name: &str) -> Bytes {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into()
}

fn decode(bytes: &Bytes) -> Raster {
    let codec = codec::sniff(bytes).expect("known");
    let (limits, deadline) = (Limits::default(), Deadline::default());
    let options = codec::DecodeOptions::new(&limits, &deadline);
    (codec.decode)(bytes, &options).expect("decodes").frames.remove(0).raster
}

/// Compares a whole render of `masks-base.png` with the image of another program. Colours are compared where they are
/// visible.
fn compare(query: &str, expected: &str, tolerance: u8) {
    let others = ["masks-mask.png", "masks-overlay.png"].map(golden);
    let query = query.replace("MASK", &Digest::of(&others[0]).to_string());
    let query = query.replace("OVERLAY", &Digest::of(&others[1]).to_string());
    let pairs: Vec<_> = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
    let pairs: Vec<_> = pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let pipeline = Pipeline::from_query(codec::by_extension("png").expect("a row"), &pairs).expect("valid");
    let images: Images = others.into_iter().map(|bytes| (Digest::of(&bytes), bytes)).collect();
    let base = golden("masks-base.png");
    let rendered = pipeline.run(&base, &images, &Limits::default(), &Deadline::default()).expect("renders").bytes;
    let (rendered, reference) = (decode(&rendered), decode(&golden(expected)));
    assert_eq!(rendered.shape(), reference.shape(), "{expected}");
    let (Samples::U8(rendered), Samples::U8(reference)) = (rendered.samples(), reference.samples()) else {
        panic!("8 bits expected")
    };
    for (place, (got, wanted)) in rendered.chunks_exact(4).zip(reference.chunks_exact(4)).enumerate() {
        let seen = if wanted[3] == 0 && got[3] == 0 { 3 } else { 0 };
        let far = got[seen..].iter().zip(&wanted[seen..]).any(|(got, wanted)| got.abs_diff(*wanted) > tolerance);
        assert!(!far, "{expected}, pixel {place}: {got:?} of {wanted:?}");
    }
}

#[test]
fn blend_modes_are_those_of_the_standard_and_of_imagemagick() {
    for mode in [
        "over",
        "multiply",
        "screen",
        "overlay",
        "darken",
        "lighten",
        "color-dodge",
        "color-burn",
        "hard-light",
        "soft-light",
        "difference",
        "exclusion",
        "plus",
    ] {
        // Both round once; a half may fall to either side.
        compare(&format!("overlay=OVERLAY&overlay_blend={mode}"), &format!("overlay-{mode}-numpy.png"), 1);
    }
    for mode in ["multiply", "soft-light", "color-burn", "plus"] {
        // ImageMagick rounds to its 16 bits on the way.
        compare(&format!("overlay=OVERLAY&overlay_blend={mode}"), &format!("overlay-{mode}-imagemagick.png"), 1);
    }
}

#[test]
fn masks_shapes_and_scaled_overlays_are_those_of_pillow_and_numpy() {
    // The stretched mask has 8 bits here and is in floating point there: one step of it, then one of rounding.
    compare("mask=MASK", "mask-alpha-pillow.png", 2);
    compare("mask=MASK&mask_mode=luma", "mask-luma-pillow.png", 2);
    compare("mask=MASK&mask_invert", "mask-invert-pillow.png", 2);
    // 1024 points of a pixel there, 64 lines of exact length here.
    compare("circle", "circle-numpy.png", 2);
    compare("ellipse", "ellipse-numpy.png", 2);
    compare("radius=7", "radius-numpy.png", 2);
    compare("overlay=MASK&overlay_width=20&overlay_gravity=southeast", "overlay-width-pillow.png", 2);
}
