//! Darks of 16 bits through every operation: one level of 8 bits has 257 of them, all of which an operation keeps that
//! does not merge levels by its nature.

use std::collections::{BTreeSet, HashMap};

use progimage::digest::Digest;
use progimage::pipeline::operation::{Context, OPERATIONS, by_name};
use progimage::pipeline::param::Args;
use progimage::pipeline::{Channels, Deadline, Raster, Samples, Size};

const SIZE: Size = Size::new(256, 96);

/// Operations with the least number of the 256 levels that their result has along a line. 0: it merges levels, or shows
/// none of them.
const CASES: &[(&str, &str, usize)] = &[
    ("crop", "x=0&y=0&width=256&height=80", 256),
    ("trim", "threshold=0", 250),
    ("resize", "width=512", 254),
    ("resize", "width=128", 126),
    ("rotate", "angle=90", 1),
    ("rotate", "angle=3&background=000000", 240),
    ("flip", "direction=h", 256),
    ("exposure", "stops=1", 256),
    ("exposure", "stops=-1", 127),
    ("brightness", "amount=25", 256),
    ("contrast", "amount=-30", 170),
    ("saturation", "amount=40", 200),
    ("hue", "angle=30", 200),
    ("gamma", "gamma=1.8", 256),
    ("grayscale", "on=true", 160),
    ("sepia", "amount=50", 200),
    ("invert", "on=true", 256),
    ("tint", "color=ff8000", 155),
    ("duotone", "dark=1e3264&light=ffd2a0", 140),
    ("normalize", "on=true", 240),
    ("equalize", "on=true", 220),
    ("posterize", "levels=4", 0),
    ("threshold", "level=1", 0),
    ("opacity", "amount=50", 256),
    ("blur", "sigma=1", 252),
    ("blur", "sigma=9", 235),
    ("sharpen", "sigma=1", 252),
    ("sharpen", "sigma=4&amount=2", 235),
    ("median", "size=3", 254),
    ("pixelate", "size=2", 128),
    ("edge", "on=true", 0),
    ("emboss", "on=true", 0),
    ("vignette", "amount=20", 180),
    ("noise", "amount=1", 0),
    ("convolve", "kernel=0,-1,0,-1,5,-1,0,-1,0", 250),
    ("mask", "source=ID", 256),
    ("circle", "on=true", 256),
    ("ellipse", "on=true", 256),
    ("radius", "radius=10", 256),
    ("transparent", "color=ffffff&tolerance=10", 256),
    ("overlay", "source=ID", 250),
    ("pad", "top=4&right=4&bottom=4&left=4", 256),
];

/// Two thirds are columns of the levels 0..255, below are lighter ones, so that histograms have something to stretch.
fn darks(channels: Channels) -> Raster {
    let pixel = |at: u32| {
        let level = if at / SIZE.w < 64 { (at % SIZE.w) as u16 } else { 20_000 };
        let colors = if channels.gray() { vec![level] } else { vec![level, level / 2, level] };
        let alpha = channels.alpha().then_some(40_000);
        colors.into_iter().chain(alpha)
    };
    Raster::new(SIZE, channels, Samples::U16((0..SIZE.w * SIZE.h).flat_map(pixel).collect()))
}

fn applied(name: &str, text: &str, raster: Raster) -> Raster {
    let (operation, id) = (by_name(name).expect(name), Digest::of(b"other"));
    let args = Args::parse(operation.params, &text.replace("ID", &id.to_string())).expect(text);
    let args = (operation.canonical)(args).expect(text).expect("something to do");
    let small = Raster::new(Size::new(2, 2), Channels::Gray, Samples::U8(vec![9; 4]));
    let context = Context { deadline: &Deadline::default(), images: &HashMap::from([(id, small)]) };
    (operation.apply)(raster, &args, &context).expect("small")
}

/// Number of different values along a line through the levels, in the colour that has most of them.
fn levels(raster: &Raster) -> usize {
    let Samples::U16(samples) = raster.samples() else { panic!("depth changed") };
    let (size, count) = (raster.size(), raster.channels().count());
    let row = &samples[(size.h / 4) as usize * size.w as usize * count..][..size.w as usize * count];
    let colors = 0..count - usize::from(raster.channels().alpha());
    let distinct = |color: usize| row.iter().skip(color).step_by(count).collect::<BTreeSet<_>>().len();
    colors.map(distinct).max().unwrap_or_default()
}

#[test]
fn levels_of_sixteen_bits_survive_every_operation() {
    for (name, text, least) in CASES {
        for channels in [Channels::Gray, Channels::GrayAlpha, Channels::Rgb, Channels::Rgba] {
            let kept = levels(&applied(name, text, darks(channels)));
            assert!(kept >= *least, "{name}({text}), {channels:?}: {kept} of 256 levels");
        }
    }
}

#[test]
fn every_operation_has_a_case() {
    let cases: BTreeSet<_> = CASES.iter().map(|(name, ..)| *name).collect();
    let operations: BTreeSet<_> = OPERATIONS.iter().map(|operation| operation.name).collect();
    assert_eq!(cases, operations);
}
