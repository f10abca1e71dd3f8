//! A render: decode, colour, orientation, operations, encode. Follows a plan and decides nothing itself.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::batch::{Batch, Member};
use super::codec::{self, Codec, Header};
use super::encode::encode;
use super::limits::within;
use super::operation::Context;
use super::orient::oriented;
use super::plan::{Headers, RenderPlan, Step, check_rest};
use super::{Deadline, Error, Limits, Missing, Orientation, Picture, Pipeline, Raster, Size, color, metadata};
use crate::digest::Digest;

/// A finished render.
#[derive(Clone, Debug)]
pub struct Output {
    /// The encoded image.
    pub bytes: Bytes,
    /// What it lacks because the source is damaged.
    pub missing: Option<Missing>,
    /// Time spent decoding, colour and orientation included.
    pub decode: Duration,
    /// Time spent in operations.
    pub operations: Duration,
    /// Time spent encoding.
    pub encode: Duration,
}

impl Output {
    /// The source's own bytes as the result.
    pub(super) fn passed_through(source: &Bytes) -> Output {
        let none = Duration::ZERO;
        Output { bytes: source.clone(), missing: None, decode: none, operations: none, encode: none }
    }
}

/// The encoded images that a pipeline names, by id.
pub type Images = HashMap<Digest, Bytes>;

/// Runs on a source of a known format: a batch of one.
pub(super) fn run(
    codec: &'static Codec,
    pipeline: &Pipeline,
    source: &Bytes,
    images: &Images,
    limits: &Limits,
    deadline: &Deadline,
) -> Result<Output, Error> {
    deadline.check()?;
    let header = (codec.inspect)(source)?;
    let batch = Batch::plan(vec![pipeline.clone()], (codec, &header), headers(images)?, limits, u64::MAX);
    batch.run_first((source, images), limits, deadline)
}

/// Applies the operations to a decoded picture, and encodes it.
pub(super) fn finished(
    Batch { codec, header, headers, pipelines, .. }: &Batch,
    Member { index, plan }: &Member,
    picture: Picture,
    (source, images): (&Bytes, &Images),
    limits: &Limits,
    deadline: &Deadline,
) -> Result<Output, Error> {
    let pipeline = &pipelines[*index];
    let started = Instant::now();
    let images = images_decoded(pipeline, images, headers, limits, deadline)?;
    let decode = started.elapsed();

    let started = Instant::now();
    let check = |picture: &Picture, rest| check_rest(pipeline, picture, rest, headers, limits);
    let mut picture = operated(picture, plan, check, &Context { deadline, images: &images })?;
    drop(images);
    let operations = started.elapsed();

    let started = Instant::now();
    let header = header.page(plan.decode.page).unwrap_or(header);
    let missing = picture.missing;
    let file = paged(codec, source, plan)?;
    let metadata = metadata::kept((codec, header), &file, pipeline.encode_args(), &mut picture, limits);
    // The rest of an animation may be damaged, or too long.
    let is_whole = picture.missing.is_none() && picture.frames.len() as u64 >= u64::from(header.frames);
    let encode = || encode(picture, pipeline.codec(), pipeline.encode_args(), &metadata, deadline);
    let stripped = || stripped(pipeline, (codec, header), plan, source).filter(|_| is_whole);
    let bytes = match pipeline.strips() {
        true => stripped().map_or_else(encode, Ok)?,
        false => {
            let bytes = encode()?;
            stripped().filter(|stripped| stripped.len() < bytes.len()).unwrap_or(bytes)
        }
    };
    let bytes = metadata.written(pipeline.codec(), bytes)?;
    Ok(Output { bytes: bytes.into(), missing, decode, operations, encode: started.elapsed() })
}

