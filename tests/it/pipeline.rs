//! The pipeline over its public face: text and keys, plans and limits, laws over the table of operations.

mod batch;
mod foreign;
mod gain_maps;
mod generators;
mod hdr;
pub mod images;
mod inexact;
pub mod laws;
mod long;
mod memory;
mod plan;
mod print;
mod real;
mod text;

use progimage::pipeline::codec::{Codec, Encoder, Lossless};
use progimage::pipeline::{Channels, Error, Pipeline};

/// An output format that takes everything: so that plans and texts do not depend on what the real ones can hold.
static OUTPUT: Codec = Codec {
    name: "png",
    extensions: &["png"],
    media_type: "image/png",
    doc: "",
    revision: 1,
    shrinks: None,
    metadata: None,
    sniff: |_| false,
    inspect: |_| Err(Error::UnknownFormat),
    decode: |_, _| Err(Error::UnknownFormat),
    encoder: Some(ANIMATED),
};

const ANIMATED: Encoder = Encoder {
    side_px_max: 10_000,
    frames_max: 1000,
    frames_held: 2,
    channels: &[Channels::Gray, Channels::GrayAlpha, Channels::Rgb, Channels::Rgba],
    sixteen_bit: true,
    quality: Some(80),
    lossless: Lossless::Choice,
    encode: |_, _| Ok(Vec::new()),
    ..Encoder::PLAIN
};

fn pipeline(query: &str) -> Result<Pipeline, Error> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (key.to_owned(), value.to_owned())
    };
    let pairs: Vec<_> = query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect();
    Pipeline::from_query(&OUTPUT, &pairs)
}
