//! The operations one by one: values by hand, identities, and comparisons with results of other programs.

mod color;
mod darks;
mod effects;
mod geometry;
mod masks;

use std::path::PathBuf;

use bytes::Bytes;

use progimage::pipeline::codec::{self, DecodeOptions};
use progimage::pipeline::{Deadline, Images, Limits, Picture, Pipeline, Raster, Samples};

/// The result of a query on a raster through the whole pipeline. 16-bit PNG keeps every sample.
fn render(query: &str, source: Bytes) -> Picture {
    let png = codec::by_extension("png").expect("png");
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key.to_owned(), value.to_owned())
    };
    let query: Vec<_> = query.split('&').map(pair).collect();
    let pipeline = Pipeline::from_query(png, &query).expect("valid");
    let output = pipeline.run(&source, &Images::new(), &Limits::default(), &Deadline::default()).expect("renders");
    decode(&output.bytes)
}

fn decode(bytes: &[u8]) -> Picture {
    let codec = codec::sniff(bytes).expect("known");
    let (limits, deadline) = (Limits::default(), Deadline::default());
    let options = DecodeOptions { frames_max: 100, ..DecodeOptions::new(&limits, &deadline) };
    (codec.decode)(bytes, &options).expect("decodes")
}

/// A file of `fixtures/golden`.
fn golden(name: &str) -> Bytes {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/golden").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).into()
}

/// Compares a render of a golden source with the file of another program: every sample within `most`, the mean within
/// `mean_most`.
fn assert_like(source: &str, query: &str, expected: &str, most: u8, mean_most: f64) {
    let ours = render(query, golden(source)).into_first();
    let (largest, mean) = difference(&ours, &decode(&golden(expected)).into_first(), query);
    assert!(largest <= most && mean <= mean_most, "{query}: at most {largest}, {mean} in the mean");
}

/// The largest and the mean difference of the samples of two rasters of 8 bits and one shape.
fn difference(ours: &Raster, theirs: &Raster, what: &str) -> (u8, f64) {
    assert_eq!(ours.shape(), theirs.shape(), "{what}");
    let (Samples::U8(ours), Samples::U8(theirs)) = (ours.samples(), theirs.samples()) else {
        panic!("{what}: 8 bits expected")
    };
    let differences = || ours.iter().zip(theirs).map(|(one, other)| one.abs_diff(*other));
    let sum: f64 = differences().map(f64::from).sum();
    (differences().max().unwrap_or(0), sum / ours.len() as f64)
}
