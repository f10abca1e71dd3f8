//! PNG and APNG: every colour type and depth, exactly; frames are composed to whole canvases. Colours are those of
//! `cICP` where an ICC profile can express it, else of `iCCP`, `sRGB`, or `gAMA` and `cHRM`.

mod animation;
mod calibration;
mod chunks;
mod clean;
mod container;
mod encode;
mod frame;
mod indexed;
mod metadata;
mod reduce;
mod sequence;
mod strip;

use std::io::Cursor as IoCursor;

use super::animation::FrameCollector;
use super::{Codec, DecodeOptions, Encoder, Header, Palette};
use crate::pipeline::{Channels, Delay, Error, Frame, Missing, Picture};
use container::Container;
use frame::Reading;

/// The codec's name, also in errors.
const FORMAT: &str = "png";

pub(super) static CODEC: Codec = Codec {
    name: FORMAT,
    extensions: &["png"],
    media_type: "image/png",
    doc: "Lossless, 8 and 16 bits, with alpha and animation (APNG), in the fewest bits that hold the picture; fewer colours with `colors`.",
    revision: 3,
    shrinks: None,
    metadata: Some(&metadata::METADATA),
    sniff: |bytes| bytes.starts_with(container::SIGNATURE),
    inspect,
    decode,
    encoder: Some(Encoder {
        side_px_max: i32::MAX as u32,
        frames_max: i32::MAX as u32,
        channels: &[Channels::Gray, Channels::GrayAlpha, Channels::Rgb, Channels::Rgba],
        sixteen_bit: true,
        lossless_bits: 16,
        effort: Some(encode::EFFORT),
        palette: Palette::Choice,
        encode: encode::encode,
        strip: Some(strip::strip),
        ..Encoder::PLAIN
    }),
};

/// The crate's decoder, on the whole file in memory.
type Reader<'a> = png::Reader<IoCursor<&'a [u8]>>;

fn inspect(bytes: &[u8]) -> Result<Header, Error> {
    Ok(Container::read(bytes)?.header())
}

/// Decodes strictly first: only a picture that is not whole is worth the time to read what there is of it.
fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Error> {
    let container = Container::read(bytes)?;
    let header = container.header();
    options.limits.check(header.size, FrameCollector::new(header.frames, options).kept())?;
    container.check_order()?;
    let file = container.clean_file();
    let read = |tolerant| {
        let reading = Reading { header: &header, tolerant, deadline: options.deadline };
        frames(&file, container.animated(), &reading, FrameCollector::new(header.frames, options))
    };
    let strict = read(false);
    let is_read_again = options.tolerant && !matches!(strict, Ok((_, None))) && !stopped(&strict);
    let (frames, missing) = if is_read_again {
        // One set of frames at a time.
        drop(strict);
        // Checksums do not count then, so that the pixels may be wrong even if all are there.
        let (frames, missing) = read(true)?;
        (frames, missing.or(Some(Missing::Pixels)))
    } else {
        strict?
    };
    let all = options.frames_max >= header.frames;
    let missing = missing.or((all && container.lacks_frames()).then_some(Missing::Frames));
    let icc = container.icc(options.limits.icc_bytes_max);
    Ok(Picture { icc, missing, ..Picture::animation(frames, container.plays()) })
}

/// Frames, and what is missing.
type Decoded = (Vec<Frame>, Option<Missing>);

/// Whether a decode failed for another reason than the file.
fn stopped(decoded: &Result<Decoded, Error>) -> bool {
    decoded.as_ref().is_err_and(|error| !matches!(error, Error::Corrupt { .. }))
}

fn frames(file: &[u8], animated: bool, reading: &Reading, mut frames: FrameCollector) -> Result<Decoded, Error> {
    let header = reading.header;
    let mut reader = open(file, animated, reading)?;
    if animated {
        let missing = animation::read(&mut reader, reading, &mut frames)?;
        return Ok((frames.into_frames(), missing));
    }
    let (rows, is_whole) = frame::read(&mut reader, header.size, reading)?;
    frames.add(Some(rows.into_raster(header.size, header)), Delay::from_ms(0));
    Ok((frames.into_frames(), (!is_whole).then_some(Missing::Pixels)))
}

/// Opens the decoder at the first frame's data, and checks that it agrees with the gate: the crate silently ignores a
/// malformed transparency or animation chunk.
fn open<'a>(file: &'a [u8], animated: bool, reading: &Reading) -> Result<Reader<'a>, Error> {
    let header = reading.header;
    let mut options = png::DecodeOptions::default();
    options.set_ignore_text_chunk(true);
    options.set_ignore_iccp_chunk(true);
    // Otherwise a frame with a wrong checksum would pass, since fdAT is ancillary by its name.
    options.set_skip_ancillary_crc_failures(false);
    let mut decoder = png::Decoder::new_with_options(IoCursor::new(file), options);
    decoder.ignore_checksums(reading.tolerant);
    // The only memory left to bound is one EXIF block, counted in `Header::working_bytes`.
    decoder.set_limits(png::Limits { bytes: usize::MAX });
    let alpha = if animated { png::Transformations::ALPHA } else { png::Transformations::IDENTITY };
    decoder.set_transformations(png::Transformations::EXPAND | alpha);
    let reader = decoder.read_info().map_err(corrupt)?;
    let frames = reader.info().animation_control.map_or(1, |control| control.num_frames);
    let (color, depth) = reader.output_color_type();
    if channels(color) == Some(header.channels) && depth as u8 == header.bits && frames >= header.frames {
        Ok(reader)
    } else {
        Err(Error::corrupt(FORMAT, "invalid transparency or animation chunk"))
    }
}

/// Channels of an expanded colour type.
fn channels(color: png::ColorType) -> Option<Channels> {
    match color {
        png::ColorType::Grayscale => Some(Channels::Gray),
        png::ColorType::GrayscaleAlpha => Some(Channels::GrayAlpha),
        png::ColorType::Rgb => Some(Channels::Rgb),
        png::ColorType::Rgba => Some(Channels::Rgba),
        png::ColorType::Indexed => None,
    }
}

fn corrupt(error: png::DecodingError) -> Error {
    match error {
        png::DecodingError::IoError(_) => Error::corrupt(FORMAT, "truncated file"),
        // The crate's checksum messages print its internal structures.
        error if is_checksum(&error) => Error::corrupt(FORMAT, "wrong checksum"),
        error => Error::corrupt(FORMAT, error),
    }
}

fn is_checksum(error: &png::DecodingError) -> bool {
    matches!(error, png::DecodingError::Format(error) if error.to_string().starts_with("CRC error"))
}
