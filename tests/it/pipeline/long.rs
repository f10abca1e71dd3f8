//! Sources beyond the largest result: one side of a scroll or a panorama, which give thumbnails, and frames of an
//! animation.

use progimage::pipeline::codec::by_extension;
use progimage::pipeline::{
    Channels, Deadline, Delay, Error, Frame, Images, Limits, Picture, Pipeline, Raster, Samples, Size, codec,
};

use crate::fixtures::pattern::encode;

fn run(source: Vec<u8>, (extension, query): (&str, &[(&str, &str)]), limits: &Limits) -> Result<Picture, Error> {
    let query: Vec<_> = query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let pipeline = Pipeline::from_query(by_extension(extension).expect(extension), &query)?;
    let deadline = Deadline::default();
    let bytes = pipeline.run(&source.into(), &Images::new(), limits, &deadline)?.bytes;
    let limits = Limits::default();
    let options = codec::DecodeOptions { frames_max: u32::MAX, ..codec::DecodeOptions::new(&limits, &deadline) };
    (codec::sniff(&bytes)?.decode)(&bytes, &options)
}

fn jpeg(size: Size, samples: Vec<u8>) -> Vec<u8> {
    encode("jpeg", &Picture::still(Raster::new(size, Channels::Gray, Samples::U8(samples))), None, false)
}

/// Written by the library alone, which is optimised in tests.
fn png(size: Size, samples: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, size.w, size.h);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_compression(png::Compression::Fastest);
    encoder.write_header().expect("written").write_image_data(samples).expect("written");
    bytes
}

/// Checks the thumbnail of a source whose halves are dark and light.
fn check(format: &str, size: Size, expected: Size) {
    let half = size.pixels() as usize / 2;
    let samples = [vec![40; half], vec![200; size.pixels() as usize - half]].concat();
    let source = if format == "png" { png(size, &samples) } else { jpeg(size, samples) };
    let thumbnail = run(source, ("png", &[("w", "256"), ("h", "256")]), &Limits::default());
    let raster = thumbnail.unwrap_or_else(|error| panic!("{format} {size:?}: {error}")).into_first();
    assert_eq!(raster.size(), expected, "{format}");
    let Samples::U8(samples) = raster.samples() else { panic!("depth changed") };
    let ends = [samples[0], samples[samples.len() - 1]];
    assert!(ends[0].abs_diff(40) <= 2 && ends[1].abs_diff(200) <= 2, "{format}: {ends:?}");
}

#[test]
fn long_pictures_give_thumbnails() {
    for format in ["jpeg", "png"] {
        check(format, Size::new(720, 16_889), Size::new(11, 256));
        check(format, Size::new(18_992, 1_504), Size::new(256, 20));
    }
}

#[test]
fn a_long_animation_is_refused_or_sampled() {
    let size = Size::new(10, 10);
    let frame = |index: u8| {
        let raster = Raster::new(size, Channels::Rgb, Samples::U8([20 * index, 0, 255].repeat(100)));
        Frame { raster, delay: Delay::from_ms(100) }
    };
    let source = encode("gif", &Picture::animation((0..12).map(frame).collect(), 0), None, true);
    let check = |limits: Limits, query: &[(&str, &str)], frames: usize| {
        let picture = run(source.clone(), ("gif", query), &limits).expect("sampled");
        assert_eq!(picture.frames.len(), frames);
        assert_eq!(picture.frames.iter().map(|frame| frame.delay.ms()).sum::<u32>(), 1_200);
        assert!(run(source.clone(), ("gif", &[("w", "5")]), &Limits { frames_sampled: false, ..limits }).is_err());
    };
    let sampled = Limits { frames_sampled: true, ..Limits::default() };
    check(Limits { frames_max: 4, ..sampled.clone() }, &[("w", "5")], 4);
    check(Limits { frames_pixels_max: 650, ..sampled.clone() }, &[("w", "5")], 6);
    check(Limits { frames_max: 4, ..sampled }, &[("w", "5"), ("frames", "3")], 3);
}
