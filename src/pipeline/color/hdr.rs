//! HDR to SDR: the light that samples of PQ and HLG stand for (ITU-R BT.2100), shown in sRGB. Of every container: the
//! curve comes from the profile's `cicp` tag, which readers of code points write, or from its tables.
//!
//! Reference white, 203 cd/m2, is white (ITU-R BT.2408), darker light is unchanged, and lighter rolls off to the peak in
//! the domain of PQ, as in ITU-R BT.2390. Only the lightest of red, green and blue is compressed, and the others in
//! proportion, so that hues stay. Far above white, colours become paler with their light, as on film: otherwise a
//! yellow sun would be darker than the white around it.

use std::sync::LazyLock;

use moxcms::{ColorProfile, DataColorSpace, ToneReprCurve, TransferCharacteristics};

use super::linear::{Sample, encoded_finely};
use crate::pipeline::{Channels, Deadline, Error, Raster, Samples};

/// Luminance of reference white in cd/m2: ITU-R BT.2408, 2.1.
const WHITE: f64 = 203.0;

/// Luminance in cd/m2 that is the lightest shown: the nominal peak of HLG, and that of most masters in PQ.
const PEAK: f64 = 1_000.0;

/// PQ code from which light is compressed, 165 cd/m2. BT.2390 would begin at 88 cd/m2, and leave 226 of 255 to
/// reference white; here it has 245.
const KNEE: f64 = 0.56;

/// Pixels between two checks of the deadline.
const PIXELS: usize = 1 << 14;

/// Codes of ITU-T H.273 for an HDR picture's colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodePoints {
    /// Colour primaries.
    pub primaries: u8,
    /// Transfer characteristics: 16 is PQ, 18 is HLG.
    pub transfer: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transfer {
    Pq,
    Hlg,
}

/// What the samples of an HDR picture stand for.
pub(super) struct Hdr {
    transfer: Transfer,
    /// From the profile's primaries to those of sRGB, in linear light.
    matrix: [[f32; 3]; 3],
    /// The codes, if the profile states them.
    pub codes: Option<CodePoints>,
}

impl Hdr {
    /// `None` if the profile is not one of HDR.
    pub fn of(icc: &[u8]) -> Option<Hdr> {
        let profile = ColorProfile::new_from_slice(icc).ok().filter(|icc| icc.color_space == DataColorSpace::Rgb)?;
        let transfer = transfer(&profile)?;
        let matrix = profile.transform_matrix(&ColorProfile::new_srgb()).v.map(|row| row.map(|share| share as f32));
        let codes = profile.cicp.map(|cicp| CodePoints {
            primaries: cicp.color_primaries as u8,
            transfer: cicp.transfer_characteristics as u8,
        });
        Some(Hdr { transfer, matrix, codes })
    }

    /// Changes samples to sRGB. Gray counts as equal amounts of red, green and blue; alpha stays.
    pub fn shown(&self, raster: Raster, deadline: &Deadline) -> Result<Raster, Error> {
        let (size, channels) = (raster.size(), raster.channels());
        let samples = match raster.into_samples() {
            Samples::U8(mut samples) => self.convert(&mut samples, channels, deadline).map(|()| Samples::U8(samples)),
            Samples::U16(mut samples) => self.convert(&mut samples, channels, deadline).map(|()| Samples::U16(samples)),
        };
        Ok(Raster::new(size, channels, samples?))
    }

    fn convert<S: Sample>(&self, samples: &mut [S], channels: Channels, deadline: &Deadline) -> Result<(), Error> {
        let full: u32 = S::MAX.into();
        let table: &[f32] = match self.transfer {
            Transfer::Pq => &PQ,
            Transfer::Hlg => &HLG,
        };
        // 255 divides 65535, so that both depths share the table.
        let light = |sample: S| table[(sample.into() * (65_535 / full)) as usize];
        let sample = |light: f32| S::try_from((encoded_finely(light) * full as f32 + 0.5) as u32).unwrap_or(S::MAX);
        let count = channels.count();
        for chunk in samples.chunks_mut(PIXELS * count) {
            deadline.check()?;
            for pixel in chunk.chunks_exact_mut(count) {
                match pixel {
                    [r, g, b] | [r, g, b, _] => {
                        [*r, *g, *b] = self.toned([light(*r), light(*g), light(*b)]).map(sample);
                    }
                    [gray, ..] => *gray = sample(self.toned([light(*gray); 3])[1]),
                    [] => {}
                }
            }
        }
        Ok(())
    }

