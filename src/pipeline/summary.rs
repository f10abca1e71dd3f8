//! Summaries of an image in a few bytes: placeholders, colours and a perceptual hash, as JSON. They are written by
//! the output format `SUMMARY`, so that they are planned, admitted, shared and cached like renditions. It has no
//! extension, cannot be requested by name, and cannot be read.

use serde_json::{Map, Value as Json, json};

use super::codec::{Codec, EncodeOptions, Encoder};
use super::operation::resize;
use super::param::Args;
use super::{Channels, ENCODE, Error, Picture, Pipeline, Samples, Size};

/// Longest side of the examined image, the maximum of thumbhash.
const SIDE_PX: u32 = 100;

/// Components of a blurhash, horizontally and vertically.
const BLURHASH: (u32, u32) = (4, 3);

/// Number of colours in a palette.
const PALETTE_COLORS: u8 = 6;

/// One entry of a summary.
pub struct Entry {
    /// Name in JSON and in `include=`.
    pub name: &'static str,
    /// One sentence for the documentation.
    pub doc: &'static str,
    make: fn(&[u8], Size) -> Json,
}

/// Every entry. All are computed from upright sRGB pixels with alpha, scaled to fit 100 x 100.
pub static ENTRIES: &[Entry] = &[
    Entry { name: "blurhash", doc: "BlurHash of 4 x 3 components (woltapp/blurhash).", make: blurhash_of },
    Entry { name: "thumbhash", doc: "ThumbHash (evanw/thumbhash), base64.", make: thumbhash_of },
    Entry {
        name: "palette",
        doc: "Most prominent colours, rrggbb to about 5 bits (modified median cut).",
        make: palette_of,
    },
    Entry { name: "color", doc: "Mean colour in linear light, rrggbb.", make: color_of },
    Entry {
        name: "phash",
        doc: "Perceptual hash of 64 bits, hexadecimal (DCT of 32 x 32 luminances, as pHash); similar images differ in few bits.",
        make: phash_of,
    },
];

impl Pipeline {
    /// A pipeline that writes the JSON of all [`ENTRIES`].
    ///
    /// ```
    /// use progimage::pipeline::{Deadline, Images, Limits, Pipeline};
    /// let red = bytes::Bytes::from_static(b"P3 1 1 255 255 0 0\n");
    /// let output = Pipeline::summary().run(&red, &Images::new(), &Limits::default(), &Deadline::default())?;
    /// let summary: serde_json::Value = serde_json::from_slice(&output.bytes)?;
    /// assert_eq!(summary["color"], "ff0000");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn summary() -> Pipeline {
        let steps = vec![(&resize::OPERATION, resize::inside(Size::new(SIDE_PX, SIDE_PX)))];
        Pipeline { codec: &SUMMARY, render: true, encode: Args::defaults(ENCODE), steps }
    }
}

static SUMMARY: Codec = Codec {
    name: "summary",
    extensions: &[],
    media_type: "application/json",
    doc: "Summary of an image, as JSON.",
    revision: 1,
    sniff: |_| false,
    inspect: |_| Err(Error::UnknownFormat),
    shrinks: None,
    metadata: None,
    decode: |_, _| Err(Error::UnknownFormat),
    encoder: Some(Encoder {
        side_px_max: SIDE_PX,
        frames_held: 8,
        channels: &[Channels::Rgba],
        encode,
        ..Encoder::PLAIN
    }),
};

fn encode(picture: &Picture, _: &EncodeOptions) -> Result<Vec<u8>, Error> {
    let raster = picture.first();
    let Samples::U8(rgba) = raster.samples() else {
        return Err(Error::Encode { format: SUMMARY.name, reason: "16-bit samples were not reduced".to_owned() });
    };
    let entries = ENTRIES.iter().map(|entry| (entry.name.to_owned(), (entry.make)(rgba, raster.size())));
    Ok(Json::Object(entries.collect::<Map<_, _>>()).to_string().into_bytes())
}

fn blurhash_of(rgba: &[u8], size: Size) -> Json {
    // Errs only for more than 9 components or a wrong length.
    blurhash::encode(BLURHASH.0, BLURHASH.1, size.w, size.h, rgba).map_or(Json::Null, Json::String)
}

