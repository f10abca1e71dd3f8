//! `resize`: scales, crops or pads to a size. [`geometry`] computes sizes and [`resample`] pixels; [`smartcrop`]
//! finds the subject of a crop. [`crop_resize`] replaces a crop and a resize after a decoder has shrunk the image.

mod anchor;
mod crop_resize;
mod fine;
mod geometry;
mod resample;
mod smartcrop;

use super::canvas::{Rect, WHITE, channels_with, laid};
use super::{Context, Cost, Operation, crop, gravity};
use crate::pipeline::invalid::{conflict, invalid, missing};
use crate::pipeline::param::{Args, Kind, Param, Value};
use crate::pipeline::plan::Step;
use crate::pipeline::{Channels, Deadline, Error, Raster, Shape, Size, color};
use anchor::Anchor;
pub(in crate::pipeline) use crop_resize::shrunk;
pub(super) use geometry::by_width;
use geometry::{Fit, Geometry, TargetBox};
use resample::{Kernel, Light};

const SIDE_MAX: i64 = 65_535;
const SIDE: Kind = Kind::Integer { min: 1, max: SIDE_MAX, step: 1, unit: "px" };
const KERNELS: &[&str] = &["lanczos3", "mitchell", "cubic", "linear", "nearest"];

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "resize",
    doc: "Scales the image in linear light; never enlarges unless `enlarge` is set.",
    params: &[
        Param {
            name: "width",
            keys: &["width", "w"],
            kind: SIDE,
            default: None,
            doc: "Width of the box. Without it, the height alone determines the scale.",
        },
        Param {
            name: "height",
            keys: &["height", "h"],
            kind: SIDE,
            default: None,
            doc: "Height of the box. Without it, the width alone determines the scale.",
        },
        Param {
            name: "aspect",
            keys: &["aspect", "ar"],
            kind: Kind::Ratio,
            default: None,
            doc: "Aspect ratio of the box. With one side given, it determines the other; with neither, the image is \
                  cropped to the ratio and not scaled.",
        },
        Param {
            name: "dpr",
            keys: &["dpr"],
            kind: Kind::Decimal { min: 100, max: 400, places: 2, unit: "" },
            default: Some(Value::Number(DPR_ONE)),
            doc: "Device pixels per CSS pixel; multiplies width and height.",
        },
        Param {
            name: "fit",
            keys: &["fit"],
            kind: Kind::Choice(&["inside", "cover", "contain", "fill", "outside"]),
            default: Some(Value::Word("inside")),
            doc: "Fit of the image to a box with both sides. `inside`: no larger than the box; `cover`: fills the box, \
                  cropped; `contain`: fits in the box, padded with `background`; `fill`: fills the box, distorted; \
                  `outside`: no smaller than the box.",
        },
        Param {
            name: "gravity",
            keys: &["gravity", "g"],
            kind: Kind::Gravity(gravity::WORDS),
            default: Some(Value::Word("center")),
            doc: "Centre of a crop, as far as there is room, and position of a `contain`ed image. `entropy` crops to the \
                  part with most detail, `attention` to the likely subject: edges, skin and saturated colours (after \
                  libvips' smartcrop and smartcrop.js).",
        },
        Param {
            name: "enlarge",
            keys: &["enlarge"],
            kind: Kind::Flag,
            default: Some(Value::Flag(false)),
            doc: "Allows results with more pixels than the source.",
        },
        Param {
            name: "kernel",
            keys: &["kernel"],
            kind: Kind::Choice(KERNELS),
            default: Some(Value::Word("lanczos3")),
            doc: "Resampling kernel; `cubic` is Catmull-Rom.",
        },
        Param {
            name: "background",
            keys: &["background", "bg"],
            kind: Kind::Color,
            default: Some(Value::Color(WHITE)),
            doc: "Colour of the padding of `contain`.",
        },
    ],
    example: "w=300&h=200&fit=cover&gravity=attention",
    revision: 4,
    canonical,
    resolve: Some(resolve),
    plan,
    apply,
};

/// Value of `dpr` for 1.
const DPR_ONE: i64 = 100;

/// Canonical arguments: `dpr`, and a ratio with one side, are computed into sides. Without a side and a ratio nothing
/// is done; without both sides the fit has no effect; only crops and padding have a gravity, and only `contain` has a
/// background.
fn canonical(args: Args) -> Result<Option<Args>, Error> {
    if args.are_defaults() {
        let words = format!("{}, unless there is a height or an aspect", SIDE.in_words());
        return Err(missing("width", SIDE.allowed()).must_be(words));
    }
    let mut args = with_ratio(with_dpr(args)?)?;
    let sides = ["width", "height"].into_iter().filter(|side| args.has(side)).count();
    if sides < 2 {
        args.reset("fit");
    }
    if sides == 0 {
        args.reset("enlarge");
        args.reset("kernel");
    }
    let contains = args.word("fit") == Some("contain");
    if !contains {
        args.reset("background");
    }
    if !crops(&args) && (!contains || seeks(&args)) {
        args.reset("gravity");
    }
    if !seeks(&args) {
        let anchor = Anchor::of(&args);
        args = args.with("gravity", anchor.value());
    }
    Ok(Some(args).filter(|args| sides > 0 || args.has("aspect")))
}

