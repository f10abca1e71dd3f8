//! The last step: the encode arguments ([`ENCODE`]) and what makes a picture fit an encoder. The encoders are in `codec`.

use super::codec::{self, Codec, EncodeOptions, Encoder, Lossless};
use super::param::{Args, Kind, Param, Value, invalid};
use super::{Channels, Error, Picture, Raster, Watch, color};

/// What every output format is given; a format takes what it can.
pub static ENCODE: &[Param] = &[
    Param {
        name: "quality",
        keys: &["quality", "q"],
        kind: Kind::Integer { min: 1, max: 100, step: 1, unit: "" },
        default: None,
        doc: "Quality of a lossy format, on its own scale; its own default when it is not given; formats without one ignore it.",
    },
    Param {
        name: "lossless",
        keys: &["lossless"],
        kind: Kind::Flag,
        default: Some(Value::Flag(false)),
        doc: "Keeps every sample, in formats that can.",
    },
    Param {
        name: "background",
        keys: &["background", "bg"],
        kind: Kind::Color,
        default: Some(Value::Color([255; 4])),
        doc: "What transparent images are laid on in formats without alpha.",
    },
    Param {
        name: "metadata",
        keys: &["metadata"],
        kind: Kind::Choice(&["none"]),
        default: Some(Value::Word("none")),
        doc: "What is kept of EXIF, XMP and ICC.",
    },
    Param {
        name: "orient",
        keys: &["orient"],
        kind: Kind::Choice(&["auto", "none"]),
        default: Some(Value::Word("auto")),
        doc: "Whether the source's orientation is applied, or its pixels are taken as they are stored.",
    },
    Param {
        name: "frame",
        keys: &["frame"],
        kind: Kind::IntegerOr { min: 0, max: 65_535, unit: "", word: "all" },
        default: Some(Value::Word("all")),
        doc: "One frame of an animation, from 0; all of them where the output can be an animation, else the first.",
    },
];

/// Takes arguments back to their defaults that mean nothing to `codec`, so that equal bytes have equal keys.
pub(super) fn normalized(codec: &Codec, mut args: Args) -> Result<Args, Error> {
    let Some(encoder) = &codec.encoder else { return Ok(args) };
    if args.number("quality") == encoder.quality.map(i64::from) || encoder.quality.is_none() {
        args.reset("quality");
    }
    if encoder.frames_max <= 1 && args.number("frame") == Some(0) {
        args.reset("frame");
    }
    match encoder.lossless {
        Lossless::Choice => {}
        Lossless::Always => args.reset("lossless"),
        Lossless::Never if args.flag("lossless") => return Err(cannot_be_lossless()),
        Lossless::Never => {}
    }
    if encoder.channels.iter().any(|channels| channels.alpha()) {
        args.reset("background");
    }
    if let Some([r, g, b, _]) = args.color("background") {
        // What lies under everything is opaque.
        args = args.with("background", Value::Color([r, g, b, 255]));
    }
    Ok(args)
}

fn cannot_be_lossless() -> Error {
    let can = |codec: &&&Codec| codec.encoder.as_ref().is_some_and(|encoder| encoder.lossless != Lossless::Never);
    let names: Vec<&str> = codec::CODECS.iter().filter(can).map(|codec| codec.name).collect();
    invalid("lossless", "true", format!("true for {} only", names.join(", ")))
}

/// The channels that `encoder` is given for a raster of `channels`: the nearest of its list that loses least.
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

/// Brings every frame to channels and a depth that `encoder` takes, then encodes.
pub(super) fn encode(picture: Picture, encoder: &Encoder, args: &Args, watch: &Watch) -> Result<Vec<u8>, Error> {
    let picture = fitted(picture, encoder, args.color("background").unwrap_or([255; 4]), watch)?;
    // The kind holds quality within 1..=100.
    let quality = args.number("quality").map(|quality| quality as u8);
    let bytes = (encoder.encode)(&picture, &EncodeOptions { quality, lossless: args.flag("lossless"), watch })?;
    // Some libraries cannot be stopped inside a frame: what is late is late nevertheless.
    watch.check()?;
    Ok(bytes)
}

fn fitted(picture: Picture, encoder: &Encoder, background: [u8; 4], watch: &Watch) -> Result<Picture, Error> {
    let picture = picture.map(|raster| {
        watch.check()?;
        fitted_raster(raster, encoder, background)
    })?;
    let channels = picture.first().channels();
    if picture.frames.iter().all(|frame| frame.raster.channels() == channels) {
        return Ok(picture);
    }
    // A gray frame became RGB on a coloured background, another was opaque.
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
    use crate::pipeline::{Samples, Size};

    fn encoder(channels: &'static [Channels], sixteen_bit: bool) -> Encoder {
        Encoder {
            side_px_max: 100,
            frames_max: 1,
            frames_held: 2,
            channels,
            sixteen_bit,
            quality: Some(80),
            lossless: Lossless::Choice,
            encode: |picture, options| Ok(vec![picture.first().channels().count() as u8, options.quality.unwrap_or(0)]),
        }
    }

    fn check(source: Channels, takes: &'static [Channels], expected: Channels) {
        let raster = Raster::new(Size::new(2, 1), source, Samples::U16(vec![0x8080; 2 * source.count()]));
        for sixteen_bit in [false, true] {
            let encoder = encoder(takes, sixteen_bit);
            let picture = fitted(Picture::still(raster.clone()), &encoder, [255; 4], &Watch::default()).expect("fits");
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
        let bytes = encode(Picture::still(raster), &encoder(&[Channels::Rgb], false), &args, &Watch::default());
        assert_eq!(bytes, Ok(vec![3, 7]));
    }

    #[test]
    fn arguments_without_meaning_for_a_format_are_defaults() {
        let all = Args::defaults(ENCODE)
            .with("quality", Value::Number(80))
            .with("lossless", Value::Flag(true))
            .with("background", Value::Color([1, 2, 3, 4]));
        let codec = |lossless, channels, quality| Codec {
            name: "x",
            extensions: &[],
            media_type: "",
            doc: "",
            revision: 1,
            shrinks: None,
            sniff: |_| false,
            inspect: |_| Err(Error::UnknownFormat),
            decode: |_, _| Err(Error::UnknownFormat),
            encoder: Some(Encoder { lossless, quality, ..encoder(channels, false) }),
        };
        let text = |codec| normalized(&codec, all.clone()).map(|args| args.to_string());
        let kept = text(codec(Lossless::Choice, &[Channels::Rgb], Some(75)));
        assert_eq!(kept, Ok("quality=80&lossless=true&background=010203ff".to_owned()));
        assert_eq!(text(codec(Lossless::Always, &[Channels::Rgba], None)), Ok(String::new()));
        assert_eq!(text(codec(Lossless::Choice, &[Channels::Rgba], Some(80))), Ok("lossless=true".to_owned()));
        assert!(matches!(text(codec(Lossless::Never, &[Channels::Rgb], None)), Err(Error::Invalid { .. })));
    }
}