/// The source's own data for `metadata=strip` and `never_larger`, if it shows the picture that was decoded, which has shown
/// that it is not damaged. Its metadata is removed; what is kept of it is written as into any other result. A file that only
/// the decoder can read is not an error.
fn stripped(
    pipeline: &Pipeline,
    (codec, header): (&'static Codec, &Header),
    plan: &RenderPlan,
    source: &[u8],
) -> Option<Vec<u8>> {
    let is_asked = pipeline.strips() || pipeline.encode_args().flag("never_larger");
    let all_frames = plan.decode.frame.is_none() && plan.decode.frames_kept == header.frames;
    let all_frames = all_frames && plan.decode.page == 0;
    let as_stored = plan.decode.orientation == Orientation::NoTransforms && plan.steps.is_empty() && all_frames;
    let as_shown = !header.icc && !header.channels.inks();
    let strip = codec.encoder.as_ref()?.strip?;
    if is_asked && codec == pipeline.codec() && as_stored && as_shown { strip(source).ok() } else { None }
}

/// Decodes to upright sRGB, or to the upright samples of a kept profile.
pub(super) fn decoded(
    (codec, header): (&'static Codec, &Header),
    source: &[u8],
    plan: &RenderPlan,
    limits: &Limits,
    deadline: &Deadline,
) -> Result<Picture, Error> {
    within("bytes_max", source.len() as u64, limits.bytes_max)?;
    let header = header.page(plan.decode.page).unwrap_or(header);
    let file = paged(codec, source, plan)?;
    let mut picture = (codec.decode)(&file, &plan.decode_options(limits, deadline))?;
    is_as_planned(codec, &picture, header, plan)?;
    if let Some(frame) = plan.decode.frame {
        picture.frames = picture.frames.into_iter().skip(frame as usize).collect();
        if picture.frames.is_empty() {
            return Err(Error::corrupt(codec.name, "it has fewer frames than its header says"));
        }
    }
    let picture = if plan.keeps_hdr && color::hdr_code_points(&picture).is_some() {
        picture
    } else if plan.keeps_profile {
        color::to_srgb_unless_fit(picture, deadline)?
    } else {
        color::to_srgb(picture, deadline)?
    };
    picture.map(|raster| {
        deadline.check()?;
        oriented(raster, plan.decode.orientation)
    })
}

/// The source with the page that is shown as its first.
fn paged<'a>(codec: &Codec, source: &'a [u8], plan: &RenderPlan) -> Result<Cow<'a, [u8]>, Error> {
    match plan.decode.page {
        0 => Ok(Cow::Borrowed(source)),
        page => codec::with_page_first(codec, source, page).map(Cow::Owned),
    }
}

fn headers(images: &Images) -> Result<Headers, Error> {
    let header = |(id, bytes): (&Digest, &Bytes)| {
        let codec = codec::sniff(bytes)?;
        Ok((*id, (codec, (codec.inspect)(bytes)?)))
    };
    images.iter().map(header).collect()
}

/// Decodes every image that the pipeline names.
fn images_decoded(
    pipeline: &Pipeline,
    images: &Images,
    headers: &Headers,
    limits: &Limits,
    deadline: &Deadline,
) -> Result<HashMap<Digest, Raster>, Error> {
    let decode = |id: Digest| {
        let (Some(bytes), Some((codec, header))) = (images.get(&id), headers.get(&id)) else {
            return Err(Error::MissingImage { id });
        };
        let plan = RenderPlan::of_image(codec, header, limits)?;
        let picture = decoded((codec, header), bytes, &plan, limits, deadline)?;
        Ok((id, picture.into_first()))
    };
    pipeline.images().into_iter().map(decode).collect()
}

/// Refuses frames of another shape than the header promised: they would pass every limit unchecked.
fn is_as_planned(codec: &'static Codec, picture: &Picture, header: &Header, plan: &RenderPlan) -> Result<(), Error> {
    let Some(first) = picture.frames.first() else { return Err(Error::corrupt(codec.name, "no frame")) };
    let Size { w, h } = first.raster.size();
    let least = plan.decode.at_least.unwrap_or(header.size);
    let size_fits = (least.w..=header.size.w).contains(&w) && (least.h..=header.size.h).contains(&h);
    let shape = first.raster.shape();
    let alike = picture.frames.iter().all(|frame| frame.raster.shape() == shape);
    let samples_fit = (shape.channels, shape.bits) == (header.channels, header.bits);
    if !size_fits || !samples_fit || !alike || picture.frames.len() > plan.decode.frames_kept as usize {
        return Err(Error::corrupt(codec.name, "the frames are not what the header says"));
    }
    Ok(())
}

