//! Blur, sharpen, median, pixelate, edge, emboss, vignette, noise, convolve.

use std::collections::HashMap;
use std::path::PathBuf;

use progimage::pipeline::operation::{Context, by_name};
use progimage::pipeline::param::Args;
use progimage::pipeline::{Channels, Deadline, Limits, Raster, Samples, Size, codec};

use Channels::{Gray, GrayAlpha, Rgb, Rgba};

fn args(name: &str, args: &str) -> Option<Args> {
    let operation = by_name(name).expect(name);
    (operation.canonical)(Args::parse(operation.params, args).expect(args)).expect(args)
}

fn apply(raster: Raster, name: &str, text: &str) -> Raster {
    let args = args(name, text).expect("something to do");
    let context = Context { deadline: &Deadline::default(), images: &HashMap::new() };
    (by_name(name).expect(name).apply)(raster, &args, &context).expect("small")
}

fn raster8(w: u32, channels: Channels, samples: &[u8]) -> Raster {
    let h = (samples.len() / channels.count()) as u32 / w;
    Raster::new(Size::new(w, h), channels, Samples::U8(samples.to_vec()))
}

fn samples8(raster: &Raster) -> &[u8] {
    let Samples::U8(samples) = raster.samples() else { panic!("depth changed") };
    samples
}

/// Checks the samples at 8 bits, and times 257 at 16 bits within `tolerance`; `w` pixels in a row.
fn check((name, args): (&str, &str), (w, channels): (u32, Channels), source: &[u8], expected: &[u8], tolerance: u16) {
    let result = apply(raster8(w, channels, source), name, args);
    assert_eq!(samples8(&result), expected, "{name}({args})");
    let wide = Samples::U16(source.iter().map(|v| u16::from(*v) * 257).collect());
    let h = (source.len() / channels.count()) as u32 / w;
    let result = apply(Raster::new(Size::new(w, h), channels, wide), name, args);
    let Samples::U16(samples) = result.samples() else { panic!("depth changed") };
    for (place, (got, expected)) in samples.iter().zip(expected).enumerate() {
        let expected = u16::from(*expected) * 257;
        assert!(got.abs_diff(expected) <= tolerance, "{name}({args}) at {place}: {got}, not {expected}");
    }
}

fn golden(name: &str) -> Raster {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden").join(name);
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (limits, deadline) = (Limits::default(), Deadline::default());
    let options = codec::DecodeOptions::new(&limits, &deadline);
    let codec = codec::sniff(&bytes).expect("known");
    (codec.decode)(&bytes, &options).expect("decodes").into_first()
}

/// Compares with the result of other software, `cut` pixels inside the edges: no sample differs by more than
/// `tolerance`.
fn compare(source: &str, (name, args): (&str, &str), expected: &str, tolerance: u32, cut: u32) {
    let (result, expected_raster) = (apply(golden(source), name, args), golden(expected));
    assert_eq!(result.shape(), expected_raster.shape(), "{expected}");
    let (Size { w, h }, count) = (result.size(), result.channels().count());
    let inside = |place: usize| {
        let (x, y) = ((place / count) as u32 % w, (place / count) as u32 / w);
        (cut..w - cut).contains(&x) && (cut..h - cut).contains(&y)
    };
    let (ours, theirs) = (samples8(&result), samples8(&expected_raster));
    // The colour of a pixel counts as much as it is visible.
    let alpha = |place: usize| if result.channels().alpha() { theirs[place / count * count + count - 1] } else { 255 };
    let seen = |place: usize| if place % count == 3 { 255 } else { u32::from(alpha(place)) };
    let difference = |place: usize| u32::from(ours[place].abs_diff(theirs[place])) * seen(place) / 255;
    let worst = (0..ours.len()).filter(|place| inside(*place)).map(difference).max();
    assert!(worst <= Some(tolerance), "{expected}: {worst:?}");
}

