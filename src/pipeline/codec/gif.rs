//! GIF: the codec's row and decoder. `container` walks the file, `frame` decompresses, `canvas` composes, `encode` writes.
//!
//! Reading does not use the crate `gif`: it gives no part of a frame that is cut, and refuses files that browsers show
//! (no palette, a screen of no size). LZW is from the crate `weezl`, as in it.

mod canvas;
mod container;
mod encode;
mod frame;
mod strip;

use super::animation::FrameCollector;
use super::palette;
use super::{Codec, DecodeOptions, Encoder, Header, Lossless, Palette};
use crate::pipeline::limits::within;
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Delay, Error, Missing, Orientation, Picture};
use canvas::Canvas;
use container::Container;
use frame::Frame;

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
    doc: "GIF: animation; 256 colours per frame, one of them transparent (exact up to 256, else k-means with error diffusion).",
    revision: 6,
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
        strip: Some(strip::strip),
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
        pages: Vec::new(),
        density: None,
        channels: container.channels(),
        bits: 8,
        icc: container.has_icc(),
        // The canvas, its copy for disposal, and the indices of the largest frame.
        working_bytes: 8 * container.size.pixels() + container.frame_pixels_max + (1 << 16),
    })
}

/// Decodes up to the last whole frame. A frame that is cut or damaged is shown only if that is wanted.
fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Error> {
    let container = Container::read(bytes)?;
    let frames = FrameCollector::new(container.frames, options);
    options.limits.check(container.size, frames.kept())?;
    within("pixels_max", container.frame_pixels_max, options.limits.pixels_max)?;
    let canvas = Canvas::new(container.size, container.channels())?;
    let mut animation = Animation { canvas, indices: Vec::new(), frames, missing: None };
    let mut next = container.frames();
    while !animation.frames.is_full() && animation.missing != Some(Missing::Frames) {
        options.deadline.check()?;
        animation.add(&next.next_frame()?.ok_or_else(Frame::cut)?, options)?;
    }
    let all = options.frames_max >= container.frames && container.frames > 1;
    if all && container.lacks_frames {
        animation.missing = animation.missing.or(Some(Missing::Frames));
    }
    let plays = if container.frames == 1 { 0 } else { container.plays };
    let icc = container.icc(options.limits.icc_bytes_max);
    let picture =
        Picture { icc, missing: animation.missing, ..Picture::animation(animation.frames.into_frames(), plays) };
    Ok(still_without_delay(picture, container.frames))
}

/// The frames so far.
struct Animation {
    canvas: Canvas,
    /// Room for the indices of a frame.
    indices: Vec<u8>,
    frames: FrameCollector,
    missing: Option<Missing>,
}

impl Animation {
    fn add(&mut self, frame: &Frame, options: &DecodeOptions) -> Result<(), Error> {
        let pixels = frame.pixels() as usize;
        if self.indices.len() < pixels {
            self.indices = try_zeroed(pixels)?;
        }
        let filled = frame.indices(&mut self.indices[..pixels], options.deadline)?;
        let is_first = self.frames.seen() == 0;
        match (filled < pixels, options.tolerant) {
            (true, tolerant) if is_first && !(tolerant && filled > 0) => return Err(Frame::cut()),
            (true, true) => self.missing = Some(Missing::Pixels),
            (true, false) => {
                self.missing = Some(Missing::Frames);
                return Ok(());
            }
            (false, _) => {}
        }
        if is_first && filled < pixels {
            self.canvas.expect_holes();
        }
        self.canvas.show(frame, &self.indices[..filled])?;
        let raster = if self.frames.keeps_next() { Some(self.canvas.raster()?) } else { None };
        self.frames.add(raster, frame.delay());
        Ok(())
    }
}

fn still_without_delay(mut picture: Picture, frames: u32) -> Picture {
    if frames == 1 {
        picture.frames[0].delay = Delay::from_ms(0);
    }
    picture
}
