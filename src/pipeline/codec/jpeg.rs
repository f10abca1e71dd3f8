//! JPEG: decoded by libjpeg-turbo's core with shrink-on-load, encoded at its fast settings. Gray, YCbCr, RGB, CMYK
//! and YCCK, sequential and progressive, Huffman and arithmetic coding, 8 bits per sample. Lossless and 12-bit JPEG are
//! refused.

mod container;
mod libjpeg;
mod metadata;
mod part;
mod strip;

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Chroma, Codec, DecodeOptions, Effort, EncodeOptions, Encoder, Header, Lossless, Step};
use crate::pipeline::limits::within;
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Channels, Deadline, Error, Missing, Picture, Raster, Samples, Size};
use container::Container;
use libjpeg::Stored;
pub(super) use part::{Part, decode_part};

/// The codec's name, also in errors.
const FORMAT: &str = "jpeg";

/// Rows between two checks of the deadline: whole MCU rows at any sampling.
const BAND_ROWS: usize = 64;

/// Samples of pixels before which a damaged file breaks off; libjpeg makes those that it cannot read as gray.
const GRAY: u8 = 128;

/// Largest side: JPEG_MAX_DIMENSION of libjpeg.
const SIDE_PX_MAX: u32 = 65_500;

const QUALITY: u8 = 80;

/// Default effort, and the lowest with optimised Huffman tables instead of the standard's. Means of four photographs
/// at 512 px: effort 0 gives 28.5 KiB in 0.5 ms, 3 27.4 in 1.2, 6 23.3 in 40, 9 22.7 in 80; SSIMULACRA2 is 77.1 below
/// 6 and 75.9 from there on.
const EFFORT: u8 = 3;
/// Lowest effort with trellis quantisation, which uses mozjpeg's tables.
const EFFORT_TRELLIS: u8 = 6;
/// Lowest effort that is progressive, with the smallest of several scan scripts.
const EFFORT_SCANS: u8 = 9;

pub(super) static CODEC: Codec = Codec {
    name: FORMAT,
    extensions: &["jpg", "jpeg"],
    media_type: "image/jpeg",
    doc: "Lossy photographs: baseline and progressive, gray, colour and CMYK; written sequential or progressive, 4:2:0 to 4:4:4.",
    revision: 2,
    shrinks: Some(shrunk),
    metadata: Some(&metadata::METADATA),
    sniff: |bytes| bytes.starts_with(&[0xff, 0xd8, 0xff]),
    inspect,
    decode,
    encoder: Some(Encoder {
        side_px_max: SIDE_PX_MAX,
        // Measured on 17 megapixels: libjpeg's coefficients, held while their code is optimised.
        frames_held: 2,
        channels: &[Channels::Gray, Channels::Rgb],
        quality: Some(QUALITY),
        score: 78,
        lossless: Lossless::Never,
        effort: Some(Effort {
            default: EFFORT,
            // Seconds per megapixel of noise, measured twice on cores that were shared with other work: 0.9 and 3.4. The
            // bounds are what fits into 10 s, the default of `render_timeout_ms`.
            steps: &[
                Step::free(0),
                Step::free(EFFORT),
                Step::bounded(EFFORT_TRELLIS, 11_000_000, 0),
                Step::bounded(EFFORT_SCANS, 2_900_000, 0),
            ],
        }),
        progressive: Some(EFFORT_SCANS),
        chroma: true,
        encode,
        strip: Some(strip::strip),
        ..Encoder::PLAIN
    }),
};

fn inspect(bytes: &[u8]) -> Result<Header, Error> {
    let container = Container::read(bytes)?;
    Ok(Header {
        size: container.frame.size,
        orientation: container.orientation,
        frames: 1,
        pages: Vec::new(),
        density: container.density,
        channels: container.frame.channels,
        bits: 8,
        icc: container.has_icc(),
        working_bytes: container.working_bytes(),
    })
}

fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Error> {
    let container = Container::read(bytes)?;
    let (limits, channels) = (options.limits, container.frame.channels);
    limits.check(container.frame.size, 1)?;
    within("scans_max", u64::from(container.scans), u64::from(limits.scans_max))?;
    let all_components = container.check_complete();
    if !options.tolerant || container.scans == 0 {
        all_components.clone()?;
    }
    // The decoder stumbles over a segment that is cut or malformed, and loses the scans before it, which may be all.
    let bytes = &bytes[..container.end];
    let settings = libjpeg::Settings {
        channels,
        eighths: eighths(container.frame.size, options.at_least),
        scans_max: limits.scans_max,
        memory_bytes_max: limits.memory_bytes_max,
        stored: Stored::AsMarked,
        tolerant: options.tolerant,
    };
    let decoder = libjpeg::Decoder::start(bytes, &settings, options.deadline)?;
    let size = decoder.size();
    let stride = size.w as usize * channels.count();
    let mut samples = try_zeroed(stride * size.h as usize)?;
    if options.tolerant {
        samples.fill(GRAY);
    }
    let read = read(decoder, &mut samples, (stride, container.may_lack_end()), options.deadline);
    let is_whole = match read {
        Err(Error::Corrupt { .. }) if options.tolerant => false,
        read => read? && all_components.is_ok(),
    };
    if channels == Channels::Cmyk {
        // Inverted ink, 255 is none: so Adobe writes it, and all that write no marker of Adobe's either.
        samples.iter_mut().for_each(|sample| *sample = !*sample);
    }
    let mut picture = Picture::still(Raster::new(size, channels, Samples::U8(samples)));
    picture.icc = container.icc(limits.icc_bytes_max);
    picture.missing = (!is_whole).then_some(Missing::Pixels);
    Ok(picture)
}