    /// Linear sRGB of decoded samples; 1 is white.
    fn toned(&self, rgb: [f32; 3]) -> [f32; 3] {
        let [r, g, b] = match self.transfer {
            Transfer::Pq => rgb,
            Transfer::Hlg => displayed(rgb),
        };
        // What no colour of sRGB is becomes the nearest in red, green and blue.
        let rgb = self.matrix.map(|row| (row[0] * r + row[1] * g + row[2] * b).max(0.0));
        let most = rgb[0].max(rgb[1]).max(rgb[2]);
        let Shown { scale, whiteness } = Shown::of(most);
        rgb.map(|light| light * scale).map(|light| light + (most * scale - light) * whiteness)
    }
}

/// Light of a code.
type Curve = fn(f64) -> f64;

/// The transfer function of a profile: by its codes, otherwise by the tables of its curves.
fn transfer(profile: &ColorProfile) -> Option<Transfer> {
    if let Some(cicp) = profile.cicp {
        return match cicp.transfer_characteristics {
            TransferCharacteristics::Smpte2084 => Some(Transfer::Pq),
            TransferCharacteristics::Hlg => Some(Transfer::Hlg),
            _ => None,
        };
    }
    let curves = [&profile.red_trc, &profile.green_trc, &profile.blue_trc];
    let all = |function: Curve| curves.iter().all(|curve| curve.as_ref().is_some_and(|c| is(c, function)));
    // Some curves of HLG are those of the camera, others go on to the display.
    let known: [(Transfer, Curve); 3] = [
        (Transfer::Pq, |code| pq_light(code) / 10_000.0),
        (Transfer::Hlg, hlg_light),
        (Transfer::Hlg, |code| hlg_light(code).powf(1.2)),
    ];
    known.into_iter().find(|(_, function)| all(*function)).map(|(transfer, _)| transfer)
}

/// Whether a table of a curve is a function, within 2 %. No power is like PQ or HLG at all four places.
fn is(curve: &ToneReprCurve, function: Curve) -> bool {
    let ToneReprCurve::Lut(table) = curve else { return false };
    let near = |quarter: usize| {
        let place = (table.len() - 1) * quarter / 4;
        let expected = function(place as f64 / (table.len() - 1) as f64);
        (f64::from(table[place]) / 65_535.0 - expected).abs() <= 0.02 * expected + 1.0 / 65_535.0
    };
    table.len() >= 256 && (1..=4).all(near)
}

/// Light of every sample of 16 bits in PQ; 1 is white.
static PQ: LazyLock<Vec<f32>> = LazyLock::new(|| table(|code| pq_light(code) / WHITE));

/// Light of every sample of 16 bits in HLG as the camera saw it, 0..=1.
static HLG: LazyLock<Vec<f32>> = LazyLock::new(|| table(hlg_light));

fn table(of: impl Fn(f64) -> f64) -> Vec<f32> {
    (0..=65_535).map(|code| of(f64::from(code) / 65_535.0) as f32).collect()
}

const M1: f64 = 2_610.0 / 16_384.0;
const M2: f64 = 2_523.0 / 32.0;
const C1: f64 = 3_424.0 / 4_096.0;
const C2: f64 = 2_413.0 / 128.0;
const C3: f64 = 2_392.0 / 128.0;

/// Luminance in cd/m2 of a PQ code: ITU-R BT.2100, table 4.
fn pq_light(code: f64) -> f64 {
    let root = code.powf(1.0 / M2);
    10_000.0 * ((root - C1).max(0.0) / (C2 - C3 * root)).powf(1.0 / M1)
}

/// PQ code of a luminance in cd/m2.
fn pq_code(light: f64) -> f64 {
    let root = (light / 10_000.0).powf(M1);
    ((C1 + C2 * root) / (1.0 + C3 * root)).powf(M2)
}

/// Scene light of an HLG code: ITU-R BT.2100, table 5.
fn hlg_light(code: f64) -> f64 {
    const A: f64 = 0.178_832_77;
    const B: f64 = 0.284_668_92;
    const C: f64 = 0.559_910_73;
    if code <= 0.5 { code * code / 3.0 } else { (((code - C) / A).exp() + B) / 12.0 }
}

/// Scene light as a display of the nominal peak shows it: BT.2100's opto-optical transfer function with a gamma of 1.2.
fn displayed(rgb @ [r, g, b]: [f32; 3]) -> [f32; 3] {
    let gain = (PEAK / WHITE) as f32 * fifth_root(0.2627 * r + 0.6780 * g + 0.0593 * b);
    rgb.map(|light| light * gain)
}

/// `x^(1/5)` from operations that IEEE 754 fixes to the bit.
fn fifth_root(x: f32) -> f32 {
    if x <= 0.0 {
        return 0.0;
    }
    // A fifth of the exponent is within some percent; four Newton steps make it exact.
    let mut root = f32::from_bits(x.to_bits() / 5 + 852_282_573);
    for _ in 0..4 {
        let fourth = (root * root) * (root * root);
        root -= (root * fourth - x) / (5.0 * fourth);
    }
    root
}

/// Steps of [`TABLE`].
const STEPS: usize = 8_192;

