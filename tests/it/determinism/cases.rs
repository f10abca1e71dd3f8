//! The cases: sources and the canonical texts of their pipelines.

use bytes::Bytes;
use progimage::digest::Digest;
use progimage::pipeline::codec::{self, CODECS, Lossless, Palette};
use progimage::pipeline::operation::OPERATIONS;
use progimage::pipeline::{Deadline, Images, Limits, Pipeline};

use super::profiles;
use crate::fixtures::{photo, read, sources};

/// One render.
pub struct Case {
    /// Name of the source, for people.
    pub source: String,
    /// Its bytes.
    pub bytes: Bytes,
    /// The pipeline that renders it.
    pub pipeline: Pipeline,
}

/// Every case, in the order of the stored file.
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |source: &str, bytes: &Bytes, text: &str| {
        let pipeline = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        cases.push(Case { source: source.to_owned(), bytes: bytes.clone(), pipeline });
    };
    // Decoders and colour. PNG keeps every sample.
    for (name, bytes) in decodable() {
        add(&name, &bytes, "png;metadata=none;");
    }
    for (name, bytes) in second_generation().into_iter().chain(profiles::sources()) {
        add(&name, &bytes, "png;metadata=none;");
    }
    // Operations, on 8 and 16 bits, with and without alpha. A smaller photograph is enough for them.
    let (small_name, small) = smaller("street.jpg", "ppm;;resize(width=480)");
    let plain = ["rgba_16bit.png", "gray_alpha.png", "rgb_8bit.png"].map(|name| (name, source(name)));
    for (name, bytes) in plain.into_iter().chain([(small_name.as_str(), small)]) {
        operations().for_each(|text| add(name, &bytes, &format!("png;;{text}")));
    }
    for name in ["street.jpg", "rgba_16bit.png", "gray_alpha.png", "rgb_8bit.png"] {
        RESIZES.iter().for_each(|text| add(name, &source(name), &format!("png;;{text}")));
    }
    for name in ["street.jpg", "toy.jpg"] {
        add(name, &source(name), "png;;rotate(angle=270)/resize(width=90&height=120&fit=cover)/flip(direction=v)");
    }
    // Encoders.
    for name in ["rgba_8bit.png", "rgba_16bit.png", "gray_16bit.png", "cmyk_adobe.jpg", "animated.png"] {
        encoders().for_each(|text| add(name, &source(name), &format!("{text};")));
    }
    for name in ["street.jpg", "toy.jpg"] {
        encoders().for_each(|text| add(name, &source(name), &format!("{text};resize(width={})", width(&text))));
    }
    for codec in CODECS.iter().filter(|codec| codec.metadata.is_some()) {
        for kept in ["copyright", "all"] {
            add("metadata.png", &source("metadata.png"), &format!("{};metadata={kept};", codec.name));
        }
    }
    for name in ["animated_dispose_and_blend.webp", "disposal_previous.gif"] {
        ANIMATED.iter().for_each(|format| add(name, &source(name), &format!("{format};metadata=none;")));
    }
    cases
}

/// Width of a photograph that is encoded. What takes long in a test build has enough to do with a smaller one.
fn width(text: &str) -> u32 {
    let takes_long = text.contains("colors=") || text.starts_with("gif") || text.contains("effort=9");
    if takes_long { 80 } else { 161 }
}

/// Every kernel down and up, and each fit that the example does not have.
const RESIZES: &[&str] = &[
    "resize(width=31)",
    "resize(width=31&kernel=mitchell)",
    "resize(width=31&kernel=cubic)",
    "resize(width=31&kernel=linear)",
    "resize(width=31&kernel=nearest)",
    "resize(width=67&height=90&fit=fill&enlarge=true&kernel=cubic)",
    "resize(width=40&height=40&fit=contain&background=33669980)",
    "resize(width=40&height=40&fit=outside)",
];

const ANIMATED: &[&str] = &["gif", "webp", "png", "avif"];

/// Every operation's example, as canonical text.
fn operations() -> impl Iterator<Item = String> {
    OPERATIONS.iter().map(|operation| {
        let pairs = crate::example(operation.example, &Digest::of(&image()));
        let png = codec::by_name("png").expect("always there");
        let text = Pipeline::from_query(png, &pairs).expect(operation.example).to_string();
        text.trim_start_matches("png;;").to_owned()
    })
}

/// Every format that can be written: with its defaults, and at each end of its own parameters.
fn encoders() -> impl Iterator<Item = String> {
    let written = CODECS.iter().filter_map(|codec| Some((codec.name, codec.encoder.as_ref()?)));
    written.flat_map(|(name, encoder)| {
        let quality: &[&str] =
            if encoder.quality.is_some() { &["quality=30", "quality=95", "quality=auto", "effort=9"] } else { &[] };
        let lossless: &[&str] = if encoder.lossless == Lossless::Choice { &["lossless=true"] } else { &[] };
        let chroma: &[&str] = if encoder.chroma { &["chroma=444"] } else { &[] };
        let palette: &[&str] =
            if encoder.palette != Palette::Never { &["colors=16", "colors=200&dither=0"] } else { &[] };
        let arguments = std::iter::once(&"metadata=none").chain(quality).chain(lossless).chain(chroma).chain(palette);
        arguments.map(move |arguments| format!("{name};{arguments}")).collect::<Vec<_>>()
    })
}

/// The mask and overlay of the examples.
fn image() -> Bytes {
    source("rgba_8bit.png")
}

/// The images that cases name.
pub fn images() -> Images {
    Images::from([(Digest::of(&image()), image())])
}

fn source(name: &str) -> Bytes {
    let photograph = ["street.jpg", "toy.jpg"].contains(&name);
    Bytes::from(if photograph { photo(name) } else { read(name) })
}

/// Every small fixture that is an image.
fn decodable() -> impl Iterator<Item = (String, Bytes)> {
    let images = sources().into_iter().filter(|(_, bytes)| codec::sniff(bytes).is_ok());
    images.map(|(name, bytes)| (name, Bytes::from(bytes)))
}

/// A photograph in the formats whose decoders have much vector code. The fixtures are too small and plain to reach most
/// of it.
fn second_generation() -> Vec<(String, Bytes)> {
    let texts =
        ["jpeg;quality=90;", "webp;quality=80;", "webp;lossless=true;", "avif;quality=80;", "avif;lossless=true;"];
    texts.map(|text| smaller("toy.jpg", &format!("{text}resize(width=301)"))).into()
}

/// A rendition of a photograph as a source, and its name.
fn smaller(photograph: &str, text: &str) -> (String, Bytes) {
    let pipeline: Pipeline = text.parse().expect("valid");
    let rendered =
        pipeline.run(&source(photograph), &Images::new(), &Limits::default(), &Deadline::default()).expect("renders");
    (format!("{photograph}>{text}"), rendered.bytes)
}
