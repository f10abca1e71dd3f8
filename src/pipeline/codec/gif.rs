//! GIF: the codec's row and decoder. `container` walks the file, `canvas` composes frames, `encode` writes; LZW is from
//! the crate `gif`.

mod canvas;
mod container;
mod encode;

use std::num::NonZeroU64;

use super::palette;
use super::{Codec, DecodeOptions, Encoder, Header, Lossless, Palette};
use crate::pipeline::limits::within;
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Delay, Error, Frame, Orientation, Picture, Raster, Samples};
use canvas::Canvas;
use container::Container;

const NAME: &str = "gif";

/// A rectangle within the canvas.
#[derive(Clone, Copy)]
struct Area {
    x: usize,
    y: usize,
    w: usize,
    h: usize,
}

pub(super) static CODEC: Codec = Codec {
    name: NAME,
    extensions: &["gif"],
    media_type: "image/gif",
    doc: "GIF: animation; 256 colours per frame, one of them transparent (exact up to 256, else k-means in Oklab with error diffusion).",
    revision: 3,
    shrinks: None,
    metadata: None,
    sniff: |bytes| bytes.starts_with(b"GIF87a") || bytes.starts_with(b"GIF89a"),
    inspect,
    decode,
    encoder: Some(Encoder {
        side_px_max: u16::MAX as u32,
        frames_max: u32::MAX,
        frames_held: palette::FRAMES_HELD,
        palette: Palette::Always,
        lossless: Lossless::Never,
        encode: encode::encode,
        ..Encoder::PLAIN
    }),
};

fn inspect(bytes: &[u8]) -> Result<Header, Error> {
    let container = Container::read(bytes)?;
    Ok(Header {
        size: container.size,
        orientation: Orientation::NoTransforms,
        frames: container.frames,
        channels: container.channels(),
        bits: 8,
        icc: container.icc,
        // The canvas, its copy for disposal, and the indices of the largest frame.
        working_bytes: 8 * container.size.pixels() + container.frame_pixels_max + (1 << 16),
    })
}

fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Error> {
    let container = Container::read(bytes)?;
    if !container.complete {
        return Err(Error::corrupt(NAME, "truncated file"));
    }
    let wanted = container.frames.min(options.frames_max.max(1));
    options.limits.check(container.size, wanted)?;
    within("pixels_max", container.frame_pixels_max, options.limits.pixels_max)?;
    let mut decoder = reader(bytes, container.frame_pixels_max)?;
    let mut canvas = Canvas::new(container.size, container.channels())?;
    let mut frames = Vec::new();
    let mut indices = Vec::new();
    while frames.len() < wanted as usize {
        options.deadline.check()?;
        let frame =
            decoder.next_frame_info().map_err(damaged)?.ok_or_else(|| Error::corrupt(NAME, "truncated file"))?;
        let delay = Delay { numerator: u32::from(frame.delay), denominator: 100 };
        let frame = frame.clone();
        if indices.len() < decoder.buffer_size() {
            indices = try_zeroed(decoder.buffer_size())?;
        }
        let indices = &mut indices[..decoder.buffer_size()];
        decoder.read_into_buffer(indices).map_err(damaged)?;
        let samples = canvas.show(&frame, indices, decoder.palette().map_err(damaged)?)?;
        frames.push(Frame { raster: Raster::new(container.size, container.channels(), Samples::U8(samples)), delay });
    }
    let icc = decoder.icc_profile().filter(|icc| icc.len() <= options.limits.icc_bytes_max).map(<[u8]>::to_vec);
    let plays = plays(container.frames, decoder.repeat());
    Ok(still_without_delay(Picture { frames, plays, icc }, container.frames))
}

fn reader(bytes: &[u8], frame_pixels_max: u64) -> Result<gif::Decoder<&[u8]>, Error> {
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::Indexed);
    // Bound of metadata as well, which is never longer than the file.
    let bytes_max = frame_pixels_max.max(bytes.len() as u64);
    options.set_memory_limit(gif::MemoryLimit::Bytes(NonZeroU64::new(bytes_max).unwrap_or(NonZeroU64::MIN)));
    options.read_info(bytes).map_err(damaged)
}

/// Number of plays: the extension counts repetitions after the first; without it the animation plays once.
fn plays(frames: u32, repeat: gif::Repeat) -> u32 {
    match repeat {
        _ if frames == 1 => 0,
        gif::Repeat::Infinite => 0,
        gif::Repeat::Finite(repetitions) => u32::from(repetitions) + 1,
    }
}

fn still_without_delay(mut picture: Picture, frames: u32) -> Picture {
    if frames == 1 {
        picture.frames[0].delay = Delay::from_ms(0);
    }
    picture
}

fn damaged(error: gif::DecodingError) -> Error {
    match error {
        gif::DecodingError::OutOfMemory => Error::Limit { name: "memory_bytes_max", value: 0, max: 0 },
        error => Error::corrupt(NAME, error),
    }
}
