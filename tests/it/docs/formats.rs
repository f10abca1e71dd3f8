//! What each format holds: a table of the gallery's README that no command of the program prints. What is read is what the
//! fixtures show, what is written is what the rows of the codecs say, and damage is what comes of cut fixtures.

use std::collections::BTreeSet;

use progimage::pipeline::codec::{self, CODECS, Codec, DecodeOptions, Encoder, Header, Lossless, Palette};
use progimage::pipeline::{Channels, Deadline, Limits};

use crate::fixtures::sources;

const HEAD: &str = "\
| Format | Read: colours | bits | alpha | frames | profile | HDR | without its end | cut in half | Written: bits | alpha | frames | lossless | metadata | stripped |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
";

/// What becomes of light above white, which no header tells.
const HDR: &[(&str, &str)] = &[
    ("jpeg", "the base picture of a gain map"),
    ("png", "tone-mapped"),
    ("avif", "tone-mapped, or kept"),
    ("hdr", "clipped"),
    ("exr", "clipped"),
];

/// Formats whose profiles are read, too, although no fixture has one.
const PROFILES: [&str; 2] = ["gif", "bmp"];

/// A fixture with its header.
type File = (Vec<u8>, Header);

/// The fixtures of a format.
fn files(codec: &Codec) -> Vec<File> {
    let is_its = |bytes: &[u8]| codec::sniff(bytes).is_ok_and(|found| found == codec);
    let files = sources().into_iter().map(|(_, bytes)| bytes).filter(|bytes| is_its(bytes));
    files.filter_map(|bytes| (codec.inspect)(&bytes).ok().map(|header| (bytes, header))).collect()
}

fn yes(is_so: bool) -> String {
    (if is_so { "yes" } else { "" }).to_owned()
}

fn listed<T: ToString>(values: impl IntoIterator<Item = T>) -> String {
    values.into_iter().map(|value| value.to_string()).collect::<Vec<_>>().join(", ")
}

fn colours(headers: &[&Header]) -> String {
    let named = |channels: Channels| match channels {
        Channels::Gray | Channels::GrayAlpha => "gray",
        Channels::Rgb | Channels::Rgba => "RGB",
        _ => "CMYK",
    };
    let found: BTreeSet<&str> = headers.iter().map(|header| named(header.channels)).collect();
    listed(["gray", "RGB", "CMYK"].iter().filter(|name| found.contains(**name)))
}

/// What becomes of the files with so many bytes: nothing, all, or the frames that are whole.
fn cut(codec: &Codec, files: &[File], kept: impl Fn(usize) -> usize) -> String {
    let (limits, deadline) = (Limits::default(), Deadline::default());
    let frames = |(bytes, _): &File| {
        let options = DecodeOptions { frames_max: u32::MAX, ..DecodeOptions::new(&limits, &deadline) };
        (codec.decode)(&bytes[..kept(bytes.len())], &options).map(|picture| picture.frames.len())
    };
    let shown: Vec<bool> = files.iter().map(|file| frames(file).is_ok_and(|count| count > 0)).collect();
    let animated: Vec<bool> = files.iter().map(|(_, header)| header.frames > 1).collect();
    let all = |wanted: bool| {
        shown.iter().zip(&animated).filter(|(_, animated)| **animated == wanted).all(|(shown, _)| *shown)
    };
    let any = |wanted: bool| shown.iter().zip(&animated).any(|(shown, animated)| *animated == wanted && *shown);
    match (all(false), any(false), any(true)) {
        (true, true, _) => "shown",
        (false, true, _) => "shown if no pixel is missing",
        (_, false, true) => "whole frames",
        _ => "refused",
    }
    .to_owned()
}

fn written(codec: &Codec, encoder: &Encoder) -> [String; 6] {
    let bits = if encoder.sixteen_bit { format!("8, {}", encoder.lossless_bits) } else { "8".to_owned() };
    let has_alpha = encoder.channels.iter().any(|channels| channels.alpha());
    let alpha = match encoder.palette {
        Palette::Always => "one colour".to_owned(),
        _ => yes(has_alpha),
    };
    let lossless = match encoder.lossless {
        Lossless::Always => "always",
        Lossless::Choice => "on request",
        Lossless::Never => "",
    };
    [
        bits,
        alpha,
        yes(encoder.frames_max > 1),
        lossless.to_owned(),
        yes(codec.metadata.is_some()),
        yes(encoder.strip.is_some()),
    ]
}

fn row(codec: &Codec) -> String {
    let files = files(codec);
    let headers: Vec<&Header> = files.iter().map(|(_, header)| header).collect();
    let any = |is_so: fn(&Header) -> bool| yes(headers.iter().any(|header| is_so(header)));
    let read = [
        codec.name.to_owned(),
        colours(&headers),
        listed(headers.iter().map(|header| header.bits).collect::<BTreeSet<u8>>()),
        any(|header| header.channels.alpha()),
        any(|header| header.frames > 1),
        yes(headers.iter().any(|header| header.icc) || PROFILES.contains(&codec.name)),
        HDR.iter().find(|(name, _)| *name == codec.name).map_or("", |(_, hdr)| hdr).to_owned(),
        cut(codec, &files, |length| length - 1),
        cut(codec, &files, |length| length / 2),
    ];
    let written =
        codec.encoder.as_ref().map_or_else(|| vec!["not written".to_owned()], |encoder| written(codec, encoder).into());
    let mut cells = read.into_iter().chain(written).collect::<Vec<_>>();
    cells.resize(15, String::new());
    format!("| {} |\n", cells.join(" | "))
}

/// The table.
pub fn table() -> String {
    let rows = CODECS.iter().map(|codec| row(codec));
    std::iter::once(HEAD.to_owned()).chain(rows).collect()
}
