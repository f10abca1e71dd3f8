//! `gAMA` and `cHRM`: the curve and the primaries of the samples, where no other chunk describes them (PNG third
//! edition, 11.3.2.1 and 11.3.2.2).

use moxcms::{Chromaticity, ColorPrimaries, ColorProfile, ToneReprCurve, XyY};

use super::FORMAT;
use crate::pipeline::codec::cursor::Cursor;

/// Unit of both chunks.
const UNIT: u32 = 100_000;

/// Chromaticities of sRGB: x and y of white, red, green and blue.
const SRGB: [u32; 8] = [31_270, 32_900, 64_000, 33_000, 30_000, 60_000, 15_000, 6_000];

/// Largest difference of chromaticities that are still those of sRGB; libpng's.
const CHROMATICITY_NEAR: u32 = 1_000;

/// Contents of both chunks.
#[derive(Clone, Copy)]
pub(super) struct Calibration {
    pub gamma: Option<u32>,
    pub chromaticities: Option<[u32; 8]>,
}

impl Calibration {
    /// Whether samples are taken as sRGB. Most writers state an exponent of 1/2.2 where they mean sRGB's curve, and
    /// libpng takes it so within 5 %.
    pub fn is_srgb(self) -> bool {
        self.gamma.is_none_or(is_srgb_gamma) && self.chromaticities.is_none_or(are_srgb)
    }

    /// The profile that says the same.
    pub fn profile(self) -> Option<ColorProfile> {
        let mut profile = ColorProfile::new_srgb();
        profile.cicp = None;
        if let Some([white_x, white_y, red_x, red_y, green_x, green_y, blue_x, blue_y]) = self.chromaticities {
            let share = |value: u32| f64::from(value) / f64::from(UNIT);
            let point = |x, y| Chromaticity { x: share(x) as f32, y: share(y) as f32 };
            let white = XyY { x: share(white_x), y: share(white_y), yb: 1.0 };
            let primaries = ColorPrimaries {
                red: point(red_x, red_y),
                green: point(green_x, green_y),
                blue: point(blue_x, blue_y),
            };
            profile.update_rgb_colorimetry(white, primaries);
        }
        if let Some(gamma) = self.gamma.filter(|gamma| !is_srgb_gamma(*gamma)) {
            let curve = ToneReprCurve::Parametric(vec![UNIT as f32 / gamma as f32]);
            [&mut profile.red_trc, &mut profile.green_trc, &mut profile.blue_trc]
                .into_iter()
                .for_each(|trc| *trc = Some(curve.clone()));
        }
        Some(profile)
    }
}

fn is_srgb_gamma(gamma: u32) -> bool {
    (43_290..=47_847).contains(&gamma)
}

fn are_srgb(chromaticities: [u32; 8]) -> bool {
    chromaticities.iter().zip(SRGB).all(|(value, srgb)| value.abs_diff(srgb) < CHROMATICITY_NEAR)
}

/// Contents of gAMA. Exponents that no device has are ignored.
pub(super) fn gamma(body: &[u8]) -> Option<u32> {
    let gamma = u32::from_be_bytes(body.try_into().ok()?);
    (UNIT / 10..=UNIT * 10).contains(&gamma).then_some(gamma)
}

/// Contents of cHRM. Points that are no triangle with white inside are ignored.
pub(super) fn chromaticities(body: &[u8]) -> Option<[u32; 8]> {
    let mut cursor = Cursor::new(FORMAT, body);
    let mut values = [0; 8];
    for value in &mut values {
        *value = cursor.u32_be().ok()?;
    }
    let points: [[f64; 2]; 4] = std::array::from_fn(|place| [values[2 * place], values[2 * place + 1]].map(f64::from));
    let unit = f64::from(UNIT);
    let real = points.iter().all(|[x, y]| *x + y <= unit && *y >= unit / 100.0);
    let [white, red, green, blue] = points;
    let side = |from: [f64; 2], to: [f64; 2]| {
        (to[0] - from[0]) * (white[1] - from[1]) - (to[1] - from[1]) * (white[0] - from[0])
    };
    let sides = [side(red, green), side(green, blue), side(blue, red)].map(|area| area / (unit * unit));
    // Either all to the left of white or, with primaries in another order, all to the right.
    let inside = sides.iter().all(|area| *area > 0.001) || sides.iter().all(|area| *area < -0.001);
    (cursor.rest().is_empty() && real && inside).then_some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(values: [u32; 8]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_be_bytes()).collect()
    }

    #[test]
    fn what_means_srgb_is_srgb() {
        for gamma in [None, Some(45_455), Some(45_454), Some(45_000)] {
            for chromaticities in [None, Some(SRGB), Some(SRGB.map(|value| value + 20))] {
                assert!(Calibration { gamma, chromaticities }.is_srgb(), "{gamma:?} {chromaticities:?}");
            }
        }
        let p3 = [31_270, 32_900, 68_000, 32_000, 26_500, 69_000, 15_000, 6_000];
        assert!(!Calibration { gamma: Some(55_556), chromaticities: None }.is_srgb());
        assert!(!Calibration { gamma: None, chromaticities: Some(p3) }.is_srgb());
    }

    #[test]
    fn chunks_without_sense_are_ignored() {
        assert_eq!(gamma(&45_455u32.to_be_bytes()), Some(45_455));
        for body in [&[0, 0, 0, 0][..], &[0, 0, 0, 1], &[0xff; 4], &[0, 1, 0], &[0, 0, 0xb1, 0x8f, 0]] {
            assert_eq!(gamma(body), None, "{body:?}");
        }
        assert_eq!(chromaticities(&chunk(SRGB)), Some(SRGB));
        let [white_x, white_y, red_x, red_y, ..] = SRGB;
        for values in [
            [0; 8],
            [u32::MAX; 8],
            [white_x, white_y, red_x, red_y, red_x, red_y, 15_000, 6_000],
            [white_x, 0, red_x, red_y, 30_000, 60_000, 15_000, 6_000],
            [70_000, 20_000, red_x, red_y, 30_000, 60_000, 15_000, 6_000],
        ] {
            assert_eq!(chromaticities(&chunk(values)), None, "{values:?}");
        }
        assert_eq!(chromaticities(&chunk(SRGB)[..31]), None);
    }
}
