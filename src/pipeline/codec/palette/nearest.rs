//! [`Nearest`]: the colour of a palette that is nearest to another.

use super::Color;

/// A palette that is searched from a colour outwards along one component, until what differs in this component alone is
/// farther than the best found: some 20 of 256 colours are looked at.
pub(super) struct Nearest {
    /// Component along which the colours spread most.
    axis: usize,
    /// Colours in the order of this component, and their indices.
    sorted: Vec<(Color, u8)>,
}

impl Nearest {
    /// A palette of 1 to 256 colours.
    pub(super) fn new(colors: &[Color]) -> Nearest {
        let spread = |c: usize| {
            let mean = colors.iter().map(|color| color[c]).sum::<f32>() / colors.len() as f32;
            colors.iter().map(|color| (color[c] - mean).powi(2)).sum::<f32>()
        };
        let axis = (0..4).max_by(|one, other| spread(*one).total_cmp(&spread(*other))).unwrap_or(0);
        let mut sorted: Vec<(Color, u8)> = colors.iter().copied().zip(0..=u8::MAX).collect();
        sorted.sort_by(|one, other| one.0[axis].total_cmp(&other.0[axis]));
        Nearest { axis, sorted }
    }

    /// The index of the nearest colour, the lowest of several.
    pub(super) fn index(&self, color: &Color) -> u8 {
        let at = color[self.axis];
        let start = self.sorted.partition_point(|(other, _)| other[self.axis] < at);
        let (mut below, mut above) = (start, start);
        let mut best = (f32::INFINITY, 0);
        loop {
            let gap = |place: Option<&(Color, u8)>| {
                place.map_or(f32::INFINITY, |(other, _)| (other[self.axis] - at) * (other[self.axis] - at))
            };
            let gaps =
                (gap(below.checked_sub(1).and_then(|place| self.sorted.get(place))), gap(self.sorted.get(above)));
            // Also where both ends are reached.
            if gaps.0.min(gaps.1) > best.0 || gaps == (f32::INFINITY, f32::INFINITY) {
                return best.1;
            }
            let place = if gaps.0 < gaps.1 {
                below -= 1;
                below
            } else {
                above += 1;
                above - 1
            };
            let (other, index) = &self.sorted[place];
            let distance = distance(color, other);
            if distance < best.0 || distance == best.0 && *index < best.1 {
                best = (distance, *index);
            }
        }
    }
}

/// The squared distance of two colours.
fn distance(one: &Color, other: &Color) -> f32 {
    let [a, b, c, d] = [one[0] - other[0], one[1] - other[1], one[2] - other[2], one[3] - other[3]];
    a * a + b * b + c * c + d * d
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_found() {
        let mut state = 1_u32;
        let mut random = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        for count in [1, 2, 3, 16, 256] {
            // Few levels, so that distances are often equal.
            for levels in [3.0, 1000.0] {
                let mut color = || [0; 4].map(|_| (random() * levels).floor() / levels);
                let colors: Vec<Color> = (0..count).map(|_| color()).collect();
                let nearest = Nearest::new(&colors);
                for _ in 0..300 {
                    let wanted = color().map(|value| value * 1.2 - 0.1);
                    let all = colors.iter().zip(0..=u8::MAX);
                    let expected =
                        all.min_by(|one, other| distance(&wanted, one.0).total_cmp(&distance(&wanted, other.0)));
                    assert_eq!(Some(nearest.index(&wanted)), expected.map(|(_, index)| index), "{count}");
                }
            }
        }
    }
}
