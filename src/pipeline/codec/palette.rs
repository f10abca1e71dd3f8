//! [`reduce`]: frames as indices into a palette. Exact if the colours fit; otherwise Wu's cut refined by k-means in
//! Oklab, with error diffusion (Floyd and Steinberg), by the crate `quantette`.
//!
//! Measured in SSIMULACRA2 on two photographs at 512 px, 256 colours: NeuQuant with diffusion in sRGB (crate
//! `color_quant`) 69 and 84, Wu in Oklab 79 and 77, Wu and k-means 83 and 85, in a fifth of NeuQuant's time. 16
//! colours: NeuQuant without diffusion 4 and 27, Wu and k-means 19 and 20, with diffusion 28 and 58.

use std::collections::HashMap;

use quantette::color_map::{IndexedColorMap, NearestNeighborColorMap};
use quantette::color_space::{oklab_to_srgb8, srgb8_to_oklab};
use quantette::deps::palette::{Oklab, Oklaba, Srgb, cast};
use quantette::dither::FloydSteinberg;
use quantette::kmeans::{Kmeans, KmeansOptions};
use quantette::wu::{BinnerF32x3, WuF32x3};
use quantette::{ImageRef, PaletteBuf, PaletteSize};

use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Deadline, Error};

/// Approximate number of pixels that train the palette; more take longer without visible gain.
const TRAINING_PIXELS: usize = 1 << 16;

/// Rows between two checks of the deadline.
const BAND_ROWS: usize = 64;

/// Copies of the picture's samples held here: four floats, an index and a copy of the samples per pixel.
pub(in crate::pipeline) const FRAMES_HELD: u64 = 7;

/// Oklab and alpha, premultiplied: faint pixels weigh little, and transparent pixels have no colour.
type Color = Oklaba<f32>;

/// Settings of a reduction.
pub(super) struct Settings {
    /// Largest number of palette entries, 2..=256, including a transparent one.
    pub colors: usize,
    /// Percentage of the error that is diffused to neighbours, 0..=100.
    pub dither_percent: u8,
    /// Whether alpha is only 0 or 255, divided between 127 and 128.
    pub binary_alpha: bool,
}

/// Frames as indices into a palette.
pub(super) struct Indexed {
    /// RGBA colour of each index.
    pub palette: Vec<[u8; 4]>,
    /// One index per pixel, for each frame.
    pub frames: Vec<Vec<u8>>,
}

impl Settings {
    /// Pixel as displayed, from RGB or RGBA; transparent pixels have no colour.
    fn seen(&self, pixel: &[u8]) -> [u8; 4] {
        let alpha = pixel.get(3).copied().unwrap_or(u8::MAX);
        // Two or three colours cannot hold a hidden, an opaque and several translucent ones.
        let binary = self.binary_alpha || self.colors < 4;
        let alpha = if binary { if alpha < 128 { 0 } else { u8::MAX } } else { alpha };
        if alpha == 0 { [0; 4] } else { [pixel[0], pixel[1], pixel[2], alpha] }
    }
}

/// Reduces frames to one palette. Rows have `w` pixels of `count` samples (RGB or RGBA).
pub(super) fn reduce(
    frames: &[&[u8]],
    (w, count): (usize, usize),
    settings: &Settings,
    deadline: &Deadline,
) -> Result<Indexed, Error> {
    if let Some(indexed) = exact(frames, count, settings) {
        return Ok(indexed);
    }
    let source = Reduction { frames, w, count, settings, deadline };
    let mut target = Indexed { palette: Vec::new(), frames: Vec::new() };
    for frame in frames {
        target.frames.push(try_zeroed(frame.len() / count)?);
    }
    let [hidden, opaque, translucent] =
        [Class::Hidden, Class::Opaque, Class::Translucent].map(|class| source.count(class));
    let shares = shares([opaque, translucent], settings.colors - usize::from(hidden > 0));
    source.draw(Class::Opaque, opaque, shares[0], &mut target)?;
    source.draw(Class::Translucent, translucent, shares[1], &mut target)?;
    if hidden > 0 {
        source.hide(&mut target);
    }
    Ok(target)
}

