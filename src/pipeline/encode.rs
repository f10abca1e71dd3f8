//! The last step: the encode arguments ([`ENCODE`]) and the conversion of a picture to what an encoder accepts. The
//! encoders are in `codec`.

mod canonicalize;
mod params;
mod quality_search;
mod ssimulacra;

use super::codec::{Chroma, Codec, Effort, EncodeOptions, Encoder, Palette, palette};
use super::metadata::Metadata;
use super::param::Args;
use super::plan::encoder;
pub(super) use canonicalize::canonicalized;
pub use params::ENCODE;
pub(super) use ssimulacra::working_bytes as scoring_bytes;

use super::{Channels, Deadline, Error, Picture, Raster, color};

/// Channels of `encoder` that lose least of a raster with `channels`.
pub(super) fn encoded_channels(encoder: &Encoder, channels: Channels) -> Channels {
    use Channels::{Cmyk, Gray, GrayAlpha, Rgb, Rgba};
    let preferred = match channels {
        Gray => [Gray, Rgb, GrayAlpha, Rgba],
        GrayAlpha => [GrayAlpha, Rgba, Gray, Rgb],
        Rgb | Cmyk => [Rgb, Rgba, Gray, GrayAlpha],
        Rgba => [Rgba, Rgb, GrayAlpha, Gray],
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
    if encoder.chroma && args.word("chroma") != Some("420") {
        encoder.frames_held *= 2;
    }
    encoder
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
    let picture = fitted(picture, encoder, args.color("background").unwrap_or([255; 4]), deadline)?;
    let mut options = options(args, deadline);
    options.effort = bounded_effort(encoder, &picture, options.effort);
    if args.word("quality") == Some("auto") {
        options.quality = Some(ssimulacra::quality(codec, encoder, &picture, &options)?);
    }
    let bytes = match args.number("max_bytes") {
        Some(bytes_max) => {
            let room = (bytes_max as u64).saturating_sub(metadata.bytes_max());
            quality_search::within_bytes(encoder, &picture, &options, room)?
        }
        None => (encoder.encode)(&picture, &options)?,
    };
    // Some libraries cannot be interrupted within a frame, so the deadline is checked once more.
    deadline.check()?;
    Ok(bytes)
}

/// Effort, capped for large pictures; see [`Effort::pixels_max`].
fn bounded_effort(encoder: &Encoder, picture: &Picture, asked: Option<u8>) -> Option<u8> {
    let Effort { default, pixels_max, .. } = encoder.effort?;
    let pixels = picture.first().size().pixels().saturating_mul(picture.frames.len() as u64);
    if pixels > pixels_max { asked.map(|asked| asked.min(default)) } else { asked }
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
    use crate::pipeline::codec::by_name;
    use crate::pipeline::param::Value;
    use crate::pipeline::{Samples, Size};

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
    fn large_pictures_are_written_at_the_default_effort_at_most() {
        let effort = |pixels_max| Some(Effort { default: 4, steps: &[0, 4, 9], pixels_max });
        let raster = Raster::new(Size::new(2, 1), Channels::Gray, Samples::U8(vec![0; 2]));
        let picture = Picture::still(raster);
        let bounded = |pixels_max, asked| {
            bounded_effort(&Encoder { effort: effort(pixels_max), ..Encoder::PLAIN }, &picture, asked)
        };
        assert_eq!(bounded(2, Some(9)), Some(9));
        assert_eq!(bounded(1, Some(9)), Some(4));
        assert_eq!(bounded(1, Some(0)), Some(0));
        assert_eq!(bounded(1, None), None);
    }
}
