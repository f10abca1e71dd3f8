//! Conversion between sRGB and linear light by table: IEC 61966-2-1. Linear light is 0..=65535, in single precision where
//! samples have 16 bits: in whole numbers thirteen of their dark levels would share one. It is premultiplied by alpha, if
//! any; otherwise the colour of transparent pixels would bleed into their neighbours.

use std::sync::LazyLock;

/// A sample of 8 or 16 bits.
pub trait Sample: Copy + Default + PartialEq + Into<u32> + TryFrom<u32> + 'static {
    /// Full intensity, or opaque.
    const MAX: Self;
    /// Linear light of every encoded value, in whole numbers.
    fn linear_table() -> &'static [u16];
    /// Encoded value of every whole number of linear light.
    fn encoded_table() -> &'static [Self];
    /// Linear light of every encoded value, fine enough to tell all of them apart.
    fn light_table() -> &'static [f32];
    /// Encoded value of linear light; light beyond 0..=65535 is clamped.
    fn of_light(light: f32) -> Self;

    /// `value / max` of the full range, rounded; `value` must not exceed `max`.
    fn scaled(value: u32, max: u32) -> Self {
        let full: u32 = Self::MAX.into();
        let rounded = (u64::from(value) * u64::from(full) + u64::from(max / 2)) / u64::from(max);
        Self::try_from(rounded as u32).unwrap_or(Self::MAX)
    }
}

impl Sample for u8 {
    const MAX: u8 = u8::MAX;

    fn linear_table() -> &'static [u16] {
        static TABLE: LazyLock<Vec<u16>> = LazyLock::new(|| table(255, |v| 65_535.0 * decoded(v)));
        &TABLE
    }

    fn encoded_table() -> &'static [u8] {
        static TABLE: LazyLock<Vec<u8>> = LazyLock::new(|| table(65_535, |v| 255.0 * encoded(v)));
        &TABLE
    }

    fn light_table() -> &'static [f32] {
        static TABLE: LazyLock<Vec<f32>> =
            LazyLock::new(|| u8::linear_table().iter().map(|light| f32::from(*light)).collect());
        &TABLE
    }

    fn of_light(light: f32) -> u8 {
        Self::encoded_table()[usize::from(whole(light))]
    }
}

impl Sample for u16 {
    const MAX: u16 = u16::MAX;

    fn linear_table() -> &'static [u16] {
        static TABLE: LazyLock<Vec<u16>> = LazyLock::new(|| table(65_535, |v| 65_535.0 * decoded(v)));
        &TABLE
    }

    fn encoded_table() -> &'static [u16] {
        static TABLE: LazyLock<Vec<u16>> = LazyLock::new(|| table(65_535, |v| 65_535.0 * encoded(v)));
        &TABLE
    }

    fn light_table() -> &'static [f32] {
        static TABLE: LazyLock<Vec<f32>> =
            LazyLock::new(|| linear_table_f32().iter().map(|light| light * FULL).collect());
        &TABLE
    }

    fn of_light(light: f32) -> u16 {
        whole(encoded_finely(light / FULL) * FULL)
    }
}

/// Full light.
const FULL: f32 = 65_535.0;

/// The nearest whole number in 0..=65535.
fn whole(light: f32) -> u16 {
    // The conversion cuts off what is beyond, and makes 0 of what is no number.
    (light + 0.5) as u16
}

fn table<S: TryFrom<u32> + Default>(last: u32, of: impl Fn(f64) -> f64) -> Vec<S> {
    let value = |v: u32| of(f64::from(v) / f64::from(last)).round() as u32;
    (0..=last).map(|v| S::try_from(value(v)).unwrap_or_default()).collect()
}

/// Linear light of an encoded value in 0..=1, by the C library's `pow`.
pub fn decoded(encoded: f64) -> f64 {
    if encoded <= 0.04045 { encoded / 12.92 } else { ((encoded + 0.055) / 1.055).powf(2.4) }
}