/// Frames to reduce, and how.
struct Reduction<'a> {
    frames: &'a [&'a [u8]],
    w: usize,
    count: usize,
    settings: &'a Settings,
    deadline: &'a Deadline,
}

impl Reduction<'_> {
    fn seen<'a>(&'a self, frame: &'a [u8]) -> impl Iterator<Item = [u8; 4]> + 'a {
        frame.chunks_exact(self.count).map(|pixel| self.settings.seen(pixel))
    }

    /// Pixels of a class in all frames.
    fn pixels(&self, class: Class) -> impl Iterator<Item = [u8; 4]> + '_ {
        self.frames.iter().flat_map(|frame| self.seen(frame)).filter(move |pixel| Class::of(pixel) == class)
    }

    fn count(&self, class: Class) -> usize {
        self.pixels(class).count()
    }

    /// Adds at most `colors` colours to the palette, and sets the indices of the class's `count` pixels.
    fn draw(&self, class: Class, count: usize, colors: usize, target: &mut Indexed) -> Result<(), Error> {
        if count == 0 {
            return Ok(());
        }
        // The step is odd because most widths are even; an even step would skip whole columns.
        let sample: Vec<[u8; 4]> = self.pixels(class).step_by((count / TRAINING_PIXELS) | 1).collect();
        let colors = learned(&sample, class, colors);
        let first = target.palette.len() as u8;
        target.palette.extend(shown(&colors));
        for (frame, indices) in self.frames.iter().zip(&mut target.frames) {
            let mapped = mapped(&self.colored(frame, class)?, self.w, &colors, self.settings.dither_percent);
            for ((index, mapped), pixel) in indices.iter_mut().zip(mapped).zip(self.seen(frame)) {
                if Class::of(&pixel) == class {
                    *index = first + mapped;
                }
            }
        }
        Ok(())
    }

    fn hide(&self, target: &mut Indexed) {
        let hidden = target.palette.len() as u8;
        target.palette.push([0; 4]);
        for (frame, indices) in self.frames.iter().zip(&mut target.frames) {
            let hides = indices.iter_mut().zip(self.seen(frame)).filter(|(_, pixel)| Class::of(pixel) == Class::Hidden);
            hides.for_each(|(index, _)| *index = hidden);
        }
    }

    /// Colours of a frame for mapping. Pixels of other classes repeat the previous colour, so that they form no edge.
    fn colored(&self, frame: &[u8], class: Class) -> Result<Vec<Color>, Error> {
        let mut colors: Vec<[f32; 4]> = try_zeroed(frame.len() / self.count)?;
        let mut last = [0, 0, 0, u8::MAX];
        let bands = frame.chunks(self.w * self.count * BAND_ROWS).zip(colors.chunks_mut(self.w * BAND_ROWS));
        for (band, colors) in bands {
            self.deadline.check()?;
            let shown = self.seen(band).map(|pixel| {
                last = if Class::of(&pixel) == class { pixel } else { last };
                last
            });
            colors.copy_from_slice(&cast::into_array_vec(premultiplied(&shown.collect::<Vec<_>>())));
        }
        Ok(cast::from_array_vec(colors))
    }
}

/// Opacity class of a pixel. Each class has its own colours, so that diffused errors never make an opaque pixel
/// translucent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Hidden,
    Translucent,
    Opaque,
}

impl Class {
    fn of(seen: &[u8; 4]) -> Class {
        match seen[3] {
            0 => Class::Hidden,
            u8::MAX => Class::Opaque,
            _ => Class::Translucent,
        }
    }
}

/// Number of colours for each of two classes, in proportion to the square roots of their pixel counts, since soft
/// edges are few pixels with many alphas.
fn shares(counts: [usize; 2], colors: usize) -> [usize; 2] {
    let [one, other] = counts.map(|count| count.isqrt());
    match counts {
        [0, _] => [0, colors],
        [_, 0] => [colors, 0],
        _ => {
            let first = (colors * one / (one + other)).clamp(1, colors - 1);
            [first, colors - first]
        }
    }
}