/// Light of the knee; 1 is white.
static KNEE_LIGHT: LazyLock<f32> = LazyLock::new(|| (pq_light(KNEE) / WHITE) as f32);

/// Light of PQ's last code.
const LAST: f64 = 10_000.0 / WHITE;

/// How light from the knee to [`LAST`] is shown.
static TABLE: LazyLock<Vec<Shown>> = LazyLock::new(|| {
    let knee = f64::from(*KNEE_LIGHT);
    let entry = |step: usize| {
        let light = knee + (LAST - knee) * step as f64 / STEPS as f64;
        let code = pq_code(light * WHITE);
        let scale = pq_light(rolled_off(code)) / (WHITE * light);
        Shown { scale: scale as f32, whiteness: whiteness(code) as f32 }
    };
    (0..=STEPS).map(entry).collect()
});

/// What becomes of a colour.
#[derive(Clone, Copy)]
struct Shown {
    /// The factor of all three channels.
    scale: f32,
    /// The share of the way to white, after that.
    whiteness: f32,
}

impl Shown {
    /// For a colour whose lightest channel is `most`.
    fn of(most: f32) -> Shown {
        let (knee, last) = (*KNEE_LIGHT, LAST as f32);
        if most <= knee {
            return Shown { scale: 1.0, whiteness: 0.0 };
        }
        if most >= last {
            return Shown { scale: 1.0 / most, whiteness: 1.0 };
        }
        let place = (most - knee) / (last - knee) * STEPS as f32;
        let step = (place as usize).min(STEPS - 1);
        let part = place - step as f32;
        let [below, above] = [TABLE[step], TABLE[step + 1]];
        let between = |below: f32, above: f32| below * (1.0 - part) + above * part;
        Shown { scale: between(below.scale, above.scale), whiteness: between(below.whiteness, above.whiteness) }
    }
}

/// Share of the way to white of a PQ code: nothing up to reference white, 3 % at the peak, all at PQ's last code.
fn whiteness(code: f64) -> f64 {
    let white = pq_code(WHITE);
    let share = ((code - white) / (1.0 - white)).max(0.0);
    share * share * share * share
}