fn with_dpr(mut args: Args) -> Result<Args, Error> {
    let dpr = args.number("dpr").unwrap_or(DPR_ONE);
    args.reset("dpr");
    for name in ["width", "height"] {
        let Some(side) = args.number(name) else { continue };
        let side = (side * dpr + DPR_ONE / 2) / DPR_ONE;
        if side > SIDE_MAX {
            let allowed = format!("a factor that makes the {name} at most {SIDE_MAX} px");
            return Err(invalid("dpr", &OPERATION.params[DPR].kind.print(&Value::Number(dpr)), allowed));
        }
        args = args.with(name, Value::Number(side));
    }
    Ok(args)
}

/// Index of `dpr` in the parameters.
const DPR: usize = 3;

fn with_ratio(mut args: Args) -> Result<Args, Error> {
    let Some(Value::Ratio(w, h)) = args.get("aspect").cloned() else { return Ok(args) };
    let refused = |allowed: String| invalid("aspect", &format!("{w}:{h}"), allowed);
    let (name, side, of) = match (args.number("width"), args.number("height")) {
        (None, None) => return Ok(args),
        (Some(_), Some(_)) => return Err(conflict("aspect", &format!("{w}:{h}"), "width and height both")),
        (Some(width), None) => ("height", width * i64::from(h), i64::from(w)),
        (None, Some(height)) => ("width", height * i64::from(w), i64::from(h)),
    };
    let side = ((2 * side + of) / (2 * of)).max(1);
    if side > SIDE_MAX {
        return Err(refused(format!("a ratio that makes a {name} of at most {SIDE_MAX} px")));
    }
    args.reset("aspect");
    Ok(args.with(name, Value::Number(side)))
}

/// Whether the fit can crop the image.
fn crops(args: &Args) -> bool {
    args.word("fit") == Some("cover") || args.has("aspect")
}

/// Whether the position of the crop depends on the pixels.
fn seeks(args: &Args) -> bool {
    matches!(args.word("gravity"), Some("entropy" | "attention"))
}

fn resolve(raster: &Raster, args: &Args, context: &Context<'_>) -> Result<Step, Error> {
    let target = geometry_of(raster.size(), args).scaled;
    Ok((&OPERATION, with_subject(raster, crop::whole(raster.size()), target, args, context)?))
}

/// Replaces a gravity that depends on pixels by the point found in `part`.
fn with_subject(raster: &Raster, part: Rect, target: Size, args: &Args, context: &Context<'_>) -> Result<Args, Error> {
    let anchor = match args.word("gravity") {
        Some("entropy") => smartcrop::busiest(raster, part, target, context.deadline)?,
        Some("attention") => smartcrop::subject(raster, part, target, context.deadline)?,
        _ => return Ok(args.clone()),
    };
    Ok(args.clone().with("gravity", anchor.value()))
}

fn plan(shape: Shape, args: &Args) -> Result<Cost, Error> {
    let geometry = geometry_of(shape.size, args);
    let channels = if geometry.pads() { channels_with(shape.channels, background(args)) } else { shape.channels };
    let scaled = Shape { size: geometry.scaled, ..shape };
    let result = Shape { size: geometry.result, channels, ..shape };
    let padding = if geometry.pads() { scaled.bytes() + Shape { channels, ..scaled }.bytes() } else { 0 };
    Ok(Cost::new(result, padding + working_bytes(shape, &geometry, kernel(args))))
}

/// Upper bound on [`plan`] for any source within the size of `most`. Kept simple: a side that is not given is assumed
/// as long as the narrowest source would make it.
pub(in crate::pipeline) fn at_most(most: Shape, args: &Args) -> Cost {
    let scales = !args.has("aspect");
    let asked = TargetBox { w: side(args, "width").filter(|_| scales), h: side(args, "height").filter(|_| scales) };
    let fit = fit(args);
    let channels = if fit == Fit::Contain { channels_with(most.channels, background(args)) } else { most.channels };
    let size = geometry::at_most(most.size, asked, fit, args.flag("enlarge"));
    let (scaled, result) = (Shape { size, ..most }, Shape { size, channels, ..most });
    let padding = if fit == Fit::Contain { scaled.bytes().saturating_add(result.bytes()) } else { 0 };
    let without_alpha = if most.channels.alpha() { most.bytes().saturating_add(scaled.bytes()) } else { 0 };
    let resampling =
        resample::working_bytes_at_most(most, size, geometry::shrinks_at_most(most.size, asked), kernel(args));
    let working_bytes = padding.saturating_add(without_alpha).saturating_add(resampling);
    Cost { shape: result, working_bytes, at_most: true }
}