/// Frames without loss, if they have few enough colours.
fn exact(frames: &[&[u8]], count: usize, settings: &Settings) -> Option<Indexed> {
    let mut known: HashMap<[u8; 4], u8> = HashMap::new();
    let mut palette = Vec::new();
    let mut last = ([0; 4], None);
    let mut index = |pixel: &[u8]| {
        let color = settings.seen(pixel);
        // Neighbours are mostly equal in drawings, the images that fit.
        let index = match (last, known.get(&color)) {
            ((same, Some(index)), _) if same == color => index,
            (_, Some(&index)) => index,
            (_, None) if palette.len() == settings.colors => return None,
            (_, None) => {
                let index = palette.len() as u8;
                palette.push(color);
                known.insert(color, index);
                index
            }
        };
        last = (color, Some(index));
        last.1
    };
    let frames = frames.iter().map(|frame| frame.chunks_exact(count).map(&mut index).collect());
    let frames = frames.collect::<Option<_>>()?;
    Some(Indexed { palette, frames })
}

/// At most `count` colours that represent the sample.
fn learned(sample: &[[u8; 4]], class: Class, count: usize) -> PaletteBuf<Color> {
    let colors = premultiplied(sample);
    let start = if class == Class::Opaque { cut(&colors, count) } else { spread(&colors, count) };
    let options = KmeansOptions::new().max_samples(TRAINING_PIXELS as u32);
    let refined = Kmeans::run_slice(&colors, start, options);
    refined.expect("a sample is shorter than 2^32").into_palette()
}

/// Colours by Wu's cut, which has no alpha.
fn cut(colors: &[Color], count: usize) -> PaletteBuf<Color> {
    let opaque: Vec<Oklab> = colors.iter().map(|color| color.color).collect();
    let wu = WuF32x3::run_slice(&opaque, BinnerF32x3::oklab_from_srgb8());
    let palette = wu.expect("a sample is shorter than 2^32").palette(PaletteSize::from_usize_clamped(count));
    palette.map(Oklaba::from)
}

/// Colours with alpha: taken at equal distances from the sample, sorted by alpha, then lightness.
fn spread(colors: &[Color], count: usize) -> PaletteBuf<Color> {
    let mut sorted: Vec<Color> = colors.to_vec();
    sorted.sort_by(|one, other| one.alpha.total_cmp(&other.alpha).then(one.color.l.total_cmp(&other.color.l)));
    let count = count.min(sorted.len());
    let palette = (0..count).map(|place| sorted[(2 * place + 1) * sorted.len() / (2 * count)]).collect();
    PaletteBuf::new(palette).expect("1..=256 colours")
}

/// Straight 8-bit colours; the inverse of [`premultiplied`].
fn shown(colors: &PaletteBuf<Color>) -> Vec<[u8; 4]> {
    let straight: Vec<Oklab> = colors.iter().map(|color| color.color / color.alpha.max(1.0 / 512.0)).collect();
    let alpha = colors.iter().map(|color| (color.alpha * 255.0 + 0.5) as u8);
    oklab_to_srgb8(&straight).iter().zip(alpha).map(|(rgb, alpha)| [rgb.red, rgb.green, rgb.blue, alpha]).collect()
}

fn premultiplied(pixels: &[[u8; 4]]) -> Vec<Color> {
    let rgb: Vec<Srgb<u8>> = pixels.iter().map(|pixel| Srgb::new(pixel[0], pixel[1], pixel[2])).collect();
    let color = |(oklab, pixel): (Oklab, &[u8; 4])| {
        let alpha = f32::from(pixel[3]) / 255.0;
        Oklaba { color: oklab * alpha, alpha }
    };
    srgb8_to_oklab(&rgb).into_iter().zip(pixels).map(color).collect()
}

