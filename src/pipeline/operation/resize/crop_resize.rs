//! Replacement for a leading crop and a resize after a decoder has shrunk the image: one step that scales the cropped
//! part of the smaller image to the planned size. The edges of the crop may fall between pixels; nothing is rounded.
//!
//! Not in the table of operations, since only a plan makes it.

use super::anchor::Anchor;
use super::geometry::{Geometry, Region, on_grid};
use super::{KERNELS, Kernel, OPERATION, crops, geometry_of, kernel, scaled, with_subject, working_bytes};
use crate::pipeline::operation::canvas::{Rect, cut};
use crate::pipeline::operation::{Context, Cost, Operation, gravity};
use crate::pipeline::param::{Args, Kind, Param, Value};
use crate::pipeline::plan::Step;
use crate::pipeline::{Error, Raster, Shape, Size};

const SIDE: Kind = Kind::Integer { min: 0, max: u32::MAX as i64, step: 1, unit: "px" };

const fn side(name: &'static str) -> Param {
    Param { name, keys: &[], kind: SIDE, default: None, doc: "" }
}

static CROP_RESIZE: Operation = Operation {
    name: "crop_resize",
    doc: "A crop and a resize of a shrunk image.",
    params: &[
        // Size of the image that the crop refers to.
        side("of_width"),
        side("of_height"),
        // Part to keep.
        side("x"),
        side("y"),
        side("width"),
        side("height"),
        // Size of the result.
        side("to_width"),
        side("to_height"),
        // Whether the crop is reduced to the ratio of the result; otherwise all of it is scaled.
        Param { name: "cover", keys: &[], kind: Kind::Flag, default: Some(Value::Flag(false)), doc: "" },
        Param {
            name: "gravity",
            keys: &[],
            kind: Kind::Gravity(gravity::WORDS),
            default: Some(Value::Word("center")),
            doc: "",
        },
        Param {
            name: "kernel",
            keys: &[],
            kind: Kind::Choice(KERNELS),
            default: Some(Value::Word("lanczos3")),
            doc: "",
        },
    ],
    example: "",
    // No key contains this revision, since a plan makes the step after the key: raise those of `resize` and `crop`.
    revision: 0,
    canonical: |args| Ok(Some(args)),
    resolve: Some(resolve),
    plan,
    apply,
};

/// Smallest size to which a decoder may shrink an image before this crop and this resize, and the steps that replace
/// them at any size. `None` if only the whole image will do.
///
/// Twice the scaled size is kept: decoders scale with a box filter, whose softness and aliasing the resampler then
/// hides.
pub(in crate::pipeline) fn shrunk(whole: Size, crop: Rect, args: &Args) -> Option<(Size, Vec<Step>)> {
    let geometry = geometry_of(crop.size, args);
    let twice = |scaled: u32, of: u32, crop: u32| {
        u32::try_from((u64::from(scaled) * 2 * u64::from(of)).div_ceil(u64::from(crop))).unwrap_or(u32::MAX)
    };
    let w = twice(geometry.uncropped.w, whole.w, crop.size.w);
    let h = twice(geometry.uncropped.h, whole.h, crop.size.h);
    if kernel(args) == Kernel::Nearest || w >= whole.w || h >= whole.h {
        return None;
    }
    let sides = [
        ("of_width", whole.w),
        ("of_height", whole.h),
        ("x", crop.x),
        ("y", crop.y),
        ("width", crop.size.w),
        ("height", crop.size.h),
        ("to_width", geometry.scaled.w),
        ("to_height", geometry.scaled.h),
    ];
    let part = Args::defaults(CROP_RESIZE.params);
    let mut part = sides.into_iter().fold(part, |part, (name, px)| part.with(name, Value::Number(px.into())));
    part = part.with("cover", Value::Flag(crops(args)));
    for name in ["gravity", "kernel"] {
        part = args.get(name).cloned().into_iter().fold(part, |part, value| part.with(name, value));
    }
    let padding = geometry.pads().then(|| (&OPERATION, args.clone()));
    Some((Size::new(w, h), std::iter::once((&CROP_RESIZE, part)).chain(padding).collect()))
}

fn target(args: &Args) -> Size {
    // Arguments written by `shrunk`.
    let side = |name| args.number(name).unwrap_or(1) as u32;
    Size::new(side("to_width"), side("to_height"))
}

