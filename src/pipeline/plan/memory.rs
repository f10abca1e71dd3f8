//! [`MemoryPlan`]: the memory of a render at its peak: the largest sum of buffers that live at the same time, from headers
//! alone.

use super::{DecodePlan, Headers, Step, check_source, encoder, managed};
use crate::pipeline::codec::{Encoder, Header};
use crate::pipeline::encode::{encoded_channels, encoder_for, full_chroma_bytes, scoring_bytes};
use crate::pipeline::limits::within;
use crate::pipeline::metadata::Keep;
use crate::pipeline::operation::{Cost, at_most, image_bytes, resize};
use crate::pipeline::param::Args;
use crate::pipeline::{Channels, Error, Limits, Orientation, Picture, Pipeline, Shape, Size};

/// The memory of a render, and the shape of its result.
pub(super) struct MemoryPlan {
    pub shape: Shape,
    /// Whether the shape is exact: [`super::PlanSummary::exact`].
    pub exact: bool,
    /// Bytes at the peak: [`super::PlanSummary::memory_bytes`].
    pub peak: u64,
    /// Bytes before the first operation: [`super::RenderPlan::picture_bytes`].
    pub picture_bytes: u64,
    /// Bytes of the result: [`super::RenderPlan::result_bytes`].
    pub result_bytes: u64,
}

impl MemoryPlan {
    /// Plans the memory. `images` is the result of [`images_bytes`]. A last step is added to `steps` if the format cannot
    /// hold the result.
    pub fn new(
        decode: &DecodePlan,
        header: &Header,
        images: (u64, u64),
        steps: &mut Vec<Step>,
        chain: &Chain<'_>,
    ) -> Result<MemoryPlan, Error> {
        let decoded = Shape { size: decode.size, channels: header.channels, bits: header.bits };
        let mut memory = Memory::decoding(decoded, header, decode.orientation, decode.frames_kept);
        if decode.frame.is_some() {
            memory.frames = 1;
        }
        let size = decode.size.oriented(decode.orientation);
        let start = Shape { size, channels: managed(header.channels), ..decoded };
        let picture_bytes = memory.frames.saturating_mul(start.bytes());
        memory.decode_images(start, images);
        let (shape, exact) = memory.rest(start, steps, chain)?;
        let result_bytes = chain.result_bytes(memory.frames, shape);
        Ok(MemoryPlan { shape, exact, peak: memory.peak, picture_bytes, result_bytes })
    }
}

/// Checks the remaining `steps` against the limits again, when the pixels have determined a size that `RenderPlan` could only
/// bound. Returns the bytes at the peak of the rest.
pub fn check_rest(
    pipeline: &Pipeline,
    picture: &Picture,
    mut steps: Vec<Step>,
    images: &Headers,
    limits: &Limits,
) -> Result<u64, Error> {
    let (held, _) = images_bytes(pipeline, images, limits)?;
    let mut memory = Memory { frames: picture.frames.len() as u64, held, peak: 0 };
    memory.rest(picture.first().shape(), &mut steps, &Chain::new(pipeline, images, limits)?)?;
    Ok(memory.peak)
}

/// Bytes of all decoded masks and overlays, and the most that decoding one of them takes in addition.
pub(super) fn images_bytes(pipeline: &Pipeline, images: &Headers, limits: &Limits) -> Result<(u64, u64), Error> {
    let (mut held, mut working) = (0u64, 0u64);
    for id in pipeline.images() {
        let (codec, header) = images.get(&id).ok_or(Error::MissingImage { id })?;
        check_source(codec, header, 1, limits)?;
        let shape = Shape { size: header.size, channels: header.channels, bits: header.bits };
        held = held.saturating_add(shape.bytes());
        working =
            working.max(Memory::decoding(shape, header, header.orientation, 1).peak - shape.bytes() - FIXED_BYTES);
    }
    Ok((held, working))
}

/// The shapes of the images that a step names, decoded.
fn images_of(args: &Args, images: &Headers) -> impl Iterator<Item = Shape> {
    let shape = |header: &Header| {
        let size = header.size.oriented(header.orientation);
        Shape { size, channels: managed(header.channels), bits: header.bits }
    };
    args.images().filter_map(move |id| images.get(&id).map(|(_, header)| shape(header)))
}

/// What the steps of a chain are planned with.
pub(super) struct Chain<'a> {
    /// The encoder, adjusted to its arguments.
    pub encoder: Encoder,
    args: &'a Args,
    background: [u8; 4],
    images: &'a Headers,
    limits: &'a Limits,
}