/// Encoded value of linear light in 0..=1; equal on every machine, unlike the C library's `powf`.
pub fn encoded(linear: f64) -> f64 {
    if linear <= 0.003_130_8 { linear * 12.92 } else { 1.055 * root_2_4(linear) - 0.055 }
}

/// `x^(1/2.4)`, the fifth power of the twelfth root, from operations that IEEE 754 fixes to the bit.
fn root_2_4(x: f64) -> f64 {
    // A third of the exponent is a cube root within 5 %; four Newton steps make it exact.
    let mut cube = f64::from_bits(x.to_bits() / 3 + (715_094_163_u64 << 32));
    for _ in 0..4 {
        cube -= (cube * cube * cube - x) / (3.0 * cube * cube);
    }
    let twelfth = cube.sqrt().sqrt();
    let square = twelfth * twelfth;
    square * square * twelfth
}

/// Linear light of every encoded value of 16 bits, 0..=1.
pub fn linear_table_f32() -> &'static [f32] {
    static TABLE: LazyLock<Vec<f32>> =
        LazyLock::new(|| (0..=65_535).map(|v| decoded(f64::from(v) / 65_535.0) as f32).collect());
    &TABLE
}

/// Steps of [`FINE`].
const FINE_STEPS: usize = 8_192;

/// Encoded values of `(step / FINE_STEPS)^2`, so that steps are fine where the curve is steep.
static FINE: LazyLock<Vec<f32>> = LazyLock::new(|| {
    let linear = |step: usize| (step as f64 / FINE_STEPS as f64).powi(2);
    (0..=FINE_STEPS).map(|step| encoded(linear(step)) as f32).collect()
});

/// Encoded value of linear light within 1/500,000, in single precision; light beyond 0..=1 is clamped.
pub fn encoded_finely(linear: f32) -> f32 {
    // Not by `clamp`, which would keep what is no number.
    let linear = if linear > 0.0 { linear.min(1.0) } else { 0.0 };
    let place = linear.sqrt() * FINE_STEPS as f32;
    let step = (place as usize).min(FINE_STEPS - 1);
    let part = place - step as f32;
    FINE[step] * (1.0 - part) + FINE[step + 1] * part
}

/// Converts encoded samples with straight alpha to linear light with premultiplied alpha. A pixel has `count`
/// samples, the last one alpha if `alpha`.
pub fn linear_row<S: Sample>(source: &[S], target: &mut [f32], count: usize, alpha: bool) {
    let (table, full) = (S::light_table(), S::MAX.into() as f32);
    let light = |sample: S| table[sample.into() as usize];
    if !alpha {
        return target.iter_mut().zip(source).for_each(|(target, source)| *target = light(*source));
    }
    for (target, source) in target.chunks_exact_mut(count).zip(source.chunks_exact(count)) {
        let alpha = source[count - 1].into() as f32 / full;
        for (target, source) in target.iter_mut().zip(&source[..count - 1]) {
            *target = light(*source) * alpha;
        }
        target[count - 1] = alpha * FULL;
    }
}

/// Converts linear light with premultiplied alpha to encoded samples with straight alpha; the inverse of
/// [`linear_row`].
pub fn encode_row<S: Sample>(source: &[f32], target: &mut [S], count: usize, alpha: bool) {
    if !alpha {
        return target.iter_mut().zip(source).for_each(|(target, source)| *target = S::of_light(*source));
    }
    for (target, source) in target.chunks_exact_mut(count).zip(source.chunks_exact(count)) {
        let visible = per_alpha(source[count - 1]);
        for (target, source) in target.iter_mut().zip(&source[..count - 1]) {
            *target = S::of_light(source * visible);
        }
        target[count - 1] = S::scaled(whole(source[count - 1]).into(), 65_535);
    }
}

/// Converts linear light from premultiplied to straight alpha.
pub fn straight_row(row: &mut [f32], count: usize) {
    for pixel in row.chunks_exact_mut(count) {
        let visible = per_alpha(pixel[count - 1]);
        pixel[..count - 1].iter_mut().for_each(|sample| *sample *= visible);
    }
}

