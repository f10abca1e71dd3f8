//! WebP: the codec's row. `container` walks the file; `libwebp` decodes and encodes frames. Other RIFF formats are
//! refused.

mod container;
mod libwebp;
mod metadata;
mod strip;

use super::animation::{DelayRounding, FrameCollector};
use super::{Chroma, Codec, DecodeOptions, EncodeOptions, Encoder, Header, Lossless, eight_bit_samples};
use crate::pipeline::limits::within;
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Channels, Delay, Error, Missing, Orientation, Picture, Raster, Samples, Size};
use container::Container;

const NAME: &str = "webp";

/// Largest side: WebP holds sides in 14 bits.
const SIDE_PX_MAX: u32 = 16_383;

const QUALITY: u8 = 75;

/// Largest graphic that is also tried without loss.
const LOSSLESS_GRAPHICS_PIXELS_MAX: u64 = 1_000_000;

/// Samples of pixels that a cut still lacks.
const GRAY: u8 = 128;

pub(super) static CODEC: Codec = Codec {
    name: NAME,
    extensions: &["webp"],
    media_type: "image/webp",
    doc: "WebP: lossy, lossless, alpha, animation (libwebp).",
    revision: 4,
    shrinks: None,
    metadata: Some(&metadata::METADATA),
    sniff: |bytes| bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP"),
    inspect,
    decode,
    encoder: Some(Encoder {
        side_px_max: SIDE_PX_MAX,
        frames_max: u32::MAX,
        quality: Some(QUALITY),
        score: 71,
        lossless: Lossless::Choice,
        effort: Some(libwebp::EFFORT),
        chroma: true,
        graphics: true,
        lossless_graphics_pixels_max: LOSSLESS_GRAPHICS_PIXELS_MAX,
        encode,
        strip: Some(strip::strip),
        ..Encoder::PLAIN
    }),
};

fn inspect(bytes: &[u8]) -> Result<Header, Error> {
    let container = Container::read(bytes)?;
    Ok(Header {
        size: container.size,
        orientation: container.exif.and_then(orientation).unwrap_or(Orientation::NoTransforms),
        frames: container.frames,
        pages: Vec::new(),
        density: None,
        channels: container.channels(),
        bits: 8,
        icc: container.icc.is_some(),
        working_bytes: working_bytes(&container),
    })
}

fn orientation(exif: &[u8]) -> Option<Orientation> {
    Orientation::from_exif_chunk(metadata::without_name(exif))
}

/// Memory of libwebp in addition to the result. Animation: two canvases and a frame, all RGBA. Lossless frame: its
/// ARGB. Lossy frame: its alpha plane and some rows.
fn working_bytes(container: &Container) -> u64 {
    let pixels = container.size.pixels();
    // An animation is copied up to its last whole frame, or from what there is of its first.
    let copy = if container.animated { container.riff.len() as u64 } else { 0 };
    let rows = 256 * u64::from(container.size.w) + (1 << 20) + copy;
    match (container.animated, container.lossless, container.alpha) {
        (true, _, _) => 13 * pixels + rows,
        (false, true, _) => 5 * pixels + rows,
        (false, false, true) => 2 * pixels + rows,
        (false, false, false) => rows,
    }
}

fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Error> {
    let container = Container::read(bytes)?;
    options.limits.check(container.size, FrameCollector::new(container.frames, options).kept())?;
    let icc = container.icc.filter(|icc| icc.len() <= options.limits.icc_bytes_max).map(<[u8]>::to_vec);
    let picture = if !container.animated {
        still(container.riff, container.size, container.channels(), options)?
    } else {
        match animation(&container.whole_frames()?, &container, options) {
            Err(Error::Corrupt { .. }) if options.tolerant => begun(&container, options)?,
            animation => animation?,
        }
    };
    Ok(Picture { icc, ..picture })
}

/// Decodes a still. Where it is cut, the rest is gray, or transparent.
fn still(riff: &[u8], size: Size, channels: Channels, options: &DecodeOptions) -> Result<Picture, Error> {
    let mut samples = try_zeroed(size.pixels() as usize * channels.count())?;
    if options.tolerant && !channels.alpha() {
        samples.fill(GRAY);
    }
    let missing = match libwebp::decode(riff, size, channels, &mut samples, options.deadline) {
        Ok(()) => None,
        Err(libwebp::Cut { rows, error: Error::Corrupt { .. } }) if options.tolerant && rows > 0 => {
            Some(Missing::Pixels)
        }
        Err(cut) => return Err(cut.error),
    };
    Ok(Picture { missing, ..Picture::still(Raster::new(size, channels, Samples::U8(samples))) })
}