#[test]
fn results_are_those_of_other_software() {
    let source = "effects-source.png";
    // Kernels cut off at 3.7 sigma there and at 3.5 here, or a coarser grid; tables of 16 bits here.
    compare(source, ("blur", "sigma=0.8"), "blur-0.8-vips.png", 1, 0);
    compare(source, ("blur", "sigma=2"), "blur-2-vips.png", 1, 0);
    compare(source, ("blur", "sigma=12"), "blur-12-vips.png", 1, 0);
    compare(source, ("blur", "sigma=250"), "blur-250-numpy.png", 1, 0);
    compare("effects-source-alpha.png", ("blur", "sigma=3"), "blur-alpha-imagemagick.png", 2, 0);
    compare(source, ("sharpen", "sigma=1.5&amount=2"), "sharpen-numpy.png", 1, 0);
    compare(source, ("median", "size=3"), "median-3-pillow.png", 0, 0);
    compare(source, ("median", "size=5"), "median-5-pillow.png", 0, 0);
    compare(source, ("median", "size=7"), "median-7-pillow.png", 0, 0);
    compare(source, ("pixelate", "size=8"), "pixelate-vips.png", 1, 0);
    // Its luminance is rounded once more in each of nine pixels.
    compare(source, ("edge", "on=true"), "edge-numpy.png", 4, 0);
    // Pillow copies the outermost pixels.
    compare(source, ("emboss", "on=true"), "emboss-pillow.png", 0, 1);
    compare(source, ("convolve", "kernel=1,2,-1,0,3,1,-2,0,0"), "convolve-3-vips.png", 1, 0);
    let kernel = "kernel=1,0,0,0,-1,0,2,0,0,0,0,0,5,0,0,0,0,0,2,0,1,0,-1,0,1";
    compare(source, ("convolve", kernel), "convolve-5-vips.png", 1, 0);
    compare(source, ("vignette", "amount=80"), "vignette-numpy.png", 1, 0);
}

#[test]
fn a_blur_spreads_light() {
    // Half of a white pixel's light is 188, a quarter 137: sigma 0.3 keeps 0.9923 of it on a line, 0.00384 at either
    // side.
    check(("blur", "sigma=0.3"), (5, Gray), &[0, 0, 255, 0, 0], &[0, 12, 254, 12, 0], 200);
    let flat = [90u8, 40, 200, 255].repeat(35);
    for sigma in ["0.3", "2", "3.49", "3.5", "17", "250"] {
        check(("blur", &format!("sigma={sigma}")), (7, Rgba), &flat, &flat, 30);
    }
    check(("blur", "sigma=250"), (1, GrayAlpha), &[7, 255], &[7, 255], 30);
}

#[test]
fn no_colour_of_transparent_pixels_is_seen() {
    let row = [[255, 0, 0, 0].repeat(16), [0, 0, 255, 255].repeat(16)].concat();
    let source = raster8(32, Rgba, &row.repeat(32));
    for (name, args) in [
        ("blur", "sigma=1"),
        ("blur", "sigma=9"),
        ("sharpen", "sigma=3&amount=5"),
        ("median", "size=7"),
        ("pixelate", "size=5"),
        ("convolve", "kernel=1,1,1,1,1,1,1,1,1"),
        ("vignette", "amount=50"),
    ] {
        let result = apply(source.clone(), name, args);
        let seen = samples8(&result).chunks_exact(4).filter(|pixel| pixel[3] > 0);
        assert!(seen.clone().all(|pixel| pixel[0] == 0 && pixel[2] > 0), "{name}({args})");
    }
    // Around gray, red would show as more than the half.
    let result = apply(source.clone(), "emboss", "on=true");
    assert!(samples8(&result).chunks_exact(4).filter(|pixel| pixel[3] > 0).all(|pixel| pixel[0] == 128));
    // Transparent pixels have no luminance.
    let gray = raster8(3, GrayAlpha, &[255, 0, 0, 255, 255, 0].repeat(3));
    assert!(samples8(&apply(gray, "edge", "on=true")).iter().step_by(2).all(|v| *v == 0));
}

#[test]
fn opaque_alpha_changes_no_colour() {
    let rgb = golden("effects-source.png");
    let rgba = progimage::pipeline::color::to_channels(rgb.clone(), Rgba).expect("small");
    for (name, args) in [
        ("blur", "sigma=1"),
        ("blur", "sigma=9"),
        ("sharpen", "sigma=2"),
        ("median", "size=5"),
        ("pixelate", "size=7"),
        ("edge", "on=true"),
        ("emboss", "on=true"),
        ("vignette", "amount=50"),
        ("noise", "amount=20&seed=3"),
        ("convolve", "kernel=100,-99.5,0,0,0,0,0,0,0.5"),
    ] {
        let (result, expected) = (apply(rgba.clone(), name, args), apply(rgb.clone(), name, args));
        let expected = progimage::pipeline::color::to_channels(expected, result.channels()).expect("small");
        assert!(result == expected, "{name}({args})");
    }
}

