//! [`reduce`]: frames as indices into a palette. Exact if the colours fit; otherwise a cut refined by k-means, with
//! error diffusion (Floyd and Steinberg). `learn` chooses the colours, `diffuse` maps to them, `nearest` finds them.
//!
//! Colours are those of sRGB with weights. In Oklab, where dark and blue colours lie close together, the means of 10 px
//! blocks were off by up to 40 levels in gradients of 256 colours, here by 1; libimagequant (in sharp) is off by 9.

mod diffuse;
mod learn;
mod nearest;

use std::borrow::Cow;
use std::collections::HashMap;

use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Deadline, Error};
use diffuse::Diffusion;
use learn::Members;

/// Approximate number of pixels that train the palette; more take longer without visible gain.
const TRAINING_PIXELS: usize = 1 << 16;

/// Part of the way that colours move, after a first diffusion, towards what they then stand for. Without it photographs of
/// 256 colours had 81 points of SSIMULACRA2, with it 83, of 128 colours 72 and 76; all of the way, or a second time, is too
/// far for gradients.
const PULL: f64 = 0.5;

/// Rows, or pixels, between two checks of the deadline.
const BAND_ROWS: usize = 64;
const BAND_PIXELS: usize = 1 << 16;

/// Copies of the picture's samples held here: those that train the palette, an index and a copy of the samples per
/// pixel.
pub(in crate::pipeline) const FRAMES_HELD: u64 = 7;

/// Red, green, blue and alpha, weighted and premultiplied: faint pixels weigh little, and transparent pixels have no
/// colour.
type Color = [f32; 4];

/// Weights of red, green and blue in distances, near those with which the eye sees differences (as in libimagequant).
const WEIGHTS: [f32; 3] = [0.84, 1.1, 0.7];

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
    let borrowed = frames.iter().map(|frame| Cow::Borrowed(*frame));
    if let Some(indexed) = exact(borrowed, count, settings.colors, |pixel| settings.seen(pixel), deadline)? {
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
        let learned = learn::learned(weighted(&sample), colors);
        let colors = self.diffuse(class, &learned, 0, target)?.pull(&learned, PULL);
        let shown = shown(&colors);
        let first = target.palette.len() as u8;
        // Errors are taken from the colours that are shown, so that their rounding evens out too.
        self.diffuse(class, &weighted(&shown), first, target)?;
        target.palette.extend(shown);
        Ok(())
    }

    /// Sets the indices of a class's pixels in all frames. Returns what the colours stand for.
    fn diffuse(&self, class: Class, colors: &[Color], first: u8, target: &mut Indexed) -> Result<Members, Error> {
        let mut members = Members::new(colors.len());
        for (frame, indices) in self.frames.iter().zip(&mut target.frames) {
            let mut diffusion = Diffusion::new(colors, first, self.w, self.settings.dither_percent, &mut members);
            self.map(frame, class, &mut diffusion, indices)?;
        }
        Ok(members)
    }

    /// Sets the indices of a class's pixels in a frame.
    fn map(&self, frame: &[u8], class: Class, diffusion: &mut Diffusion, indices: &mut [u8]) -> Result<(), Error> {
        let rows = frame.chunks(self.w * self.count).zip(indices.chunks_mut(self.w));
        for (y, (row, indices)) in rows.enumerate() {
            if y % BAND_ROWS == 0 {
                self.deadline.check()?;
            }
            let pixels: Vec<[u8; 4]> = self.seen(row).collect();
            let takes_part = pixels.iter().map(|pixel| Class::of(pixel) == class);
            let colors = weighted(&pixels).into_iter().zip(takes_part);
            let colors: Vec<Option<Color>> = colors.map(|(color, takes_part)| takes_part.then_some(color)).collect();
            diffusion.map_row(&colors, indices);
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
}

/// Opacity class of a pixel. Each class has its own colours, and errors stay within it: they never make an opaque pixel
/// translucent, and hidden pixels, which have no colour, add none.
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

/// Frames of pixels of `count` samples without loss, if these have no more than `colors` colours.
pub(super) fn exact<'a>(
    frames: impl Iterator<Item = Cow<'a, [u8]>>,
    count: usize,
    colors: usize,
    color: impl Fn(&[u8]) -> [u8; 4],
    deadline: &Deadline,
) -> Result<Option<Indexed>, Error> {
    let mut found = Exact { colors, known: HashMap::new(), palette: Vec::new(), last: None };
    let mut target = Vec::new();
    for frame in frames {
        let mut indices = Vec::with_capacity(frame.len() / count);
        for band in frame.chunks(count * BAND_PIXELS) {
            deadline.check()?;
            for pixel in band.chunks_exact(count) {
                let Some(index) = found.index(color(pixel)) else { return Ok(None) };
                indices.push(index);
            }
        }
        target.push(indices);
    }
    Ok(Some(Indexed { palette: found.palette, frames: target }))
}

/// Colours in the order in which they occur.
struct Exact {
    colors: usize,
    known: HashMap<[u8; 4], u8>,
    palette: Vec<[u8; 4]>,
    last: Option<([u8; 4], u8)>,
}

impl Exact {
    /// Index of a colour; `None` if there are too many.
    fn index(&mut self, color: [u8; 4]) -> Option<u8> {
        // Neighbours are mostly equal in drawings, the images that fit.
        if let Some((_, index)) = self.last.filter(|(last, _)| *last == color) {
            return Some(index);
        }
        let index = match self.known.get(&color) {
            Some(&index) => index,
            None if self.palette.len() == self.colors => return None,
            None => {
                let index = self.palette.len() as u8;
                self.palette.push(color);
                self.known.insert(color, index);
                index
            }
        };
        self.last = Some((color, index));
        Some(index)
    }
}

