//! Plans: sizes, limits and memory, before any pixel exists.

use proptest::prelude::*;

use super::{ANIMATED, OUTPUT, pipeline};
use progimage::digest::Digest;
use progimage::pipeline::codec::{self, Codec, Encoder, Header};
use progimage::pipeline::{Channels, Error, Headers, Limits, Orientation, Pipeline, PlanSummary, Size};

/// Where sources come from; it is only read.
static SOURCE: Codec = Codec {
    name: "source",
    extensions: &[],
    media_type: "",
    doc: "",
    revision: 1,
    shrinks: None,
    metadata: None,
    sniff: |_| false,
    inspect: |_| Err(Error::UnknownFormat),
    decode: |_, _| Err(Error::UnknownFormat),
    encoder: None,
};

fn header(w: u32, h: u32) -> Header {
    Header {
        size: Size::new(w, h),
        orientation: Orientation::NoTransforms,
        frames: 1,
        pages: Vec::new(),
        density: None,
        channels: Channels::Rgb,
        bits: 8,
        icc: false,
        working_bytes: 0,
    }
}

fn plan(query: &str, header: &Header, limits: &Limits) -> Result<PlanSummary, Error> {
    pipeline(query).expect(query).plan((&SOURCE, header), &Headers::new(), limits)
}

fn check(query: &str, header: &Header, expected: (u32, u32)) {
    let plan = plan(query, header, &Limits::default()).expect(query);
    assert_eq!((plan.size.w, plan.size.h), expected, "{query}");
    assert!(!plan.passes_through);
}

#[test]
fn sizes_are_those_of_the_upright_image() {
    let lying = Header { orientation: Orientation::Rotate90, ..header(4000, 3000) };
    check("", &header(4000, 3000), (4000, 3000));
    check("", &lying, (3000, 4000));
    check("w=600", &lying, (600, 800));
    check("rotate=90&w=640", &header(4000, 3000), (640, 853));
    check("w=300&h=300&fit=cover", &lying, (300, 300));
}

#[test]
fn only_a_conversion_to_the_own_format_passes_through() {
    let own = |query: &str| {
        pipeline(query).expect(query).plan((&OUTPUT, &header(20_000, 20_000)), &Headers::new(), &Limits::default())
    };
    let plan = own("").expect("nothing is decoded, no limit of pixels applies");
    assert!(plan.passes_through);
    assert_eq!((plan.size, plan.memory_bytes), (Size::new(20_000, 20_000), 0));
    assert!(matches!(own("metadata=none"), Err(Error::Limit { name: "pixels_max", .. })));
}

#[test]
fn a_format_that_is_only_read_cannot_be_written() {
    let conversion = Pipeline::from_query(&SOURCE, &[]).expect("empty");
    assert!(
        conversion
            .plan((&SOURCE, &header(1, 1)), &Headers::new(), &Limits::default())
            .expect("own bytes")
            .passes_through
    );
    let written = conversion.into_render().plan((&SOURCE, &header(1, 1)), &Headers::new(), &Limits::default());
    assert!(matches!(written, Err(Error::Unsupported { format: "source", .. })), "{written:?}");
}

#[test]
fn a_result_beyond_the_formats_ceiling_is_scaled_down() {
    check("", &header(12_000, 6000), (10_000, 5000));
    check("w=100&h=12000&fit=fill&enlarge", &header(100, 100), (83, 10_000));
    // 2^25 pixels of AVIF, 2^23 of a lossless one, at the bound and past it.
    let avif = |query: &str, w, h| {
        let pairs: Vec<_> = query.split_terminator('&').map(|name| (name.to_owned(), String::new())).collect();
        let codec = codec::by_name("avif").expect("in the table");
        let pipeline = Pipeline::from_query(codec, &pairs).expect(query);
        pipeline.plan((&SOURCE, &header(w, h)), &Headers::new(), &Limits::default()).expect(query).size
    };
    assert_eq!(avif("", 8192, 4096), Size::new(8192, 4096));
    assert_eq!(avif("", 10_000, 5_000), Size::new(8192, 4096));
    assert_eq!(avif("lossless", 4096, 2048), Size::new(4096, 2048));
    assert_eq!(avif("lossless", 4097, 2048), Size::new(4095, 2047));
}

