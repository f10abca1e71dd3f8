//! [`RenderPlan`]: what a render will make, hold and refuse, from the source's header alone, before a pixel exists.
//! [`PlanSummary`] is its public part.

mod fit;
mod memory;

use std::collections::HashMap;

use super::codec::{Codec, DecodeOptions, Encoder, Header};
use super::encode::encoded_channels;
use super::invalid::invalid;
use super::limits::within;
use super::metadata::Keep;
use super::operation::{Operation, crop, resize, rotate};
use super::param::Args;
use super::{Channels, Deadline, Error, Limits, Orientation, Pipeline, Size};
use crate::digest::Digest;
pub use fit::Fit;
pub(super) use memory::check_rest;
use memory::{Chain, MemoryPlan, images_bytes};

/// What a render will make and hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanSummary {
    /// Size of the result; an upper bound if an operation leaves it to the pixels.
    pub size: Size,
    /// Whether the result has exactly this size.
    pub exact: bool,
    /// Bytes held at the peak, without the source; an upper bound if the size is not exact.
    pub memory_bytes: u64,
    /// Whether the source's own bytes are the result: nothing is decoded.
    pub passes_through: bool,
}

/// Format and header of the images that a pipeline names, by id.
pub type Headers = HashMap<Digest, (&'static Codec, Header)>;

/// A step of a pipeline: an operation and its arguments.
pub type Step = (&'static Operation, Args);

/// The whole plan: the summary, the arguments of the decoder, and the steps after it.
#[derive(Debug)]
pub(super) struct RenderPlan {
    pub summary: PlanSummary,
    pub decode: DecodePlan,
    /// Whether pixels stay in the colour space of the embedded profile.
    pub keeps_profile: bool,
    /// Whether an HDR picture stays one.
    pub keeps_hdr: bool,
    /// The operations, with a last scaling down if the format cannot hold the result.
    pub steps: Vec<Step>,
    /// Bytes of the picture before its first operation.
    pub picture_bytes: u64,
    /// Upper bound on the bytes of the result, as [`PlanSummary::memory_bytes`] counts them: encoded samples are seldom more
    /// than plain ones.
    pub result_bytes: u64,
}

/// The arguments of the decoder, and what is done to its frames before the first operation.
#[derive(Debug)]
pub(super) struct DecodePlan {
    /// Size below which the decoder must not shrink: [`DecodeOptions::at_least`].
    pub at_least: Option<Size>,
    /// Size of the decoded frames, before `orientation`.
    pub size: Size,
    /// Number of frames to decode: [`DecodeOptions::frames_max`].
    pub frames: u32,
    /// Number of frames that are held: [`DecodeOptions::frames_kept`].
    pub frames_kept: u32,
    /// The one frame that is kept; `None`: all are.
    pub frame: Option<u32>,
    /// Orientation that is applied.
    pub orientation: Orientation,
    /// The page that is decoded, from 0.
    pub page: u32,
    /// Whether a damaged source is shown: [`DecodeOptions::tolerant`].
    pub tolerant: bool,
}

impl RenderPlan {
    pub fn new(
        pipeline: &Pipeline,
        source: (&'static Codec, &Header),
        images: &Headers,
        limits: &Limits,
    ) -> Result<RenderPlan, Error> {
        let codec = source.0;
        let page = page(pipeline, source)?;
        let header = source.1.page(page).ok_or(Error::Unsupported { format: codec.name, feature: "this page" })?;
        let source = (codec, header);
        let orientation = orientation(pipeline, header);
        let oriented = header.size.oriented(orientation);
        if pipeline.is_conversion() && codec == pipeline.codec() {
            let summary = PlanSummary { size: oriented, exact: true, memory_bytes: 0, passes_through: true };
            return Ok(RenderPlan::whole(summary, header, header.frames, orientation));
        }
        let chain = Chain::new(pipeline, images, limits)?;
        let mut steps = pipeline.steps().to_vec();
        let mut decode = DecodePlan::new(pipeline, source, &chain.encoder, &mut steps, limits)?;
        decode.page = page;
        within("operations_max", pipeline.steps().len() as u64, limits.operations_max as u64)?;
        let images = images_bytes(pipeline, images, limits)?;
        let MemoryPlan { shape, exact, peak, picture_bytes, result_bytes } =
            MemoryPlan::new(&decode, header, images, &mut steps, &chain)?;
        let all = Keep::of(pipeline.encode_args()) == Keep::All;
        let keeps_profile = all && stays_of_a_kind(header.channels, shape.channels, &chain.encoder);
        let keeps_hdr = pipeline.encode_args().word("hdr") == Some("keep");
        let summary = PlanSummary { size: shape.size, exact, memory_bytes: peak, passes_through: false };
        Ok(RenderPlan { summary, decode, keeps_profile, keeps_hdr, steps, picture_bytes, result_bytes })
    }

    /// The plan for a mask or overlay: the first frame, upright, whole.
    pub fn of_image(codec: &'static Codec, header: &Header, limits: &Limits) -> Result<RenderPlan, Error> {
        check_source(codec, header, 1, limits)?;
        let summary = PlanSummary { size: header.size, exact: true, memory_bytes: 0, passes_through: false };
        Ok(RenderPlan::whole(summary, header, 1, header.orientation))
    }

    /// A plan for the first frames, without an operation.
    fn whole(summary: PlanSummary, header: &Header, frames: u32, orientation: Orientation) -> RenderPlan {
        let (size, frame, page, tolerant) = (header.size, None, 0, false);
        let decode =
            DecodePlan { at_least: None, size, frames, frames_kept: frames, frame, orientation, page, tolerant };
        let (keeps_profile, keeps_hdr) = (false, false);
        RenderPlan { summary, decode, keeps_profile, keeps_hdr, steps: Vec::new(), picture_bytes: 0, result_bytes: 0 }
    }

    /// Whether both plans have the same pixels before their first operation. Decodes that differ are never merged: a result
    /// would depend on the other outputs of its batch.
    pub fn decodes_like(&self, other: &RenderPlan) -> bool {
        // Without `at_least`: only the decoded size matters.
        let decode = |plan: &RenderPlan| {
            let DecodePlan { size, frames, frames_kept, frame, orientation, page, tolerant, .. } = plan.decode;
            (size, frames, frames_kept, frame, orientation, page, tolerant, plan.keeps_profile, plan.keeps_hdr)
        };
        decode(self) == decode(other) && !self.summary.passes_through && !other.summary.passes_through
    }

    pub fn decode_options<'a>(&self, limits: &'a Limits, deadline: &'a Deadline) -> DecodeOptions<'a> {
        let DecodePlan { at_least, frames: frames_max, frames_kept, tolerant, .. } = self.decode;
        DecodeOptions { at_least, frames_max, frames_kept, tolerant, ..DecodeOptions::new(limits, deadline) }
    }
}

impl DecodePlan {
    /// Plans the decode. If the decoder may shrink the image, `steps` are adapted to the smaller one.
    fn new(
        pipeline: &Pipeline,
        (codec, header): (&'static Codec, &Header),
        encoder: &Encoder,
        steps: &mut Vec<Step>,
        limits: &Limits,
    ) -> Result<DecodePlan, Error> {
        let orientation = orientation(pipeline, header);
        let frame = frame(pipeline, header)?;
        let frames = frames_of(encoder, header, frame);
        // The parameter's kind keeps it within 65535.
        let asked = pipeline.encode_args().number("frames").map_or(frames, |most| frames.min(most as u32));
        let sampled = limits.frames_sampled && frame.is_none();
        let most = if sampled { limits.frames_held(header.size).min(encoder.frames_max) } else { u32::MAX };
        let frames_kept = asked.min(most);
        if frame.is_none() && encoder.frames_max > 1 {
            within("frames_max", u64::from(frames_kept), u64::from(encoder.frames_max))?;
        }
        check_source(codec, header, frames_kept, limits)?;
        let at_least = shrink(header.size, header.size.oriented(orientation), steps);
        let size = at_least.zip(codec.shrinks).map_or(header.size, |(least, shrinks)| shrinks(header.size, least));
        let tolerant = pipeline.encode_args().flag("tolerant");
        Ok(DecodePlan { at_least, size, frames, frames_kept, frame, orientation, page: 0, tolerant })
    }
}

fn check_source(codec: &'static Codec, header: &Header, frames: u32, limits: &Limits) -> Result<(), Error> {
    if header.size.pixels() == 0 {
        return Err(Error::corrupt(codec.name, "no pixels"));
    }
    limits.check(header.size, frames)
}

fn orientation(pipeline: &Pipeline, header: &Header) -> Orientation {
    let kept = pipeline.encode_args().word("orient") == Some("none");
    if kept { Orientation::NoTransforms } else { header.orientation }
}

/// The argument `frame` of an animation.
fn frame(pipeline: &Pipeline, header: &Header) -> Result<Option<u32>, Error> {
    if header.frames <= 1 {
        return Ok(None);
    }
    numbered(pipeline, header.frames, "frame")
}

/// The page that the argument `frame` names, of an image that is no animation.
fn page(pipeline: &Pipeline, (_, header): (&Codec, &Header)) -> Result<u32, Error> {
    if header.frames > 1 {
        return Ok(0);
    }
    let what = if header.page_count() > 1 { "page" } else { "frame" };
    Ok(numbered(pipeline, header.page_count(), what)?.unwrap_or(0))
}

/// The argument `frame`, which must be below `count`.
fn numbered(pipeline: &Pipeline, count: u32, what: &str) -> Result<Option<u32>, Error> {
    // The parameter's kind keeps it within 65535.
    let Some(number) = pipeline.encode_args().number("frame").map(|frame| frame as u32) else { return Ok(None) };
    if number >= count {
        let last = count - 1;
        let words =
            if last == 0 { format!("0 or all: this image has one {what}") } else { format!("0 to {last}, or all") };
        return Err(invalid("frame", &number.to_string(), format!("0..{last} of this image, or all")).must_be(words));
    }
    Ok(Some(number))
}

pub(super) fn encoder(codec: &Codec) -> Result<&Encoder, Error> {
    codec.encoder.as_ref().ok_or(Error::Unsupported { format: codec.name, feature: "writing" })
}

/// Number of frames to decode: up to the one that is asked for; otherwise all if the output format has animations, or the
/// first. An animation is never cut short.
fn frames_of(encoder: &Encoder, header: &Header, frame: Option<u32>) -> u32 {
    match frame {
        Some(frame) => frame + 1,
        None if encoder.frames_max <= 1 => 1,
        None => frames_wanted(header, false),
    }
}

/// Number of frames that a result should have: all of the source, or `one` that is asked for.
fn frames_wanted(header: &Header, one: bool) -> u32 {
    if one { 1 } else { header.frames.max(1) }
}

/// Whether gray stays gray, or colour stays colour, from the source to the result, so that the source's profile fits both.
/// Gray on a background may become coloured.
fn stays_of_a_kind(source: Channels, result: Channels, encoder: &Encoder) -> bool {
    let encoded = encoded_channels(encoder, result);
    let flattened_gray = result.gray() && result.alpha() && !encoded.alpha();
    !source.inks() && source.gray() == result.gray() && result.gray() == encoded.gray() && !flattened_gray
}

/// The channels after colour management.
fn managed(channels: Channels) -> Channels {
    if channels.inks() { Channels::of(false, channels.alpha()) } else { channels }
}

/// The size that the decoder may shrink to, if the first operation after right-angle turns is a resize, or a crop and a
/// resize. Replaces these steps by ones that make the same result of the smaller image.
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

/// Whether `turned` is `stored` with its sides swapped. For a square both answers serve.
fn quarter_turned(stored: Size, turned: Size) -> bool {
    stored != turned && stored == turned.oriented(Orientation::Rotate90)
}