/// Reads all rows. Returns whether all of their data was there.
fn read(
    mut decoder: libjpeg::Decoder,
    samples: &mut [u8],
    (stride, may_lack_end): (usize, bool),
    deadline: &Deadline,
) -> Result<bool, Error> {
    for band in samples.chunks_mut(stride * BAND_ROWS) {
        deadline.check()?;
        decoder.read_rows(band)?;
    }
    decoder.finish(may_lack_end)
}

/// Smallest scale, in eighths, that keeps both sides at or above `at_least`. Only powers of two are used: their
/// inverse DCTs are vectorised, and other scales cost as much as the next larger power (measured: 3/8 7.9 ms, 4/8
/// 7.7).
fn eighths(size: Size, at_least: Option<Size>) -> u32 {
    let Some(least) = at_least else { return 8 };
    let side = |px: u32, eighths: u32| (u64::from(px) * u64::from(eighths)).div_ceil(8);
    [1, 2, 4]
        .into_iter()
        .find(|&n| side(size.w, n) >= u64::from(least.w) && side(size.h, n) >= u64::from(least.h))
        .unwrap_or(8)
}

/// Size at the chosen scale; libjpeg rounds up.
fn shrunk(size: Size, at_least: Size) -> Size {
    let eighths = eighths(size, Some(at_least));
    let side = |px: u32| (u64::from(px) * u64::from(eighths)).div_ceil(8) as u32;
    Size::new(side(size.w), side(size.h))
}

fn encode(picture: &Picture, options: &EncodeOptions) -> Result<Vec<u8>, Error> {
    // Fatal errors of libjpeg unwind out of the crate as a message.
    catch_unwind(AssertUnwindSafe(|| compress(picture.first(), options))).unwrap_or_else(|payload| {
        match payload.downcast::<String>() {
            Ok(reason) => Err(Error::Encode { format: FORMAT, reason: *reason }),
            Err(payload) => std::panic::resume_unwind(payload),
        }
    })
}

fn compress(raster: &Raster, options: &EncodeOptions) -> Result<Vec<u8>, Error> {
    let failed = |reason: String| Error::Encode { format: FORMAT, reason };
    let (Samples::U8(samples), Channels::Gray | Channels::Rgb) = (raster.samples(), raster.channels()) else {
        return Err(failed(format!("{:?} is not supported", raster.channels())));
    };
    let settings = settings(raster.size(), raster.channels().gray(), options);
    let mut writer = settings.start_compress(Vec::new()).map_err(|error| failed(error.to_string()))?;
    for band in samples.chunks(raster.size().w as usize * raster.channels().count() * BAND_ROWS) {
        options.deadline.check()?;
        writer.write_scanlines(band).map_err(|error| failed(error.to_string()))?;
    }
    writer.finish().map_err(|error| failed(error.to_string()))
}

fn settings(size: Size, gray: bool, options: &EncodeOptions) -> mozjpeg::Compress {
    let effort = options.effort.unwrap_or(EFFORT);
    let space = if gray { mozjpeg::ColorSpace::JCS_GRAYSCALE } else { mozjpeg::ColorSpace::JCS_RGB };
    let mut settings = mozjpeg::Compress::new(space);
    if effort < EFFORT_TRELLIS {
        settings.set_fastest_defaults();
    } else if effort < EFFORT_SCANS {
        settings.set_optimize_scans(false);
    }
    settings.set_size(size.w as usize, size.h as usize);
    settings.set_quality(f32::from(options.quality.unwrap_or(QUALITY).clamp(1, 100)));
    settings.set_optimize_coding(effort >= EFFORT);
    if options.progressive && effort < EFFORT_SCANS {
        settings.set_progressive_mode();
    }
    if !gray {
        let pixel = match options.chroma {
            Chroma::Half => (2, 2),
            Chroma::HalfWidth => (2, 1),
            Chroma::Full => (1, 1),
        };
        settings.set_chroma_sampling_pixel_sizes(pixel, pixel);
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrink_keeps_both_sides_at_or_above_what_is_asked() {
        let check = |size: (u32, u32), least: (u32, u32), expected| {
            let (size, least) = (Size::new(size.0, size.1), Size::new(least.0, least.1));
            assert_eq!(eighths(size, Some(least)), expected, "{size:?} for {least:?}");
        };
        check((800, 400), (100, 50), 1);
        check((800, 400), (101, 50), 2);
        check((800, 400), (100, 51), 2);
        check((801, 400), (101, 50), 1); // libjpeg rounds up
        check((800, 400), (201, 100), 4);
        check((800, 400), (401, 1), 8);
        check((800, 400), (9000, 9000), 8);
        assert_eq!(eighths(Size::new(800, 400), None), 8);
    }
}
