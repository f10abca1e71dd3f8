//! The operations that crop, scale, turn and pad: values by hand, planned sizes, and laws.

mod golden;
mod precision;

use std::collections::HashMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::render;
use crate::fixtures;
use progimage::pipeline::codec;
use progimage::pipeline::operation::{Context, by_name};
use progimage::pipeline::{Channels, Deadline, Error, Limits, Pipeline, Raster, Samples, Size};

use Channels::{Gray, GrayAlpha, Rgb, Rgba};

fn pipeline(query: &str) -> Result<Pipeline, Error> {
    let png = codec::by_extension("png").expect("png");
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key.to_owned(), value.to_owned())
    };
    let query: Vec<_> = query.split('&').map(pair).collect();
    Pipeline::from_query(png, &query)
}

/// The steps of a query in the canonical text.
fn text(query: &str, expected: &str) {
    let text = pipeline(query).expect(query).to_string();
    assert_eq!(text.rsplit_once(';').map(|(_, steps)| steps), Some(expected), "{query}");
}

fn refused(query: &str, parameter: &str) {
    match pipeline(query) {
        Err(Error::Invalid { parameter: named, .. }) => assert_eq!(named, parameter, "{query}"),
        other => panic!("{query}: {other:?}"),
    }
}

/// The result of a query on a raster. Each step is resolved, planned, applied and checked against its plan.
fn apply(raster: Raster, query: &str) -> Result<Raster, Error> {
    let context = Context { deadline: &Deadline::default(), images: &HashMap::new() };
    pipeline(query)?.steps().iter().try_fold(raster, |raster, (operation, args)| {
        let (operation, args) = match operation.resolve {
            Some(resolve) => resolve(&raster, args, &context)?,
            None => (*operation, args.clone()),
        };
        let planned = (operation.plan)(raster.shape(), &args)?;
        let result = (operation.apply)(raster, &args, &context)?;
        assert_eq!(result.shape(), planned.shape, "{query}");
        Ok(result)
    })
}

fn raster8(w: u32, channels: Channels, samples: &[u8]) -> Raster {
    let h = (samples.len() / channels.count()) as u32 / w;
    Raster::new(Size::new(w, h), channels, Samples::U8(samples.to_vec()))
}

fn raster16(w: u32, channels: Channels, samples: &[u16]) -> Raster {
    let h = (samples.len() / channels.count()) as u32 / w;
    Raster::new(Size::new(w, h), channels, Samples::U16(samples.to_vec()))
}

fn check(source: &Raster, query: &str, expected: Raster) {
    assert_eq!(apply(source.clone(), query), Ok(expected), "{query}");
}

/// ```text
/// 1 2 3
/// 4 5 6
/// ```
fn six() -> Raster {
    raster8(3, Gray, &[1, 2, 3, 4, 5, 6])
}

#[test]
fn a_crop_keeps_its_part_and_is_clipped() {
    check(&six(), "crop=1,0,1,2", raster8(1, Gray, &[2, 5]));
    check(&six(), "crop=1,1,65535,65535", raster8(2, Gray, &[5, 6]));
    check(&six(), "crop=0,50%,100%,1", raster8(3, Gray, &[4, 5, 6]));
    check(&six(), "crop=33.33%,0,34%,50%", raster8(1, Gray, &[2]));
    check(&six(), "crop=2,0,0.01%,0.01%", raster8(1, Gray, &[3]));
    check(&raster16(2, GrayAlpha, &[1, 2, 3, 4]), "crop=1,0,1,1", raster16(1, GrayAlpha, &[3, 4]));
    for outside in ["crop=3,0,1,1", "crop=0,2,1,1", "crop=100%,0,1,1", "crop=65535,65535,1,1"] {
        assert_eq!(apply(six(), outside), Err(Error::CropOutside), "{outside}");
    }
}

#[test]
fn a_share_that_rounds_onto_the_edge_keeps_the_last_pixel() {
    for side in [1, 2, 53, 4_999, 10_000, 16_384] {
        let crop = by_name("crop").expect("a row");
        let size = |text: &str| {
            let shape = progimage::pipeline::Shape { size: Size::new(side, side), channels: Gray, bits: 8 };
            (crop.plan)(shape, &progimage::pipeline::param::Args::parse(crop.params, text).expect(text))
                .map(|cost| cost.shape.size)
        };
        let last = size("x=99.99%&y=99.99%&width=0.01%&height=0.01%").expect("inside");
        assert!((1..=2).contains(&last.w) && last.w == last.h, "{side}: {last:?}");
        assert_eq!(size("x=100%&y=0&width=1%&height=1%"), Err(Error::CropOutside));
    }
}

