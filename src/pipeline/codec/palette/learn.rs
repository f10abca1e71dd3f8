//! [`learned`]: the colours that represent a sample best. A cut gives the first ones, k-means refines them; those at the
//! rim of all colours then move outwards, since dithering mixes no colour beyond them.

use super::Color;
use super::nearest::Nearest;

/// Passes of k-means over the sample; each one more gains half a point of SSIMULACRA2 or less.
const PASSES: usize = 2;

/// Number of nearest colours that show whether a colour is at the rim: it is if the mean of the directions to them is
/// longer than `RIM`. It would be 0 inside of a grid, 0.6 at the side of a flat one. Fewer or a lower bound take colours
/// inside for the rim, more or a higher one leave out gentle curves.
const NEIGHBOURS: usize = 8;
const RIM: f32 = 0.35;

/// At most `count` colours that represent the sample, which is not empty.
pub(super) fn learned(mut sample: Vec<Color>, count: usize) -> Vec<Color> {
    let start = cut(&mut sample, count);
    let colors = (0..PASSES).fold(start, |colors, _| refined(&sample, colors));
    stretched(&sample, colors)
}

/// Sums of what each colour of a palette stands for.
pub(super) struct Members(Vec<([f64; 4], f64)>);

impl Members {
    /// Sums for this number of colours.
    pub(super) fn new(colors: usize) -> Members {
        Members(vec![([0.0; 4], 0.0); colors])
    }

    /// Adds what the colour with this index stands for.
    pub(super) fn add(&mut self, index: u8, color: Color) {
        let (sum, count) = &mut self.0[usize::from(index)];
        *count += 1.0;
        sum.iter_mut().zip(color).for_each(|(sum, value)| *sum += f64::from(value));
    }

    /// The colours, a part of the way towards the means of what they stand for.
    pub(super) fn pull(&self, colors: &[Color], part: f64) -> Vec<Color> {
        let pulled = |(color, (sum, count)): (&Color, &([f64; 4], f64))| {
            let new = [0, 1, 2, 3].map(|c| f64::from(color[c]) + part * (sum[c] / count - f64::from(color[c])));
            if *count > 0.0 { new.map(|value| value as f32) } else { *color }
        };
        colors.iter().zip(&self.0).map(pulled).collect()
    }
}

/// Means of the colours of the sample that are nearest to each of these.
fn refined(sample: &[Color], colors: Vec<Color>) -> Vec<Color> {
    let mut members = Members::new(colors.len());
    let nearest = Nearest::new(&colors);
    sample.iter().for_each(|color| members.add(nearest.index(color), *color));
    members.pull(&colors, 1.0)
}

/// Moves each colour at the rim outwards, as far as the outermost that it stands for: means lie inside of what they stand
/// for, and what lies outside of all of them could not be mixed.
fn stretched(sample: &[Color], colors: Vec<Color>) -> Vec<Color> {
    let outwards = outwards(&colors);
    let mut farthest = vec![0.0; colors.len()];
    let nearest = Nearest::new(&colors);
    for color in sample {
        let index = usize::from(nearest.index(color));
        let Some(direction) = outwards[index] else { continue };
        let offset = minus(*color, colors[index]);
        farthest[index] = f32::max(farthest[index], dot(offset, direction));
    }
    let moved = |((color, direction), by): ((&Color, &Option<Color>), &f32)| {
        direction.map_or(*color, |direction| [0, 1, 2, 3].map(|c| color[c] + by * direction[c]))
    };
    colors.iter().zip(&outwards).zip(&farthest).map(moved).collect()
}

/// Direction away from the nearest of the others, of length 1, for each colour at the rim.
fn outwards(colors: &[Color]) -> Vec<Option<Color>> {
    let direction = |(place, color): (usize, &Color)| {
        let others = colors.iter().enumerate().filter(|(other, _)| *other != place);
        let mut offsets: Vec<Color> = others.map(|(_, other)| minus(*color, *other)).collect();
        offsets.sort_by(|one, other| dot(*one, *one).total_cmp(&dot(*other, *other)));
        offsets.truncate(NEIGHBOURS);
        let count = offsets.len() as f32;
        let mean = offsets.iter().fold([0.0; 4], |sum, offset| {
            let length = length(*offset).max(f32::MIN_POSITIVE);
            [0, 1, 2, 3].map(|c| sum[c] + offset[c] / length / count)
        });
        let length = length(mean);
        (length > RIM).then(|| mean.map(|value| value / length))
    };
    colors.iter().enumerate().map(direction).collect()
}

fn minus(one: Color, other: Color) -> Color {
    [0, 1, 2, 3].map(|c| one[c] - other[c])
}