fn thumbhash_of(rgba: &[u8], size: Size) -> Json {
    use base64::Engine as _;
    let hash = thumbhash::rgba_to_thumb_hash(size.w as usize, size.h as usize, rgba);
    base64::engine::general_purpose::STANDARD.encode(hash).into()
}

fn palette_of(rgba: &[u8], size: Size) -> Json {
    let colors = color_thief::get_palette(rgba, color_thief::ColorFormat::Rgba, 1, PALETTE_COLORS);
    // White and transparent pixels are ignored; if there are no others, their mean is returned.
    let colors = colors.unwrap_or_default().into_iter().map(|color| hex([color.r, color.g, color.b]));
    let colors: Vec<Json> = colors.collect();
    if colors.is_empty() { json!([color_of(rgba, size)]) } else { colors.into() }
}

/// Mean colour, weighted by alpha; black if nothing is visible.
fn color_of(rgba: &[u8], _: Size) -> Json {
    use super::color::Sample;
    let (mut sum, mut weight) = ([0u64; 3], 0u64);
    for pixel in rgba.as_chunks::<4>().0 {
        for (sum, sample) in sum.iter_mut().zip(pixel) {
            *sum += u64::from(u8::linear_table()[usize::from(*sample)]) * u64::from(pixel[3]);
        }
        weight += u64::from(pixel[3]);
    }
    let weight = weight.max(1);
    hex(sum.map(|sum| u8::encoded_table()[((sum + weight / 2) / weight) as usize]))
}

fn hex([r, g, b]: [u8; 3]) -> Json {
    format!("{r:02x}{g:02x}{b:02x}").into()
}

/// Perceptual hash by C. Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), 3.2.1:
/// the 8 x 8 lowest frequencies of the luminances, without the constant ones, each compared with their median.
fn phash_of(rgba: &[u8], size: Size) -> Json {
    const SIDE: usize = 32;
    const LOW: usize = 8;
    let luminances = luminances::<SIDE>(rgba, size);
    let basis: Vec<[f64; SIDE]> = (1..=LOW)
        .map(|k| {
            std::array::from_fn(|n| ((2 * n + 1) as f64 * k as f64 * std::f64::consts::PI / (2 * SIDE) as f64).cos())
        })
        .collect();
    let row = |y: usize, k: usize| (0..SIDE).map(|x| luminances[y][x] * basis[k][x]).sum::<f64>();
    let rows: Vec<[f64; LOW]> = (0..SIDE).map(|y| std::array::from_fn(|k| row(y, k))).collect();
    let frequency = |v: usize, u: usize| (0..SIDE).map(|y| rows[y][u] * basis[v][y]).sum::<f64>();
    let low: Vec<f64> = (0..LOW).flat_map(|v| (0..LOW).map(move |u| (v, u))).map(|(v, u)| frequency(v, u)).collect();
    let mut sorted = low.clone();
    sorted.sort_by(f64::total_cmp);
    let median = (sorted[LOW * LOW / 2 - 1] + sorted[LOW * LOW / 2]) / 2.0;
    let hash = low.iter().fold(0u64, |hash, value| hash << 1 | u64::from(*value > median));
    format!("{hash:016x}").into()
}