/// Factor from premultiplied to straight light; 0 for transparent pixels.
fn per_alpha(alpha: f32) -> f32 {
    if whole(alpha) == 0 { 0.0 } else { FULL / alpha }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bits_survive_linear_light() {
        for v in 0..=255u8 {
            let linear = u8::linear_table()[usize::from(v)];
            assert_eq!(u8::encoded_table()[usize::from(linear)], v);
        }
    }

    #[test]
    fn sixteen_bits_survive_linear_light_and_alpha() {
        for alpha in [65_535, 32_768, 300] {
            let pixels: Vec<u16> = (0..=65_535).flat_map(|v| [v, alpha]).collect();
            let (mut linear, mut back) = (vec![0.0; pixels.len()], vec![0; pixels.len()]);
            linear_row(&pixels, &mut linear, 2, true);
            encode_row(&linear, &mut back, 2, true);
            assert!(back == pixels, "{alpha}");
        }
        for v in 0..=65_535u16 {
            assert_eq!(u16::of_light(u16::light_table()[usize::from(v)]), v);
        }
    }

    #[test]
    fn light_beyond_the_range_is_clamped() {
        for (light, expected) in [(-1.0, 0), (f32::NAN, 0), (65_535.4, u16::MAX), (1e9, u16::MAX)] {
            assert_eq!(u16::of_light(light), expected);
            assert_eq!(u16::from(u8::of_light(light)), expected >> 8);
        }
    }

    #[test]
    fn eight_and_sixteen_bits_agree() {
        for v in 0..=255u16 {
            assert_eq!(u8::linear_table()[usize::from(v)], u16::linear_table()[usize::from(v * 257)]);
        }
    }

    /// Checks that the tables do not depend on the last of 53 bits, in which mathematical libraries differ (some
    /// choose by CPU): no entry is nearer than 1e-9 to the middle of two integers.
    #[test]
    fn tables_do_not_depend_on_the_mathematical_library() {
        let safe = |value: f64| ((value - value.floor()) - 0.5).abs() > 1e-9;
        for v in 0..=65_535 {
            let v = f64::from(v) / 65_535.0;
            assert!(safe(65_535.0 * decoded(v)) && safe(65_535.0 * encoded(v)) && safe(255.0 * encoded(v)), "{v}");
            let linear = decoded(v);
            assert_eq!((linear * (1.0 - 1e-14)) as f32, (linear * (1.0 + 1e-14)) as f32, "{v}");
        }
        assert!((0..=255).all(|v| safe(65_535.0 * decoded(f64::from(v) / 255.0))));
    }

    #[test]
    fn the_curve_is_that_of_the_standard() {
        for v in 0..=65_535 {
            let v = f64::from(v) / 65_535.0;
            let standard = if v <= 0.003_130_8 { v * 12.92 } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 };
            assert!((encoded(v) - standard).abs() < 1e-14, "{v}");
        }
    }

    #[test]
    fn fine_values_are_those_of_the_curve() {
        for v in 0..=100_000 {
            let v = f64::from(v) / 100_000.0;
            let error = (f64::from(encoded_finely((v * v) as f32)) - encoded(v * v)).abs();
            assert!(error < 1.0 / 500_000.0, "{v}: {error}");
        }
        assert_eq!((encoded_finely(-1.0), encoded_finely(f32::NAN), encoded_finely(2.0)), (0.0, 0.0, 1.0));
    }

    #[test]
    fn colour_survives_alpha_and_transparent_pixels_lose_theirs() {
        let pixels = [[200u8, 100, 50, 255], [200, 100, 50, 128], [200, 100, 50, 0]].concat();
        let (mut linear, mut back) = ([0.0; 12], [0u8; 12]);
        linear_row(&pixels, &mut linear, 4, true);
        encode_row(&linear, &mut back, 4, true);
        assert_eq!(back, [200, 100, 50, 255, 200, 100, 50, 128, 0, 0, 0, 0]);
    }
}