/// Applies the operations to every frame. If the plan did not know a size, `check` gets the remaining steps as soon as the
/// pixels determine it.
fn operated(
    mut picture: Picture,
    plan: &RenderPlan,
    check: impl Fn(&Picture, Vec<Step>) -> Result<u64, Error>,
    context: &Context<'_>,
) -> Result<Picture, Error> {
    for (place, (operation, args)) in plan.steps.iter().enumerate() {
        let step = match operation.resolve {
            Some(resolve) => &resolve(picture.first(), args, context)?,
            None => &(*operation, args.clone()),
        };
        if (operation.plan)(picture.first().shape(), args)?.at_most {
            let rest = std::iter::once(step).chain(&plan.steps[place + 1..]);
            let bytes = check(&picture, rest.cloned().collect())?;
            debug_assert!(bytes <= plan.summary.memory_bytes, "{bytes} bytes, but {:?}", plan.summary);
        }
        let (operation, args) = step;
        picture = picture.map(|raster| {
            context.deadline.check()?;
            (operation.apply)(raster, args, context)
        })?;
    }
    Ok(picture)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::codec::{DecodeOptions, EncodeOptions, Encoder};
    use crate::pipeline::{Channels, Delay, Frame, Raster, Samples};

    /// A format of this test: width, height, frames, EXIF orientation, whether it lies about its size, then gray samples.
    const FORMAT: Codec = Codec {
        name: "toy",
        extensions: &["toy"],
        media_type: "image/x-toy",
        doc: "",
        revision: 1,
        shrinks: None,
        metadata: None,
        sniff: |_| false,
        inspect: |bytes| {
            let size = Size::new(bytes[0].into(), bytes[1].into());
            let orientation = Orientation::from_exif(bytes[3]).expect("1..=8");
            let frames = bytes[2].into();
            Ok(Header {
                size,
                orientation,
                frames,
                pages: Vec::new(),
                density: None,
                channels: Channels::Gray,
                bits: 8,
                icc: false,
                working_bytes: 0,
            })
        },
        decode: toy_decode,
        encoder: Some(ANIMATED),
    };
    static TOY: Codec = FORMAT;

    /// The format for stills of at most 4 x 4.
    static SMALL: Codec =
        Codec { name: "small", encoder: Some(Encoder { side_px_max: 4, frames_max: 1, ..ANIMATED }), ..FORMAT };

    const ANIMATED: Encoder = Encoder {
        side_px_max: 100,
        frames_max: 3,
        frames_held: 2,
        channels: &[Channels::Gray],
        sixteen_bit: false,
        quality: None,
        encode: toy_encode,
        ..Encoder::PLAIN
    };

    fn toy_decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Error> {
        let (mut w, mut h) = (usize::from(bytes[0]), usize::from(bytes[1]));
        let mut step = 1;
        // Shrinks by leaving out pixels, as far as it may.
        while options.at_least.is_some_and(|least| w / 2 >= least.w as usize && h / 2 >= least.h as usize) {
            (w, h, step) = (w / 2, h / 2, step * 2);
        }
        w += usize::from(bytes[4]);
        let frame = |number: usize| {
            let first = 5 + number * usize::from(bytes[0]) * usize::from(bytes[1]);
            let pixel = |x, y| bytes.get(first + y * step * usize::from(bytes[0]) + x * step).copied().unwrap_or(0);
            let samples = (0..h).flat_map(|y| (0..w).map(move |x| pixel(x, y))).collect();
            let raster = Raster::new(Size::new(w as u32, h as u32), Channels::Gray, Samples::U8(samples));
            Frame { raster, delay: Delay::from_ms(10) }
        };
        let frames = (0..usize::from(bytes[2]).min(options.frames_max as usize)).map(frame).collect();
        Ok(Picture::animation(frames, 0))
    }

    fn toy_encode(picture: &Picture, _: &EncodeOptions) -> Result<Vec<u8>, Error> {
        let Size { w, h } = picture.first().size();
        let mut bytes = vec![w as u8, h as u8, picture.frames.len() as u8, 1, 0];
        for frame in &picture.frames {
            let Samples::U8(samples) = frame.raster.samples() else { unreachable!("eight bits are asked for") };
            bytes.extend(samples);
        }
        Ok(bytes)
    }

    fn render(target: &'static Codec, query: &[(&str, &str)], source: &[u8]) -> Result<Output, Error> {
        let query: Vec<_> = query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let pipeline = Pipeline::from_query(target, &query)?;
        run(&TOY, &pipeline, &Bytes::copy_from_slice(source), &Images::new(), &Limits::default(), &Deadline::default())
    }

    fn check(target: &'static Codec, query: &[(&str, &str)], source: &[u8], expected: &[u8]) {
        assert_eq!(render(target, query, source).expect("renders").bytes, expected, "{query:?}");
    }

    #[test]
    fn a_conversion_to_the_sources_own_format_gives_its_bytes_without_a_copy() {
        let source = Bytes::from_static(&[2, 1, 1, 3, 0, 7, 8]);
        let conversion = Pipeline::from_query(&TOY, &[]).expect("empty");
        let output =
            run(&TOY, &conversion, &source, &Images::new(), &Limits::default(), &Deadline::default()).expect("renders");
        assert_eq!(output.bytes.as_ptr(), source.as_ptr());
        let render = conversion.into_render();
        let output =
            run(&TOY, &render, &source, &Images::new(), &Limits::default(), &Deadline::default()).expect("renders");
        assert_eq!(output.bytes, [2, 1, 1, 1, 0, 8, 7].as_slice());
    }

    #[test]
    fn the_image_is_upright_before_anything_else() {
        let source = [3, 1, 1, 6, 0, 1, 2, 3];
        check(&TOY, &[("metadata", "none")], &source, &[1, 3, 1, 1, 0, 1, 2, 3]);
        check(&TOY, &[("rotate", "90")], &source, &[3, 1, 1, 1, 0, 3, 2, 1]);
        check(&TOY, &[("rotate", "90"), ("flip", "h")], &source, &[3, 1, 1, 1, 0, 1, 2, 3]);
        check(&SMALL, &[], &source, &[1, 3, 1, 1, 0, 1, 2, 3]);
    }

    #[test]
    fn animations_stay_so_where_the_format_can_and_are_never_cut_short() {
        let source = [2, 1, 3, 1, 0, 1, 2, 3, 4, 5, 6];
        check(&TOY, &[("flip", "h")], &source, &[2, 1, 3, 1, 0, 2, 1, 4, 3, 6, 5]);
        check(&SMALL, &[("flip", "h")], &source, &[2, 1, 1, 1, 0, 2, 1]);
        let longer = render(&TOY, &[("flip", "h")], &[1, 1, 4, 1, 0, 1, 2, 3, 4]);
        assert!(matches!(longer, Err(Error::Limit { name: "frames_max", value: 4, max: 3 })), "{longer:?}");
    }

    #[test]
    fn results_are_scaled_down_to_what_the_format_holds() {
        let flat = |w: u8, h: u8| [&[w, h, 1, 1, 0], vec![9; usize::from(w) * usize::from(h)].as_slice()].concat();
        check(&SMALL, &[], &flat(12, 6), &flat(4, 2));
        check(&SMALL, &[("w", "9")], &flat(12, 6), &flat(4, 2));
        check(&SMALL, &[("w", "3")], &flat(12, 6), &flat(3, 2));
    }

    #[test]
    fn a_shrunk_source_gives_the_planned_size() {
        let (w, h) = (101u8, 67u8);
        for exif in 1..=8 {
            let source = [&[w, h, 1, exif, 0], vec![50; usize::from(w) * usize::from(h)].as_slice()].concat();
            for query in [
                &[("w", "13")] as &[_],
                &[("h", "7"), ("rotate", "90")],
                &[("w", "11"), ("h", "11"), ("fit", "cover")],
                &[("w", "20"), ("h", "9"), ("fit", "contain")],
                &[("w", "20"), ("h", "9"), ("fit", "fill")],
                &[("w", "9"), ("h", "9"), ("fit", "outside")],
            ] {
                let owned: Vec<_> = query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
                let pipeline = Pipeline::from_query(&TOY, &owned).expect("valid");
                let header = (TOY.inspect)(&source).expect("toy");
                let plan =
                    RenderPlan::new(&pipeline, (&TOY, &header), &Headers::new(), &Limits::default()).expect("small");
                let least = plan.decode.at_least.expect("the target is small");
                assert!(least.w <= w.into() && least.h <= h.into());
                let bytes = render(&TOY, query, &source).expect("renders").bytes;
                let size = Size::new(bytes[0].into(), bytes[1].into());
                assert_eq!(size, plan.summary.size, "EXIF {exif}, {query:?}");
            }
        }
    }

    #[test]
    fn a_decoder_that_gives_another_shape_than_its_header_is_refused() {
        let lies = render(&TOY, &[("flip", "h")], &[1, 1, 1, 1, 1, 9, 9]);
        assert!(matches!(lies, Err(Error::Corrupt { format: "toy", .. })), "{lies:?}");
        let header = (TOY.inspect)(&[1, 1, 1, 1, 0]).expect("toy");
        let plan = RenderPlan::of_image(&TOY, &header, &Limits::default()).expect("small");
        let check = |channels, samples| {
            is_as_planned(&TOY, &Picture::still(Raster::new(Size::new(1, 1), channels, samples)), &header, &plan)
        };
        assert_eq!(check(Channels::Gray, Samples::U8(vec![0])), Ok(()));
        assert!(check(Channels::Gray, Samples::U16(vec![0])).is_err());
        assert!(check(Channels::Rgb, Samples::U8(vec![0; 3])).is_err());
    }

    #[test]
    fn an_encoder_that_ends_late_gives_a_timeout() {
        static LATE: Codec =
            Codec { name: "late", encoder: Some(Encoder { encode: until_the_deadline, ..ANIMATED }), ..FORMAT };
        fn until_the_deadline(_: &Picture, options: &EncodeOptions) -> Result<Vec<u8>, Error> {
            while options.deadline.check().is_ok() {}
            Ok(Vec::new())
        }
        let deadline = Deadline::new(Instant::now() + Duration::from_millis(50), std::sync::Arc::default());
        let pipeline = Pipeline::from_query(&LATE, &[]).expect("empty");
        let source = Bytes::from_static(&[1, 1, 1, 1, 0, 9]);
        let late = run(&TOY, &pipeline, &source, &Images::new(), &Limits::default(), &deadline);
        assert!(matches!(late, Err(Error::Timeout)), "{late:?}");
    }

    #[test]
    fn a_batch_does_not_inspect_its_source_again() {
        static PLANNED: Codec = Codec { inspect: |_| panic!("its header is known"), ..FORMAT };
        let source = Bytes::from_static(&[2, 1, 1, 3, 0, 7, 8]);
        let header = (TOY.inspect)(&source).expect("toy");
        let query = [("flip".to_owned(), "h".to_owned())];
        let pipelines = vec![Pipeline::from_query(&TOY, &query).expect("valid"); 2];
        let (limits, deadline) = (Limits::default(), Deadline::default());
        let batch = Batch::plan(pipelines, (&PLANNED, &header), Headers::new(), &limits, u64::MAX);
        let output = batch.run_first((&source, &Images::new()), &limits, &deadline).expect("renders");
        assert_eq!(output.bytes, [2, 1, 1, 1, 0, 7, 8].as_slice());
    }

    #[test]
    fn a_cancelled_render_ends() {
        let raised = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let deadline = Deadline::new(Instant::now() + Duration::from_secs(3600), raised);
        let pipeline = Pipeline::from_query(&SMALL, &[]).expect("empty");
        let source = Bytes::from_static(&[1, 1, 1, 1, 0, 9]);
        let cancelled = run(&TOY, &pipeline, &source, &Images::new(), &Limits::default(), &deadline);
        assert!(matches!(cancelled, Err(Error::Cancelled)), "{cancelled:?}");
    }
}
