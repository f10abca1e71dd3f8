//! `crop`: keeps a part of the image. Moves pixels and computes none.

use super::canvas::{Rect, cut};
use super::{Cost, Operation, with_firsts};
use crate::pipeline::invalid::invalid;
use crate::pipeline::param::{Args, Kind, Param, Value};
use crate::pipeline::{Error, Shape, Size};

const LENGTH: Kind = Kind::Length { px_max: 65_535 };

pub(in crate::pipeline) static OPERATION: Operation = Operation {
    name: "crop",
    doc: "Keeps a part of the image, clipped to it; a part entirely outside is refused. Applied before resizing.",
    params: &[
        Param {
            name: "x",
            keys: &["crop"],
            kind: LENGTH,
            default: None,
            doc: "Left edge of the part, in pixels or in percent of the image's width (`%25` in a URL). In a query all \
                  four values are required: `crop=x,y,width,height`.",
        },
        Param {
            name: "y",
            keys: &[],
            kind: LENGTH,
            default: None,
            doc: "Top edge, in pixels or in percent of the image's height.",
        },
        Param {
            name: "width",
            keys: &[],
            kind: LENGTH,
            default: None,
            doc: "Width, in pixels or in percent of the image's width; more than 0, at least one pixel.",
        },
        Param {
            name: "height",
            keys: &[],
            kind: LENGTH,
            default: None,
            doc: "Height, in pixels or in percent of the image's height; more than 0, at least one pixel.",
        },
    ],
    example: "crop=40,20,320,240",
    revision: 1,
    canonical,
    resolve: None,
    plan: |shape, args| Ok(Cost::new(Shape { size: part(shape.size, args)?.size, ..shape }, 0)),
    apply: |raster, args, _| {
        let part = part(raster.size(), args)?;
        cut(raster, part)
    },
};

/// Canonical arguments: keeping the whole image changes nothing.
fn canonical(args: Args) -> Result<Option<Args>, Error> {
    let Some(mut args) = with_firsts(args, 4)? else { return Ok(None) };
    if let Some(name) = ["width", "height"].into_iter().find(|name| is_zero(args.get(name))) {
        return Err(invalid(name, "0", format!("a part with a {name} of more than 0")));
    }
    for name in ["x", "y"] {
        if is_zero(args.get(name)) {
            args = args.with(name, Value::Number(0));
        }
    }
    Ok(Some(args).filter(|args| !is_whole(args)))
}

fn is_zero(value: Option<&Value>) -> bool {
    matches!(value, Some(Value::Number(0) | Value::Share(0)))
}

fn is_whole(args: &Args) -> bool {
    let whole = Some(&Value::Share(WHOLE));
    ["x", "y"].iter().all(|name| is_zero(args.get(name))) && args.get("width") == whole && args.get("height") == whole
}

/// Value of 100 %, in ten-thousandths.
const WHOLE: u32 = 10_000;

/// Arguments that keep `part`.
pub(super) fn args_of(part: Rect) -> Args {
    let px = |px: u32| Value::Number(i64::from(px));
    let corner = Args::defaults(OPERATION.params).with("x", px(part.x)).with("y", px(part.y));
    corner.with("width", px(part.size.w)).with("height", px(part.size.h))
}

/// The part that is the whole image.
pub(in crate::pipeline) fn whole(size: Size) -> Rect {
    Rect { x: 0, y: 0, size }
}

/// The part that is kept of an image of this size.
///
/// Errors: [`Error::CropOutside`] if it lies wholly outside.
pub(in crate::pipeline) fn part(of: Size, args: &Args) -> Result<Rect, Error> {
    let (x, w) = span(of.w, args.get("x"), args.get("width"))?;
    let (y, h) = span(of.h, args.get("y"), args.get("height"))?;
    Ok(Rect { x, y, size: Size::new(w, h) })
}

fn span(side: u32, start: Option<&Value>, length: Option<&Value>) -> Result<(u32, u32), Error> {
    let start = match start {
        // A share below 100 % can be rounded to the edge; the last pixel is still inside.
        Some(Value::Share(share)) if *share < WHOLE => pixels(side, start).min(side - 1),
        _ => pixels(side, start),
    };
    if start >= side {
        return Err(Error::CropOutside);
    }
    Ok((start, pixels(side, length).clamp(1, side - start)))
}

/// A length in pixels; shares are rounded.
fn pixels(side: u32, length: Option<&Value>) -> u32 {
    let share = |share: u32| (u64::from(side) * u64::from(share) * 2 + u64::from(WHOLE)) / (u64::from(WHOLE) * 2);
    match length {
        // The parameter's kind keeps both within u32.
        Some(Value::Number(px)) => *px as u32,
        Some(Value::Share(of)) => share(*of) as u32,
        _ => 0,
    }
}
