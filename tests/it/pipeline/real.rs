//! Whole renders of a photograph through real formats.

use bytes::Bytes;

use crate::fixtures;
use progimage::pipeline::{Channels, Deadline, Error, Headers, Images, Limits, Pipeline, Raster, Samples, Size, codec};

fn render(extension: &str, query: &[(&str, &str)], source: &Bytes) -> Bytes {
    let codec = codec::by_extension(extension).expect(extension);
    let query: Vec<_> = query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let pipeline = Pipeline::from_query(codec, &query).expect("valid");
    pipeline.run(source, &Images::new(), &Limits::default(), &Deadline::default()).expect("renders").bytes
}

fn decode(bytes: &Bytes) -> (&'static str, Raster) {
    let codec = codec::sniff(bytes).expect("known");
    let (limits, deadline) = (Limits::default(), Deadline::default());
    let options = codec::DecodeOptions::new(&limits, &deadline);
    let mut picture = (codec.decode)(bytes, &options).expect("decodes");
    (codec.name, picture.frames.remove(0).raster)
}

/// Mean absolute difference of two 8-bit rasters of one shape.
fn difference(one: &Raster, other: &Raster) -> f64 {
    assert_eq!(one.shape(), other.shape());
    let (Samples::U8(one), Samples::U8(other)) = (one.samples(), other.samples()) else { panic!("8 bits expected") };
    let sum: u64 = one.iter().zip(other).map(|(one, other)| u64::from(one.abs_diff(*other))).sum();
    sum as f64 / one.len() as f64
}

#[test]
fn a_photograph_becomes_every_format_and_still_shows_the_same() {
    let photo = Bytes::from(fixtures::photo("street.jpg"));
    let (_, reference) = decode(&render("png", &[], &photo));
    assert_eq!((reference.size(), reference.channels()), (Size::new(2048, 972), Channels::Rgb));
    for (extension, name, tolerance) in [("png", "png", 0.0), ("jpg", "jpeg", 4.0), ("webp", "webp", 5.0)] {
        let (format, raster) = decode(&render(extension, &[("metadata", "none")], &photo));
        assert_eq!(format, name);
        let difference = difference(&raster, &reference);
        assert!(difference <= tolerance, "{extension}: {difference}");
    }
}

#[test]
fn a_thumbnail_of_a_shrunk_decode_shows_the_same_as_one_of_the_whole_image() {
    let photo = Bytes::from(fixtures::photo("street.jpg"));
    let whole = render("png", &[], &photo);
    for query in [
        &[("w", "200")] as &[_],
        &[("w", "100"), ("h", "100"), ("fit", "cover")],
        &[("rotate", "90"), ("w", "99")],
        &[("w", "100"), ("h", "100"), ("fit", "contain"), ("bg", "336699")],
    ] {
        let (_, shrunk) = decode(&render("png", query, &photo));
        let (_, exact) = decode(&render("png", query, &whole));
        let difference = difference(&shrunk, &exact);
        assert!(difference < 3.0, "{query:?}: {difference}");
    }
}

#[test]
fn a_thumbnail_of_a_crop_is_planned_with_less_and_shows_the_same() {
    let photo = Bytes::from(fixtures::photo("street.jpg"));
    let whole = render("png", &[], &photo);
    let plan = |query: &[(&str, &str)], source: &Bytes| {
        let query: Vec<_> = query.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let pipeline = Pipeline::from_query(codec::by_extension("png").expect("png"), &query).expect("valid");
        let codec = codec::sniff(source).expect("known");
        let header = (codec.inspect)(source).expect("valid");
        pipeline.plan((codec, &header), &Headers::new(), &Limits::default()).expect("within limits")
    };
    // A crop on whole pixels of the shrunk image differs by as much (2.51 for the last): its edges are not rounded.
    for (query, tolerance) in [
        (&[("crop", "301,103,1201,701"), ("w", "150")] as &[_], 2.0),
        (&[("crop", "50%,50%,50%,50%"), ("w", "60"), ("h", "60"), ("fit", "cover"), ("g", "east")], 2.0),
        (&[("crop", "15%,0,70%,100%"), ("w", "99"), ("h", "99"), ("fit", "contain"), ("g", "north")], 2.0),
        (&[("rotate", "90"), ("crop", "11,513,900,1200"), ("h", "140")], 3.0),
    ] {
        let (shrunk, exact) = (plan(query, &photo), plan(query, &whole));
        assert_eq!((shrunk.size, shrunk.exact), (exact.size, true));
        assert!(shrunk.memory_bytes * 2 < exact.memory_bytes, "{query:?}: {shrunk:?}, {exact:?}");
        let (_, shown) = decode(&render("png", query, &photo));
        assert_eq!(shown.size(), shrunk.size, "{query:?}");
        let (_, exact) = decode(&render("png", query, &whole));
        let difference = difference(&shown, &exact);
        assert!(difference < tolerance, "{query:?}: {difference}");
    }
    let outside = [("crop".to_owned(), "2048,0,9,9".to_owned()), ("w".to_owned(), "9".to_owned())];
    let outside = Pipeline::from_query(codec::by_extension("png").expect("png"), &outside).expect("valid");
    let output = outside.run(&photo, &Images::new(), &Limits::default(), &Deadline::default());
    assert!(matches!(output, Err(Error::CropOutside)), "{output:?}");
}

#[test]
fn a_conversion_to_the_own_format_is_the_original() {
    let photo = Bytes::from(fixtures::photo("street.jpg"));
    assert_eq!(render("jpg", &[], &photo).as_ptr(), photo.as_ptr());
    assert_ne!(render("jpg", &[("metadata", "none")], &photo), photo);
}

#[test]
fn equal_renders_have_equal_bytes() {
    let photo = Bytes::from(fixtures::photo("toy.jpg"));
    for extension in ["png", "jpg", "webp"] {
        let query = [("w", "321"), ("flip", "v")];
        assert!(render(extension, &query, &photo) == render(extension, &query, &photo), "{extension}");
    }
}
