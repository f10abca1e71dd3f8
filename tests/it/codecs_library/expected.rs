//! What each fixture must decode to, computed from the scene and never from a codec.

use progimage::pipeline::{Channels, Orientation, Picture, Raster, Samples, Size, codec};

use super::scene::{self, H, W};
use crate::fixtures;

fn check(name: &str, expected: Raster) {
    let picture = decoded(name);
    assert_eq!(picture.frames.len(), 1, "{name}");
    let first = picture.first();
    assert_eq!((first.size(), first.channels()), (expected.size(), expected.channels()), "{name}");
    assert!(*first == expected, "{name}: {:?}\nexpected {:?}", first.samples(), expected.samples());
}

fn decoded(name: &str) -> Picture {
    let bytes = fixtures::read(name);
    let codec = codec::sniff(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    super::decode(codec, &bytes).unwrap_or_else(|error| panic!("{name}: {error}"))
}

const SCENE: Size = Size::new(W as u32, H as u32);

fn narrow<const N: usize>(channels: Channels, pixel: impl Fn(usize, usize) -> [u8; N]) -> Raster {
    Raster::new(SCENE, channels, Samples::U8(scene::samples(pixel)))
}

fn wide<const N: usize>(channels: Channels, pixel: impl Fn(usize, usize) -> [u8; N]) -> Raster {
    Raster::new(SCENE, channels, Samples::U16(scene::samples(|x, y| pixel(x, y).map(scene::wide))))
}

fn rgb() -> Raster {
    narrow(Channels::Rgb, scene::rgb)
}

fn rgba() -> Raster {
    narrow(Channels::Rgba, scene::rgba)
}

fn gray() -> Raster {
    narrow(Channels::Gray, |x, y| [scene::gray(x, y)])
}

fn palette(colours: usize) -> Raster {
    narrow(Channels::Rgb, scene::paletted(colours))
}

/// Gray of few bits, stretched.
fn levels(count: usize) -> Raster {
    narrow(Channels::Gray, move |x, y| [(scene::index(x, y, count) * 255 / (count - 1)) as u8])
}

/// The nearest 8-bit value of a sample of fewer bits.
fn stretched(sample: u8, bits: u32) -> u8 {
    let max = (1_u32 << bits) - 1;
    ((u32::from(sample >> (8 - bits)) * 255 + max / 2) / max) as u8
}

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
        check(&format!("{name}.tiff"), wide(Channels::Rgb, scene::rgb));
    }
    check("gray_8bit.tiff", gray());
    check("gray_1bit.tiff", levels(2));
    check("gray_1bit_white_is_zero.tiff", narrow(Channels::Gray, |x, y| [255 * (1 - scene::index(x, y, 2)) as u8]));
    check("gray_2bit.tiff", levels(4));
    check("gray_4bit.tiff", levels(16));
    check("gray_16bit.tiff", wide(Channels::Gray, |x, y| [scene::gray(x, y)]));
    check("gray_alpha_8bit.tiff", narrow(Channels::GrayAlpha, scene::gray_alpha));
    check("rgba_8bit.tiff", rgba());
    let straight = |x: usize, y: usize| [x * 10, y * 10, (x + y) % 52 * 5, 51].map(|v| v as u8);
    check("rgba_8bit_premultiplied.tiff", narrow(Channels::Rgba, straight));
    check("palette_8bit.tiff", palette(256));
    check("palette_4bit.tiff", palette(16));
    check("palette_1bit_packbits.tiff", palette(2));
    check("cmyk_8bit.tiff", narrow(Channels::Cmyk, scene::rgba));
    check("cmyk_16bit.tiff", wide(Channels::Cmyk, scene::rgba));
}

