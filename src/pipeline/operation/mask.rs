//! `mask`: another image determines the parts to keep. Its coverage is computed at its own size, then scaled to that
//! of the image.

use super::coverage::{covered, plan};
use super::resize::{Content, ScaledPart, windowed, windowed_bytes};
use super::{Context, Operation, with_first};
use crate::pipeline::color::Sample;
use crate::pipeline::param::{Args, Kind, Param, Value};
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Channels, Error, Raster, Samples, Shape, Size};

pub(super) static OPERATION: Operation = Operation {
    name: "mask",
    doc: "Multiplies alpha by the coverage of another image, stretched over this one (CSS Masking Level 1).",
    params: &[
        Param {
            name: "source",
            keys: &["mask"],
            kind: Kind::Image,
            default: None,
            doc: "Id of the mask; only the first frame of an animation is used.",
        },
        Param {
            name: "mode",
            keys: &["mask_mode"],
            kind: Kind::Choice(&["alpha", "luma"]),
            default: Some(Value::Word("alpha")),
            doc: "Source of the coverage: `alpha` (opaque if the mask has none), or `luma`, luminance times alpha (0.2125 \
                  R + 0.7154 G + 0.0721 B of sRGB-encoded values, as in browsers).",
        },
        Param {
            name: "invert",
            keys: &["mask_invert"],
            kind: Kind::Flag,
            default: Some(Value::Flag(false)),
            doc: "Inverts the coverage.",
        },
    ],
    example: "w=300&mask={id}&mask_mode=luma",
    revision: 3,
    canonical: with_first,
    resolve: None,
    plan: |shape, _| Ok(plan(shape)),
    apply,
};

/// Bytes of the coverage at the mask's own size and of its stretched copy.
pub(super) fn image_bytes(from: Shape, image: Shape) -> u64 {
    let coverage = Shape { channels: Channels::Gray, ..image };
    // Counted even if both sizes are equal, since `from` may be only a bound.
    let stretched = windowed_bytes(coverage, stretched(from.size), Content::Coverage);
    coverage.bytes().saturating_add(stretched)
}

fn stretched(size: Size) -> ScaledPart {
    ScaledPart { scaled: size, at: (0, 0), size }
}

fn apply(raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    let mut mask = coverage(context.image(args)?, args)?;
    if mask.size() != raster.size() {
        mask = windowed(&mask, stretched(raster.size()), Content::Coverage, context.deadline)?;
    }
    let w = raster.size().w as usize;
    covered(raster, context, |y, row| match mask.samples() {
        Samples::U8(samples) => {
            row.iter_mut().zip(&samples[y as usize * w..]).for_each(|(c, v)| *c = u16::from(*v) * 257)
        }
        Samples::U16(samples) => row.copy_from_slice(&samples[y as usize * w..][..w]),
    })
}

/// Coverage of the mask as a gray raster.
fn coverage(image: &Raster, args: &Args) -> Result<Raster, Error> {
    let channels = image.channels();
    let samples = match image.samples() {
        Samples::U8(samples) => Samples::U8(coverage_of(samples, channels, args)?),
        Samples::U16(samples) => Samples::U16(coverage_of(samples, channels, args)?),
    };
    Ok(Raster::new(image.size(), Channels::Gray, samples))
}

fn coverage_of<S: Sample>(samples: &[S], channels: Channels, args: &Args) -> Result<Vec<S>, Error> {
    let (count, full): (usize, u32) = (channels.count(), S::MAX.into());
    let (luma, invert) = (args.word("mode") == Some("luma"), args.flag("invert"));
    let mut coverage = try_zeroed(samples.len() / count)?;
    for (coverage, pixel) in coverage.iter_mut().zip(samples.chunks_exact(count)) {
        let alpha = if channels.alpha() { pixel[count - 1].into() } else { full };
        let covers = if luma { luminance(pixel, channels, alpha, full) } else { alpha };
        *coverage = S::try_from(if invert { full - covers } else { covers }).unwrap_or(S::MAX);
    }
    Ok(coverage)
}

/// Luminance times alpha, rounded once.
fn luminance<S: Sample>(pixel: &[S], channels: Channels, alpha: u32, full: u32) -> u32 {
    let sample = |place: usize| -> u64 { pixel[place].into().into() };
    let luma =
        if channels.gray() { 10_000 * sample(0) } else { 2_125 * sample(0) + 7_154 * sample(1) + 721 * sample(2) };
    let whole = 10_000 * u64::from(full);
    ((luma * u64::from(alpha) + whole / 2) / whole) as u32
}