fn mapped(colors: &[Color], w: usize, palette: &PaletteBuf<Color>, dither_percent: u8) -> Vec<u8> {
    let nearest = NearestNeighborColorMap::new(palette.clone());
    match FloydSteinberg::with_error_diffusion(f32::from(dither_percent) / 100.0) {
        None => nearest.map_to_indices(colors),
        Some(diffusion) => {
            let image = ImageRef::new(w as u32, (colors.len() / w) as u32, colors).expect("whole rows");
            diffusion.dither_image_to_indexed(image, nearest).into_parts().1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(colors: usize, binary_alpha: bool) -> Settings {
        Settings { colors, dither_percent: 100, binary_alpha }
    }

    fn reduced(pixels: &[u8], w: usize, count: usize, settings: &Settings) -> Indexed {
        reduce(&[pixels], (w, count), settings, &Deadline::default()).expect("small")
    }

    #[test]
    fn up_to_as_many_colours_as_asked_are_exact_and_one_more_is_not() {
        let pixels = |colors: u32| -> Vec<u8> { (0..colors).flat_map(|i| [i as u8, (i >> 8) as u8, 7]).collect() };
        let restored = |colors: u32, most| {
            let indexed = reduced(&pixels(colors), colors as usize, 3, &settings(most, true));
            assert!(indexed.palette.len() <= most);
            let pixel = |&index: &u8| indexed.palette[usize::from(index)][..3].to_vec();
            indexed.frames[0].iter().flat_map(pixel).collect::<Vec<u8>>()
        };
        for most in [2, 16, 255, 256] {
            assert_eq!(restored(most, most as usize), pixels(most));
            assert_ne!(restored(most + 1, most as usize), pixels(most + 1));
        }
    }

    #[test]
    fn transparent_takes_one_index_and_its_colour_is_not_drawn() {
        let indexed = reduced(&[9, 9, 9, 127, 9, 9, 9, 128], 2, 4, &settings(256, true));
        assert_eq!(indexed.palette, [[0; 4], [9, 9, 9, 255]]);
        let many: Vec<u8> =
            (0..600u32).flat_map(|i| [i as u8, (i >> 8) as u8, 0, if i < 300 { 255 } else { 0 }]).collect();
        for colors in [2, 16, 256] {
            let indexed = reduced(&many, 600, 4, &settings(colors, true));
            let alpha = |index: &u8| indexed.palette[usize::from(*index)][3];
            assert!(indexed.palette.len() <= colors);
            assert!(indexed.frames[0][..300].iter().all(|index| alpha(index) == 255));
            assert!(indexed.frames[0][300..].iter().all(|index| alpha(index) == 0));
        }
    }

    #[test]
    fn each_class_has_a_colour() {
        assert_eq!(shares([1000, 0], 16), [16, 0]);
        assert_eq!(shares([0, 1], 16), [0, 16]);
        assert_eq!(shares([10_000, 100], 22), [20, 2]);
        assert_eq!(shares([1_000_000, 1], 3), [2, 1]);
        assert_eq!(shares([1, 1_000_000], 3), [1, 2]);
    }

    #[test]
    fn partial_alpha_is_kept_and_opaque_stays_so() {
        let ramp: Vec<u8> = (0..4096u32).flat_map(|i| [(i % 251) as u8, 90, 200, (i / 8).min(255) as u8]).collect();
        let indexed = reduced(&ramp, 64, 4, &settings(128, false));
        assert!(indexed.palette.len() <= 128);
        for (index, pixel) in indexed.frames[0].iter().zip(ramp.chunks_exact(4)) {
            let alpha = indexed.palette[usize::from(*index)][3];
            assert!(alpha.abs_diff(pixel[3]) < 40, "{alpha} of {}", pixel[3]);
            assert!(pixel[3] > 0 || alpha == 0);
        }
        assert!(indexed.frames[0][2304..].iter().all(|index| indexed.palette[usize::from(*index)][3] == 255));
    }

    #[test]
    fn frames_share_a_palette() {
        let frames: Vec<Vec<u8>> = (0..3u32)
            .map(|frame| (0..900u32).flat_map(|i| [i as u8, (i >> 3) as u8, 80 * frame as u8]).collect())
            .collect();
        let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
        let indexed = reduce(&frames, (30, 3), &settings(32, false), &Deadline::default()).expect("small");
        assert!(indexed.palette.len() <= 32 && indexed.frames.len() == 3);
        assert!(indexed.frames.iter().all(|frame| frame.len() == 900));
    }
}