#[test]
fn tiff_orientation_and_profile_travel_beside_the_pixels() {
    let header = |name: &str| {
        let bytes = fixtures::read(name);
        (codec::sniff(&bytes).expect("tiff").inspect)(&bytes).expect("well formed")
    };
    assert_eq!(header("rgb_8bit_orientation6.tiff").orientation, Orientation::Rotate90);
    assert_eq!(header("rgb_8bit_strips.tiff").orientation, Orientation::NoTransforms);
    assert!(header("rgb_8bit_icc.tiff").icc && !header("rgb_8bit_strips.tiff").icc);
    assert_eq!(decoded("rgb_8bit_icc.tiff").icc.as_deref(), Some(b"not a profile, only its bytes".as_slice()));
    assert_eq!(decoded("rgb_8bit_strips.tiff").icc, None);
    assert_eq!(header("rgbe_bottom_up.hdr").orientation, Orientation::FlipVertical);
}

#[test]
fn bitmaps_decode_to_the_scene() {
    for name in ["rgb_24bit", "rgb_24bit_topdown", "rgb_24bit_core_header", "rgbx_32bit"] {
        check(&format!("{name}.bmp"), rgb());
    }
    check("rgba_32bit_bitfields.bmp", rgba());
    let rgb555 = |x, y| scene::rgb(x, y).map(|v| stretched(v, 5));
    check("rgb555_16bit.bmp", narrow(Channels::Rgb, rgb555));
    let rgb565 = |x, y| {
        let [r, g, b] = scene::rgb(x, y);
        [stretched(r, 5), stretched(g, 6), stretched(b, 5)]
    };
    check("rgb565_16bit_bitfields.bmp", narrow(Channels::Rgb, rgb565));
    check("palette_1bit.bmp", palette(2));
    check("palette_4bit.bmp", palette(16));
    check("palette_8bit.bmp", palette(256));
    check("palette_8bit_rle.bmp", narrow(Channels::Rgb, |x, y| scene::colour(scene::index(x / 3, y, 200))));
    check("palette_4bit_rle.bmp", palette(16));
}

#[test]
fn icons_decode_to_their_largest_image() {
    let masked = |pixel: fn(usize, usize) -> [u8; 3]| {
        narrow(Channels::Rgba, move |x, y| {
            let [r, g, b] = pixel(x, y);
            [r, g, b, if scene::masked(x, y) { 0 } else { 255 }]
        })
    };
    check("rgba_png.ico", rgba());
    check("rgba_32bit_bitmap.ico", rgba());
    let opaque = |x, y| {
        let [r, g, b] = scene::rgb(x, y);
        [r, g, b, 255]
    };
    check("rgb_png.ico", narrow(Channels::Rgba, opaque));
    check("rgb_24bit_bitmap_mask.ico", masked(scene::rgb));
    check("palette_8bit_bitmap_mask.ico", masked(|x, y| scene::colour(scene::index(x, y, 256))));
    check("largest_of_three.ico", masked(|x, y| scene::colour(scene::index(x, y, 256))));
}

#[test]
fn targas_decode_to_the_scene() {
    for name in ["rgb_24bit", "rgb_24bit_bottom_up", "rgb_24bit_right_to_left"] {
        check(&format!("{name}.tga"), rgb());
    }
    check("rgba_32bit.tga", rgba());
    check("rgba_32bit_rle.tga", rgba());
    check("rgb555_16bit.tga", narrow(Channels::Rgb, |x, y| scene::rgb(x, y).map(|v| stretched(v, 5))));
    check("gray_8bit.tga", gray());
    check("gray_8bit_rle.tga", narrow(Channels::Gray, |x, y| [scene::gray(x / 4, y / 4)]));
    check("palette_8bit.tga", palette(200));
}

#[test]
fn anymaps_decode_to_the_scene() {
    let bitmap = || narrow(Channels::Gray, |x, y| [255 * (1 - scene::index(x, y, 2)) as u8]);
    check("bitmap_ascii.pnm", bitmap());
    check("bitmap_binary.pnm", bitmap());
    check("gray_ascii.pgm", gray());
    check("gray_binary.pgm", gray());
    check("gray_16bit.pgm", wide(Channels::Gray, |x, y| [scene::gray(x, y)]));
    check("rgb_ascii.ppm", rgb());
    check("rgb_binary.ppm", rgb());
    check("rgb_16bit.ppm", wide(Channels::Rgb, scene::rgb));
    check("rgb_maxval_51.ppm", narrow(Channels::Rgb, |x, y| scene::rgb(x, y).map(|v| v / 5 * 5)));
    check("gray_alpha.pnm", narrow(Channels::GrayAlpha, scene::gray_alpha));
    check("rgba.pnm", rgba());
    check("rgba_16bit.pnm", wide(Channels::Rgba, scene::rgba));
}