#[test]
fn a_crop_needs_all_four_and_has_one_text() {
    text("crop=0%,1,50.0%,3", "crop(x=0&y=1&width=50%&height=3)");
    text("crop=0,0%,100%,100.00%", "");
    text(r#"ops=[{"op":"crop","x":1,"y":"2%","width":3,"height":4}]"#, "crop(x=1&y=2%&width=3&height=4)");
    refused("crop=1,2,3", "crop");
    refused(r#"ops=[{"op":"crop","width":3,"height":4}]"#, "ops[0].x");
    refused("crop=0,0,0,5", "crop");
    refused("crop=0,0,5,0%", "crop");
    refused("crop=-1,0,5,5", "crop");
    refused("crop=65536,0,5,5", "crop");
    refused("crop=0,0,5,100.01%", "crop");
    refused("crop=0,0,5,5,5", "crop");
}

/// A picture of `inner` on a border of `outer`.
fn framed<S: Copy>(outer: &[S], inner: &[S], size: (usize, usize), part: (usize, usize, usize, usize)) -> Vec<S> {
    let (x, y, w, h) = part;
    let inside = |at: usize| (x..x + w).contains(&(at % size.0)) && (y..y + h).contains(&(at / size.0));
    (0..size.0 * size.1).flat_map(|at| if inside(at) { inner.to_vec() } else { outer.to_vec() }).collect()
}

fn trimmed(source: &Raster, query: &str, expected: (u32, u32)) {
    let size = apply(source.clone(), query).expect(query).size();
    assert_eq!((size.w, size.h), expected, "{query}");
}

#[test]
fn trim_removes_a_border_up_to_its_threshold() {
    let part = (2, 3, 4, 5);
    let gray = raster8(9, Gray, &framed(&[200], &[190], (9, 10), part));
    trimmed(&gray, "trim=9", (4, 5));
    trimmed(&gray, "trim=10", (9, 10));
    trimmed(&gray, "trim=255", (9, 10));
    let wide = raster16(9, Rgb, &framed(&[5 * 257, 0, 0], &[5 * 257, 2600, 0], (9, 10), part));
    trimmed(&wide, "trim=10", (4, 5));
    trimmed(&wide, "trim=11", (9, 10));
    let alpha = raster8(9, Rgba, &framed(&[9, 9, 9, 0], &[9, 9, 9, 255], (9, 10), part));
    trimmed(&alpha, "trim=0", (4, 5));
    let transparent = raster8(9, Rgba, &framed(&[9, 9, 9, 0], &[200, 9, 9, 0], (9, 10), part));
    trimmed(&transparent, "trim=0", (9, 10));
    refused("trim=256", "trim");
    refused("trim=-1", "trim");
}

#[test]
fn trim_takes_no_speck_for_the_picture_and_never_leaves_nothing() {
    for speck in [(4, 4, 1, 1), (4, 4, 2, 1), (0, 9, 1, 1), (8, 0, 1, 2)] {
        let speck = raster8(9, Gray, &framed(&[200], &[0], (9, 10), speck));
        trimmed(&speck, "trim=10", (9, 10));
    }
    trimmed(&raster8(1, Gray, &[7]), "trim=0", (1, 1));
    trimmed(&raster8(1, Gray, &[7, 9, 7]), "trim=0", (1, 3));
    trimmed(&raster8(4, Gray, &[7; 12]), "trim=0", (4, 3));
}

#[test]
fn trim_keeps_lines_one_pixel_wide_and_in_line_art_every_dot() {
    for (line, kept) in [((2, 3, 5, 1), (5, 1)), ((4, 1, 1, 7), (1, 7)), ((0, 9, 9, 1), (9, 1)), ((8, 2, 1, 3), (1, 3))]
    {
        let mut samples = framed(&[200], &[10], (9, 10), line);
        samples[8 * 9] = if line.0 > 0 { 10 } else { samples[8 * 9] };
        trimmed(&raster8(9, Gray, &samples), "trim=10", kept);
    }
    let diagonal: Vec<u8> =
        (0..90).map(|at| if at % 9 == at / 9 && (2..7).contains(&(at / 9)) { 0 } else { 255 }).collect();
    trimmed(&raster8(9, Gray, &diagonal), "trim=10", (5, 5));
    let dots = raster8(9, Gray, &framed(&[200], &[0], (9, 10), (4, 4, 1, 1)));
    trimmed(&dots, "trim=10&trim_line_art", (1, 1));
    trimmed(&dots, "trim=10&trim_line_art=false", (9, 10));
}

#[test]
fn trim_takes_the_border_by_a_colour_or_by_its_transparent_corners() {
    let red = raster8(9, Rgb, &framed(&[250, 2, 3], &[0, 0, 0], (9, 10), (2, 3, 4, 5)));
    trimmed(&red, "trim=10&trim_color=ff0000", (4, 5));
    trimmed(&red, "trim=4&trim_color=ff0000", (9, 10));
    trimmed(&red, "trim=10&trim_color=00ff00", (9, 10));
    trimmed(&red, "trim=10&trim_color=ff000000", (9, 10));
    let gray = raster16(9, Gray, &framed(&[128 * 257], &[0], (9, 10), (2, 3, 4, 5)));
    trimmed(&gray, "trim=0&trim_color=808080", (4, 5));
    trimmed(&gray, "trim=255&trim_color=808081", (9, 10));
    // The corner belongs to the picture: the rims are at the right and at the bottom.
    let corner = raster8(9, Rgba, &framed(&[7, 7, 7, 0], &[200, 9, 9, 255], (9, 10), (0, 0, 4, 5)));
    for query in ["trim=10", "trim=10&trim_color=transparent", "trim=10&trim_color=00000000"] {
        trimmed(&corner, query, (4, 5));
    }
    let right = raster8(9, Rgba, &framed(&[7, 7, 7, 0], &[200, 9, 9, 255], (9, 10), (0, 0, 6, 10)));
    trimmed(&right, "trim=10", (6, 10));
    refused("trim_color=red&trim=1", "trim_color");
    refused("trim_line_art", "trim_line_art");
}

#[test]
fn dpr_and_aspect_are_worked_out_in_the_text() {
    text("w=100&h=50&dpr=2", "resize(width=200&height=100)");
    text("w=101&dpr=1.50", "resize(width=152)");
    text("dpr=3", "");
    text("w=300&ar=16:9", "resize(width=300&height=169)");
    text("h=300&aspect=1:3&dpr=2", "resize(width=200&height=600)");
    text("w=1&ar=10000:1", "resize(width=1&height=1)");
    text("ar=32:18&fit=contain&kernel=linear&enlarge&dpr=2", "resize(aspect=16:9)");
    text(r#"ops=[{"op":"resize","width":10,"dpr":4,"aspect":"1:2"}]"#, "resize(width=40&height=80)");
    text("w=16384&dpr=3.99", "resize(width=65372)");
    refused("w=65535&dpr=1.01", "dpr");
    refused("w=9&dpr=4.01", "dpr");
    refused("w=9&dpr=0.99", "dpr");
    refused("w=9&h=9&ar=1:1", "aspect");
    refused("h=7&ar=10000:1", "aspect");
}

#[test]
fn gravity_has_one_text_and_only_where_it_means_something() {
    text("w=9&h=9&fit=cover&g=center", "resize(width=9&height=9&fit=cover)");
    text("w=9&h=9&fit=cover&g=0.5,0", "resize(width=9&height=9&fit=cover&gravity=north)");
    text("w=9&h=9&fit=cover&g=0.5,0.10", "resize(width=9&height=9&fit=cover&gravity=0.5,0.1)");
    text("w=9&h=9&fit=cover&g=attention", "resize(width=9&height=9&fit=cover&gravity=attention)");
    text("w=9&h=9&fit=contain&g=south", "resize(width=9&height=9&fit=contain&gravity=south)");
    text("w=9&h=9&fit=contain&g=entropy", "resize(width=9&height=9&fit=contain)");
    text("w=9&h=9&g=south", "resize(width=9&height=9)");
    text("w=9&fit=cover&g=south", "resize(width=9)");
    text("ar=1:1&g=attention", "resize(aspect=1:1&gravity=attention)");
    // The spelling of other services has the text of ours, and so the key.
    text("w=9&h=9&fit=cover&g=middle", "resize(width=9&height=9&fit=cover)");
    refused("w=9&h=9&fit=cover&g=middling", "g");
}

#[test]
fn a_crop_lies_where_gravity_says() {
    let row = raster8(5, Gray, &[1, 2, 3, 4, 5]);
    for (gravity, expected) in [("west", 1), ("center", 3), ("northeast", 5), ("0.3,0.9", 2), ("0,0", 1), ("1,0", 5)] {
        check(&row, &format!("ar=1:1&g={gravity}"), raster8(1, Gray, &[expected]));
    }
    let column = raster8(1, Gray, &[1, 2, 3]);
    check(&column, "w=3&h=3&fit=contain&g=east&bg=000000", raster8(3, Gray, &[0, 0, 1, 0, 0, 2, 0, 0, 3]));
    check(&column, "w=3&h=3&fit=contain&g=southwest&bg=000000", raster8(3, Gray, &[1, 0, 0, 2, 0, 0, 3, 0, 0]));
    check(&column, "w=3&h=4&fit=contain&g=south&bg=000000", raster8(3, Gray, &[0, 0, 0, 0, 1, 0, 0, 2, 0, 0, 3, 0]));
}

/// Every fit, gravity and side, given or left out, smaller and larger than the image: `apply` checks each against its
/// plan.
#[test]
fn every_resize_has_its_planned_size() {
    let sides = [("", ""), ("&w=7", ""), ("", "&h=7"), ("&w=7", "&h=5"), ("&w=40", "&h=3"), ("&w=60", "&h=60")];
    for (w, h) in [(1, 1), (31, 17), (8, 40)] {
        let samples: Vec<u8> = (0..w * h * 4).map(|at| (at * 37 % 256) as u8).collect();
        let source = raster8(w, Rgba, &samples);
        for fit in ["inside", "cover", "contain", "fill", "outside"] {
            for gravity in ["center", "north", "southeast", "0.3,0.8", "entropy", "attention"] {
                for (width, height) in sides {
                    for more in ["", "&enlarge", "&dpr=2.5", "&ar=3:2"] {
                        let query = format!("fit={fit}&g={gravity}{width}{height}{more}");
                        if !(more == "&ar=3:2" && width.len() + height.len() > 6) {
                            apply(source.clone(), &query).expect(&query);
                        }
                    }
                }
            }
        }
    }
}

/// A flat gray picture with something at one place of it.
fn subject(size: (u32, u32), channels: Channels, at: (u32, u32), pixel: impl Fn(u32, u32) -> [u8; 3]) -> Raster {
    let sample = |place: u32| {
        let (x, y) = (place % size.0, place / size.0);
        let inside = x.abs_diff(at.0) < 20 && y.abs_diff(at.1) < 20;
        let [r, g, b] = if inside { pixel(x, y) } else { [120; 3] };
        if channels == Gray { vec![g] } else { vec![r, g, b] }
    };
    raster8(size.0, channels, &(0..size.0 * size.1).flat_map(sample).collect::<Vec<_>>())
}

fn found(source: &Raster, gravity: &str, ratio: &str, from: (u32, u32), to: (u32, u32)) {
    let Size { w, h } = source.size();
    let query = format!("ar={ratio}&g={gravity}");
    let context = Context { deadline: &Deadline::default(), images: &HashMap::new() };
    let pipeline = pipeline(&query).expect("valid");
    let (operation, args) = &pipeline.steps()[0];
    let (_, args) = operation.resolve.expect("resize resolves")(source, args, &context).expect("small");
    let text = args.to_string();
    // The centre is the default.
    let (x, y) =
        text.split_once("gravity=").map_or(("0.5", "0.5"), |(_, point)| point.split_once(',').expect("a point"));
    let [x, y] = [x, y].map(|share| share.parse::<f64>().expect("a share"));
    let (x, y) = (x * f64::from(w), y * f64::from(h));
    let inside = |at: f64, from: u32, to: u32| (f64::from(from)..=f64::from(to)).contains(&at);
    assert!(inside(x, from.0, to.0) && inside(y, from.1, to.1), "{query} of {w} x {h}: {x}, {y}");
}

#[test]
fn entropy_and_attention_find_the_subject() {
    let noise = |x: u32, y: u32| [(x * 7919 + y * 104_729) as u8; 3];
    for at in [30, 200, 370] {
        for gravity in ["entropy", "attention"] {
            // The crop is 100 wide: the subject, 40 wide, lies in it.
            found(&subject((400, 100), Gray, (at, 50), noise), gravity, "1:1", (at - 30, 50), (at + 30, 50));
            found(&subject((100, 400), Rgb, (50, at), noise), gravity, "1:1", (50, at - 30), (50, at + 30));
        }
        let red = |_, _| [200, 30, 30];
        found(&subject((400, 100), Rgb, (at, 50), red), "attention", "1:1", (at - 30, 50), (at + 30, 50));
    }
    // Skin counts for more than a colour of the same brightness.
    let [skin, green] = [[224, 172, 128], [160, 196, 160]];
    let both = |colors: [[u8; 3]; 2]| {
        let row = |x: u32| {
            let inside = x % 200 >= 60 && x % 200 < 140;
            if inside { colors[(x / 200) as usize] } else { [120; 3] }
        };
        raster8(400, Rgb, &(0..400 * 100).flat_map(|at| row(at % 400)).collect::<Vec<_>>())
    };
    found(&both([skin, green]), "attention", "1:1", (70, 50), (130, 50));
    found(&both([green, skin]), "attention", "1:1", (270, 50), (330, 50));
}

#[test]
fn a_picture_without_a_subject_is_cropped_around_its_centre() {
    for gravity in ["entropy", "attention"] {
        let flat = raster8(9, Gray, &[120; 27]);
        check(&flat, &format!("ar=1:1&g={gravity}"), raster8(3, Gray, &[120; 9]));
        let picture = pipeline(&format!("ar=1:1&g={gravity}")).expect("valid");
        let (operation, args) = &picture.steps()[0];
        let context = Context { deadline: &Deadline::default(), images: &HashMap::new() };
        let (_, args) = operation.resolve.expect("resize resolves")(&flat, args, &context).expect("small");
        assert_eq!(args.to_string(), "aspect=1:1", "{gravity}");
    }
}

/// The toy sits in the left half of the photograph.
#[test]
fn the_toy_is_found() {
    let photo = Bytes::from(fixtures::photo("toy.jpg"));
    let whole = render("w=400", photo).into_first();
    for gravity in ["entropy", "attention"] {
        found(&whole, gravity, "1:1", (90, 0), (190, 400));
    }
}

#[test]
fn an_animation_is_cropped_alike_in_every_frame() {
    let source = Bytes::from(fixtures::read("animated.png"));
    for query in ["ar=1:3&g=attention", "ar=3:1&g=entropy", "trim=10", "rotate=30"] {
        let frames = render(query, source.clone()).frames;
        assert!(
            frames.len() > 1 && frames.iter().all(|frame| frame.raster.size() == frames[0].raster.size()),
            "{query}"
        );
    }
}

#[test]
fn angles_have_one_text() {
    text("rotate=270", "rotate(angle=-90)");
    text("rotate=-180&bg=ff0000", "rotate(angle=180)");
    text("rotate=-360", "");
    text("rotate=12.50", "rotate(angle=12.5)");
    text("rotate=350&w=9", "resize(width=9)/rotate(angle=-10)");
    text("rotate=-350.01&bg=00000000", "rotate(angle=9.99&background=00000000)");
    text("rotate=90&w=9", "rotate(angle=90)/resize(width=9)");
    refused("rotate=360.01", "rotate");
    refused("rotate=-360.01", "rotate");
    refused("rotate=1.001", "rotate");
}

#[test]
fn a_turn_shows_the_whole_image_on_its_background() {
    let source = raster8(10, Rgb, &[[10, 20, 30]; 100].concat());
    let turned = apply(source.clone(), "rotate=45").expect("small");
    assert_eq!((turned.size(), turned.channels()), (Size::new(15, 15), Rgb));
    let Samples::U8(samples) = turned.samples() else { panic!("depth changed") };
    let at = |x: usize, y: usize| &samples[(y * 15 + x) * 3..][..3];
    assert_eq!((at(0, 0), at(7, 7), at(14, 14)), (&[255; 3][..], &[10, 20, 30][..], &[255; 3][..]));
    let transparent = apply(source, "rotate=45&bg=ff000000").expect("small");
    assert_eq!(transparent.channels(), Rgba);
    let Samples::U8(samples) = transparent.samples() else { panic!("depth changed") };
    for pixel in samples.chunks_exact(4).filter(|pixel| pixel[3] > 127) {
        assert_eq!(
            pixel[0].abs_diff(10).max(pixel[1].abs_diff(20)).max(pixel[2].abs_diff(30)),
            0,
            "no fringe: {pixel:?}"
        );
    }
    // The image covers as many pixels of it as it has.
    let covered = samples.iter().skip(3).step_by(4).map(|alpha| f64::from(*alpha) / 255.0).sum::<f64>();
    assert!((covered - 100.0).abs() < 1.0, "{covered}");
    let gray = apply(raster16(1, GrayAlpha, &[9, 65_535]), "rotate=0.01&bg=ff0000").expect("small");
    assert_eq!((gray.size(), gray.channels()), (Size::new(1, 1), Rgba));
    let gray = apply(raster8(2, Gray, &[9, 9]), "rotate=30&bg=000000").expect("small");
    assert_eq!(gray.channels(), Gray);
}

#[test]
fn pad_reads_as_css_does_and_adds_its_colour() {
    text("pad=1", "pad(top=1&right=1&bottom=1&left=1)");
    text("pad=1,2", "pad(top=1&right=2&bottom=1&left=2)");
    text("pad=1,2,3", "pad(top=1&right=2&bottom=3&left=2)");
    text("pad=1,2,3,0", "pad(top=1&right=2&bottom=3)");
    text("pad=0,2,0,0&bg=ff0000", "pad(right=2&background=ff0000ff)");
    text("pad=0&bg=ff0000", "");
    text(r#"ops=[{"op":"pad","top":5}]"#, "pad(top=5)");
    for query in ["pad=5,0,0,0", "pad=0,1,2", "pad=0,0,0,9&bg=ff0000"] {
        let pipeline = pipeline(query).expect(query);
        assert!(pipeline.query().contains("pad="), "{query}: {}", pipeline.query());
    }
    refused("pad=1,2,3,4,5", "pad");
    refused("pad=65536", "pad");
    refused("pad=-1", "pad");
    refused("pad=", "pad");
    check(&raster8(1, Gray, &[7]), "pad=0,2,1&bg=010101", raster8(5, Gray, &[1, 1, 7, 1, 1, 1, 1, 1, 1, 1]));
    let colour = raster8(1, Rgba, &[255, 0, 0, 128, 7, 7, 7, 255]);
    check(&raster8(1, Gray, &[7]), "pad=1,0,0,0&bg=ff000080", colour);
    check(&raster16(1, Rgb, &[1, 2, 3]), "pad=0,0,0,1", raster16(2, Rgb, &[65_535, 65_535, 65_535, 1, 2, 3]));
}

#[test]
fn a_canvas_past_the_limits_is_refused() {
    let source = fixtures::read("rgb_8bit.png");
    let codec = codec::sniff(&source).expect("png");
    let header = (codec.inspect)(&source).expect("png");
    let limits = Limits { side_px_max: header.size.w + 10, ..Limits::default() };
    let plan = |query| pipeline(query).expect(query).plan((codec, &header), &HashMap::new(), &limits);
    assert_eq!(plan("pad=0,10,0,0").expect("at the bound").size.w, header.size.w + 10);
    assert!(matches!(plan("pad=0,11,0,0"), Err(Error::Limit { name: "side_px_max", .. })));
    assert!(matches!(plan("rotate=45&w=4000&enlarge"), Err(Error::Limit { .. })));
    assert_eq!(plan("crop=100%,0,1,1"), Err(Error::CropOutside));
}

proptest! {
    /// Operations that only move pixels keep them as they are.
    #[test]
    fn crops_move_pixels((w, h) in (1..40u32, 1..40u32), x in 0..100u32, y in 0..100u32, cw in 1..100u32, ch in 1..100u32) {
        let source = raster8(w, GrayAlpha, &(0..w * h).flat_map(|at| [(at % w) as u8, (at / w) as u8]).collect::<Vec<_>>());
        let result = apply(source, &format!("crop={x}%,{y}%,{cw}%,{ch}%"));
        prop_assume!(result != Err(Error::CropOutside));
        let result = result.expect("inside");
        let Samples::U8(samples) = result.samples() else { panic!("depth changed") };
        let (left, top) = (samples[0], samples[1]);
        for (at, pixel) in samples.chunks_exact(2).enumerate() {
            let at = at as u32;
            prop_assert_eq!(pixel, [left + (at % result.size().w) as u8, top + (at / result.size().w) as u8]);
        }
    }

    /// A picture of one colour on a background of that colour keeps it at every angle.
    #[test]
    fn turning_keeps_flat_colours((w, h) in (1..30u32, 1..30u32), angle in 1..9000i32, [r, g, b] in any::<[u8; 3]>()) {
        let source = raster8(w, Rgb, &[r, g, b].repeat((w * h) as usize));
        let query = format!("rotate={}.{:02}&bg={r:02x}{g:02x}{b:02x}", angle / 100, angle % 100);
        prop_assume!(angle % 9000 != 0);
        let Samples::U8(samples) = apply(source, &query).expect("small").into_samples() else { panic!("depth changed") };
        prop_assert!(samples.chunks_exact(3).all(|pixel| pixel == [r, g, b]), "{query}");
    }
}