/// Straight 8-bit colours; the inverse of [`weighted`].
fn shown(colors: &[Color]) -> Vec<[u8; 4]> {
    let byte = |value: f32| (value * 255.0 + 0.5) as u8;
    let straight = |color: &Color| {
        let [red, green, blue, alpha] = *color;
        let opacity = alpha.max(1.0 / 512.0);
        let [r, g, b] = WEIGHTS.map(|weight| weight * opacity);
        [byte(red / r), byte(green / g), byte(blue / b), byte(alpha)]
    };
    colors.iter().map(straight).collect()
}

fn weighted(pixels: &[[u8; 4]]) -> Vec<Color> {
    let weighted = |&[r, g, b, a]: &[u8; 4]| {
        let alpha = f32::from(a) / 255.0;
        let [red, green, blue] = WEIGHTS.map(|weight| weight * alpha / 255.0);
        [red * f32::from(r), green * f32::from(g), blue * f32::from(b), alpha]
    };
    pixels.iter().map(weighted).collect()
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

    /// Largest difference between the means of blocks of 10 x 10 pixels that are opaque in the source.
    fn block_error(source: &[u8], (w, count): (usize, usize), indexed: &Indexed) -> f64 {
        let mut blocks: HashMap<(usize, usize), (bool, [f64; 3])> = HashMap::new();
        for (at, (pixel, index)) in source.chunks_exact(count).zip(&indexed.frames[0]).enumerate() {
            let (opaque, sums) = blocks.entry((at % w / 10, at / w / 10)).or_insert((true, [0.0; 3]));
            *opaque &= count == 3 || pixel[3] == 255;
            let found = indexed.palette[usize::from(*index)];
            (0..3).for_each(|c| sums[c] += f64::from(pixel[c]) - f64::from(found[c]));
        }
        let errors = blocks.values().filter(|(opaque, _)| *opaque).flat_map(|(_, sums)| sums);
        errors.fold(0.0, |most, sum| f64::max(most, sum.abs() / 100.0))
    }

    /// A picture of 150 x 150 with more colours than any palette, opaque where it is told so.
    fn gradient(alpha: impl Fn(usize, usize) -> u8) -> Vec<u8> {
        let level = |at: usize, most: usize| (at * 255 / most) as u8;
        (0..22_500)
            .flat_map(|at| {
                let (x, y) = (at % 150, at / 150);
                [level(x, 149), level(y, 149), level(x + y, 298), alpha(x, y)]
            })
            .collect()
    }

    #[test]
    fn blocks_of_a_gradient_keep_their_mean_beside_hidden_and_translucent_pixels() {
        let radius = |x: usize, y: usize| (x.abs_diff(75).pow(2) + y.abs_diff(75).pow(2)).isqrt();
        let opaque = gradient(|_, _| 255);
        let disc = gradient(|x, y| if radius(x, y) < 70 { 255 } else { 0 });
        let late = gradient(|_, y| if y < 75 { 0 } else { 255 });
        let soft = gradient(|x, y| (255 - 4 * radius(x, y).clamp(35, 98).saturating_sub(35)) as u8);
        for (name, picture) in [("opaque", opaque), ("disc", disc), ("late", late), ("soft", soft)] {
            for (colors, binary_alpha, most) in [(256, true, 1.5), (128, false, 3.0)] {
                let indexed = reduced(&picture, 150, 4, &settings(colors, binary_alpha));
                let error = block_error(&picture, (150, 4), &indexed);
                assert!(error < most, "{name}, {colors} colours: {error}");
            }
        }
    }

    #[test]
    fn what_is_hidden_does_not_change_what_is_drawn() {
        let drawn = |hidden: [u8; 3]| {
            let mut pixels = gradient(|x, y| if x > 40 && y > 40 { 255 } else { 3 });
            pixels
                .chunks_exact_mut(4)
                .filter(|pixel| pixel[3] == 3)
                .for_each(|pixel| pixel[..3].copy_from_slice(&hidden));
            let indexed = reduced(&pixels, 150, 4, &settings(200, true));
            indexed.frames[0].iter().map(|&index| indexed.palette[usize::from(index)]).collect::<Vec<_>>()
        };
        assert_eq!(drawn([0; 3]), drawn([255, 0, 200]));
    }

    #[test]
    fn a_narrow_gamut_uses_the_palette() {
        let ramp: Vec<u8> = (0..40_000usize)
            .flat_map(|at| {
                [90 + (at % 200 / 4) as u8, 100 + (at / 200 / 4) as u8, 110 + ((at % 200 + at / 200) / 8) as u8]
            })
            .collect();
        let indexed = reduced(&ramp, 200, 3, &settings(256, true));
        let used: std::collections::HashSet<u8> = indexed.frames[0].iter().copied().collect();
        assert!(used.len() > 200, "{} colours", used.len());
        let shown = indexed.frames[0].iter().flat_map(|&index| indexed.palette[usize::from(index)][..3].to_vec());
        let error: u64 = ramp.iter().zip(shown).map(|(one, other)| u64::from(one.abs_diff(other))).sum();
        assert!((error as f64) < 2.0 * ramp.len() as f64, "{}", error as f64 / ramp.len() as f64);
        assert!(block_error(&ramp, (200, 3), &indexed) < 1.0);
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
