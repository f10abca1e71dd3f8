//! [`Plan`]: what a render will make, hold and refuse, from the source's header alone: no pixel exists yet.

use std::collections::HashMap;

use super::codec::{Codec, DecodeOptions, Encoder, Header};
use super::encode::{asked, encoded_channels, judging_bytes};
use super::invalid::invalid;
use super::limits::within;
use super::metadata::Keep;
use super::operation::{Operation, at_most, crop, image_bytes, resize, rotate};
use super::param::Args;
use super::{Channels, Error, Limits, Orientation, Picture, Pipeline, Shape, Size, Watch};
use crate::digest::Digest;

/// What a render will make and hold, known before a pixel is decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Size of the result; at most this where an operation leaves it to the pixels.
    pub size: Size,
    /// Whether the result has just that size.
    pub exact: bool,
    /// Bytes held at the peak, sources excluded; at most these where the size is not exact.
    pub memory_bytes: u64,
    /// The source's own bytes are the answer: nothing is decoded.
    pub passes_through: bool,
}

/// Format and header of the images that a pipeline names, by id.
pub type Headers = HashMap<Digest, (&'static Codec, Header)>;

/// A step of a pipeline: an operation and its arguments.
pub type Step = (&'static Operation, Args);

/// How a render goes: the plan, what the decoder is asked for, and the steps that are left.
#[derive(Debug)]
pub(super) struct Course {
    pub plan: Plan,
    /// See [`DecodeOptions::at_least`].
    pub at_least: Option<Size>,
    /// See [`DecodeOptions::frames_max`].
    pub frames: u32,
    /// The one frame that is kept of them.
    pub frame: Option<u32>,
    /// The orientation that is applied.
    pub orientation: Orientation,
    /// Pixels stay in the space of the embedded profile, where it is of their kind.
    pub keeps_profile: bool,
    /// The operations, with a last scaling down where the format cannot hold the result.
    pub steps: Vec<Step>,
    /// The size that the decoder gives, as stored.
    pub decoded: Size,
    /// Bytes of the picture before its first operation.
    pub picture_bytes: u64,
    /// Bytes of the result at most, as [`Plan::memory_bytes`] counts them: encoded samples are seldom more than plain ones.
    pub result_bytes: u64,
}

impl Course {
    pub fn new(
        pipeline: &Pipeline,
        source: (&'static Codec, &Header),
        images: &Headers,
        limits: &Limits,
    ) -> Result<Course, Error> {
        let (codec, header) = source;
        let orientation = orientation(pipeline, header);
        let oriented = header.size.oriented(orientation);
        if pipeline.is_conversion() && codec == pipeline.codec() {
            let plan = Plan { size: oriented, exact: true, memory_bytes: 0, passes_through: true };
            return Ok(Course { frames: header.frames, ..Course::whole(plan, header, orientation) });
        }
        let chain = Chain::new(pipeline, images, limits)?;
        let frame = frame(pipeline, header)?;
        let decoded_frames = frames_of(&chain.encoder, header, frame)?;
        check_source(codec, header, decoded_frames, limits)?;
        within("operations_max", pipeline.steps().len() as u64, limits.operations_max as u64)?;

        let mut steps = pipeline.steps().to_vec();
        let at_least = shrink(header.size, oriented, &mut steps);
        let size = at_least.zip(codec.shrinks).map_or(header.size, |(least, shrinks)| shrinks(header.size, least));
        let decoded = Shape { size, channels: header.channels, bits: header.bits };
        let mut memory = Memory::decoding(decoded, header, orientation, decoded_frames);
        if frame.is_some() {
            memory.frames = 1;
        }
        let start = Shape { size: size.oriented(orientation), channels: managed(header.channels), ..decoded };
        let picture_bytes = memory.frames.saturating_mul(start.bytes());
        memory.decode_images(start, images_bytes(pipeline, images, limits)?);
        let (shape, exact) = memory.rest(start, &mut steps, &chain)?;
        let all = Keep::of(pipeline.encode_args()) == Keep::All;
        let keeps_profile = all && stays_of_a_kind(header.channels, shape.channels, &chain.encoder);
        let plan = Plan { size: shape.size, exact, memory_bytes: memory.peak, passes_through: false };
        let result_bytes = chain.result_bytes(memory.frames, shape);
        let (frames, decoded) = (decoded_frames, size);
        Ok(Course {
            plan,
            at_least,
            frames,
            frame,
            orientation,
            keeps_profile,
            steps,
            decoded,
            picture_bytes,
            result_bytes,
        })
    }

    /// The way to the pixels of a mask or overlay: the first frame, upright, whole.
    pub fn of_image(codec: &'static Codec, header: &Header, limits: &Limits) -> Result<Course, Error> {
        check_source(codec, header, 1, limits)?;
        let plan = Plan { size: header.size, exact: true, memory_bytes: 0, passes_through: false };
        Ok(Course::whole(plan, header, header.orientation))
    }

    /// The way to the first frame, without an operation.
    fn whole(plan: Plan, header: &Header, orientation: Orientation) -> Course {
        Course {
            plan,
            at_least: None,
            frames: 1,
            frame: None,
            orientation,
            keeps_profile: false,
            steps: Vec::new(),
            decoded: header.size,
            picture_bytes: 0,
            result_bytes: 0,
        }
    }

    /// Whether both see the same pixels before their first operation. Decodes that differ are never merged: a result would
    /// depend on what else was asked for.
    pub fn decodes_like(&self, other: &Course) -> bool {
        let decode =
            |course: &Course| (course.decoded, course.frames, course.frame, course.orientation, course.keeps_profile);
        decode(self) == decode(other) && !self.plan.passes_through && !other.plan.passes_through
    }

    pub fn decode_options<'a>(&self, limits: &'a Limits, watch: &'a Watch) -> DecodeOptions<'a> {
        DecodeOptions { limits, at_least: self.at_least, frames_max: self.frames, watch }
    }
}

/// Holds the rest of a render against the limits once more, now that the pixels have told a size that `Course` could only bound.
/// `steps` are those that are left. Bytes that will be held at most.
pub(super) fn check_rest(
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

fn check_source(codec: &'static Codec, header: &Header, frames: u32, limits: &Limits) -> Result<(), Error> {
    if header.size.pixels() == 0 {
        return Err(Error::corrupt(codec.name, "no pixels"));
    }
    limits.check(header.size, frames)
}

/// What the masks and overlays hold once they are decoded, and the most that decoding one of them takes beside it.
fn images_bytes(pipeline: &Pipeline, images: &Headers, limits: &Limits) -> Result<(u64, u64), Error> {
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

/// The images that a step names, as it will see them.
fn images_of(args: &Args, images: &Headers) -> impl Iterator<Item = Shape> {
    let shape = |header: &Header| {
        let size = header.size.oriented(header.orientation);
        Shape { size, channels: managed(header.channels), bits: header.bits }
    };
    args.images().filter_map(move |id| images.get(&id).map(|(_, header)| shape(header)))
}

fn orientation(pipeline: &Pipeline, header: &Header) -> Orientation {
    let kept = pipeline.encode_args().word("orient") == Some("none");
    if kept { Orientation::NoTransforms } else { header.orientation }
}

/// The frame that is asked for.
fn frame(pipeline: &Pipeline, header: &Header) -> Result<Option<u32>, Error> {
    // The kind holds it within 65535.
    let Some(frame) = pipeline.encode_args().number("frame").map(|frame| frame as u32) else { return Ok(None) };
    let frames = header.frames.max(1);
    if frame >= frames {
        let last = frames - 1;
        let words =
            if last == 0 { "0 or all: this image has one frame".to_owned() } else { format!("0 to {last}, or all") };
        return Err(invalid("frame", &frame.to_string(), format!("0..{last} of this image, or all")).must_be(words));
    }
    Ok(Some(frame))
}

pub(super) fn encoder(codec: &Codec) -> Result<&Encoder, Error> {
    codec.encoder.as_ref().ok_or(Error::Unsupported { format: codec.name, feature: "writing" })
}

/// The frames that are decoded: all where the format can be an animation, else the first; up to the one that is asked for. An
/// animation is never cut short.
fn frames_of(encoder: &Encoder, header: &Header, frame: Option<u32>) -> Result<u32, Error> {
    if let Some(frame) = frame {
        return Ok(frame + 1);
    }
    if encoder.frames_max <= 1 {
        return Ok(1);
    }
    within("frames_max", u64::from(header.frames), u64::from(encoder.frames_max))?;
    Ok(header.frames.max(1))
}

/// Whether gray stays gray, or colour colour, from the source to the file, so that the source's profile fits both. Gray that is
/// laid on a background may become coloured.
fn stays_of_a_kind(source: Channels, result: Channels, encoder: &Encoder) -> bool {
    let encoded = encoded_channels(encoder, result);
    let flattened_gray = result.gray() && result.alpha() && !encoded.alpha();
    source != Channels::Cmyk && source.gray() == result.gray() && result.gray() == encoded.gray() && !flattened_gray
}

/// The channels after colour management.
fn managed(channels: Channels) -> Channels {
    if channels == Channels::Cmyk { Channels::Rgb } else { channels }
}

/// Where a resize, or a crop and a resize, are the first to see pixels, but for right-angle turns: lets the decoder give less than
/// the whole image, and puts in their place what makes the same of it.
fn shrink(stored: Size, upright: Size, steps: &mut Vec<Step>) -> Option<Size> {
    let turn = |(operation, args): &Step| {
        if *operation == &rotate::OPERATION { rotate::right_angle(args) } else { None }
    };
    let turns = steps.iter().map_while(turn).count();
    let size = steps.iter().map_while(turn).fold(upright, Size::oriented);
    let cropped = steps.get(turns).filter(|(operation, _)| *operation == &crop::OPERATION);
    let part = cropped.map_or(Ok(crop::whole(size)), |(_, args)| crop::part(size, args)).ok()?;
    let last = turns + usize::from(cropped.is_some());
    let (_, args) = steps.get(last).filter(|(operation, _)| *operation == &resize::OPERATION)?;
    let (at_least, resizes) = resize::shrunk(size, part, args)?;
    steps.splice(turns..=last, resizes);
    let swapped = quarter_turned(stored, size);
    Some(if swapped { Size::new(at_least.h, at_least.w) } else { at_least })
}

/// Whether `turned` lies across `stored`; a square does not care, and neither does what is kept of it.
fn quarter_turned(stored: Size, turned: Size) -> bool {
    stored != turned && stored == turned.oriented(Orientation::Rotate90)
}

/// What the steps of a chain are planned for.
struct Chain<'a> {
    /// As its arguments ask for it.
    encoder: Encoder,
    args: &'a Args,
    background: [u8; 4],
    images: &'a Headers,
    limits: &'a Limits,
}

impl<'a> Chain<'a> {
    fn new(pipeline: &'a Pipeline, images: &'a Headers, limits: &'a Limits) -> Result<Chain<'a>, Error> {
        let args = pipeline.encode_args();
        let background = args.color("background").unwrap_or([255; 4]);
        Ok(Chain { encoder: asked(encoder(pipeline.codec())?, args), args, background, images, limits })
    }

    /// See [`Course::result_bytes`].
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

/// The box into which a result of `size` must be scaled for the format to hold it; `None`: it does.
fn ceiling(encoder: &Encoder, lossless: bool, size: Size) -> Option<Size> {
    let side = encoder.side_px_max;
    let pixels_max = if lossless { encoder.lossless_pixels_max } else { encoder.pixels_max };
    let scale = (pixels_max as f64 / size.pixels().max(1) as f64).sqrt().min(1.0);
    let most = |px: u32| if scale < 1.0 { ((f64::from(px) * scale) as u32).clamp(1, side) } else { side };
    let most = Size::new(most(size.w), most(size.h));
    (size.w > most.w || size.h > most.h).then_some(most)
}

/// Tables of colour, kernels and Huffman codes; what does not grow with the image.
const FIXED_BYTES: u64 = 1 << 20;
/// What a format puts around samples, even around a single one.
const FILE_BYTES: u64 = 4 << 10;
/// What moxcms builds for one profile.
const PROFILE_BYTES: u64 = 4 << 20;

impl Memory {
    /// Decoding, colour and orientation.
    fn decoding(decoded: Shape, header: &Header, orientation: Orientation, frames: u32) -> Memory {
        let mut memory = Memory { frames: u64::from(frames), held: 0, peak: 0 };
        memory.reach(memory.frames * decoded.bytes() + header.working_bytes);
        let profile = if header.icc { PROFILE_BYTES } else { 0 };
        let srgb = Shape { channels: managed(decoded.channels), ..decoded };
        let converted = if srgb == decoded { 0 } else { srgb.bytes() };
        memory.reach(memory.frames * decoded.bytes() + converted + profile);
        if decoded.size != decoded.size.oriented(orientation) {
            memory.reach((memory.frames + 1) * srgb.bytes());
        }
        memory
    }

    /// Decoding the other images while the source's frames are there; from then on they are held.
    fn decode_images(&mut self, source: Shape, (held, working): (u64, u64)) {
        self.held = held;
        self.reach(self.frames.saturating_mul(source.bytes()).saturating_add(working));
    }

    /// Operations and encoding. The shape of the result, and whether it is known: where a size is left to the pixels, what follows
    /// is a bound that they may stay far below. It is then no reason to refuse but to set aside all that a render may hold, and
    /// [`check_rest`] decides.
    fn rest(&mut self, shape: Shape, steps: &mut Vec<Step>, chain: &Chain<'_>) -> Result<(Shape, bool), Error> {
        let (shape, exact) = self.steps(shape, steps, chain)?;
        self.encode(shape, chain);
        self.peak = self.peak.saturating_add(Keep::of(chain.args).memory_bytes(chain.limits));
        if exact {
            within("memory_bytes_max", self.peak, chain.limits.memory_bytes_max)?;
        }
        self.peak = self.peak.min(chain.limits.memory_bytes_max);
        Ok((shape, exact))
    }

    /// The operations; a last one is added where the result might be more than the format holds.
    fn steps(&mut self, mut shape: Shape, steps: &mut Vec<Step>, chain: &Chain<'_>) -> Result<(Shape, bool), Error> {
        let (encoder, limits) = (chain.encoder, chain.limits);
        let mut exact = true;
        for (operation, args) in steps.iter() {
            let cost = if exact { (operation.plan)(shape, args)? } else { at_most(operation, shape, args)? };
            let resampling = images_of(args, chain.images).map(|image| image_bytes(operation, args, shape, image));
            self.change(shape, cost.shape, resampling.fold(cost.working_bytes, u64::saturating_add));
            shape = cost.shape;
            if exact {
                limits.check(shape.size, self.frames as u32)?;
            } else {
                // Nothing larger will be made: `check_rest` refuses it.
                shape.size = shape.size.min(Size::new(limits.side_px_max, limits.side_px_max));
            }
            if exact && cost.at_most {
                // All of this is certain; what follows is not.
                within("memory_bytes_max", self.peak, limits.memory_bytes_max)?;
                exact = false;
            }
        }
        if let Some(most) = ceiling(&encoder, chain.args.flag("lossless"), shape.size) {
            let last = (&resize::OPERATION, resize::inside(most));
            let cost = if exact { (last.0.plan)(shape, &last.1)? } else { at_most(last.0, shape, &last.1)? };
            self.change(shape, cost.shape, cost.working_bytes);
            shape = cost.shape;
            steps.push(last);
        }
        Ok((shape, exact))
    }

    /// Fitting every frame to the encoder: alpha, channels, depth, one after the other. Then the encoder's own frames, and the
    /// encoded bytes, which are seldom more than the samples: the best so far too, where several are tried.
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
        self.reach((2 * self.frames + encoder.frames_held).saturating_mul(fitted.bytes()));
        if args.word("quality").is_some() {
            self.reach(frames_bytes.saturating_add(judging_bytes(fitted)));
        }
    }

    /// One step of fitting; nothing is held where nothing changes.
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
