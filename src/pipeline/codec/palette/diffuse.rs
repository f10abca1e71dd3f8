//! [`Diffusion`]: maps rows to a palette, and carries the error of each pixel on to its neighbours (Floyd and
//! Steinberg, every other row from the right).

use super::Color;
use super::learn::Members;
use super::nearest::Nearest;

/// Part of the error that is carried on at most. All of it is more noise than what it evens out:
/// photographs of 256 colours had 80 points of SSIMULACRA2 with all, 82 with this much; those of 16 colours 28 and 36.
const SHARE: f32 = 7.0 / 8.0;

/// Rows of one frame on their way to a palette.
pub(super) struct Diffusion<'a> {
    colors: &'a [Color],
    nearest: Nearest,
    /// Index of the palette's first colour in the file.
    first: u8,
    /// Smallest and largest of each component in the palette.
    bounds: [(f32, f32); 4],
    /// Part of an error that is carried on, 0..=1.
    share: f32,
    /// Errors that the pixels of this row and of the next have received, with one place more at either end.
    here: Vec<Color>,
    below: Vec<Color>,
    leftwards: bool,
    /// What the colours of the palette stand for: pixels with the errors that they received.
    members: &'a mut Members,
}

impl<'a> Diffusion<'a> {
    /// The start of a frame of `w` pixels a row.
    pub(super) fn new(
        colors: &'a [Color],
        first: u8,
        w: usize,
        percent: u8,
        members: &'a mut Members,
    ) -> Diffusion<'a> {
        let bounds = [0, 1, 2, 3].map(|c| {
            let values = || colors.iter().map(move |color| color[c]);
            (values().fold(f32::INFINITY, f32::min), values().fold(f32::NEG_INFINITY, f32::max))
        });
        Diffusion {
            colors,
            nearest: Nearest::new(colors),
            first,
            bounds,
            share: SHARE * f32::from(percent) / 100.0,
            here: vec![[0.0; 4]; w + 2],
            below: vec![[0.0; 4]; w + 2],
            leftwards: false,
            members,
        }
    }

    /// Sets the indices of the next row. Pixels without a colour keep theirs: they neither receive errors nor hand
    /// any on.
    pub(super) fn map_row(&mut self, colors: &[Option<Color>], indices: &mut [u8]) {
        for step in 0..colors.len() {
            let x = if self.leftwards { colors.len() - 1 - step } else { step };
            let Some(color) = colors[x] else { continue };
            let (index, error) = self.mapped(color, self.here[x + 1]);
            indices[x] = self.first + index;
            let (ahead, behind) = if self.leftwards { (x, x + 2) } else { (x + 2, x) };
            add(&mut self.here[ahead], error, 7.0 / 16.0);
            add(&mut self.below[behind], error, 3.0 / 16.0);
            add(&mut self.below[x + 1], error, 5.0 / 16.0);
            add(&mut self.below[ahead], error, 1.0 / 16.0);
        }
        std::mem::swap(&mut self.here, &mut self.below);
        self.below.fill([0.0; 4]);
        self.leftwards = !self.leftwards;
    }

    /// Index of a colour with the error that it received, and the error that it hands on.
    fn mapped(&mut self, color: Color, received: Color) -> (u8, Color) {
        let wanted = [0, 1, 2, 3].map(|c| {
            // No palette entry makes up for what lies outside the palette, so that it would only pile up and smear.
            let (low, high) = self.bounds[c];
            (color[c] + received[c]).clamp(low.min(color[c]), high.max(color[c]))
        });
        let index = self.nearest.index(&wanted);
        self.members.add(index, wanted);
        let found = self.colors[usize::from(index)];
        (index, [0, 1, 2, 3].map(|c| self.share * (wanted[c] - found[c])))
    }
}

fn add(sum: &mut Color, error: Color, part: f32) {
    for (sum, error) in sum.iter_mut().zip(error) {
        *sum += part * error;
    }
}