/// `at` is allowed, `past` is refused by `name`.
fn bound(limits: &Limits, name: &str, query: &str, at: &Header, past: &Header) {
    assert!(plan(query, at, limits).is_ok(), "{name}");
    match plan(query, past, limits) {
        Err(Error::Limit { name: refused, .. }) => assert_eq!(refused, name),
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn each_limit_holds_at_its_bound_and_not_one_past_it() {
    let limits = Limits { side_px_max: 100, ..Limits::default() };
    bound(&limits, "side_px_max", "", &header(100, 1), &header(101, 1));
    bound(&limits, "side_px_max", "", &header(1, 100), &header(1, 101));
    bound(&limits, "side_px_max", "w=10&enlarge", &header(1, 10), &header(1, 11));
    // Between two operations a side may be as long as in the source.
    let limits = Limits { side_px_max: 100, pixels_max: 20_000, ..Limits::default() };
    bound(&limits, "side_px_max", "h=10", &header(100, 10), &header(2000, 10));
    for query in ["w=100", r#"ops=[{"op":"rotate","angle":90},{"op":"resize","height":100}]"#] {
        assert!(plan(query, &header(2000, 10), &limits).is_ok(), "{query}");
    }
    bound(&limits, "pixels_max", "w=100", &header(20_000, 1), &header(20_001, 1));
    let limits = Limits { pixels_max: 100, ..Limits::default() };
    bound(&limits, "pixels_max", "w=1", &header(50, 2), &header(101, 1));
    bound(&limits, "pixels_max", "w=10&enlarge", &header(5, 5), &header(5, 6));
    let frames = |frames| Header { frames, ..header(10, 1) };
    let limits = Limits { frames_max: 5, ..Limits::default() };
    bound(&limits, "frames_max", "w=1", &frames(5), &frames(6));
    assert!(plan("w=1&frames=5", &frames(9_999), &limits).is_ok());
    assert!(plan("w=1&frames=6", &frames(9_999), &limits).is_err());
    let limits = Limits { frames_pixels_max: 50, ..Limits::default() };
    bound(&limits, "frames_pixels_max", "w=1", &frames(5), &frames(6));
    let limits = Limits { frames_max: 7, frames_sampled: true, ..limits };
    assert!(plan("w=1", &frames(9_999), &limits).is_ok());
    assert!(plan("w=1&frames=6", &frames(9_999), &limits).is_ok());
    assert!(plan("w=1&frame=8", &frames(9_999), &limits).is_err(), "one frame is not another one");
    let memory = plan("", &header(1000, 1000), &Limits::default()).expect("small").memory_bytes;
    let limits = Limits { memory_bytes_max: memory, ..Limits::default() };
    bound(&limits, "memory_bytes_max", "", &header(1000, 1000), &header(1001, 1000));
}

/// Memory that a plan asks for when the pipeline names one image of this header, by `ID`.
fn memory_with(query: &str, source: &Header, image: Header) -> u64 {
    let id = Digest::of(b"other");
    let pipeline = pipeline(&query.replace("ID", &id.to_string())).expect(query);
    let images = Headers::from([(id, (&SOURCE, image))]);
    pipeline.plan((&SOURCE, source), &images, &Limits::default()).expect(query).memory_bytes
}

#[test]
fn memory_counts_other_images_and_only_what_is_seen_of_them() {
    let small = header(10, 10);
    for query in ["mask=ID", "overlay=ID", "overlay=ID&overlay_width=50%"] {
        let (one, large) = (memory_with(query, &small, header(1, 1)), memory_with(query, &small, header(1000, 1000)));
        assert!(large >= one + 2_999_000, "{query}: {large}");
    }
    // Before it is stretched, a mask has a byte of coverage for each pixel in addition to its own three.
    assert!(memory_with("mask=ID", &small, header(1000, 1000)) >= 4_000_000);
    // 16384 x 4.9 million pixels, of which a hundred are made.
    let line = memory_with("overlay=ID&overlay_width=16384", &small, header(1, 300));
    assert!(line < 3_000_000, "{line}");
}

/// Gray becomes RGBA, then RGB on a background that has a colour; on gray it stays gray.
#[test]
fn memory_counts_the_colour_of_a_background() {
    let source = Header { channels: Channels::GrayAlpha, ..header(3000, 2000) };
    let planned = |text: &str| {
        let pipeline: Pipeline = text.parse().expect(text);
        pipeline.plan((&SOURCE, &source), &Headers::new(), &Limits::default()).expect(text).memory_bytes
    };
    let (gray, red) = (planned("jpeg;background=808080ff;"), planned("jpeg;background=ff0000ff;"));
    assert!(gray < 6_000_000 * 6, "{gray}");
    assert!(red >= 6_000_000 * 9, "{red}");
}

#[test]
fn a_chain_is_at_most_operations_max_long() {
    let chain = |count| {
        let ops = vec![r#"{"op":"flip","direction":"h"}"#; count].join(",");
        plan(&format!("ops=[{ops}]"), &header(1, 1), &Limits::default())
    };
    assert!(chain(32).is_ok());
    assert!(matches!(chain(33), Err(Error::Limit { name: "operations_max", value: 33, max: 32 })));
}

#[test]
fn frames_beyond_a_still_are_not_counted_for_stills() {
    static STILLS: Codec = Codec {
        name: "stills",
        extensions: &[],
        media_type: "",
        doc: "",
        revision: 1,
        shrinks: None,
        metadata: None,
        sniff: |_| false,
        inspect: |_| Err(Error::UnknownFormat),
        decode: |_, _| Err(Error::UnknownFormat),
        encoder: Some(Encoder { frames_max: 1, ..ANIMATED }),
    };
    let animation = Header { frames: 100_000, ..header(10, 10) };
    let conversion = Pipeline::from_query(&STILLS, &[]).expect("empty");
    assert!(conversion.plan((&SOURCE, &animation), &Headers::new(), &Limits::default()).is_ok());
    assert!(plan("", &animation, &Limits::default()).is_err());
}

#[test]
fn an_image_without_pixels_is_corrupt() {
    for empty in [header(0, 1), header(1, 0)] {
        assert!(matches!(plan("w=1", &empty, &Limits::default()), Err(Error::Corrupt { .. })));
    }
}

proptest! {
    /// For every header, planning does not panic, and no result passes the limits.
    #[test]
    fn no_header_slips_past_the_limits(
        (w, h, frames, working_bytes) in (any::<u32>(), any::<u32>(), any::<u32>(), 0..1u64 << 40),
        query in prop::sample::select(vec!["", "w=65535&h=65535&fit=fill&enlarge", "h=1", "w=9&h=9&fit=cover", "rotate=90&w=65535&enlarge",
            "crop=10%,1,50%,65535&w=9", "rotate=33.3", "trim=1&w=3&h=9&fit=cover&g=attention", "pad=65535"]),
    ) {
        let limits = Limits::default();
        if let Ok(plan) = plan(query, &Header { frames, working_bytes, ..header(w, h) }, &limits) {
            prop_assert!(limits.check(plan.size, 1).is_ok());
            prop_assert!(plan.memory_bytes <= limits.memory_bytes_max);
        }
    }
}
