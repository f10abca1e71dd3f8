//! [`learned`]: the colours that represent a sample best. A cut gives the first ones, k-means refines them.

use quantette::PaletteBuf;
use quantette::color_map::{IndexedColorMap, NearestNeighborColorMap};
use quantette::deps::palette::cast;

use super::Color;

/// Passes of k-means over the sample; each one more gains half a point of SSIMULACRA2 or less.
const PASSES: usize = 2;

/// At most `count` colours that represent the sample, which is not empty.
pub(super) fn learned(mut sample: Vec<Color>, count: usize) -> Vec<Color> {
    let start = cast::from_array_vec(cut(cast::into_array_slice_mut(&mut sample), count));
    (0..PASSES).fold(start, |colors, _| refined(&sample, colors))
}

/// Means of the colours of the sample that are nearest to each of these.
fn refined(sample: &[Color], colors: Vec<Color>) -> Vec<Color> {
    let mut sums = vec![([0.0; 4], 0.0); colors.len()];
    let nearest = NearestNeighborColorMap::new(PaletteBuf::new(colors).expect("1..=256 colours"));
    for color in sample {
        let (sum, count) = &mut sums[usize::from(nearest.palette_index(color))];
        *count += 1.0;
        for (sum, value) in sum.iter_mut().zip(cast::into_array(*color)) {
            *sum += f64::from(value);
        }
    }
    let mean = |(old, (sum, count)): (&Color, &([f64; 4], f64))| {
        if *count > 0.0 { cast::from_array(sum.map(|sum| (sum / count) as f32)) } else { *old }
    };
    nearest.palette().iter().zip(&sums).map(mean).collect()
}

/// Means of at most `count` parts of the sample: the part with the largest squared error along one component is cut
/// there, at its mean. The bins of a histogram (Wu's cut) would be too wide for a narrow gamut, of which they give
/// fewer colours than asked for. The order of the sample changes.
fn cut(sample: &mut [[f32; 4]], count: usize) -> Vec<[f32; 4]> {
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
    colors: &'a mut [[f32; 4]],
    mean: [f64; 4],
    /// Component with the largest squared error, and that error.
    widest: usize,
    error: f64,
}

impl<'a> Part<'a> {
    fn new(colors: &'a mut [[f32; 4]]) -> Part<'a> {
        let sum = |value: &dyn Fn(&[f32; 4], usize) -> f64| {
            colors.iter().fold([0.0; 4], |sum, color| [0, 1, 2, 3].map(|c| sum[c] + value(color, c)))
        };
        let mean = sum(&|color, c| f64::from(color[c])).map(|sum| sum / colors.len() as f64);
        let errors = sum(&|color, c| (f64::from(color[c]) - mean[c]).powi(2));
        let widest = (0..4).max_by(|one, other| errors[*one].total_cmp(&errors[*other])).unwrap_or(0);
        Part { error: errors[widest], colors, mean, widest }
    }

    /// Colours below the mean, and the others. Either has some, since the mean of different values lies between them.
    fn halves(self) -> (&'a mut [[f32; 4]], &'a mut [[f32; 4]]) {
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
            let mut sample: Vec<[f32; 4]> = (0..5000u16)
                .map(|place| {
                    let at = width * f32::from(place) / 5000.0;
                    [0.5 + at, 0.01, -0.1 * at, 1.0]
                })
                .collect();
            let colors = cut(&mut sample, 256);
            assert_eq!(colors.len(), 256);
            let near = |color: &[f32; 4]| colors.iter().any(|other| (other[0] - color[0]).abs() < width / 200.0);
            assert!(sample.iter().all(near), "{width}");
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