#[test]
fn an_unsharp_mask_adds_the_difference_from_the_threshold_on() {
    let edge = [100, 100, 100, 120, 120, 120];
    let sharpened = |args: &str| samples8(&apply(raster8(6, Gray, &edge), "sharpen", args)).to_vec();
    let plain = sharpened("sigma=0.5");
    assert!(plain[2] < 100 && plain[3] > 120 && plain[0] == 100 && plain[5] == 120, "{plain:?}");
    let more = sharpened("sigma=0.5&amount=2.5");
    assert!(more[2] < plain[2] && more[3] > plain[3], "{more:?}");
    assert_eq!(sharpened("sigma=0.5&threshold=255"), edge);
    let differs = 100 - samples8(&apply(raster8(6, Gray, &edge), "blur", "sigma=0.5"))[2] as i32;
    assert_eq!(sharpened(&format!("sigma=0.5&threshold={}", differs.abs())), plain);
    assert_eq!(sharpened(&format!("sigma=0.5&threshold={}", differs.abs() + 1))[2], 100);
    // Alpha stays, also where it is sharp.
    let source = [50, 0, 50, 0, 50, 255, 50, 255];
    check(("sharpen", "sigma=1&amount=2"), (4, GrayAlpha), &source, &source, 300);
}

#[test]
fn a_median_takes_specks_away_and_keeps_edges() {
    let mut specks = vec![10; 81];
    specks[40] = 255;
    check(("median", "size=3"), (9, Gray), &specks, &[10; 81], 0);
    let edge = [0, 0, 0, 255, 255, 255].repeat(6);
    for size in [3, 5, 7] {
        check(("median", &format!("size={size}")), (6, Gray), &edge, &edge, 0);
        check(("median", &format!("size={size}")), (1, Rgb), &[1, 2, 3], &[1, 2, 3], 0);
    }
    check(("median", "size=3"), (3, Gray), &[9, 1, 8, 2, 7, 3, 6, 4, 5], &[7, 7, 7, 6, 5, 5, 6, 5, 5], 0);
}

#[test]
fn pixelation_is_the_mean_of_light() {
    check(
        ("pixelate", "size=2"),
        (3, Gray),
        &[0, 255, 9, 255, 0, 9, 1, 1, 7],
        &[188, 188, 9, 188, 188, 9, 1, 1, 7],
        130,
    );
    check(("pixelate", "size=512"), (2, GrayAlpha), &[255, 255, 9, 0], &[255, 128, 255, 128], 200);
}

#[test]
fn edges_are_sobels() {
    // A step of 20 weighs 1 + 2 + 1.
    let step = [10, 10, 30, 30].repeat(3);
    check(("edge", "on=true"), (4, Gray), &step, &[0, 80, 80, 0].repeat(3), 0);
    check(("edge", "on=true"), (1, Gray), &[200], &[0], 0);
    check(("edge", "on=true"), (2, Gray), &[0, 255], &[255, 255], 0);
    let colored = apply(raster8(1, Rgba, &[1, 2, 3, 4]), "edge", "on=true");
    assert_eq!((colored.channels(), samples8(&colored)), (GrayAlpha, [0, 4].as_slice()));
}

#[test]
fn a_relief_is_lit_from_the_top_left() {
    check(("emboss", "on=true"), (3, Gray), &[50, 50, 60, 50, 50, 60, 50, 50, 60], &[128, 128, 138].repeat(3), 2_000);
}

#[test]
fn a_kernel_is_weighed_by_its_sum_and_not_turned_over() {
    let source = [10, 20, 30, 40, 50, 60, 70, 80, 90];
    // The pixel at the left. The outermost one repeats beyond the edge.
    check(("convolve", "kernel=0,0,0,7,0,0,0,0,0"), (3, Gray), &source, &[10, 10, 20, 40, 40, 50, 70, 70, 80], 0);
    check(("convolve", "kernel=1,1,1,1,1,1,1,1,1"), (3, Gray), &source, &[23, 30, 37, 43, 50, 57, 63, 70, 77], 100);
    let far = format!("kernel=0.0001{}", ",0".repeat(24));
    check(("convolve", &far), (3, Gray), &source, &[10, 10, 10, 10, 10, 10, 10, 10, 10], 0);
    let largest = format!("kernel=1000,-998{}", ",0".repeat(23));
    apply(raster8(3, Gray, &source), "convolve", &largest);
    // Alpha is convolved too, unless the sum is 0.
    check(("convolve", "kernel=0,0,0,1,0,0,0,0,0"), (2, GrayAlpha), &[9, 100, 8, 0], &[9, 100, 9, 100], 2);
    let around_gray = apply(raster8(2, GrayAlpha, &[200, 255, 8, 0]), "convolve", "kernel=0,0,0,-1,1,0,0,0,0");
    assert_eq!(samples8(&around_gray), [128, 255, 0, 0]);
}