fn dot(one: Color, other: Color) -> f32 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}

fn length(vector: Color) -> f32 {
    dot(vector, vector).sqrt()
}

/// Means of at most `count` parts of the sample: the part with the largest squared error along one component is cut
/// there, at its mean. The bins of a histogram (Wu's cut) would be too wide for a narrow gamut, of which they give
/// fewer colours than asked for. The order of the sample changes.
fn cut(sample: &mut [Color], count: usize) -> Vec<Color> {
    let mut parts = vec![Part::new(sample)];
    while parts.len() < count {
        let widest = |one: &usize, other: &usize| parts[*one].error.total_cmp(&parts[*other].error);
        let Some(at) = (0..parts.len()).max_by(widest).filter(|at| parts[*at].error > 0.0) else { break };
        let (low, high) = parts.swap_remove(at).halves();
        parts.extend([low, high].into_iter().filter(|half| !half.is_empty()).map(Part::new));
    }
    parts.iter().map(|part| part.mean.map(|mean| mean as f32)).collect()
}

/// Colours of a sample that one palette entry stands for.
struct Part<'a> {
    colors: &'a mut [Color],
    mean: [f64; 4],
    /// Component with the largest squared error, and that error.
    widest: usize,
    error: f64,
}

impl<'a> Part<'a> {
    fn new(colors: &'a mut [Color]) -> Part<'a> {
        let sum = |value: &dyn Fn(&Color, usize) -> f64| {
            colors.iter().fold([0.0; 4], |sum, color| [0, 1, 2, 3].map(|c| sum[c] + value(color, c)))
        };
        let mean = sum(&|color, c| f64::from(color[c])).map(|sum| sum / colors.len() as f64);
        let errors = sum(&|color, c| (f64::from(color[c]) - mean[c]).powi(2));
        let widest = (0..4).max_by(|one, other| errors[*one].total_cmp(&errors[*other])).unwrap_or(0);
        Part { error: errors[widest], colors, mean, widest }
    }

    /// Colours below the mean, and the others. Either has some, since the mean of different values lies between them.
    fn halves(self) -> (&'a mut [Color], &'a mut [Color]) {
        let mut low = 0;
        for at in 0..self.colors.len() {
            if f64::from(self.colors[at][self.widest]) < self.mean[self.widest] {
                self.colors.swap(low, at);
                low += 1;
            }
        }
        self.colors.split_at_mut(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_narrow_gamut_gets_as_many_colours_as_a_wide_one() {
        for width in [1.0, 0.1, 0.001] {
            let mut sample: Vec<Color> = (0..5000u16)
                .map(|place| {
                    let at = width * f32::from(place) / 5000.0;
                    [0.5 + at, 0.01, -0.1 * at, 1.0]
                })
                .collect();
            let colors = cut(&mut sample, 256);
            assert_eq!(colors.len(), 256);
            let near = |color: &Color| colors.iter().any(|other| (other[0] - color[0]).abs() < width / 200.0);
            assert!(sample.iter().all(near), "{width}");
        }
    }

    #[test]
    fn colours_at_the_rim_move_to_the_outermost_and_others_stay() {
        let at = |x: u16, y: u16| [f32::from(x) / 90.0, f32::from(y) / 90.0, 0.5, 1.0];
        let sample: Vec<Color> = (0..8100).map(|place| at(place % 90, place / 90)).collect();
        // A grid of nine by nine, in the middle of their squares.
        let grid: Vec<Color> = (0..81).map(|place| at(place % 9 * 10 + 5, place / 9 * 10 + 5)).collect();
        for (place, (old, new)) in grid.iter().zip(stretched(&sample, grid.clone())).enumerate() {
            let (x, y) = (place % 9, place / 9);
            let moved = length(minus(new, *old));
            let rim = x == 0 || y == 0 || x == 8 || y == 8;
            assert!(if rim { moved > 3.9 / 90.0 } else { moved == 0.0 }, "{x} {y}: {moved}");
            assert!(new[2..] == [0.5, 1.0]);
        }
    }

    #[test]
    fn a_sample_with_fewer_colours_than_asked_for_is_cut_no_further() {
        let colors = [[0.25, 0.0, 0.0, 1.0], [0.5, 0.0, 0.0, 1.0], [0.5, 0.0, 0.0, 0.5]];
        let mut found = cut(&mut colors.repeat(50), 16);
        found.sort_by(|one, other| one[0].total_cmp(&other[0]).then(other[3].total_cmp(&one[3])));
        assert_eq!(found, colors);
        assert_eq!(cut(&mut [colors[0]], 16), [colors[0]]);
    }
}
