//! [`Plan`]: what a render will make, hold and refuse, from the source's header alone: no pixel exists yet.

use super::codec::{Codec, DecodeOptions, Encoder, Header};
use super::encode::encoded_channels;
use super::limits::within;
use super::operation::{Operation, resize, rotate};
use super::param::Args;
use super::{Channels, Error, Limits, Orientation, Pipeline, Shape, Size, Watch};

/// What a render will make and hold, known before a pixel is decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Size of the result.
    pub size: Size,
    /// Bytes held at the peak, source excluded.
    pub memory_bytes: u64,
    /// The source's own bytes are the answer: nothing is decoded.
    pub passes_through: bool,
}

/// A step of a pipeline: an operation and its arguments.
pub(super) type Step = (&'static Operation, Args);

/// How a render goes: the plan, what the decoder is asked for, and the steps that are left.
#[derive(Debug)]
pub(super) struct Course {
    pub plan: Plan,
    /// See [`DecodeOptions::at_least`].
    pub at_least: Option<Size>,
    /// See [`DecodeOptions::frames_max`].
    pub frames: u32,
    /// The operations, with a last scaling down where the format cannot hold the result.
    pub steps: Vec<Step>,
}

impl Course {
    pub fn new(pipeline: &Pipeline, source: (&'static Codec, &Header), limits: &Limits) -> Result<Course, Error> {
        let (codec, header) = source;
        let oriented = header.size.oriented(header.orientation);
        if pipeline.is_conversion() && codec == pipeline.codec() {
            let plan = Plan { size: oriented, memory_bytes: 0, passes_through: true };
            return Ok(Course { plan, at_least: None, frames: header.frames, steps: Vec::new() });
        }
        if header.size.pixels() == 0 {
            return Err(Error::corrupt(codec.name, "no pixels"));
        }
        let encoder = encoder(pipeline.codec())?;
        let frames = frames_of(encoder, header)?;
        limits.check(header.size, frames)?;
        within("operations_max", pipeline.steps().len() as u64, limits.operations_max as u64)?;

        let decoded = Shape { size: header.size, channels: header.channels, bits: header.bits };
        let mut memory = Memory::decoding(decoded, header, frames);
        let mut shape = Shape { size: oriented, channels: managed(header.channels), ..decoded };
        let mut steps = pipeline.steps().to_vec();
        for (operation, args) in &steps {
            shape = memory.step(shape, operation, args)?;
            limits.check(shape.size, frames)?;
        }
        if shape.size.w.max(shape.size.h) > encoder.side_px_max {
            let last = (&resize::OPERATION, resize::inside_square(encoder.side_px_max));
            shape = memory.step(shape, last.0, &last.1)?;
            steps.push(last);
        }
        memory.encode(shape, pipeline.codec(), encoder);
        let memory_bytes = within("memory_bytes_max", memory.peak, limits.memory_bytes_max)?;
        let at_least = shrink(header, &mut steps);
        let plan = Plan { size: shape.size, memory_bytes, passes_through: false };
        Ok(Course { plan, at_least, frames, steps })
    }

    pub fn decode_options<'a>(&self, limits: &'a Limits, watch: &'a Watch) -> DecodeOptions<'a> {
        DecodeOptions { limits, at_least: self.at_least, frames_max: self.frames, watch }
    }
}

pub(super) fn encoder(codec: &'static Codec) -> Result<&'static Encoder, Error> {
    codec.encoder.as_ref().ok_or(Error::Unsupported { format: codec.name, feature: "writing" })
}

/// All frames where the format can be an animation, else the first. An animation is never cut short.
fn frames_of(encoder: &Encoder, header: &Header) -> Result<u32, Error> {
    if encoder.frames_max <= 1 {
        return Ok(1);
    }
    within("frames_max", u64::from(header.frames), u64::from(encoder.frames_max))?;
    Ok(header.frames.max(1))
}

/// The channels after colour management.
fn managed(channels: Channels) -> Channels {
    if channels == Channels::Cmyk { Channels::Rgb } else { channels }
}

/// Where a resize is the first to see pixels, but for right-angle turns: lets the decoder give less than the whole image, and
/// makes the resize exact about its result, which it could not read off a shrunk image any more.
fn shrink(header: &Header, steps: &mut Vec<Step>) -> Option<Size> {
    let turns = steps.iter().take_while(|(operation, _)| *operation == &rotate::OPERATION).count();
    let upright = header.size.oriented(header.orientation);
    let size = steps[..turns].iter().fold(upright, |size, (_, args)| size.oriented(rotate::orientation(args)));
    let (_, args) = steps.get(turns).filter(|(operation, _)| *operation == &resize::OPERATION)?;
    let (at_least, resizes) = resize::shrunk(size, args)?;
    steps.splice(turns..=turns, resizes.into_iter().map(|args| (&resize::OPERATION, args)));
    let swapped = quarter_turned(header.size, size);
    Some(if swapped { Size::new(at_least.h, at_least.w) } else { at_least })
}

/// Whether `turned` lies across `stored`; a square does not care, and neither does what is kept of it.
fn quarter_turned(stored: Size, turned: Size) -> bool {
    stored != turned && stored == turned.oriented(Orientation::Rotate90)
}

/// How many frames an encoder holds in its own layouts. Measured on a photograph: libaom's references and statistics take 5.6
/// times the samples (8 megapixels), libjpeg's coefficients, kept while their code is optimised, 2 (17 megapixels).
fn own_frames(codec: &Codec) -> u64 {
    if codec.name == "avif" { 6 } else { 2 }
}

/// The largest sum of buffers that live at the same time.
struct Memory {
    frames: u64,
    peak: u64,
}

/// Tables of colour, kernels and Huffman codes; what does not grow with the image.
const FIXED_BYTES: u64 = 1 << 20;
/// What moxcms builds for one profile.
const PROFILE_BYTES: u64 = 4 << 20;

impl Memory {
    /// Decoding, colour and orientation.
    fn decoding(decoded: Shape, header: &Header, frames: u32) -> Memory {
        let mut memory = Memory { frames: u64::from(frames), peak: 0 };
        memory.reach(memory.frames * decoded.bytes() + header.working_bytes);
        let profile = if header.icc { PROFILE_BYTES } else { 0 };
        let srgb = Shape { channels: managed(decoded.channels), ..decoded };
        let converted = if srgb == decoded { 0 } else { srgb.bytes() };
        memory.reach(memory.frames * decoded.bytes() + converted + profile);
        if header.size != header.size.oriented(header.orientation) {
            memory.reach((memory.frames + 1) * srgb.bytes());
        }
        memory
    }

    /// One operation on every frame, one after the other.
    fn step(&mut self, shape: Shape, operation: &Operation, args: &Args) -> Result<Shape, Error> {
        let cost = (operation.plan)(shape, args)?;
        self.change(shape, cost.shape, cost.working_bytes);
        Ok(cost.shape)
    }

    /// Fitting every frame to the encoder; then the encoder's own frames, and the encoded bytes, which are seldom more than the
    /// samples.
    fn encode(&mut self, shape: Shape, codec: &Codec, encoder: &Encoder) {
        let bits = if encoder.sixteen_bit { shape.bits } else { 8 };
        let fitted = Shape { channels: encoded_channels(encoder, shape.channels), bits, ..shape };
        let flattening = if shape.channels.alpha() && !fitted.channels.alpha() { shape.bytes() } else { 0 };
        self.change(shape, fitted, flattening);
        self.reach((2 * self.frames + own_frames(codec)).saturating_mul(fitted.bytes()));
    }

    fn change(&mut self, from: Shape, to: Shape, working_bytes: u64) {
        let (from, to) = (from.bytes(), to.bytes());
        let others = (self.frames - 1).saturating_mul(from.max(to));
        self.reach(others.saturating_add(from).saturating_add(to).saturating_add(working_bytes));
    }

    fn reach(&mut self, bytes: u64) {
        self.peak = self.peak.max(bytes.saturating_add(FIXED_BYTES));
    }
}