#[test]
fn qoi_farbfeld_and_dds_decode_to_their_scenes() {
    check("rgb.qoi", rgb());
    check("rgba.qoi", rgba());
    check("runs.qoi", narrow(Channels::Rgb, |_, _| [10, 200, 90]));
    check("rgba_16bit.ff", wide(Channels::Rgba, scene::rgba));
    let texel = |x: usize, y: usize| {
        let (first, second, mask) = scene::block(x / 4, y / 4);
        let second_taken = mask >> (y % 4 * 4 + x % 4) & 1 == 1;
        let [r, g, b] = if second_taken { second } else { first };
        let (a, other) = scene::block_alpha(x / 4, y / 4);
        // The crate rounds 5 and 6 bits down.
        [u16::from(r) * 255 / 31, u16::from(g) * 255 / 63, u16::from(b) * 255 / 31]
            .map(|v| v as u8)
            .into_iter()
            .chain([if second_taken { other } else { a }])
            .collect::<Vec<u8>>()
    };
    let texels = |count: usize| {
        let pixels = (0..16).flat_map(|y| (0..20).map(move |x| (x, y)));
        Samples::U8(pixels.flat_map(|(x, y)| texel(x, y).into_iter().take(count)).collect())
    };
    check("dxt1.dds", Raster::new(Size::new(20, 16), Channels::Rgb, texels(3)));
    check("dxt5.dds", Raster::new(Size::new(20, 16), Channels::Rgba, texels(4)));
}

/// sRGB of linear light, by the definition.
fn encoded(linear: f32) -> f64 {
    let x = f64::from(linear).clamp(0.0, 1.0);
    65535.0 * if x <= 0.003_130_8 { 12.92 * x } else { 1.055 * x.powf(1.0 / 2.4) - 0.055 }
}

/// Holds 16-bit samples against linear light; the last of four is alpha.
fn check_light<const N: usize>(name: &str, channels: Channels, pixel: impl Fn(usize, usize) -> [f32; N]) {
    let picture = decoded(name);
    assert_eq!((picture.first().size(), picture.first().channels()), (SCENE, channels), "{name}");
    let Samples::U16(samples) = picture.first().samples() else { panic!("{name}: 8 bits") };
    for (index, (&sample, light)) in samples.iter().zip(scene::samples(pixel)).enumerate() {
        let expected = if index % N == 3 { f64::from(light.min(1.0)) * 65535.0 } else { encoded(light) };
        assert!((f64::from(sample) - expected).abs() <= 1.0, "{name}: sample {index} is {sample}, not {expected}");
    }
}

#[test]
fn linear_light_is_clipped_and_srgb_encoded() {
    let light = |x, y| {
        let [r, g, b, exponent] = scene::rgbe(x, y);
        [r, g, b].map(|mantissa| f32::from(mantissa) * 2.0_f32.powi(i32::from(exponent) - 136))
    };
    check_light("rgbe_components.hdr", Channels::Rgb, light);
    check_light("rgbe_flat.hdr", Channels::Rgb, light);
    check_light("rgbe_bottom_up.hdr", Channels::Rgb, light);
    check_light("rgbe_old_runs.hdr", Channels::Rgb, |_, y| light(0, y));
    let opaque = |x, y| {
        let [r, g, b, _] = scene::linear(x, y);
        [r, g, b]
    };
    check_light("rgb_float.exr", Channels::Rgb, opaque);
    check_light("rgb_float_tiles.exr", Channels::Rgb, opaque);
    check_light("rgba_float.exr", Channels::Rgba, scene::linear);
    check_light("rgba_float_packed.exr", Channels::Rgba, scene::linear);
    let inside = |x: usize, y: usize| (2..17).contains(&x) && (3..11).contains(&y);
    let windowed = |x, y| if inside(x, y) { opaque(x, y) } else { [0.0; 3] };
    check_light("rgb_float_data_window.exr", Channels::Rgb, windowed);
}
