//! Shared code of the codecs built on the crate `image`: its decoders to [`Raster`], [`Raster`] to its encoders, its
//! errors and limits, and conversion of floats to sRGB.

pub(super) mod dds;
pub(super) mod farbfeld;

use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom};
use std::sync::LazyLock;

use image::{ColorType, ExtendedColorType, ImageDecoder, ImageEncoder, ImageError};

use super::{DecodeOptions, Header};
use crate::pipeline::limits::within;
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Channels, Deadline, Error, Limits, Orientation, Picture, Raster, Samples, Size, color};

/// Header of a still image without orientation, profile or working memory.
pub(super) fn still(size: Size, channels: Channels, bits: u8) -> Header {
    Header {
        size,
        orientation: Orientation::NoTransforms,
        frames: 1,
        pages: Vec::new(),
        density: None,
        channels,
        bits,
        icc: false,
        working_bytes: 0,
    }
}

/// Header from a decoder that has read its own.
pub(super) fn header(format: &'static str, decoder: &impl ImageDecoder) -> Result<Header, Error> {
    let (channels, bits) = match decoder.color_type() {
        ColorType::L8 => (Channels::Gray, 8),
        ColorType::La8 => (Channels::GrayAlpha, 8),
        ColorType::Rgb8 => (Channels::Rgb, 8),
        ColorType::Rgba8 => (Channels::Rgba, 8),
        ColorType::L16 => (Channels::Gray, 16),
        ColorType::La16 => (Channels::GrayAlpha, 16),
        ColorType::Rgb16 => (Channels::Rgb, 16),
        ColorType::Rgba16 => (Channels::Rgba, 16),
        _ => return Err(Error::Unsupported { format, feature: "this sample type" }),
    };
    let (w, h) = decoder.dimensions();
    Ok(still(size(format, w, h)?, channels, bits))
}

/// A size, checked to be at least one pixel.
pub(super) fn size(format: &'static str, w: u32, h: u32) -> Result<Size, Error> {
    if w == 0 || h == 0 { Err(Error::corrupt(format, "zero width or height")) } else { Ok(Size::new(w, h)) }
}

/// Checks that the body is long enough for the pixels, so that a false header costs nothing.
pub(super) fn body_holds(format: &'static str, body_bytes: usize, least: u64) -> Result<(), Error> {
    if (body_bytes as u64) < least {
        return Err(Error::corrupt(
            format,
            format!("truncated file: {body_bytes} bytes of pixel data, at least {least} needed"),
        ));
    }
    Ok(())
}

/// Decodes a file into a still picture, with the decoder that `open` makes of a reader.
pub(super) fn still_picture<'a, D: ImageDecoder>(
    format: &'static str,
    bytes: &'a [u8],
    options: &'a DecodeOptions,
    open: impl FnOnce(PolledReader<'a>) -> Result<D, ImageError>,
) -> Result<Picture, Error> {
    let decoder = open(PolledReader::new(bytes, options.deadline)).map_err(|error| decode_error(format, error))?;
    decode(format, decoder, options).map(Picture::still)
}

/// Decodes all pixels into new memory, within the limits.
pub(super) fn decode(
    format: &'static str,
    mut decoder: impl ImageDecoder,
    options: &DecodeOptions,
) -> Result<Raster, Error> {
    options.deadline.check()?;
    let header = header(format, &decoder)?;
    let count = samples_count(header.size, header.channels, u64::from(header.bits / 8), options.limits)?;
    let failed = |error| options.deadline.check().err().unwrap_or_else(|| decode_error(format, error));
    decoder.set_limits(limits(options.limits)).map_err(failed)?;
    let samples = if header.bits == 16 {
        let mut samples = try_zeroed::<u16>(count)?;
        decoder.read_image(bytemuck::cast_slice_mut(&mut samples)).map_err(failed)?;
        Samples::U16(samples)
    } else {
        let mut samples = try_zeroed::<u8>(count)?;
        decoder.read_image(&mut samples).map_err(failed)?;
        Samples::U8(samples)
    };
    Ok(Raster::new(header.size, header.channels, samples))
}

/// Number of samples of an image within the limits; a second check before allocation.
pub(super) fn samples_count(
    size: Size,
    channels: Channels,
    sample_bytes: u64,
    limits: &Limits,
) -> Result<usize, Error> {
    limits.check(size, 1)?;
    let count = size.pixels().saturating_mul(channels.count() as u64);
    let bytes = within("memory_bytes_max", count.saturating_mul(sample_bytes), limits.memory_bytes_max)?;
    usize::try_from(bytes / sample_bytes).map_err(|_| Error::Limit {
        name: "memory_bytes_max",
        value: bytes,
        max: limits.memory_bytes_max,
    })
}

/// Our limits as those of the crate.
pub(super) fn limits(limits: &Limits) -> image::Limits {
    let mut theirs = image::Limits::no_limits();
    theirs.max_alloc = Some(limits.memory_bytes_max);
    theirs
}

/// The crate's decode error as our own.
pub(super) fn decode_error(format: &'static str, error: ImageError) -> Error {
    match error {
        ImageError::Unsupported(_) => Error::Unsupported { format, feature: "this variant of the format" },
        ImageError::Limits(_) => Error::Limit { name: "memory_bytes_max", value: u64::MAX, max: 0 },
        ImageError::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Error::corrupt(format, "truncated file")
        }
        error => Error::corrupt(format, error),
    }
}

