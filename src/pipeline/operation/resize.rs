//! `resize`: scales, crops or pads to a size. The geometry is in [`geometry`], the pixels are in [`resample`], the subject of a
//! crop is found in [`focus`], and [`part`] is what is left of a crop and a resize once a decoder has shrunk.

mod anchor;
mod focus;
mod geometry;
mod part;
mod resample;

use super::canvas::{Rect, WHITE, channels_with, laid};
use super::{Context, Cost, Operation, crop, gravity};
use crate::pipeline::invalid::{conflict, invalid, missing};
use crate::pipeline::param::{Args, Kind, Param, Value};
use crate::pipeline::plan::Step;
use crate::pipeline::{Channels, Error, Raster, Shape, Size, Watch, color};
use anchor::Anchor;
pub(super) use geometry::by_width;
use geometry::{Box, Fit, Geometry};
pub(in crate::pipeline) use part::shrunk;
use resample::{Kernel, Light};

const SIDE_MAX: i64 = 65_535;
const SIDE: Kind = Kind::Integer { min: 1, max: SIDE_MAX, step: 1, unit: "px" };
const KERNELS: &[&str] = &["lanczos3", "mitchell", "cubic", "linear", "nearest"];

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
            name: "aspect",
            keys: &["aspect", "ar"],
            kind: Kind::Ratio,
            default: None,
            doc: "Ratio of the box: with one side it gives the other; with neither the image is cropped to it, not scaled.",
        },
        Param {
            name: "dpr",
            keys: &["dpr"],
            kind: Kind::Decimal { min: 100, max: 400, places: 2, unit: "" },
            default: Some(Value::Number(DPR_ONE)),
            doc: "Device pixels per CSS pixel: multiplies width and height.",
        },
        Param {
            name: "fit",
            keys: &["fit"],
            kind: Kind::Choice(&["inside", "cover", "contain", "fill", "outside"]),
            default: Some(Value::Word("inside")),
            doc: "With both sides given: `inside` the box; `cover` it, cropped; `contain`ed in it, padded with `background`; \
                  `fill` it, out of proportion; no smaller than it (`outside`).",
        },
        Param {
            name: "gravity",
            keys: &["gravity", "g"],
            kind: Kind::Gravity(gravity::WORDS),
            default: Some(Value::Word("center")),
            doc: "What a crop is centred on, as far as there is room, and where a `contain`ed image stands. When cropping, `entropy` \
                  keeps what has most detail and `attention` the likely subject: edges, skin, saturated colour (after libvips' \
                  smartcrop and smartcrop.js).",
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
            kind: Kind::Choice(KERNELS),
            default: Some(Value::Word("lanczos3")),
            doc: "The resampling kernel; `cubic` is Catmull-Rom.",
        },
        Param {
            name: "background",
            keys: &["background", "bg"],
            kind: Kind::Color,
            default: Some(Value::Color(WHITE)),
            doc: "The colour of the padding of `contain`.",
        },
    ],
    example: "w=300&h=200&fit=cover&gravity=attention",
    revision: 3,
    canonical,
    look: Some(look),
    plan,
    apply,
};

/// `dpr` of 1.
const DPR_ONE: i64 = 100;

/// `dpr` and a ratio beside a side are worked out. Without a side and a ratio nothing is asked for; without both sides there is one
/// way to fit; only what crops or pads has a gravity, and only `contain` shows a background.
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

/// Place of `dpr` in the table.
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

/// Whether a part may be left out.
fn crops(args: &Args) -> bool {
    args.word("fit") == Some("cover") || args.has("aspect")
}

/// Whether the place of the crop is left to the pixels.
fn seeks(args: &Args) -> bool {
    matches!(args.word("gravity"), Some("entropy" | "attention"))
}

fn look(raster: &Raster, args: &Args, context: &Context<'_>) -> Result<Step, Error> {
    let target = geometry_of(raster.size(), args).scaled;
    Ok((&OPERATION, with_subject(raster, crop::whole(raster.size()), target, args, context)?))
}

/// The same with a point in `part` instead of a word that leaves it to the pixels.
fn with_subject(raster: &Raster, part: Rect, target: Size, args: &Args, context: &Context<'_>) -> Result<Args, Error> {
    let anchor = match args.word("gravity") {
        Some("entropy") => focus::busiest(raster, part, target, context.watch)?,
        Some("attention") => focus::subject(raster, part, target, context.watch)?,
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

/// What [`plan`] says at most of any size within that of `most`. A bound, as simple as it can be: a side that is not asked for
/// is as long as the narrowest source would make it.
pub(in crate::pipeline) fn at_most(most: Shape, args: &Args) -> Cost {
    let scales = !args.has("aspect");
    let asked = Box { w: side(args, "width").filter(|_| scales), h: side(args, "height").filter(|_| scales) };
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

/// Bytes that [`scaled`] holds beside source and result.
fn working_bytes(shape: Shape, geometry: &Geometry, kernel: Kernel) -> u64 {
    // Where alpha is opaque it is taken away before and given back after.
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

/// Scales; opaque alpha costs nothing.
fn scaled(raster: Raster, geometry: &Geometry, kernel: Kernel, context: &Context<'_>) -> Result<Raster, Error> {
    let channels = raster.channels();
    if !geometry.resamples() {
        return Ok(raster);
    }
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

/// Arguments that scale a result down into a box, aspect kept.
pub(in crate::pipeline) fn inside(most: Size) -> Args {
    let side = |px| Value::Number(i64::from(px));
    Args::defaults(OPERATION.params).with("width", side(most.w)).with("height", side(most.h))
}

fn geometry_of(source: Size, args: &Args) -> Geometry {
    let anchor = Anchor::of(args);
    if let Some(Value::Ratio(w, h)) = args.get("aspect") {
        return Geometry::of_ratio(source, Size::new(*w, *h), anchor);
    }
    let asked = Box { w: side(args, "width"), h: side(args, "height") };
    Geometry::new(source, asked, fit(args), anchor, args.flag("enlarge"))
}

fn side(args: &Args, name: &str) -> Option<u32> {
    // The kind holds sides within 65535.
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
