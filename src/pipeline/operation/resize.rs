//! `resize`: scales, crops or pads to a size. The geometry is in [`geometry`], the pixels are in [`resample`].

mod geometry;
mod resample;

use super::{Context, Cost, Operation};
use crate::pipeline::param::{Args, Kind, Param, Value};
use crate::pipeline::{Channels, Error, Raster, Samples, Shape, Size, Watch, color};
pub(super) use geometry::by_width;
use geometry::{Box, Fit, Geometry};
use resample::{Kernel, Light};

const SIDE: Kind = Kind::Integer { min: 1, max: 65_535, step: 1, unit: "px" };

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "resize",
    doc: "Scales the image in linear light; never enlarges unless asked.",
    params: &[
        Param {
            name: "width",
            keys: &["width", "w"],
            kind: SIDE,
            default: None,
            doc: "Width of the box to fit into; without it the height alone decides.",
        },
        Param {
            name: "height",
            keys: &["height", "h"],
            kind: SIDE,
            default: None,
            doc: "Height of the box to fit into; without it the width alone decides.",
        },
        Param {
            name: "fit",
            keys: &["fit"],
            kind: Kind::Choice(&["inside", "cover", "contain", "fill", "outside"]),
            default: Some(Value::Word("inside")),
            doc: "With both sides given: `inside` the box; `cover` it, cropped around the centre; `contain`ed in it, padded with \
                  `background`; `fill` it, out of proportion; no smaller than it (`outside`).",
        },
        Param {
            name: "enlarge",
            keys: &["enlarge"],
            kind: Kind::Flag,
            default: Some(Value::Flag(false)),
            doc: "Whether the result may have more pixels than the source.",
        },
        Param {
            name: "kernel",
            keys: &["kernel"],
            kind: Kind::Choice(&["lanczos3", "mitchell", "cubic", "linear", "nearest"]),
            default: Some(Value::Word("lanczos3")),
            doc: "The resampling kernel; `cubic` is Catmull-Rom.",
        },
        Param {
            name: "background",
            keys: &["background", "bg"],
            kind: Kind::Color,
            default: Some(Value::Color([255; 4])),
            doc: "The colour of the padding of `contain`.",
        },
    ],
    example: "w=300&h=200&fit=cover",
    revision: 1,
    canonical,
    look: None,
    plan,
    apply,
};

/// Without a side nothing is asked for; without both there is one way to fit, and only `contain` shows a background.
fn canonical(mut args: Args) -> Result<Option<Args>, Error> {
    let sides = ["width", "height"].into_iter().filter(|side| args.has(side)).count();
    if sides < 2 {
        args.reset("fit");
    }
    if args.word("fit") != Some("contain") {
        args.reset("background");
    }
    Ok(Some(args).filter(|_| sides > 0))
}

fn plan(shape: Shape, args: &Args) -> Result<Cost, Error> {
    let geometry = geometry_of(shape.size, args);
    let channels = if geometry.pads() { padded_channels(shape.channels, background(args)) } else { shape.channels };
    let scaled = Shape { size: geometry.scaled, ..shape };
    let result = Shape { size: geometry.result, channels, ..shape };
    let padding = if geometry.pads() { scaled.bytes() + Shape { channels, ..scaled }.bytes() } else { 0 };
    // Where alpha is opaque it is taken away before and given back after.
    let without_alpha = if shape.channels.alpha() { shape.bytes() + scaled.bytes() } else { 0 };
    let working_bytes = padding + without_alpha + resample::working_bytes(shape, &geometry, kernel(args));
    Ok(Cost::new(result, working_bytes))
}

fn apply(raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    let geometry = geometry_of(raster.size(), args);
    let raster = if geometry.resamples() { scaled(raster, &geometry, kernel(args), context)? } else { raster };
    if geometry.pads() { padded(raster, geometry.result, background(args)) } else { Ok(raster) }
}

/// Scales; opaque alpha costs nothing.
fn scaled(raster: Raster, geometry: &Geometry, kernel: Kernel, context: &Context<'_>) -> Result<Raster, Error> {
    let channels = raster.channels();
    if !channels.alpha() || !color::opaque(&raster) {
        return resample::resampled(&raster, geometry, kernel, Light::Linear, context.watch);
    }
    let opaque = if channels.gray() { Channels::Gray } else { Channels::Rgb };
    let raster = color::to_channels(raster, opaque)?;
    color::to_channels(resample::resampled(&raster, geometry, kernel, Light::Linear, context.watch)?, channels)
}

/// A part of an image that is brought to another size: of masks and overlays only what is seen is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    /// The size of the whole image after scaling, enlarged and out of proportion if it must be.
    pub scaled: Size,
    /// The window's left upper corner in it.
    pub at: (u32, u32),
    /// The window's size.
    pub size: Size,
}

/// What another image holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Colours: Lanczos3 in linear light.
    Picture,
    /// The coverage of a mask: a triangle kernel on plain values, since one with negative lobes would leave holes in what the
    /// mask covers and ghosts in what it does not.
    Coverage,
}

impl Content {
    fn sampling(self) -> (Kernel, Light) {
        match self {
            Content::Picture => (Kernel::Lanczos3, Light::Linear),
            Content::Coverage => (Kernel::Linear, Light::Plain),
        }
    }
}

