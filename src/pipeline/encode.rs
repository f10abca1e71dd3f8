//! The last step: the encode arguments ([`ENCODE`]) and the conversion of a picture to what an encoder accepts. The
//! encoders are in `codec`.

mod canonicalize;
mod content;
mod params;
mod quality_search;
mod ssimulacra;

use super::codec::{Chroma, Codec, EncodeOptions, Encoder, Lossless, Palette, palette};
use super::metadata::Metadata;
use super::param::Args;
use super::plan::encoder;
pub(super) use canonicalize::canonicalized;
use content::Content;
pub use params::{ENCODE, STRIP};
pub(super) use ssimulacra::working_bytes as scoring_bytes;

use super::{Channels, Deadline, Error, Picture, Raster, Shape, Size, color};

/// The arguments of a picture that must be encoded.
pub(super) fn encoded_anew(mut args: Args) -> Args {
    if args.word("metadata") == Some(STRIP) {
        args.reset("metadata");
    }
    args
}

/// Channels of `encoder` that lose least of a raster with `channels`.
pub(super) fn encoded_channels(encoder: &Encoder, channels: Channels) -> Channels {
    use Channels::{Cmyk, Cmyka, Gray, GrayAlpha, Rgb, Rgba};
    let preferred = match channels {
        Gray => [Gray, Rgb, GrayAlpha, Rgba],
        GrayAlpha => [GrayAlpha, Rgba, Gray, Rgb],
        Rgb | Cmyk => [Rgb, Rgba, Gray, GrayAlpha],
        Rgba | Cmyka => [Rgba, Rgb, GrayAlpha, Gray],
    };
    preferred.into_iter().find(|channels| encoder.channels.contains(channels)).unwrap_or(channels)
}

/// The encoder's row, adjusted to the arguments: accepted samples and memory depend on them.
pub(super) fn encoder_for(encoder: &Encoder, args: &Args) -> Encoder {
    let mut encoder = *encoder;
    if encoder.palette == Palette::Choice && args.has("colors") {
        encoder.channels = &[Channels::Rgb, Channels::Rgba];
        encoder.sixteen_bit = false;
        encoder.frames_held = palette::FRAMES_HELD;
    }
    // 4:4:4 planes and coefficients hold twice the samples of 4:2:0.
    if encoder.chroma && matches!(args.word("chroma"), Some("422" | "444")) {
        encoder.frames_held *= 2;
    }
    encoder
}

/// Bytes held in addition if `chroma=auto` takes 4:4:4 for a picture of this shape.
pub(super) fn full_chroma_bytes(encoder: &Encoder, args: &Args, shape: Shape) -> u64 {
    if !encoder.chroma || args.word("chroma") != Some("auto") {
        return 0;
    }
    let most = Shape { size: Size::new(shape.size.pixels().min(content::PIXELS_MAX) as u32, 1), ..shape };
    encoder.frames_held.saturating_mul(most.bytes())
}

/// Converts every frame to channels and a depth that `encoder` accepts, then encodes. `max_bytes` leaves room for
/// `metadata`, which is written later.
pub(super) fn encode(
    picture: Picture,
    codec: &Codec,
    args: &Args,
    metadata: &Metadata,
    deadline: &Deadline,
) -> Result<Vec<u8>, Error> {
    let encoder = &encoder_for(encoder(codec)?, args);
    let code_points = color::hdr_code_points(&picture);
    let picture = fitted(picture, encoder, args.color("background").unwrap_or([255; 4]), deadline)?;
    let mut options = EncodeOptions { code_points, ..options(args, deadline) };
    // A step may imply `progressive`, which a lower one keeps.
    options.progressive |= encoder.progressive.is_some_and(|from| options.effort.is_some_and(|asked| asked >= from));
    options.effort = bounded_effort(encoder, &picture, options.effort, options.lossless);
    options.profile = metadata.icc.is_some();
    let chroma_is_open = args.word("chroma") == Some("auto");
    let content = Content::of(&picture, encoder, chroma_is_open);
    options.graphic = content.graphic;
    if content.smears {
        options.chroma = Chroma::Full;
    }
    if args.word("quality") == Some("auto") {
        options.quality = Some(ssimulacra::quality(codec, encoder, &picture, &options)?);
    }
    let bytes = match args.number("max_bytes") {
        Some(bytes_max) => {
            let room = (bytes_max as u64).saturating_sub(metadata.bytes_max());
            quality_search::within_bytes(encoder, &picture, &options, room)?
        }
        None if chroma_is_open && encoder.lossless_graphics_pixels_max >= pixels(&picture) => {
            lossless_if_smaller(encoder, &picture, &options)?
        }
        None => (encoder.encode)(&picture, &options)?,
    };
    // Some libraries cannot be interrupted within a frame, so the deadline is checked once more.
    deadline.check()?;
    Ok(bytes)
}