/// Bytes that [`scaled`] holds in addition to source and result.
fn working_bytes(shape: Shape, geometry: &Geometry, kernel: Kernel) -> u64 {
    // Opaque alpha is removed before scaling and added after it.
    let scaled = Shape { size: geometry.scaled, ..shape };
    let without_alpha = if shape.channels.alpha() { shape.bytes() + scaled.bytes() } else { 0 };
    without_alpha + resample::working_bytes(shape, geometry, kernel)
}

fn apply(raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    let geometry = geometry_of(raster.size(), args);
    let raster = scaled(raster, &geometry, kernel(args), context)?;
    if !geometry.pads() {
        return Ok(raster);
    }
    let corner = Anchor::of(args).corner(geometry.scaled, geometry.result);
    laid(raster, geometry.result, corner, background(args))
}

/// Scales a raster; opaque alpha costs nothing.
fn scaled(raster: Raster, geometry: &Geometry, kernel: Kernel, context: &Context<'_>) -> Result<Raster, Error> {
    let channels = raster.channels();
    if !geometry.resamples() {
        return Ok(raster);
    }
    if !channels.alpha() || !color::opaque(&raster) {
        return resample::resampled(&raster, geometry, kernel, Light::Linear, context.deadline);
    }
    let opaque = if channels.gray() { Channels::Gray } else { Channels::Rgb };
    let raster = color::to_channels(raster, opaque)?;
    color::to_channels(resample::resampled(&raster, geometry, kernel, Light::Linear, context.deadline)?, channels)
}

/// A part of a scaled image, so that only the visible parts of masks and overlays are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ScaledPart {
    /// Size of the whole image after scaling, enlarged and distorted if necessary.
    pub scaled: Size,
    /// Upper left corner of the window in the scaled image.
    pub at: (u32, u32),
    /// Size of the window.
    pub size: Size,
}

/// Meaning of another image's samples.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Colours, scaled with Lanczos3 in linear light.
    Picture,
    /// Coverage of a mask, scaled with a triangle kernel on plain values: negative lobes would leave holes inside the
    /// mask and ghosts outside.
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

/// Computes `window` of an image.
pub(super) fn windowed(
    raster: &Raster,
    window: ScaledPart,
    content: Content,
    deadline: &Deadline,
) -> Result<Raster, Error> {
    let geometry = Geometry::window(raster.size(), window.scaled, window.at, window.size);
    let (kernel, light) = content.sampling();
    resample::resampled(raster, &geometry, kernel, light, deadline)
}

/// Bytes of the result of [`windowed`] for an image of this shape, and of the memory held meanwhile.
pub(super) fn windowed_bytes(image: Shape, window: ScaledPart, content: Content) -> u64 {
    let geometry = Geometry::window(image.size, window.scaled, window.at, window.size);
    let made = Shape { size: window.size, ..image }.bytes();
    made.saturating_add(resample::working_bytes(image, &geometry, content.sampling().0))
}

/// Arguments that scale a result down into a box and keep its aspect ratio.
pub(in crate::pipeline) fn inside(most: Size) -> Args {
    let side = |px| Value::Number(i64::from(px));
    Args::defaults(OPERATION.params).with("width", side(most.w)).with("height", side(most.h))
}

fn geometry_of(source: Size, args: &Args) -> Geometry {
    let anchor = Anchor::of(args);
    if let Some(Value::Ratio(w, h)) = args.get("aspect") {
        return Geometry::of_ratio(source, Size::new(*w, *h), anchor);
    }
    let asked = TargetBox { w: side(args, "width"), h: side(args, "height") };
    Geometry::new(source, asked, fit(args), anchor, args.flag("enlarge"))
}

fn side(args: &Args, name: &str) -> Option<u32> {
    // The parameter's kind keeps sides within 65535.
    args.number(name).map(|side| side as u32)
}

fn fit(args: &Args) -> Fit {
    match args.word("fit") {
        Some("cover") => Fit::Cover,
        Some("contain") => Fit::Contain,
        Some("fill") => Fit::Fill,
        Some("outside") => Fit::Outside,
        _ => Fit::Inside,
    }
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
    args.color("background").unwrap_or(WHITE)
}