impl<'a> Chain<'a> {
    pub fn new(pipeline: &'a Pipeline, images: &'a Headers, limits: &'a Limits) -> Result<Chain<'a>, Error> {
        let args = pipeline.encode_args();
        let background = args.color("background").unwrap_or([255; 4]);
        Ok(Chain { encoder: encoder_for(encoder(pipeline.codec())?, args), args, background, images, limits })
    }

    /// Upper bound on the bytes of the result; [`super::RenderPlan::result_bytes`] holds it.
    fn result_bytes(&self, frames: u64, shape: Shape) -> u64 {
        let bits = if self.encoder.sixteen_bit { shape.bits } else { 8 };
        let encoded = Shape { channels: encoded_channels(&self.encoder, shape.channels), bits, ..shape };
        let metadata = Keep::of(self.args).memory_bytes(self.limits);
        frames.saturating_mul(encoded.bytes()).saturating_add(metadata + FILE_BYTES).min(self.limits.bytes_max)
    }
}

/// The largest sum of buffers that live at the same time.
struct Memory {
    frames: u64,
    /// Held from the first operation to the last.
    held: u64,
    peak: u64,
}

/// The box into which a result of `size` must be scaled for the format; `None`: the format can hold it.
pub(super) fn ceiling(encoder: &Encoder, lossless: bool, size: Size) -> Option<Size> {
    let side = encoder.side_px_max;
    let pixels_max = if lossless { encoder.lossless_pixels_max } else { encoder.pixels_max };
    let scale = (pixels_max as f64 / size.pixels().max(1) as f64).sqrt().min(1.0);
    let most = |px: u32| if scale < 1.0 { ((f64::from(px) * scale) as u32).clamp(1, side) } else { side };
    let most = Size::new(most(size.w), most(size.h));
    (size.w > most.w || size.h > most.h).then_some(most)
}

/// Tables of colour, kernels and Huffman codes, which do not grow with the image.
const FIXED_BYTES: u64 = 1 << 20;
/// Bytes of a file in addition to its samples.
const FILE_BYTES: u64 = 4 << 10;
/// Tables that moxcms builds for one profile.
const PROFILE_BYTES: u64 = 4 << 20;

impl Memory {
    /// The memory of decoding, colour and orientation.
    fn decoding(decoded: Shape, header: &Header, orientation: Orientation, frames: u32) -> Memory {
        let mut memory = Memory { frames: u64::from(frames), held: 0, peak: 0 };
        let all = memory.frames.saturating_mul(decoded.bytes());
        memory.reach(all.saturating_add(header.working_bytes));
        let profile = if header.icc { PROFILE_BYTES } else { 0 };
        let srgb = Shape { channels: managed(decoded.channels), ..decoded };
        let converted = if srgb == decoded { 0 } else { srgb.bytes() };
        memory.reach(all.saturating_add(converted).saturating_add(profile));
        if decoded.size != decoded.size.oriented(orientation) {
            memory.reach((memory.frames + 1).saturating_mul(srgb.bytes()));
        }
        memory
    }

    /// Adds decoding the other images while the source's frames are held; then they are held, too.
    fn decode_images(&mut self, source: Shape, (held, working): (u64, u64)) {
        self.held = held;
        self.reach(self.frames.saturating_mul(source.bytes()).saturating_add(working));
    }

    /// Adds operations and encoding. Returns the shape of the result, and whether it is exact. If a size is left to the
    /// pixels, the rest is an upper bound that may be far too high. It does not refuse the render: all that a render may
    /// hold is set aside, and [`check_rest`] decides.
    fn rest(&mut self, shape: Shape, steps: &mut Vec<Step>, chain: &Chain<'_>) -> Result<(Shape, bool), Error> {
        let (shape, exact) = self.steps(shape, steps, chain)?;
        if exact {
            chain.limits.check_result(shape.size, self.frames as u32, chain.limits.side_px_max)?;
        }
        self.encode(shape, chain);
        self.peak = self.peak.saturating_add(Keep::of(chain.args).memory_bytes(chain.limits));
        if exact {
            within("memory_bytes_max", self.peak, chain.limits.memory_bytes_max)?;
        }
        self.peak = self.peak.min(chain.limits.memory_bytes_max);
        Ok((shape, exact))
    }

