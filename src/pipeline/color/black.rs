//! Black point compensation: the darkest colour that a profile's table can say becomes black. Otherwise print, whose
//! full ink reflects a little light, looks washed out on a screen.
//!
//! The method is Adobe's ("Adobe Systems' Implementation of Black Point Compensation", 2006): linear light is scaled so
//! that white stays white and the black becomes 0. In linear sRGB that is `(light - black) / (1 - black)` for each
//! channel, so the curves of the target profile take it in.

use moxcms::{ColorProfile, ProfileVersion, ToneReprCurve};

/// Luminance of the black of every perceptual table since version 4: that of the reference medium (ICC.1:2022,
/// 6.3.4.3).
const PERCEPTUAL: f64 = 0.003_473_1;

/// Luminances of a black that is compensated: above the first of 255 steps, and at most L* = 50.
const COMPENSATED: std::ops::Range<f64> = 1.0 / (255.0 * 12.92)..0.184_187;

/// The black of a profile in linear sRGB, if its version states it.
pub(super) fn of_version(profile: &ColorProfile, version: ProfileVersion) -> Option<[f64; 3]> {
    (profile.lut_a_to_b_perceptual.is_some() && version >= ProfileVersion::V4_0).then_some([PERCEPTUAL; 3])
}

/// Changes the curves of `srgb` so that this colour in linear sRGB becomes black.
pub(super) fn compensate(srgb: &mut ColorProfile, black @ [r, g, b]: [f64; 3]) {
    if !COMPENSATED.contains(&(0.2126 * r + 0.7152 * g + 0.0722 * b)) {
        return;
    }
    // Without its code points the profile is read by its curves.
    srgb.cicp = None;
    let curves = [&mut srgb.red_trc, &mut srgb.green_trc, &mut srgb.blue_trc];
    curves.into_iter().zip(black).for_each(|(curve, black)| *curve = Some(raised(black.min(0.5))));
}

/// The curve of sRGB, from `black` to 1: `black + (1 - black) * linear(sample)`, in the form of ICC.1:2022, table 68,
/// type 4.
fn raised(black: f64) -> ToneReprCurve {
    let share = 1.0 - black;
    let inside = share.powf(1.0 / 2.4);
    let parameters = [2.4, inside / 1.055, 0.055 * inside / 1.055, share / 12.92, 0.040_45, black, black];
    ToneReprCurve::Parametric(parameters.map(|parameter| parameter as f32).to_vec())
}