/// Makes `window` of an image.
pub(super) fn windowed(raster: &Raster, window: Window, content: Content, watch: &Watch) -> Result<Raster, Error> {
    let geometry = Geometry::window(raster.size(), window.scaled, window.at, window.size);
    let (kernel, light) = content.sampling();
    resample::resampled(raster, &geometry, kernel, light, watch)
}

/// Bytes of what [`windowed`] makes of an image of this shape, and of what it holds meanwhile.
pub(super) fn windowed_bytes(image: Shape, window: Window, content: Content) -> u64 {
    let geometry = Geometry::window(image.size, window.scaled, window.at, window.size);
    let made = Shape { size: window.size, ..image }.bytes();
    made.saturating_add(resample::working_bytes(image, &geometry, content.sampling().0))
}

/// The size that a decoder may go down to when this resize is the first to see pixels, and the arguments of the resizes that
/// make of whatever it gives what this one makes of the whole image. `None` where only the whole image will do.
///
/// Twice the scaled size is kept: a decoder's own scaling is a box filter, whose softness and aliasing the resampler then hides.
pub(in crate::pipeline) fn shrunk(source: Size, args: &Args) -> Option<(Size, Vec<Args>)> {
    let geometry = geometry_of(source, args);
    let at_least = Size::new(geometry.uncropped.w.saturating_mul(2), geometry.uncropped.h.saturating_mul(2));
    if kernel(args) == Kernel::Nearest || at_least.w >= source.w || at_least.h >= source.h {
        return None;
    }
    // A decoder rounds: sizes can no longer be read off the ratio of what it gives.
    let fit = if geometry.crops() { "cover" } else { "fill" };
    let (w, h) = (i64::from(geometry.scaled.w), i64::from(geometry.scaled.h));
    let exact = args.clone().with("width", Value::Number(w)).with("height", Value::Number(h));
    let mut resizes = vec![exact.with("fit", Value::Word(fit))];
    if geometry.pads() {
        resizes.push(args.clone());
    }
    Some((at_least, resizes))
}

/// Arguments that scale a result down into a square of `side`, aspect kept.
pub(in crate::pipeline) fn inside_square(side: u32) -> Args {
    let side = || Value::Number(i64::from(side));
    Args::defaults(OPERATION.params).with("width", side()).with("height", side())
}

fn geometry_of(source: Size, args: &Args) -> Geometry {
    // The kind holds sides within 65535.
    let side = |name| args.number(name).map(|side| side as u32);
    let fit = match args.word("fit") {
        Some("cover") => Fit::Cover,
        Some("contain") => Fit::Contain,
        Some("fill") => Fit::Fill,
        Some("outside") => Fit::Outside,
        _ => Fit::Inside,
    };
    Geometry::new(source, Box { w: side("width"), h: side("height") }, fit, args.flag("enlarge"))
}

fn kernel(args: &Args) -> Kernel {
    match args.word("kernel") {
        Some("mitchell") => Kernel::Mitchell,
        Some("cubic") => Kernel::Cubic,
        Some("linear") => Kernel::Linear,
        Some("nearest") => Kernel::Nearest,
        _ => Kernel::Lanczos3,
    }
}

fn background(args: &Args) -> [u8; 4] {
    args.color("background").unwrap_or([255; 4])
}

/// The channels that hold both the image and its padding.
fn padded_channels(channels: Channels, [r, g, b, a]: [u8; 4]) -> Channels {
    match (channels.gray() && r == g && g == b, channels.alpha() || a < 255) {
        (true, false) => Channels::Gray,
        (true, true) => Channels::GrayAlpha,
        (false, false) => Channels::Rgb,
        (false, true) => Channels::Rgba,
    }
}

/// Centres a raster on a canvas of `background`.
fn padded(raster: Raster, canvas: Size, background: [u8; 4]) -> Result<Raster, Error> {
    let channels = padded_channels(raster.channels(), background);
    let raster = color::to_channels(raster, channels)?;
    let size = raster.size();
    let [r, g, b, a] = background;
    let pixel = match channels {
        Channels::Gray => vec![r],
        Channels::GrayAlpha => vec![r, a],
        Channels::Rgb => vec![r, g, b],
        _ => vec![r, g, b, a],
    };
    let samples = match raster.into_samples() {
        Samples::U8(samples) => Samples::U8(centred(&samples, size, canvas, &pixel)?),
        Samples::U16(samples) => {
            let pixel: Vec<u16> = pixel.into_iter().map(|v| u16::from(v) * 257).collect();
            Samples::U16(centred(&samples, size, canvas, &pixel)?)
        }
    };
    Ok(Raster::new(canvas, channels, samples))
}

fn centred<S: color::Sample>(samples: &[S], size: Size, canvas: Size, pixel: &[S]) -> Result<Vec<S>, Error> {
    let count = pixel.len();
    let mut target = crate::pipeline::raster::try_zeroed(canvas.pixels() as usize * count)?;
    target.chunks_exact_mut(count).for_each(|target| target.copy_from_slice(pixel));
    let (left, top) = ((canvas.w - size.w) / 2, (canvas.h - size.h) / 2);
    let rows = target.chunks_exact_mut(canvas.w as usize * count).skip(top as usize);
    for (target, source) in rows.zip(samples.chunks_exact(size.w as usize * count)) {
        let left = left as usize * count;
        target[left..left + source.len()].copy_from_slice(source);
    }
    Ok(target)
}