    /// Adds the operations, and a last one if the result might be too large for the format.
    fn steps(&mut self, shape: Shape, steps: &mut Vec<Step>, chain: &Chain<'_>) -> Result<(Shape, bool), Error> {
        let side_px_max = chain.limits.side_px_max.max(shape.size.w).max(shape.size.h);
        let (mut shape, rest) = self.exact_steps(shape, steps, side_px_max, chain)?;
        let exact = rest.is_none();
        if let Some(rest) = rest {
            shape = self.bounded_steps(shape, rest, side_px_max, chain)?;
        }
        if let Some(most) = ceiling(&chain.encoder, chain.args.flag("lossless"), shape.size) {
            let last = (&resize::OPERATION, resize::inside(most));
            let cost = if exact { (last.0.plan)(shape, &last.1)? } else { at_most(last.0, shape, &last.1)? };
            self.change(shape, cost.shape, cost.working_bytes);
            shape = cost.shape;
            steps.push(last);
        }
        Ok((shape, exact))
    }

    /// Adds the steps up to the first that leaves its size to the pixels. Returns the steps after it, if there is one.
    fn exact_steps<'a>(
        &mut self,
        mut shape: Shape,
        steps: &'a [Step],
        side_px_max: u32,
        chain: &Chain<'_>,
    ) -> Result<(Shape, Option<&'a [Step]>), Error> {
        for (place, step) in steps.iter().enumerate() {
            let cost = (step.0.plan)(shape, &step.1)?;
            self.operate(step, shape, &cost, chain);
            shape = cost.shape;
            chain.limits.check_result(shape.size, self.frames as u32, side_px_max)?;
            if cost.at_most {
                // Up to here the bytes are certain.
                within("memory_bytes_max", self.peak, chain.limits.memory_bytes_max)?;
                return Ok((shape, Some(&steps[place + 1..])));
            }
        }
        Ok((shape, None))
    }

    /// Adds steps whose sizes are upper bounds. [`check_rest`] refuses anything larger than the limits.
    fn bounded_steps(
        &mut self,
        mut shape: Shape,
        steps: &[Step],
        side_px_max: u32,
        chain: &Chain<'_>,
    ) -> Result<Shape, Error> {
        for step in steps {
            let cost = at_most(step.0, shape, &step.1)?;
            self.operate(step, shape, &cost, chain);
            shape = cost.shape;
            shape.size = shape.size.min(Size::new(side_px_max, side_px_max));
        }
        Ok(shape)
    }

    /// Adds one operation, with the images that it names.
    fn operate(&mut self, (operation, args): &Step, shape: Shape, cost: &Cost, chain: &Chain<'_>) {
        let resampling = images_of(args, chain.images).map(|image| image_bytes(operation, args, shape, image));
        self.change(shape, cost.shape, resampling.fold(cost.working_bytes, u64::saturating_add));
    }

    /// Adds the encoder. First each frame is converted for it: alpha, channels, depth, one after the other. Then come the
    /// encoder's own frames and the encoded bytes, which are seldom more than the samples. If several encodes are tried,
    /// the best so far is held, too.
    fn encode(&mut self, mut shape: Shape, chain: &Chain<'_>) {
        let Chain { encoder, background: [r, g, b, _], args, .. } = chain;
        self.held = 0;
        if shape.channels.alpha() && !encoded_channels(encoder, shape.channels).alpha() {
            let gray = shape.channels.gray() && r == g && g == b;
            shape = self.convert(shape, Shape { channels: Channels::of(gray, true), ..shape });
            shape = self.convert(shape, Shape { channels: Channels::of(gray, false), ..shape });
        }
        shape = self.convert(shape, Shape { channels: encoded_channels(encoder, shape.channels), ..shape });
        let fitted = self.convert(shape, Shape { bits: if encoder.sixteen_bit { shape.bits } else { 8 }, ..shape });
        let frames_bytes = self.frames.saturating_mul(fitted.bytes());
        self.held = args.number("max_bytes").map_or(0, |bytes_max| frames_bytes.min(bytes_max as u64));
        let chroma_bytes = full_chroma_bytes(encoder, args, fitted);
        self.reach((2 * self.frames + encoder.frames_held).saturating_mul(fitted.bytes()).saturating_add(chroma_bytes));
        if args.word("quality").is_some() {
            self.reach(frames_bytes.saturating_add(scoring_bytes(fitted)));
        }
    }

    /// Adds one conversion for the encoder; no memory if nothing changes.
    fn convert(&mut self, from: Shape, to: Shape) -> Shape {
        if from != to {
            self.change(from, to, 0);
        }
        to
    }

    fn change(&mut self, from: Shape, to: Shape, working_bytes: u64) {
        let (from, to) = (from.bytes(), to.bytes());
        let others = (self.frames - 1).saturating_mul(from.max(to));
        self.reach(others.saturating_add(from).saturating_add(to).saturating_add(working_bytes));
    }

    fn reach(&mut self, bytes: u64) {
        self.peak = self.peak.max(bytes.saturating_add(self.held).saturating_add(FIXED_BYTES));
    }
}
