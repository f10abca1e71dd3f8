//! [`Sequence`]: the animation chunks of an APNG, held against the order that the specification asks for (PNG third edition,
//! 11.3.6 and 13.15): a file with an error in it is the still picture that every other reader sees.

use super::chunks::Chunk;
use crate::pipeline::Size;
use crate::pipeline::codec::cursor::Cursor;

/// Largest number of frames or plays, from the specification.
const COUNT_MAX: u32 = i32::MAX as u32;

/// State of the animation chunks so far.
#[derive(Default)]
pub(super) struct Sequence {
    /// Numbers of frames and plays.
    announced: Option<(u32, u32)>,
    /// The next sequence number.
    number: u32,
    /// Number of frames whose data has begun.
    begun: u32,
    /// Whether a frame control waits for its data.
    controlled: bool,
    /// Whether frame data may follow.
    open: bool,
    first_is_default: bool,
    broken: bool,
    /// Whether there is any animation chunk.
    pub any: bool,
}

/// An animation that can be played.
#[derive(Clone, Copy)]
pub(super) struct Animation {
    /// Number of frames of which there is any data.
    pub frames: u32,
    /// Whether more were announced than the file has.
    pub lacks_frames: bool,
    /// Number of plays; 0 repeats for ever.
    pub plays: u32,
    /// Whether the image data is the first frame, not a separate fallback.
    pub first_is_default: bool,
}

impl Sequence {
    /// Takes any chunk; `data`: whether it comes after the first image data.
    pub fn take(&mut self, chunk: &Chunk, canvas: Size, data: bool) {
        match &chunk.name {
            b"acTL" if !data && chunk.is_intact() => self.announced = self.announced.or(announced(chunk.body)),
            b"fcTL" => self.control(chunk, canvas, data),
            b"fdAT" => self.data(chunk, data),
            b"IDAT" if self.controlled && !data => self.begin(),
            _ => {}
        }
        self.any |= matches!(&chunk.name, b"acTL" | b"fcTL" | b"fdAT");
    }

    fn control(&mut self, chunk: &Chunk, canvas: Size, data: bool) {
        if chunk.is_cut {
            return;
        }
        let valid = chunk.is_intact() && is_control(chunk.body, canvas, !data) && self.counts(chunk.body);
        self.broken |= !valid || self.controlled;
        self.controlled = true;
        self.open |= data;
        self.first_is_default |= !data;
    }

    fn data(&mut self, chunk: &Chunk, data: bool) {
        if chunk.is_cut && chunk.body.len() < 4 {
            return;
        }
        self.broken |= !data || !self.open || !self.counts(chunk.body);
        if self.controlled {
            self.begin();
        }
    }

    fn begin(&mut self) {
        self.controlled = false;
        self.begun = self.begun.saturating_add(1);
    }

    /// Whether a chunk has the next sequence number.
    fn counts(&mut self, body: &[u8]) -> bool {
        let expected = self.number;
        self.number = self.number.saturating_add(1);
        body.first_chunk().is_some_and(|number| u32::from_be_bytes(*number) == expected)
    }

    /// The animation, unless something is wrong with it. `ended`: whether the file has its end; otherwise frames may lack.
    pub fn animation(&self, ended: bool) -> Option<Animation> {
        let (announced, plays) = self.announced?;
        let frames = self.begun.min(announced);
        let lacking = ended && (frames < announced || self.controlled && self.begun < announced);
        let Sequence { first_is_default, broken, .. } = *self;
        (!broken && !lacking && frames > 0).then_some(Animation {
            frames,
            lacks_frames: frames < announced,
            plays,
            first_is_default,
        })
    }
}

fn announced(body: &[u8]) -> Option<(u32, u32)> {
    let mut cursor = Cursor::new(super::FORMAT, body);
    let (frames, plays) = (cursor.u32_be().ok()?, cursor.u32_be().ok()?);
    let valid = body.len() == 8 && (1..=COUNT_MAX).contains(&frames) && plays <= COUNT_MAX;
    valid.then_some((frames, plays))
}

/// Whether the body of a frame control is valid: a sequence number, width, height, x and y within the canvas, two numbers
/// for the delay, a disposal and a blending. The frame that is also the default image covers the canvas.
fn is_control(body: &[u8], canvas: Size, default: bool) -> bool {
    let Some((fields, &[dispose, blend])) = body.split_first_chunk::<24>() else { return false };
    let field = |at: usize| u32::from_be_bytes([fields[at], fields[at + 1], fields[at + 2], fields[at + 3]]);
    let (size, x, y) = (Size::new(field(4), field(8)), field(12), field(16));
    let inside =
        |offset: u32, side: u32, whole: u32| side > 0 && u64::from(offset) + u64::from(side) <= u64::from(whole);
    let placed = inside(x, size.w, canvas.w) && inside(y, size.h, canvas.h);
    placed && dispose <= 2 && blend <= 1 && (!default || size == canvas)
}