/// Writes the first frame of `picture` with `encoder`, which owns the output.
pub(super) fn encode(format: &'static str, encoder: impl ImageEncoder, picture: &Picture) -> Result<(), Error> {
    let raster = picture.first();
    let Size { w, h } = raster.size();
    encoder.write_image(sample_bytes(raster), w, h, color_type(format, raster)?).map_err(|e| encode_error(format, e))
}

/// An encode error of any crate as our own.
pub(super) fn encode_error(format: &'static str, error: impl ToString) -> Error {
    Error::Encode { format, reason: error.to_string() }
}

/// Samples as bytes, in native byte order.
pub(super) fn sample_bytes(raster: &Raster) -> &[u8] {
    match raster.samples() {
        Samples::U8(samples) => samples,
        Samples::U16(samples) => bytemuck::cast_slice(samples),
    }
}

/// The crate's name for the shape of a raster.
pub(super) fn color_type(format: &'static str, raster: &Raster) -> Result<ExtendedColorType, Error> {
    let wide = matches!(raster.samples(), Samples::U16(_));
    Ok(match (raster.channels(), wide) {
        (Channels::Gray, false) => ExtendedColorType::L8,
        (Channels::GrayAlpha, false) => ExtendedColorType::La8,
        (Channels::Rgb, false) => ExtendedColorType::Rgb8,
        (Channels::Rgba, false) => ExtendedColorType::Rgba8,
        (Channels::Gray, true) => ExtendedColorType::L16,
        (Channels::GrayAlpha, true) => ExtendedColorType::La16,
        (Channels::Rgb, true) => ExtendedColorType::Rgb16,
        (Channels::Rgba, true) => ExtendedColorType::Rgba16,
        (Channels::Cmyk | Channels::Cmyka, _) => return Err(encode_error(format, "cannot hold CMYK")),
    })
}

/// Reader of the source's bytes that errs once the render must stop, since the crate's decoders check no deadline.
pub(super) struct PolledReader<'a> {
    bytes: Cursor<&'a [u8]>,
    deadline: &'a Deadline,
    reads: u32,
}

/// Reads between two checks of the deadline: one clock read per some 10 microseconds of decoding.
const READS_A_POLL: u32 = 4096;

impl<'a> PolledReader<'a> {
    /// A reader at the start of `bytes`.
    pub(super) fn new(bytes: &'a [u8], deadline: &'a Deadline) -> PolledReader<'a> {
        PolledReader { bytes: Cursor::new(bytes), deadline, reads: 0 }
    }

    fn poll(&mut self) -> io::Result<()> {
        self.reads = self.reads.wrapping_add(1);
        if self.reads.is_multiple_of(READS_A_POLL) { self.deadline.check().map_err(io::Error::other) } else { Ok(()) }
    }
}

impl Read for PolledReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.poll()?;
        self.bytes.read(buffer)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.poll()?;
        self.bytes.read_exact(buffer)
    }
}

impl BufRead for PolledReader<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.poll()?;
        self.bytes.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.bytes.consume(count);
    }
}

impl Seek for PolledReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.bytes.seek(to)
    }
}

/// Converts linear light to a 16-bit sRGB sample: clipped to 0..=1 (NaN is 0), then the curve of IEC 61966-2-1.
///
/// Above the straight part of the curve, values are interpolated in a table of 1,024 steps per octave: exact for the
/// 8- and 11-bit mantissas of RGBE and half floats, within 1/100 of a step for others, and equal on every machine,
/// unlike the C library's `powf`.
pub(super) fn srgb16(linear: f32) -> u16 {
    if linear.is_nan() || linear <= 0.0 {
        return 0;
    }
    if linear >= 1.0 {
        return u16::MAX;
    }
    if linear < TABLE_START {
        return (linear * 12.92 * 65535.0 + 0.5) as u16;
    }
    let bits = linear.to_bits() - TABLE_START.to_bits();
    let (index, rest) = ((bits >> STEP_BITS) as usize, (bits & ((1 << STEP_BITS) - 1)) as f32);
    let (low, high) = (SRGB[index], SRGB[index + 1]);
    (low + (high - low) * (rest / (1 << STEP_BITS) as f32) + 0.5) as u16
}

/// First value of the table, 2^-9; below it the curve is a straight line.
const TABLE_START: f32 = 1.0 / 512.0;
/// Bits of a float below one step of the table, which keeps 10 of the 23 bits of the mantissa.
const STEP_BITS: u32 = 13;

static SRGB: LazyLock<Vec<f32>> = LazyLock::new(|| {
    let steps = (1.0_f32.to_bits() - TABLE_START.to_bits()) >> STEP_BITS;
    (0..=steps)
        .map(|step| f64::from(f32::from_bits(TABLE_START.to_bits() + (step << STEP_BITS))))
        .map(|x| (color::encoded(x) * 65535.0) as f32)
        .collect()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn srgb16_follows_the_curve_everywhere() {
        for i in 0..=200_000_u32 {
            let x = f64::from(i) / 200_000.0;
            let y = if x <= 0.003_130_8 { 12.92 * x } else { 1.055 * x.powf(1.0 / 2.4) - 0.055 };
            let difference = f64::from(srgb16(x as f32)) - y * 65535.0;
            assert!(difference.abs() <= 0.52, "{x}: {difference}");
        }
    }

    #[test]
    fn srgb16_clips_what_it_cannot_hold() {
        for (linear, expected) in
            [(f32::NAN, 0), (f32::NEG_INFINITY, 0), (-1.0, 0), (0.0, 0), (1.0, 65535), (f32::INFINITY, 65535)]
        {
            assert_eq!(srgb16(linear), expected, "{linear}");
        }
    }
}
