//! Plans of chains in which a size depends on the pixels: what follows is bounded in the plan, and checked against the
//! limits later.

use bytes::Bytes;
use proptest::prelude::*;

use super::images;
use super::laws::steps;
use progimage::pipeline::operation::{OPERATIONS, at_most};
use progimage::pipeline::{Channels, Deadline, Error, Limits, Pipeline, PlanSummary, Shape, Size, codec};

/// A white image of this size with a pattern in this box.
fn framed((w, h): (u32, u32), (x, y, box_w, box_h): (u32, u32, u32, u32)) -> Bytes {
    let inside = |at_x: u32, at_y: u32| (x..x + box_w).contains(&at_x) && (y..y + box_h).contains(&at_y);
    let pixel = |x: u32, y: u32| if inside(x, y) { [(x % 100) as u8, (y % 90) as u8, 7] } else { [255; 3] };
    let pixels = (0..h).flat_map(|y| (0..w).flat_map(move |x| pixel(x, y)));
    format!("P6\n{w} {h}\n255\n").into_bytes().into_iter().chain(pixels).collect()
}

fn plan(text: &str, source: &Bytes, limits: &Limits) -> Result<PlanSummary, Error> {
    let header = |bytes: &Bytes| {
        let codec = codec::sniff(bytes)?;
        Ok::<_, Error>((codec, (codec.inspect)(bytes)?))
    };
    let headers =
        images::encoded().iter().map(|(id, bytes)| Ok((*id, header(bytes)?))).collect::<Result<_, Error>>()?;
    let (codec, inspected) = header(source)?;
    text.parse::<Pipeline>().expect(text).plan((codec, &inspected), &headers, limits)
}

/// The size of the result.
fn render(text: &str, source: &Bytes, limits: &Limits) -> Result<(u32, u32), Error> {
    let pipeline: Pipeline = text.parse().expect(text);
    let output = pipeline.run(source, images::encoded(), limits, &Deadline::default())?;
    let codec = codec::sniff(&output.bytes)?;
    let Size { w, h } = (codec.inspect)(&output.bytes)?.size;
    Ok((w, h))
}

/// The operations of an example, as canonical text.
fn example(query: &str) -> String {
    let png = codec::by_name("png").expect("always there");
    let example = Pipeline::from_query(png, &crate::example(query, &images::ids()[4])).expect(query);
    example.to_string().trim_start_matches("png;;").to_owned()
}

#[test]
fn every_example_also_renders_after_a_crop_and_a_trim() {
    let source = framed((1300, 800), (300, 200, 90, 70));
    for operation in OPERATIONS {
        let before = "crop(x=290&y=190&width=200&height=150)/trim(threshold=10)";
        let text = format!("png;;{before}/{}", example(operation.example));
        let rendered = render(&text, &source, &Limits::default());
        assert!(rendered.is_ok(), "{text}: {rendered:?}");
    }
}

#[test]
fn what_a_trim_leaves_may_be_enlarged_and_is_held_against_the_real_limits() {
    let bar = framed((400, 400), (200, 100, 10, 200));
    let enlarged = "png;;trim(threshold=10)/resize(width=200&enlarge=true)";
    assert_eq!(render(enlarged, &bar, &Limits::default()), Ok((200, 4000)));
    let refused = |limits: &Limits| render(enlarged, &bar, limits).expect_err("too large");
    let limits = Limits { side_px_max: 3999, ..Limits::default() };
    assert_eq!(refused(&limits), Error::Limit { name: "side_px_max", value: 4000, max: 3999 });
    let limits = Limits { pixels_max: 799_999, ..Limits::default() };
    assert_eq!(refused(&limits), Error::Limit { name: "pixels_max", value: 800_000, max: 799_999 });
    // 200 x 4000 x 3 samples, more than twice.
    let limits = Limits { memory_bytes_max: 5_000_000, ..Limits::default() };
    assert!(matches!(refused(&limits), Error::Limit { name: "memory_bytes_max", max: 5_000_000, .. }));
}

