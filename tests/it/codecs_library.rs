//! The codecs of the crate `image`: what each fixture decodes to, laws over all of them, and hostile files.

mod expected;
mod hostile;
mod laws;
pub mod scene;

use progimage::pipeline::codec::{self, Codec, DecodeOptions, EncodeOptions};
use progimage::pipeline::{Deadline, Error, Limits, Picture};

use crate::fixtures;

/// The codecs that are tested here.
const NAMES: &[&str] = &["tiff", "bmp", "ico", "qoi", "ppm", "pgm", "pnm", "hdr", "exr", "farbfeld", "dds", "tga"];

fn codecs() -> impl Iterator<Item = &'static Codec> {
    NAMES.iter().map(|name| codec::by_name(name).expect("a row of the table"))
}

/// Every fixture of these codecs with the codec of its extension.
fn sources() -> Vec<(String, &'static Codec, Vec<u8>)> {
    let ours = |(name, bytes): (String, Vec<u8>)| {
        let codec = codec::by_extension(name.rsplit_once('.')?.1)?;
        NAMES.contains(&codec.name).then_some((name, codec, bytes))
    };
    fixtures::sources().into_iter().filter_map(ours).collect()
}

/// Small limits, so that a lie that is believed shows as an error and not as gigabytes.
fn limits() -> Limits {
    Limits { side_px_max: 4096, pixels_max: 1 << 20, memory_bytes_max: 64 << 20, ..Limits::default() }
}

fn decode(codec: &Codec, bytes: &[u8]) -> Result<Picture, Error> {
    let (limits, deadline) = (limits(), Deadline::default());
    (codec.decode)(bytes, &DecodeOptions { limits: &limits, at_least: None, frames_max: 1, deadline: &deadline })
}

fn encode(codec: &Codec, picture: &Picture) -> Result<Vec<u8>, Error> {
    let encoder = codec.encoder.as_ref().expect("a format that is written");
    (encoder.encode)(picture, &EncodeOptions { lossless: true, ..EncodeOptions::new(&Deadline::default()) })
}