/// Mean luminance of each cell of a grid: sRGB-encoded luma (ITU-R BT.601) on white. A cell has at least one pixel.
fn luminances<const SIDE: usize>(rgba: &[u8], size: Size) -> [[f64; SIDE]; SIDE] {
    let (w, h) = (size.w as usize, size.h as usize);
    let luma = |x: usize, y: usize| {
        let [r, g, b, a] = rgba.as_chunks::<4>().0[y * w + x].map(f64::from);
        (0.299 * r + 0.587 * g + 0.114 * b) * a / 255.0 + 255.0 - a
    };
    let cell =
        |place: usize, side: usize| (place * side / SIDE, ((place + 1) * side / SIDE).max(place * side / SIDE + 1));
    std::array::from_fn(|row| {
        let (top, bottom) = cell(row, h);
        std::array::from_fn(|column| {
            let (left, right) = cell(column, w);
            let sum: f64 = (top..bottom).map(|y| (left..right).map(|x| luma(x, y)).sum::<f64>()).sum();
            sum / ((bottom - top) * (right - left)) as f64
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Raster;

    fn entry(name: &str, raster: &Raster) -> Json {
        let deadline = crate::pipeline::Deadline::default();
        let bytes = encode(&Picture::still(raster.clone()), &EncodeOptions::new(&deadline));
        serde_json::from_slice::<Json>(&bytes.expect("8 bits")).expect("JSON")[name].clone()
    }

    /// A diagonal gradient on `ground`, opaque.
    fn gradient(w: u32, h: u32, ground: [u8; 3]) -> Raster {
        let pixel = |x: u32, y: u32| {
            let light = (x * 128 / w + y * 127 / h) as u8;
            [ground[0].saturating_add(light), ground[1].saturating_add(light / 2), ground[2], 255]
        };
        let samples = (0..h).flat_map(|y| (0..w).flat_map(move |x| pixel(x, y))).collect();
        Raster::new(Size::new(w, h), Channels::Rgba, Samples::U8(samples))
    }

    #[test]
    fn a_flat_image_is_its_colour() {
        let flat = Raster::new(Size::new(7, 5), Channels::Rgba, Samples::U8([200, 30, 60, 255].repeat(35)));
        assert_eq!(entry("color", &flat), "c81e3c");
        let white = Raster::new(Size::new(1, 1), Channels::Rgba, Samples::U8(vec![255; 4]));
        assert_eq!(entry("palette", &white), json!(["ffffff"]));
        // Transparent pixels have no weight.
        let half = Raster::new(Size::new(2, 1), Channels::Rgba, Samples::U8(vec![0, 0, 255, 0, 9, 9, 9, 255]));
        assert_eq!(entry("color", &half), "090909");
    }

    #[test]
    fn a_perceptual_hash_survives_size_and_light_and_tells_images_apart() {
        let hash =
            |raster: &Raster| u64::from_str_radix(entry("phash", raster).as_str().expect("text"), 16).expect("hex");
        // The scene has many frequencies, since a plain gradient would leave only rounding.
        let scene = |w: u32, h: u32, light: f64| {
            let pixel = |x: u32, y: u32| {
                let (x, y) = (f64::from(x) / f64::from(w), f64::from(y) / f64::from(h));
                let waves = (1..9)
                    .map(|n| f64::from(n) * 2.3)
                    .map(|n| (x * n + y * (11.0 - n)).sin() * (y * n * 0.7 + n).cos());
                let value = (light + 14.0 * waves.sum::<f64>()).clamp(0.0, 255.0) as u8;
                [value, value, value / 2, 255]
            };
            let samples = (0..h).flat_map(|y| (0..w).flat_map(move |x| pixel(x, y))).collect();
            Raster::new(Size::new(w, h), Channels::Rgba, Samples::U8(samples))
        };
        let image = hash(&scene(100, 80, 120.0));
        for (name, similar) in [("smaller", hash(&scene(50, 40, 120.0))), ("lighter", hash(&scene(100, 80, 140.0)))] {
            assert!((image ^ similar).count_ones() <= 8, "{name}: {image:x} {similar:x}");
        }
        let bars = (0..80 * 100).flat_map(|place| [if place % 100 / 10 % 2 == 0 { 240 } else { 10 }, 90, 90, 255]);
        let other = hash(&Raster::new(Size::new(100, 80), Channels::Rgba, Samples::U8(bars.collect())));
        assert!((image ^ other).count_ones() >= 16, "{image:x} {other:x}");
    }

    #[test]
    fn every_entry_has_a_value_at_any_size() {
        for (w, h) in [(1, 1), (100, 1), (1, 100), (100, 100), (33, 31)] {
            for entry_of in ENTRIES {
                let value = entry(entry_of.name, &gradient(w, h, [1, 2, 3]));
                assert!(!value.is_null() && entry_of.doc.ends_with('.'), "{} of {w} x {h}", entry_of.name);
            }
        }
    }
}