/// The lossy result, or of a graphic the lossless one if that is not larger: few colours and hard edges take few bytes
/// without loss, and many with it. libwebp chooses frames of a mixed animation by this rule.
fn lossless_if_smaller(encoder: &Encoder, picture: &Picture, options: &EncodeOptions) -> Result<Vec<u8>, Error> {
    let lossy = (encoder.encode)(picture, options)?;
    if !options.graphic || options.lossless || picture.frames.len() > 1 {
        return Ok(lossy);
    }
    options.deadline.check()?;
    let effort = bounded_effort(encoder, picture, options.effort, true);
    let lossless = (encoder.encode)(picture, &EncodeOptions { lossless: true, effort, ..*options })?;
    Ok(if lossless.len() <= lossy.len() { lossless } else { lossy })
}

/// Pixels of all frames together.
fn pixels(picture: &Picture) -> u64 {
    picture.first().size().pixels().saturating_mul(picture.frames.len() as u64)
}

/// The effort for a picture: the highest step up to the one asked for that is for results of its size; see
/// [`Step`](super::codec::Step).
fn bounded_effort(encoder: &Encoder, picture: &Picture, asked: Option<u8>, lossless: bool) -> Option<u8> {
    let (steps, asked) = (encoder.effort?.steps, asked?);
    let pixels = pixels(picture);
    let lossless = lossless || encoder.lossless == Lossless::Always;
    let step = steps.iter().rfind(|step| step.effort <= asked && step.holds(pixels, lossless));
    step.map(|step| step.effort)
}

fn options<'a>(args: &Args, deadline: &'a Deadline) -> EncodeOptions<'a> {
    // The parameter's kind keeps every number below 256.
    let number = |name| args.number(name).map(|number| number as u8);
    EncodeOptions {
        quality: number("quality"),
        lossless: args.flag("lossless"),
        effort: number("effort"),
        progressive: args.flag("progressive"),
        chroma: match args.word("chroma") {
            Some("444") => Chroma::Full,
            Some("422") => Chroma::HalfWidth,
            _ => Chroma::Half,
        },
        // The parameter's kind allows 2..=256.
        colors: args.number("colors").map(|colors| colors as u16),
        dither_percent: number("dither").unwrap_or(100),
        code_points: None,
        graphic: false,
        profile: false,
        deadline,
    }
}

fn fitted(picture: Picture, encoder: &Encoder, background: [u8; 4], deadline: &Deadline) -> Result<Picture, Error> {
    let picture = picture.map(|raster| {
        deadline.check()?;
        fitted_raster(raster, encoder, background)
    })?;
    let channels = picture.first().channels();
    if picture.frames.iter().all(|frame| frame.raster.channels() == channels) {
        return Ok(picture);
    }
    // Frames can differ: one became RGB on a coloured background, another was opaque gray.
    picture.map(|raster| color::to_channels(raster, encoded_channels(encoder, Channels::Rgb)))
}