/// PQ code that a code above the knee becomes. The curve has slope 1 at the knee and reaches white at the peak with
/// slope 0. BT.2390's cubic would overshoot between ends so far apart, so this is the monotone rational of Gregory and
/// Delbourgo ("Piecewise Rational Quadratic Interpolation to Monotonic Data", 1982).
fn rolled_off(code: f64) -> f64 {
    let (peak, white) = (pq_code(PEAK), pq_code(WHITE));
    let place = ((code - KNEE) / (peak - KNEE)).clamp(0.0, 1.0);
    let mean = (white - KNEE) / (peak - KNEE);
    let between = place * (1.0 - place);
    KNEE + (white - KNEE) * (mean * place * place + between) / (mean + (1.0 - 2.0 * mean) * between)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::color::{cicp_profile, profile_bytes};
    use crate::pipeline::{Picture, Size, color};

    fn icc(primaries: u8, transfer: u8) -> Vec<u8> {
        let codes = (primaries.try_into().expect("known"), transfer.try_into().expect("known"));
        profile_bytes(&cicp_profile(codes.0, codes.1)).expect("encodes")
    }

    fn shown(icc: Vec<u8>, channels: Channels, codes: &[f64]) -> Vec<u8> {
        let size = Size::new((codes.len() / channels.count()) as u32, 1);
        let show = |samples| {
            let picture = Picture { icc: Some(icc.clone()), ..Picture::still(Raster::new(size, channels, samples)) };
            let picture = color::to_srgb(picture, &Deadline::default()).expect("no deadline");
            assert_eq!(picture.icc, None);
            picture.into_first().into_samples()
        };
        let wide = codes.iter().map(|code| (code * 65_535.0).round() as u16).collect();
        let narrow = codes.iter().map(|code| (code * 255.0).round() as u8).collect();
        match (show(Samples::U16(wide)), show(Samples::U8(narrow))) {
            (Samples::U16(wide), Samples::U8(narrow)) => {
                let wide: Vec<u8> = wide.iter().map(|sample| (f64::from(*sample) / 257.0).round() as u8).collect();
                assert!(
                    wide.iter().zip(&narrow).all(|(wide, narrow)| wide.abs_diff(*narrow) <= 2),
                    "{wide:?} {narrow:?}"
                );
                wide
            }
            other => panic!("depth changed: {other:?}"),
        }
    }

    /// Values by the formulas of BT.2100 and sRGB, outside this program.
    #[test]
    fn reference_white_is_white_and_darker_light_is_exact() {
        let check = |transfer, code: f64, expected: std::ops::RangeInclusive<u8>| {
            for (channels, codes) in [(Channels::Gray, vec![code]), (Channels::Rgba, vec![code, code, code, 1.0])] {
                let got = shown(icc(9, transfer), channels, &codes);
                assert!(got[..codes.len().min(3)].iter().all(|v| expected.contains(v)), "{transfer} {code}: {got:?}");
            }
        };
        check(16, 0.0, 0..=0);
        check(16, 0.25, 43..=46);
        check(16, 0.4, 110..=112);
        check(16, 0.5, 179..=181);
        check(16, 0.55, 222..=224);
        check(16, 0.58, 243..=250);
        check(16, 0.75, 254..=255);
        check(16, 1.0, 255..=255);
        check(18, 0.25, 60..=63);
        check(18, 0.5, 136..=138);
        check(18, 0.75, 243..=250);
        check(18, 1.0, 255..=255);
    }

    #[test]
    fn lighter_is_never_darker_and_hues_stay() {
        let lights: Vec<f32> = (0..=6_000).map(|step| step as f32 / 1_000.0).collect();
        let rolled: Vec<f32> = lights.iter().map(|light| light * Shown::of(*light).scale).collect();
        assert!(rolled.windows(2).all(|pair| pair[0] <= pair[1] + 1e-6) && rolled.iter().all(|v| *v <= 1.000_001));
        // Where the knee and the peak are, the curve has no step.
        assert!(rolled.windows(2).all(|pair| pair[1] - pair[0] < 0.001_01));
        let hdr = Hdr::of(&icc(9, 16)).expect("PQ");
        for hue in [[1.0f32, 0.8, 0.6], [0.2, 0.6, 1.0], [0.9, 0.1, 0.3]] {
            // Mixing with white keeps this ratio, and so do factors.
            let ratio = |scale: f32| {
                let [r, g, b] = hdr.toned(hue.map(|light| light * scale));
                (r - g) / (r - b)
            };
            for scale in [0.5, 1.0, 2.0, 4.0, 20.0] {
                assert!((ratio(0.1) / ratio(scale) - 1.0).abs() < 1e-3, "{hue:?} {scale}");
            }
        }
    }

    #[test]
    fn a_coloured_light_is_never_darker_for_being_stronger() {
        let hdr = Hdr::of(&icc(1, 16)).expect("PQ");
        for hue in [[1.0f32, 0.8, 0.4], [0.0, 0.3, 1.0], [1.0, 0.05, 0.0]] {
            let luminance = |scale: f32| {
                let [r, g, b] = hdr.toned(hue.map(|light| light * scale));
                0.2126 * r + 0.7152 * g + 0.0722 * b
            };
            let rising: Vec<f32> = (0..600).map(|step| luminance(step as f32 / 10.0)).collect();
            assert!(rising.windows(2).all(|pair| pair[0] <= pair[1] + 1e-5), "{hue:?}");
            // The strongest lights are nearly white.
            assert!(rising[490] > 0.98, "{hue:?}: {}", rising[490]);
        }
    }

    #[test]
    fn colours_of_bt2020_become_those_of_srgb() {
        // 100 cd/m2 of sRGB's red in the primaries of BT.2020, as PQ codes.
        let red = [0.6274, 0.0691, 0.0164].map(|light| pq_code(light * 100.0));
        let got = shown(icc(9, 16), Channels::Rgb, &red);
        assert!(got[0].abs_diff(185) <= 3 && got[1] <= 3 && got[2] <= 3, "{got:?}");
        assert!(Hdr::of(&icc(12, 13)).is_none() && Hdr::of(&icc(9, 1)).is_none());
    }

    #[test]
    fn curves_without_code_points_are_known_by_their_tables() {
        for (transfer, expected) in [(16, Some(Transfer::Pq)), (18, Some(Transfer::Hlg)), (13, None), (8, None)] {
            let mut profile = ColorProfile::new_from_slice(&icc(9, transfer)).expect("written above");
            profile.cicp = None;
            assert_eq!(super::transfer(&profile), expected, "{transfer}");
        }
    }

    /// Checks that no entry of a table depends on the last of 53 bits, in which mathematical libraries differ.
    #[test]
    fn tables_do_not_depend_on_the_mathematical_library() {
        let safe = |value: f64| (value * (1.0 - 1e-13)) as f32 == (value * (1.0 + 1e-13)) as f32;
        for code in 0..=65_535 {
            let code = f64::from(code) / 65_535.0;
            assert!(safe(pq_light(code) / WHITE) && safe(hlg_light(code)), "{code}");
        }
    }

    #[test]
    fn fifth_roots_are_exact() {
        for x in [1e-9f32, 0.003, 0.25, 0.5, 1.0] {
            assert!((fifth_root(x) / x.powf(0.2) - 1.0).abs() < 1e-6, "{x}");
        }
        assert_eq!(fifth_root(0.0), 0.0);
    }
}
