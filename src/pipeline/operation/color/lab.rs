//! CIE 1976 L*a*b* (ISO/CIE 11664-4) on linear light in [`WHITE`] steps, relative to the white of sRGB, in integers. `L*` is `116
//! f(Y) - 16`, `a*` is `500 (f(X) - f(Y))` and `b*` is `200 (f(Y) - f(Z))`: an equal change of `f` for all three
//! changes lightness alone.

use std::sync::LazyLock;

use super::Sample;
use super::matrix::Matrix;

/// Value of [`f`] for 1.0.
pub const ONE: i64 = 1 << 20;
/// Value of [`f`] for black: 4/29.
pub const BLACK: i64 = (ONE * 4 + 14) / 29;
/// Bound above every `f` of a relevant colour; its cube times [`ONE`] fits into 64 bits.
const MOST: i64 = 2 * ONE;
/// Steps of a 65535th of linear light. Fewer would make one of several dark levels of 16 bits, which are 5 steps apart; more
/// would colour grays, since coefficients of a [`Matrix`] are rounded.
const STEPS: i64 = 64;
/// Linear light of white.
pub const WHITE: i64 = 65_535 * STEPS;

/// Matrix from linear sRGB to X, Y and Z, each relative to white: IEC 61966-2-1, each row divided by its sum.
static TO_XYZ: LazyLock<Matrix> = LazyLock::new(|| Matrix::new(XYZ_OF_RGB));
/// Matrix from X, Y and Z, each relative to white, to linear sRGB.
static FROM_XYZ: LazyLock<Matrix> = LazyLock::new(|| Matrix::new(RGB_OF_XYZ));

const XYZ_OF_RGB: [[f64; 3]; 3] = [
    [0.4124 / 0.9505, 0.3576 / 0.9505, 0.1805 / 0.9505],
    [0.2126, 0.7152, 0.0722],
    [0.0193 / 1.089, 0.1192 / 1.089, 0.9505 / 1.089],
];
const RGB_OF_XYZ: [[f64; 3]; 3] = [
    [3.080_214_52, -1.537_207_97, -0.543_006_54],
    [-0.920_968_64, 1.875_756_06, 0.045_212_58],
    [0.052_952_47, -0.204_021_05, 1.151_068_58],
];

/// Linear light of an encoded sample.
pub fn of_sample<S: Sample>(sample: S) -> i64 {
    (S::light_table()[sample.into() as usize] * STEPS as f32 + 0.5) as i64
}

/// Encoded sample of linear light.
pub fn sample<S: Sample>(light: i64) -> S {
    S::of_light(light as f32 / STEPS as f32)
}

/// X, Y and Z of linear red, green and blue; all in 0..=WHITE.
pub fn xyz(rgb: [i64; 3]) -> [i64; 3] {
    TO_XYZ.times(rgb).map(within)
}

/// Linear red, green and blue, clipped to sRGB.
pub fn rgb(xyz: [i64; 3]) -> [i64; 3] {
    FROM_XYZ.times(xyz).map(within)
}

/// Cube root of linear light in 0..=WHITE, with the straight line near black. Tabulated for every 65535th; between two of
/// them the curve is nearly straight.
pub fn f(light: i64) -> i64 {
    static TABLE: LazyLock<Vec<i32>> =
        LazyLock::new(|| (0..=65_535).map(|light| exact(light).round() as i32).collect());
    let light = within(light);
    let (place, past) = ((light / STEPS) as usize, light % STEPS);
    let below = i64::from(TABLE[place]);
    if past == 0 { below } else { below + ((i64::from(TABLE[place + 1]) - below) * past + STEPS / 2) / STEPS }
}

/// Linear light of a value of [`f`]; it may exceed white.
pub fn light(f: i64) -> i64 {
    let f = f.min(MOST);
    if f * 29 <= ONE * 6 {
        return (f * 29 - ONE * 4) * 108 * WHITE / (29 * 841 * ONE);
    }
    // `ONE` has 20 bits, so its cube has 60.
    ((i128::from(f).pow(3) * i128::from(WHITE) + (1 << 59)) >> 60) as i64
}

fn exact(light: i64) -> f64 {
    let (light, one) = (light as f64 / 65_535.0, ONE as f64);
    if light > 216.0 / 24_389.0 { light.cbrt() * one } else { (light * 841.0 / 108.0 + 4.0 / 29.0) * one }
}

fn within(light: i64) -> i64 {
    light.clamp(0, WHITE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that differences in the last of 53 bits between mathematical libraries change no entry.
    #[test]
    fn the_table_does_not_depend_on_the_mathematical_library() {
        for light in 0..=65_535 {
            let exact = exact(light);
            assert!(((exact - exact.floor()) - 0.5).abs() > 1e-9, "{light}");
        }
    }

    #[test]
    fn light_comes_back() {
        for v in (0..=WHITE).step_by(61) {
            assert!(light(f(v)).abs_diff(v) <= 16, "{v}: {}", light(f(v)));
        }
        for v in 0..=65_535u16 {
            assert_eq!(sample::<u16>(light(f(of_sample(v)))), v);
        }
        assert_eq!((f(0), f(WHITE), light(BLACK), light(ONE)), (BLACK, ONE, 0, WHITE));
        // Largest differences that tinted or stretched colours can reach.
        assert!(light(-ONE) < 0 && light(i64::from(i32::MAX)) > WHITE);
    }

    #[test]
    fn gray_has_no_chroma_and_colours_come_back() {
        for v in (0..=WHITE).step_by(61) {
            assert_eq!((xyz([v; 3]), rgb([v; 3])), ([v; 3], [v; 3]));
        }
        for color in [[WHITE, 0, 0], [0, WHITE, 0], [0, 0, WHITE], [64_000, 2_560_000, 1_280_000]] {
            assert!(rgb(xyz(color)).iter().zip(color).all(|(back, given)| back.abs_diff(given) <= 192), "{color:?}");
        }
    }

    /// Checks the CIE L*a*b* of sRGB's primaries under D65 against published values.
    #[test]
    fn primaries_are_where_they_should_be() {
        let lab = |color: [i64; 3]| {
            let [x, y, z] = xyz(color).map(|light| f(light) as f64 / ONE as f64);
            [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
        };
        let near = |color, expected: [f64; 3]| {
            let lab = lab(color);
            assert!(
                lab.iter().zip(expected).all(|(got, expected)| (got - expected).abs() < 0.05),
                "{color:?}: {lab:?}"
            );
        };
        near([WHITE, 0, 0], [53.24, 80.09, 67.20]);
        near([0, WHITE, 0], [87.74, -86.18, 83.18]);
        near([0, 0, WHITE], [32.30, 79.19, -107.86]);
    }
}