fn fitted_raster(raster: Raster, encoder: &Encoder, background: [u8; 4]) -> Result<Raster, Error> {
    let keeps_alpha = encoded_channels(encoder, raster.channels()).alpha();
    let raster = if keeps_alpha { raster } else { color::flattened(raster, background)? };
    let channels = encoded_channels(encoder, raster.channels());
    let raster = color::to_channels(raster, channels)?;
    if encoder.sixteen_bit { Ok(raster) } else { color::to_eight_bits(raster) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Samples;
    use crate::pipeline::codec::{Effort, Step, by_name};
    use crate::pipeline::param::Value;

    fn taking(channels: &'static [Channels], sixteen_bit: bool) -> Encoder {
        Encoder {
            channels,
            sixteen_bit,
            quality: Some(80),
            encode: |picture, options| Ok(vec![picture.first().channels().count() as u8, options.quality.unwrap_or(0)]),
            ..Encoder::PLAIN
        }
    }

    fn check(source: Channels, takes: &'static [Channels], expected: Channels) {
        let raster = Raster::new(Size::new(2, 1), source, Samples::U16(vec![0x8080; 2 * source.count()]));
        for sixteen_bit in [false, true] {
            let encoder = taking(takes, sixteen_bit);
            let picture =
                fitted(Picture::still(raster.clone()), &encoder, [255; 4], &Deadline::default()).expect("fits");
            assert_eq!(picture.first().channels(), expected, "{source:?} in {takes:?}");
            assert_eq!(picture.first().shape().bits, if sixteen_bit { 16 } else { 8 });
        }
    }

    #[test]
    fn a_picture_is_brought_to_what_the_encoder_takes() {
        use Channels::{Gray, GrayAlpha, Rgb, Rgba};
        for channels in [Gray, GrayAlpha, Rgb, Rgba] {
            check(channels, &[Gray, GrayAlpha, Rgb, Rgba], channels);
            check(channels, &[Gray], Gray);
            check(channels, &[Rgba], Rgba);
            check(channels, &[Rgb], Rgb);
        }
        check(GrayAlpha, &[Rgb, Rgba], Rgba);
        check(GrayAlpha, &[Gray, Rgb], Gray);
        check(Rgba, &[Gray, Rgb], Rgb);
    }

    #[test]
    fn the_encoder_is_given_its_arguments() {
        let raster = Raster::new(Size::new(1, 1), Channels::Rgba, Samples::U8(vec![0; 4]));
        let args = Args::defaults(ENCODE).with("quality", Value::Number(7));
        let mut codec = Codec { extensions: &[], ..*by_name("png").expect("a row") };
        codec.encoder = Some(taking(&[Channels::Rgb], false));
        let bytes = encode(Picture::still(raster), &codec, &args, &Metadata::default(), &Deadline::default());
        assert_eq!(bytes, Ok(vec![3, 7]));
    }

    #[test]
    fn a_large_picture_gets_the_highest_effort_that_is_for_its_size() {
        const EFFORT: Effort = Effort {
            default: 4,
            steps: &[Step::free(0), Step::free(4), Step::bounded(6, 4, 2), Step::bounded(8, 2, 1)],
        };
        let encoder = Encoder { effort: Some(EFFORT), lossless: Lossless::Choice, ..Encoder::PLAIN };
        let check = |pixels: u32, asked: Option<u8>, lossless, expected| {
            let raster = Raster::new(Size::new(pixels, 1), Channels::Gray, Samples::U8(vec![0; pixels as usize]));
            let effort = bounded_effort(&encoder, &Picture::still(raster), asked, lossless);
            assert_eq!(effort, Some(expected), "{pixels} {asked:?} {lossless}");
        };
        for (pixels, lossy, lossless) in [(1, 8, 8), (2, 8, 6), (3, 6, 4), (5, 4, 4)] {
            check(pixels, Some(9), false, lossy);
            check(pixels, Some(9), true, lossless);
            check(pixels, Some(3), false, 0);
        }
        let raster = Raster::new(Size::new(1, 1), Channels::Gray, Samples::U8(vec![0]));
        let picture = Picture::still(raster);
        assert_eq!(bounded_effort(&encoder, &picture, None, false), None);
        assert_eq!(bounded_effort(&Encoder::PLAIN, &picture, Some(9), false), None);
    }
}