/// What there is of the first frame of an animation without a whole one.
fn begun(container: &Container, options: &DecodeOptions) -> Result<Picture, Error> {
    let first = container.first.as_ref().ok_or_else(|| Error::corrupt(NAME, "no frame in the file"))?;
    let mut picture = still(&first.still(), first.size, container.channels(), options)?;
    picture.missing = Some(Missing::Pixels);
    picture
        .map(|raster| if first.size == container.size { Ok(raster) } else { placed(raster, first.at, container.size) })
}

/// Lays a raster with alpha on a transparent canvas.
fn placed(raster: Raster, (x, y): (u32, u32), size: Size) -> Result<Raster, Error> {
    let (channels, count) = (raster.channels(), raster.channels().count());
    let (w, stride) = (raster.size().w as usize * count, size.w as usize * count);
    let mut samples = try_zeroed(size.pixels() as usize * count)?;
    let rows = samples.chunks_exact_mut(stride).skip(y as usize);
    for (row, part) in rows.zip(eight_bit_samples(NAME, &raster)?.chunks_exact(w)) {
        row[x as usize * count..][..w].copy_from_slice(part);
    }
    Ok(Raster::new(size, channels, Samples::U8(samples)))
}

fn animation(riff: &[u8], container: &Container, options: &DecodeOptions) -> Result<Picture, Error> {
    let mut decoder = libwebp::Animation::new(riff, container.size)?;
    let mut frames = FrameCollector::new(container.frames, options);
    let mut shown_until = 0;
    let mut missing = None;
    while !frames.is_full() {
        options.deadline.check()?;
        let (canvas, until) = match decoder.next_frame() {
            Err(Error::Corrupt { .. }) if frames.seen() > 0 => {
                missing = Some(Missing::Frames);
                break;
            }
            next => next?,
        };
        let raster = if frames.keeps_next() { Some(raster_of(canvas, container)?) } else { None };
        frames.add(raster, Delay::from_ms(until - shown_until));
        shown_until = until;
    }
    Ok(Picture { missing, ..Picture::animation(frames.into_frames(), container.plays) })
}

/// Copies an RGBA canvas to the channels stated in the header.
fn raster_of(canvas: &[u8], container: &Container) -> Result<Raster, Error> {
    let channels = container.channels();
    let mut samples = try_zeroed(container.size.pixels() as usize * channels.count())?;
    if channels.alpha() {
        samples.copy_from_slice(canvas);
    } else {
        for (pixel, source) in samples.as_chunks_mut::<3>().0.iter_mut().zip(canvas.as_chunks::<4>().0) {
            pixel.copy_from_slice(&source[..3]);
        }
    }
    Ok(Raster::new(container.size, channels, Samples::U8(samples)))
}

fn encode(picture: &Picture, options: &EncodeOptions) -> Result<Vec<u8>, Error> {
    let size = picture.first().size();
    within("side_px_max", u64::from(size.w.max(size.h)), u64::from(SIDE_PX_MAX))?;
    let settings = libwebp::Settings {
        quality: options.quality.unwrap_or(QUALITY),
        lossless: options.lossless,
        sharp: options.chroma != Chroma::Half,
        deadline: options.deadline,
        effort: options.effort.unwrap_or(libwebp::EFFORT.default),
    };
    if picture.frames.len() == 1 {
        let raster = picture.first();
        libwebp::encode(raster.size(), raster.channels(), eight_bit_samples(NAME, raster)?, &settings)
    } else {
        encode_animation(picture, &settings, options)
    }
}

fn encode_animation(
    picture: &Picture,
    settings: &libwebp::Settings,
    options: &EncodeOptions,
) -> Result<Vec<u8>, Error> {
    let size = picture.first().size();
    let mut encoder = libwebp::AnimationEncoder::new(size, picture.plays)?;
    // libwebp counts the whole animation in milliseconds of an int.
    let delay_ms_max = 0xff_ffff.min(i32::MAX as u32 / picture.frames.len() as u32);
    let mut delays = DelayRounding::to_parts(1000);
    let mut shown_from = 0;
    for frame in &picture.frames {
        options.deadline.check()?;
        encoder.add(size, frame.raster.channels(), eight_bit_samples(NAME, &frame.raster)?, shown_from, settings)?;
        shown_from += delays.round(frame.delay).min(delay_ms_max);
    }
    encoder.finish(shown_from)
}
