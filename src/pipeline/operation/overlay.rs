//! `overlay`: draws another image on this one. Its position is computed in [`place`], the mixing of colours in
//! [`blend`].

mod blend;
mod place;

use super::resize::{Content, by_width, windowed, windowed_bytes};
use super::{Context, Cost, Operation, gravity, with_first};
use crate::pipeline::color::{self, Sample};
use crate::pipeline::invalid::invalid;
use crate::pipeline::param::{Args, Kind, Param, Value};
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Channels, Error, Raster, Samples, Shape, Size};
use blend::Blend;
use place::{Patch, patches};

pub(super) static OPERATION: Operation = Operation {
    name: "overlay",
    doc: "Draws another image on this one (W3C Compositing and Blending Level 1, source-over, on sRGB-encoded \
          values). An opaque image stays opaque; gray becomes RGB.",
    params: &[
        Param {
            name: "source",
            keys: &["overlay"],
            kind: Kind::Image,
            default: None,
            doc: "Id of the overlay; only the first frame of an animation is used.",
        },
        Param {
            name: "gravity",
            keys: &["overlay_gravity"],
            kind: Kind::Gravity(gravity::PLACES),
            default: Some(Value::Word("center")),
            doc: "Position: at an edge or in a corner. A point x,y in percent places that point of the overlay on the same \
                  point of this image.",
        },
        Param {
            name: "x",
            keys: &["overlay_x"],
            kind: OFFSET,
            default: Some(Value::Number(0)),
            doc: "Offset to the right; negative values move the overlay to the left.",
        },
        Param {
            name: "y",
            keys: &["overlay_y"],
            kind: OFFSET,
            default: Some(Value::Number(0)),
            doc: "Offset downwards; negative values move the overlay up. Parts outside the image are cut off.",
        },
        Param {
            name: "width",
            keys: &["overlay_width"],
            kind: Kind::Length { px_max: 16_384 },
            default: None,
            doc: "Width of the overlay, in pixels or in percent of this image's width, more than 0; the height is proportional. Its own size by default.",
        },
        Param {
            name: "opacity",
            keys: &["overlay_opacity"],
            kind: Kind::Integer { min: 0, max: 100, step: 1, unit: "%" },
            default: Some(Value::Number(100)),
            doc: "Factor for the overlay's alpha.",
        },
        Param {
            name: "blend",
            keys: &["overlay_blend"],
            kind: Kind::Choice(blend::WORDS),
            default: Some(Value::Word("over")),
            doc: "Blend mode: the modes of the standard (`over` is its `normal`), and its operator `plus` (lighter).",
        },
        Param {
            name: "tile",
            keys: &["overlay_tile"],
            kind: Kind::Flag,
            default: Some(Value::Flag(false)),
            doc: "Repeats the overlay in both directions from its position.",
        },
    ],
    example: "w=600&overlay={id}&overlay_width=25%25&overlay_gravity=southeast&overlay_x=-16&overlay_y=-16&overlay_opacity=80",
    revision: 3,
    canonical,
    resolve: None,
    plan,
    apply,
};

const OFFSET: Kind = Kind::Integer { min: -65_535, max: 65_535, step: 1, unit: "px" };

fn canonical(args: Args) -> Result<Option<Args>, Error> {
    let Some(mut args) = with_first(args)? else { return Ok(None) };
    if let Some(zero @ (Value::Number(0) | Value::Share(0))) = args.get("width") {
        let written = Kind::Length { px_max: 0 }.print(zero);
        return Err(invalid("width", &written, "more than 0"));
    }
    let place = gravity::value(gravity::point(args.get("gravity")));
    args = args.with("gravity", place);
    Ok(Some(args).filter(|args| args.number("opacity") != Some(0)))
}

/// Channels of the result: gray becomes RGB, since only the pixels show whether the overlay is coloured.
fn planned_channels(channels: Channels) -> Channels {
    if channels.alpha() { Channels::Rgba } else { Channels::Rgb }
}

fn plan(shape: Shape, _: &Args) -> Result<Cost, Error> {
    let row = u64::from(shape.size.w) * size_of::<[u16; 4]>() as u64;
    Ok(Cost::new(Shape { channels: planned_channels(shape.channels), ..shape }, row))
}

/// Bytes held for the overlay; only its visible parts are scaled, one patch at a time.
pub(super) fn image_bytes(args: &Args, from: Shape, image: Shape) -> u64 {
    if !args.has("width") {
        return 0;
    }
    // Counted even if the overlay has that size already, since `from` may be only a bound.
    let scaled = scaled_size(args, from.size, image.size);
    let bytes = |patch: Patch| windowed_bytes(image, patch.window(scaled), Content::Picture);
    patches(args, from.size, scaled).map(bytes).max().unwrap_or(0)
}

