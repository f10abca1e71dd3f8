//! The effects of the encode arguments on the bytes and on the picture.

mod auto;
mod budget;
mod choices;
mod larger;
mod palette;

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;

use crate::fixtures;
use progimage::pipeline::codec::{self, DecodeOptions};
use progimage::pipeline::{Deadline, Error, Images, Limits, Picture, Pipeline, Raster, Samples};

/// A photograph of the repository at this width, losslessly. Scaled once for all tests.
fn photo(name: &'static str, w: u32) -> Bytes {
    static SCALED: Mutex<BTreeMap<(&str, u32), Bytes>> = Mutex::new(BTreeMap::new());
    let scale = || render("ppm", &format!("w={w}"), &Bytes::from(fixtures::photo(name))).expect("renders");
    SCALED.lock().expect("no test panics in here").entry((name, w)).or_insert_with(scale).clone()
}

fn render(extension: &str, query: &str, source: &Bytes) -> Result<Bytes, Error> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key.to_owned(), value.to_owned())
    };
    let query: Vec<_> = query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect();
    let pipeline = Pipeline::from_query(codec::by_extension(extension).expect(extension), &query)?;
    let output = pipeline.run(source, &Images::new(), &Limits::default(), &Deadline::default())?;
    Ok(output.bytes)
}

fn rendered(extension: &str, query: &str, source: &Bytes) -> Bytes {
    render(extension, query, source).unwrap_or_else(|error| panic!("{extension} {query}: {error}"))
}

fn decoded(bytes: &[u8]) -> Picture {
    let (limits, deadline) = (Limits::default(), Deadline::default());
    let options = DecodeOptions { frames_max: u32::MAX, ..DecodeOptions::new(&limits, &deadline) };
    (codec::sniff(bytes).expect("known").decode)(bytes, &options).expect("decodes")
}

fn samples(raster: &Raster) -> &[u8] {
    match raster.samples() {
        Samples::U8(samples) => samples,
        Samples::U16(_) => panic!("8 bits expected"),
    }
}
