//! Curves on lightness chosen from the picture: its histogram, and the step that applies the curve. The curve is
//! chosen from the first frame, so that animations do not flicker.

pub(in crate::pipeline::operation) mod equalize;
pub(in crate::pipeline::operation) mod normalize;

use super::{
    Args, Context, Cost, Error, Kind, Operation, Param, Raster, Resolve, Sample, Samples, Step, Value, change_rgb,
    curves, lab, luminance, rounded,
};
use crate::pipeline::Deadline;

/// Number of values in a curve, and of bins in a histogram.
pub const KNOTS: usize = 256;
/// Value of a curve for white.
pub const WHITE: i64 = 65_535;
/// Distance between two knots.
const SPACING: i64 = 257;

/// Operation that applies a chosen curve. Not in the table, since it is chosen from the picture and not requested.
static OPERATION: Operation = Operation {
    name: "tone",
    doc: "Maps luminance through a curve; colours keep their CIE a* and b*.",
    params: &[Param {
        name: "curve",
        keys: &[],
        kind: Kind::Numbers { counts: &[KNOTS], max: WHITE, places: 0 },
        default: None,
        doc: "16-bit gray for each 8-bit gray.",
    }],
    example: "",
    // No key contains this revision, since `resolve` runs after the key is made: raise those of `normalize` and
    // `equalize`.
    revision: 0,
    canonical: |args| Ok(Some(args)),
    resolve: None,
    plan: |shape, _| Ok(Cost::new(shape, 0)),
    apply,
};

/// A step that maps each 8-bit gray to the 16-bit gray in `curve`, and interpolates between them.
pub fn step(curve: [i64; KNOTS]) -> Step {
    (&OPERATION, Args::defaults(OPERATION.params).with("curve", Value::Numbers(curve.to_vec())))
}

/// Resolves the arguments on a raster and applies them to it, for a single frame.
pub fn resolved(resolve: Resolve, raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    let (operation, args) = resolve(&raster, args, context)?;
    (operation.apply)(raster, &args, context)
}

/// Curve that changes nothing.
pub fn identity() -> [i64; KNOTS] {
    std::array::from_fn(|gray| gray as i64 * SPACING)
}

/// Number of pixels with each luminance, in 8 bits; transparent pixels are not counted.
pub fn histogram(raster: &Raster, deadline: &Deadline) -> Result<[u64; KNOTS], Error> {
    match raster.samples() {
        Samples::U8(samples) => counted(samples, raster, deadline),
        Samples::U16(samples) => counted(samples, raster, deadline),
    }
}

fn counted<S: Sample>(samples: &[S], raster: &Raster, deadline: &Deadline) -> Result<[u64; KNOTS], Error> {
    let (channels, transparent) = (raster.channels(), S::default());
    let mut bins = [0; KNOTS];
    for band in samples.chunks(super::BAND_PIXELS * channels.count()) {
        deadline.check()?;
        for pixel in band.chunks_exact(channels.count()) {
            if channels.alpha() && pixel[channels.count() - 1] == transparent {
                continue;
            }
            let gray = if channels.gray() { pixel[0] } else { luminance(pixel) };
            bins[usize::from(u8::scaled(gray.into(), S::MAX.into()))] += 1;
        }
    }
    Ok(bins)
}

fn apply(raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    let Some(Value::Numbers(curve)) = args.get("curve").filter(|curve| **curve != Value::Numbers(identity().to_vec()))
    else {
        return Ok(raster);
    };
    if raster.channels().gray() {
        let gray = |value, full| rounded(at(curve, value * (WHITE / full)) * full, WHITE);
        return curves::applied(raster, &[gray], context.deadline);
    }
    let (size, channels, shifts) = (raster.size(), raster.channels(), shifts(curve));
    let mut samples = raster.into_samples();
    match &mut samples {
        Samples::U8(samples) => change_rgb(samples, channels, context.deadline, |pixel| shifted(pixel, &shifts))?,
        Samples::U16(samples) => change_rgb(samples, channels, context.deadline, |pixel| shifted(pixel, &shifts))?,
    }
    Ok(Raster::new(size, channels, samples))
}

/// Value of the curve at a 16-bit gray.
fn at(curve: &[i64], gray: i64) -> i64 {
    let (knot, past) = ((gray / SPACING) as usize, gray % SPACING);
    let next = curve[(knot + 1).min(KNOTS - 1)];
    curve[knot] + (next - curve[knot]) * past / SPACING
}

/// Change of `f` that the curve makes at each 16-bit gray.
fn shifts(curve: &[i64]) -> Vec<i32> {
    let f = |gray: i64| lab::f(lab::of_sample(gray as u16));
    // Below 2^20 in size, like every value of `f` up to white.
    (0..=WHITE).map(|gray| (f(at(curve, gray)) - f(gray)) as i32).collect()
}

/// A colour with changed lightness and unchanged a* and b*.
fn shifted<S: Sample>(pixel: [S; 3], shifts: &[i32]) -> [S; 3] {
    let xyz = lab::xyz(pixel.map(lab::of_sample));
    let shift = i64::from(shifts[usize::from(lab::sample::<u16>(xyz[1]))]);
    let moved = xyz.map(|light| lab::light(lab::f(light) + shift));
    lab::rgb(moved).map(lab::sample)
}