#[test]
fn a_vignette_leaves_the_middle_and_takes_the_corners() {
    let white = raster8(101, Gray, &[255; 101 * 101]);
    let result = apply(white, "vignette", "amount=100");
    let samples = samples8(&result);
    assert_eq!(samples[50 * 101 + 50], 255);
    assert!(samples[0] <= 30, "{}", samples[0]);
    assert!(samples[..51].is_sorted() && samples[50 * 101..50 * 101 + 51].is_sorted());
    assert_eq!((samples[0], samples[100]), (samples[101 * 100], samples[101 * 101 - 1]));
}

#[test]
fn noise_depends_on_seed_and_place_alone() {
    let gray = |w: u32, h: u32| raster8(w, Gray, &vec![128; (w * h) as usize]);
    let noise = |raster: Raster, seed: u32| apply(raster, "noise", &format!("amount=10&seed={seed}"));
    let (wide, narrow) = (noise(gray(40, 30), 1), noise(gray(20, 60), 1));
    for (one, other) in samples8(&wide).chunks_exact(40).zip(samples8(&narrow).chunks_exact(20)) {
        assert_eq!(one[..20], *other);
    }
    assert!(noise(gray(40, 30), 1) == wide && noise(gray(40, 30), 2) != wide);
    let samples: Vec<f64> = samples8(&noise(gray(200, 200), 5)).iter().map(|v| f64::from(*v) - 128.0).collect();
    let mean = samples.iter().sum::<f64>() / 40_000.0;
    let deviation = (samples.iter().map(|v| v * v).sum::<f64>() / 40_000.0).sqrt();
    assert!(mean.abs() < 0.5 && (deviation - 25.5).abs() < 0.5, "{mean} {deviation}");
    let transparent = apply(raster8(1, GrayAlpha, &[128, 77]), "noise", "amount=100&seed=4294967295");
    assert_eq!(samples8(&transparent)[1], 77);
}

#[test]
fn arguments_that_change_nothing_are_no_step() {
    for (name, text) in [
        ("sharpen", "sigma=2&amount=0"),
        ("edge", "on=false"),
        ("vignette", "amount=0"),
        ("noise", "seed=5"),
        ("convolve", "kernel=0,0,0,0,3,0,0,0,0"),
    ] {
        assert_eq!(args(name, text), None, "{name}({text})");
    }
    assert!(args("convolve", "kernel=0,0,0,0,0,0,0,0,0").is_some());
    let sharpen = by_name("sharpen").expect("a row");
    assert!((sharpen.canonical)(Args::parse(sharpen.params, "amount=2").expect("valid")).is_err());
}

#[test]
fn weights_that_cancel_are_refused_and_what_is_left_keeps_flat_images() {
    let convolve = by_name("convolve").expect("a row");
    let canonical = |text: &str| (convolve.canonical)(Args::parse(convolve.params, text).expect(text));
    for refused in ["kernel=1000,0,0,0,-999.9999,0,0,0,0", "kernel=100.1,0,0,0,-99.9001,0,0,0,0"] {
        assert!(canonical(refused).is_err(), "{refused}");
    }
    for gray in [0, 1, 127, 200, 255] {
        check(("convolve", "kernel=100.1,0,0,0,-99.9,0,0,0,0"), (3, Gray), &[gray; 9], &[gray; 9], 13);
        check(("convolve", "kernel=-99.9,0,0,0,100.1,0,0,0,0"), (3, Gray), &[gray; 9], &[gray; 9], 13);
    }
}

#[test]
fn bounds_are_held() {
    for (name, accepted, refused) in [
        ("blur", "sigma=0.3", "sigma=0.29"),
        ("blur", "sigma=250", "sigma=250.01"),
        ("sharpen", "sigma=10", "sigma=10.01"),
        ("sharpen", "amount=10", "amount=10.01"),
        ("sharpen", "threshold=255", "threshold=256"),
        ("median", "size=7", "size=9"),
        ("pixelate", "size=2", "size=1"),
        ("pixelate", "size=512", "size=513"),
        ("vignette", "amount=100", "amount=101"),
        ("noise", "amount=100", "amount=101"),
        ("noise", "seed=4294967295", "seed=4294967296"),
        ("convolve", "kernel=1000,0,0,0,0,0,0,0,-1000", "kernel=1000.0001,0,0,0,0,0,0,0,0"),
        ("convolve", "kernel=1,0,0,0,0,0,0,0,0", "kernel=1,0,0,0,0,0,0,0"),
    ] {
        let params = by_name(name).expect(name).params;
        assert!(Args::parse(params, accepted).is_ok(), "{name}({accepted})");
        assert!(Args::parse(params, refused).is_err(), "{name}({refused})");
    }
}