#[test]
fn encoding_is_planned_for_the_largest_result() {
    let source = framed((4000, 1000), (0, 0, 1, 1));
    let planned = |text: &str| plan(text, &source, &Limits::default()).expect(text);
    // A trim may leave 1000 x 1000 pixels. Then the result has 16 million, and the encoder holds more for each.
    let trimmed = planned("avif;;trim(threshold=10)/resize(width=4000&enlarge=true)");
    assert!(trimmed.memory_bytes >= 4000 * 4000 * 3 * 3, "{trimmed:?}");
}

#[test]
fn a_bound_follows_what_makes_the_image_smaller() {
    let size = |text: &str| {
        let plan = plan(text, &framed((1200, 820), (0, 0, 1, 1)), &Limits::default()).expect(text);
        assert!(!plan.exact, "{text}");
        (plan.size.w, plan.size.h)
    };
    let check =
        |steps: &str, expected| assert_eq!(size(&format!("png;;trim(threshold=10){steps}")), expected, "{steps}");
    check("", (1200, 820));
    check("/rotate(angle=90)", (820, 1200));
    check("/crop(x=100&y=0&width=300&height=10000)", (300, 820));
    check("/resize(width=200)", (200, 820));
    check("/resize(height=200)", (1200, 200));
    check("/resize(width=200&height=3000)", (200, 820));
    check("/resize(width=200&height=3000&enlarge=true)", (200, 3000));
    check("/resize(width=200&height=300&fit=cover)", (200, 300));
    check("/resize(width=200&height=3000&fit=contain)", (200, 3000));
    check("/resize(width=2000&height=300&fit=fill)", (1200, 300));
    check("/resize(width=200&height=300&fit=outside)", (1200, 820));
    check("/resize(width=2&height=3&fit=outside&enlarge=true)", (3600, 1640));
    check("/resize(width=200&enlarge=true)", (200, 16_384));
    check("/pad(top=10)", (1200, 830));
}

#[test]
fn what_is_certain_is_refused_before_a_pixel_is_decoded() {
    let source = framed((1200, 820), (0, 0, 1, 1));
    let limits = |memory_bytes_max| Limits { memory_bytes_max, ..Limits::default() };
    let known =
        plan("png;;trim(threshold=10)/resize(width=9)", &source, &Limits::default()).expect("small").memory_bytes;
    assert!(plan("png;;trim(threshold=10)/resize(width=9)", &source, &limits(known / 4)).is_err());
    // An enlargement only may be too much.
    let most =
        plan("png;;trim(threshold=10)/resize(width=9000&enlarge=true)", &source, &limits(known)).expect("a bound");
    assert_eq!(most.memory_bytes, known);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, ..ProptestConfig::default() })]

    /// No smaller image costs more than was planned for the largest.
    #[test]
    fn nothing_smaller_costs_more_than_the_bound(
        (operation, args) in steps(),
        ((w, h), (share_w, share_h)) in ((1..6000u32, 1..6000u32), (0.0..1.0f64, 0.0..1.0f64)),
        channels in prop::sample::select(vec![Channels::Gray, Channels::GrayAlpha, Channels::Rgb, Channels::Rgba]),
    ) {
        let most = Shape { size: Size::new(w, h), channels, bits: 8 };
        let part = |side: u32, share: f64| ((f64::from(side) * share).ceil() as u32).clamp(1, side);
        let shape = Shape { size: Size::new(part(w, share_w), part(h, share_h)), ..most };
        let Ok(bound) = at_most(operation, most, &args) else { return Ok(()) };
        let Ok(cost) = (operation.plan)(shape, &args) else { return Ok(()) };
        let (size, largest) = (cost.shape.size, bound.shape.size);
        prop_assert!(size.w <= largest.w && size.h <= largest.h, "{}({args}) of {shape:?}: {cost:?}, {bound:?}", operation.name);
        prop_assert!(cost.shape.channels.count() <= bound.shape.channels.count(), "{}({args})", operation.name);
        let working = cost.working_bytes <= bound.working_bytes;
        prop_assert!(working, "{}({args}) of {shape:?} in {most:?}: {cost:?}, {bound:?}", operation.name);
    }
}
