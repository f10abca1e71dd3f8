//! `transparent`: a colour key.

use super::coverage::{plan, with_alpha};
use super::{Context, Operation, with_first};
use crate::pipeline::color::{self, Sample};
use crate::pipeline::param::{Args, Kind, Param, Value};
use crate::pipeline::{Channels, Error, Raster, Samples};

/// Pixels between two checks of the deadline.
const BAND_PIXELS: usize = 1 << 18;

pub(super) static OPERATION: Operation = Operation {
    name: "transparent",
    doc: "Makes one colour transparent. The distance of a pixel from it is the largest difference in red, green or \
          blue, sRGB-encoded.",
    params: &[
        Param {
            name: "color",
            keys: &["transparent"],
            kind: Kind::Color,
            default: None,
            doc: "Colour to remove; its alpha is ignored.",
        },
        Param {
            name: "tolerance",
            keys: &[],
            kind: Kind::Integer { min: 0, max: 255, step: 1, unit: "" },
            default: Some(Value::Number(0)),
            doc: "Distance up to which pixels become transparent. From there alpha rises to opaque over the same distance \
                  again (never past 255), and the colour is removed from partly transparent pixels, so that edges have no \
                  fringe.",
        },
    ],
    example: "w=300&transparent=ffffff,40",
    revision: 1,
    canonical,
    resolve: None,
    plan: |shape, _| Ok(plan(shape)),
    apply,
};

fn canonical(args: Args) -> Result<Option<Args>, Error> {
    let Some(args) = with_first(args)? else { return Ok(None) };
    let [r, g, b, _] = args.color("color").unwrap_or_default();
    Ok(Some(args.with("color", Value::Color([r, g, b, 255]))))
}

/// The colour and its tolerance, in the units of the samples.
struct ColorKey {
    color: [i64; 3],
    tolerance: i64,
    /// Distance beyond `tolerance` over which alpha rises.
    ramp: i64,
    /// Whether the colour can be removed; gray images only lose grays.
    removable: bool,
}

fn apply(raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    let (size, channels) = (raster.size(), with_alpha(raster.channels()));
    let samples = match color::to_channels(raster, channels)?.into_samples() {
        Samples::U8(samples) => Samples::U8(keyed(samples, channels, &ColorKey::new(args, channels, 1), context)?),
        Samples::U16(samples) => Samples::U16(keyed(samples, channels, &ColorKey::new(args, channels, 257), context)?),
    };
    Ok(Raster::new(size, channels, samples))
}

impl ColorKey {
    fn new(args: &Args, channels: Channels, unit: i64) -> ColorKey {
        let [r, g, b, _] = args.color("color").unwrap_or_default();
        let tolerance = args.number("tolerance").unwrap_or(0);
        ColorKey {
            color: [r, g, b].map(|v| i64::from(v) * unit),
            tolerance: tolerance * unit,
            ramp: tolerance.min(255 - tolerance) * unit,
            removable: !channels.gray() || (r == g && g == b),
        }
    }

    /// The part of a pixel to keep, in units of `ramp`; `None` keeps all of it.
    fn rest<S: Sample>(&self, colors: &[S]) -> Option<i64> {
        let value = |place: usize| i64::from(colors[place.min(colors.len() - 1)].into());
        let distance = (0..3).map(|place| (value(place) - self.color[place]).abs()).max().unwrap_or(0);
        let past = (distance - self.tolerance).max(0);
        if past > 0 && past >= self.ramp { None } else { Some(past) }
    }
}

fn keyed<S: Sample>(
    mut samples: Vec<S>,
    channels: Channels,
    key: &ColorKey,
    context: &Context<'_>,
) -> Result<Vec<S>, Error> {
    let count = channels.count();
    for band in samples.chunks_mut(BAND_PIXELS * count) {
        context.deadline.check()?;
        for pixel in band.chunks_exact_mut(count) {
            let (colors, alpha) = pixel.split_at_mut(count - 1);
            match key.rest(colors) {
                None => {}
                Some(0) => alpha[0] = S::default(),
                Some(rest) => {
                    if key.removable {
                        colors.iter_mut().zip(key.color).for_each(|(color, key_color)| {
                            *color = without(*color, key_color, rest, key.ramp);
                        });
                    }
                    let left = (i64::from(alpha[0].into()) * rest + key.ramp / 2) / key.ramp;
                    alpha[0] = S::try_from(left as u32).unwrap_or(S::MAX);
                }
            }
        }
    }
    Ok(samples)
}

/// The colour that gives the pixel when `rest / ramp` of it is laid on the key.
fn without<S: Sample>(color: S, key: i64, rest: i64, ramp: i64) -> S {
    let full = i64::from(S::MAX.into());
    let difference = (i64::from(color.into()) - key) * ramp;
    let half = if difference < 0 { -rest / 2 } else { rest / 2 };
    let color = (key + (difference + half) / rest).clamp(0, full);
    S::try_from(color as u32).unwrap_or(S::MAX)
}