/// The crop in an image of `size`: the whole pixels that contain it, and its region in them.
fn crop_in(size: Size, args: &Args) -> (Rect, Region) {
    let px = |name| args.number(name).unwrap_or(1) as f64;
    let span = |start, length, of, side: u32| {
        let edge = |at: f64| on_grid(at * f64::from(side) / px(of));
        let (start, end) = (edge(px(start)), edge(px(start) + px(length)));
        let first = start.floor();
        (first as u32, (end.ceil() - first) as u32, start - first, end - start)
    };
    let (left, columns, x, w) = span("x", "width", "of_width", size.w);
    let (top, rows, y, h) = span("y", "height", "of_height", size.h);
    (Rect { x: left, y: top, size: Size::new(columns, rows) }, Region { x, y, w, h })
}

/// The part to cut out first, and the geometry of scaling it.
fn geometry(size: Size, args: &Args) -> (Rect, Geometry) {
    let (part, region) = crop_in(size, args);
    let scaled = target(args);
    let region = if args.flag("cover") { region.covering(scaled, Anchor::of(args)) } else { region };
    (part, Geometry { source: part.size, region, scaled, uncropped: scaled, result: scaled })
}

fn resolve(raster: &Raster, args: &Args, context: &Context<'_>) -> Result<Step, Error> {
    let (part, _) = crop_in(raster.size(), args);
    Ok((&CROP_RESIZE, with_subject(raster, part, target(args), args, context)?))
}

fn plan(shape: Shape, args: &Args) -> Result<Cost, Error> {
    let (part, geometry) = geometry(shape.size, args);
    let cut = Shape { size: part.size, ..shape };
    let cutting = if cut == shape { 0 } else { cut.bytes() };
    // The part that was cut out replaces the source.
    let working_bytes = cutting.max(working_bytes(cut, &geometry, kernel(args)));
    Ok(Cost::new(Shape { size: geometry.result, ..shape }, working_bytes))
}

fn apply(raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    let (part, geometry) = geometry(raster.size(), args);
    scaled(cut(raster, part)?, &geometry, kernel(args), context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::operation::crop;
    use crate::pipeline::{Channels, Deadline, Samples};
    use std::collections::HashMap;

    /// Checks that the step equals crop and resize if the image was not shrunk: pixels outside the crop have no
    /// effect.
    #[test]
    fn of_a_whole_image_it_is_crop_and_resize() {
        let size = Size::new(64, 48);
        let samples = (0..size.pixels() * 3).map(|at| (at * 7919 % 251) as u8).collect();
        let raster = Raster::new(size, Channels::Rgb, Samples::U8(samples));
        let context = Context { deadline: &Deadline::default(), images: &HashMap::new() };
        let crop = Rect { x: 5, y: 7, size: Size::new(41, 33) };
        for asked in [
            "width=9",
            "width=7&height=7&fit=cover&gravity=southeast",
            "height=9&width=9&fit=contain&gravity=north",
            "width=9&height=4&fit=cover&gravity=attention",
        ] {
            let args = Args::parse(OPERATION.params, asked).expect("valid");
            let (at_least, steps) = shrunk(size, crop, &args).expect("small");
            assert!(at_least.w < size.w && at_least.h < size.h);
            let run = |raster: Raster, steps: &[Step]| {
                steps.iter().fold(raster, |raster, (operation, args)| {
                    let resolved = operation.resolve.map(|resolve| resolve(&raster, args, &context).expect("small"));
                    let (operation, args) = resolved.unwrap_or((operation, args.clone()));
                    (operation.apply)(raster, &args, &context).expect("small")
                })
            };
            let expected = run(raster.clone(), &[(&crop::OPERATION, crop::args_of(crop)), (&OPERATION, args)]);
            assert_eq!(run(raster.clone(), &steps), expected, "{asked}");
        }
    }

    #[test]
    fn edges_of_a_crop_fall_between_the_pixels_of_a_shrunk_image() {
        let args = Args::parse(OPERATION.params, "width=9").expect("valid");
        let crop = Rect { x: 9, y: 6, size: Size::new(50, 42) };
        let (_, steps) = shrunk(Size::new(80, 48), crop, &args).expect("small");
        let (part, region) = crop_in(Size::new(20, 12), &steps[0].1);
        assert_eq!(part, Rect { x: 2, y: 1, size: Size::new(13, 11) });
        assert_eq!(region, Region { x: 0.25, y: 0.5, w: 12.5, h: 10.5 });
    }
}