fn scaled_size(args: &Args, base: Size, image: Size) -> Size {
    match args.get("width") {
        // The parameter's kind keeps it within 16384.
        Some(Value::Number(px)) => by_width(image, *px as u32),
        Some(Value::Share(share)) => {
            let w = (u64::from(base.w) * u64::from(*share) + 5_000) / 10_000;
            by_width(image, (w as u32).max(1))
        }
        _ => image,
    }
}

fn apply(raster: Raster, args: &Args, context: &Context<'_>) -> Result<Raster, Error> {
    let (image, size) = (context.image(args)?, raster.size());
    let channels = planned_channels(raster.channels());
    let mut samples = color::to_channels(raster, channels)?.into_samples();
    let scaled = scaled_size(args, size, image.size());
    let layer = Layer::new(args);
    for patch in patches(args, size, scaled) {
        if scaled == image.size() {
            layer.lay((&mut samples, channels, size), image, &patch, context)?;
        } else {
            let piece = windowed(image, patch.window(scaled), Content::Picture, context.deadline)?;
            layer.lay((&mut samples, channels, size), &piece, &patch.of_window(), context)?;
        }
    }
    Ok(Raster::new(size, channels, samples))
}

/// Settings that mix the overlay with the image.
struct Layer {
    blend: Blend,
    opacity: u32,
}

impl Layer {
    fn new(args: &Args) -> Layer {
        let blend = Blend::from_word(args.word("blend").unwrap_or_default());
        // The parameter's kind keeps it within 100.
        Layer { blend, opacity: args.number("opacity").unwrap_or(100) as u32 }
    }

    fn lay(
        &self,
        (base, channels, size): (&mut Samples, Channels, Size),
        image: &Raster,
        patch: &Patch,
        context: &Context<'_>,
    ) -> Result<(), Error> {
        match base {
            Samples::U8(base) => self.lay_on(base, (channels.count(), size.w), image, patch, context),
            Samples::U16(base) => self.lay_on(base, (channels.count(), size.w), image, patch, context),
        }
    }

    fn lay_on<S: Sample>(
        &self,
        base: &mut [S],
        (count, base_w): (usize, u32),
        image: &Raster,
        patch: &Patch,
        context: &Context<'_>,
    ) -> Result<(), Error> {
        let mut row: Vec<[u16; 4]> = try_zeroed(patch.across.len as usize)?;
        for line in 0..patch.down.len {
            if line % 64 == 0 {
                context.deadline.check()?;
            }
            self.read(image, patch, line, &mut row);
            let first = (patch.down.at + line) as usize * base_w as usize + patch.across.at as usize;
            let pixels = base[first * count..].chunks_exact_mut(count);
            for (pixel, source) in pixels.zip(&row).filter(|(_, source)| source[3] > 0) {
                let mixed = self.blend.mixed(wide(pixel), *source);
                pixel.iter_mut().zip(mixed).for_each(|(pixel, mixed)| *pixel = S::scaled(mixed.into(), 65_535));
            }
        }
        Ok(())
    }

    /// Reads the overlay's pixels for one line of the patch, as 16-bit RGBA with this layer's opacity.
    fn read(&self, image: &Raster, patch: &Patch, line: u32, row: &mut [[u16; 4]]) {
        let w = image.size().w as usize;
        let first = patch.down.source(line) as usize * w * image.channels().count();
        match image.samples() {
            Samples::U8(samples) => self.read_row(&samples[first..], image.channels(), patch, row),
            Samples::U16(samples) => self.read_row(&samples[first..], image.channels(), patch, row),
        }
    }

    fn read_row<S: Sample>(&self, samples: &[S], channels: Channels, patch: &Patch, row: &mut [[u16; 4]]) {
        let count = channels.count();
        for (x, target) in row.iter_mut().enumerate() {
            let pixel = &samples[patch.across.source(x as u32) as usize * count..][..count];
            *target = rgba(pixel, channels);
            target[3] = ((u32::from(target[3]) * self.opacity + 50) / 100) as u16;
        }
    }
}

/// A pixel of RGB or RGBA as 16-bit RGBA.
fn wide<S: Sample>(pixel: &[S]) -> [u16; 4] {
    rgba(pixel, if pixel.len() == 4 { Channels::Rgba } else { Channels::Rgb })
}

fn rgba<S: Sample>(pixel: &[S], channels: Channels) -> [u16; 4] {
    let wide = |sample: S| u16::scaled(sample.into(), S::MAX.into());
    let alpha = if channels.alpha() { wide(pixel[channels.count() - 1]) } else { u16::MAX };
    let [r, g, b] = if channels.gray() { [pixel[0]; 3] } else { [pixel[0], pixel[1], pixel[2]] };
    [wide(r), wide(g), wide(b), alpha]
}
