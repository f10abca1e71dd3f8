//! AVIF: the codec's row. Reading: `boxes` and `tracks` walk the file, `container` and `crop` say what it shows, `decode`
//! makes frames of it, with `rav1d` for AV1 and `yuv` for its planes. Writing: `encode` with `planes` and `aom`, and `mux`
//! for animations.

mod aom;
mod boxes;
mod container;
mod crop;
mod decode;
mod encode;
mod metadata;
mod mux;
mod planes;
mod rav1d;
mod relocate;
mod strip;
mod tracks;
mod yuv;

use super::{Codec, Encoder, Header, Lossless};
use crate::pipeline::{Channels, Error, Size, color};
use container::{Cicp, Container, Content, Image, sequence_header};
use rav1d::Sequence;
use yuv::Layout;

const NAME: &str = "avif";

/// Largest side: AV1 holds sides in 16 bits.
const SIDE_PX_MAX: u32 = 65_535;

/// Largest lossy result in pixels. libaom cannot be interrupted within a frame, so work that could exceed any
/// deadline is never begun. Nanoseconds per pixel on one core at the speed of [`aom`]: photographs 210 at quality 65,
/// 480 at 100, 690 lossless; noise 300, 780, 1,500.
const PIXELS_MAX: u64 = 1 << 25;

/// Largest lossless result in pixels; see [`PIXELS_MAX`].
const LOSSLESS_PIXELS_MAX: u64 = 1 << 23;

/// Codes of `TransferCharacteristics` in H.273 for HDR.
const PQ: u8 = 16;
const HLG: u8 = 18;

/// Default quality, on libavif's scale. Over 12 photographs at 512 px it has the score of WebP's default (SSIMULACRA2: 72.1
/// and 71.9) in 15.9 KiB, WebP in 19.0; 11 of them are smaller.
const QUALITY: u8 = 60;

/// Lowest quality of alpha, whose edges show on every background.
const ALPHA_QUALITY_MIN: u8 = 90;

pub(super) static CODEC: Codec = Codec {
    name: NAME,
    extensions: &["avif"],
    media_type: "image/avif",
    doc: "AVIF: 8 to 12 bits, alpha, grids, animation, HDR (rav1d); written 4:2:0 to 4:4:4, or losslessly as RGB, by libaom.",
    revision: 3,
    shrinks: None,
    metadata: Some(&metadata::METADATA),
    sniff,
    inspect,
    decode: decode::decode,
    encoder: Some(Encoder {
        side_px_max: SIDE_PX_MAX,
        frames_max: u32::MAX,
        pixels_max: PIXELS_MAX,
        lossless_pixels_max: LOSSLESS_PIXELS_MAX,
        // Measured on 8 megapixels: libaom's references and statistics hold 5.6 times the samples.
        frames_held: 6,
        channels: &[Channels::Rgb, Channels::Rgba, Channels::Gray, Channels::GrayAlpha],
        sixteen_bit: true,
        lossless_bits: 10,
        quality: Some(QUALITY),
        score: 72,
        lossless: Lossless::Choice,
        effort: Some(aom::EFFORT),
        chroma: true,
        graphics: true,
        hdr: true,
        strip: Some(strip::strip),
        encode: encode::encode,
        ..Encoder::PLAIN
    }),
};

/// Whether the file has a brand of AVIF, as major brand or among the first compatible ones.
fn sniff(bytes: &[u8]) -> bool {
    let Some((head, brands)) = bytes.split_at_checked(8) else { return false };
    let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let brands = &brands[..brands.len().min(length.saturating_sub(8)).min(128)];
    &head[4..] == b"ftyp" && brands.as_chunks::<4>().0.iter().any(|brand| brand == b"avif" || brand == b"avis")
}

fn inspect(bytes: &[u8]) -> Result<Header, Error> {
    let container = Container::read(bytes)?;
    let sequence = sequence(&container)?;
    let cicp = container.cicp.unwrap_or(sequence.cicp);
    Ok(Header {
        size: container.shown(),
        orientation: container.orientation,
        frames: container.frames(),
        pages: Vec::new(),
        density: None,
        channels: channels(&container, &sequence),
        bits: if sequence.bits > 8 { 16 } else { 8 },
        icc: container.icc.is_some() || profile(cicp, &sequence).is_some(),
        working_bytes: working_bytes(&container, &sequence),
    })
}

/// Memory of rav1d, with a copy of the data; the frame of which a part is shown in addition.
fn working_bytes(container: &Container, sequence: &Sequence) -> u64 {
    let bytes = if sequence.bits > 8 { 2 } else { 1 };
    let whole = container.size.pixels().saturating_mul(bytes * channels(container, sequence).count() as u64);
    let decoder = match &container.content {
        Content::Still { color, alpha } => still_bytes(color, alpha.as_ref(), bytes),
        Content::Movie(movie) => {
            let longest = movie.color.samples.longest_bytes();
            let alpha = movie.alpha.as_ref().map_or(0, |track| {
                stream_bytes(track.size, Layout::Gray, bytes).saturating_add(track.samples.longest_bytes())
            });
            stream_bytes(movie.color.size, sequence.layout, bytes).saturating_add(longest).saturating_add(alpha)
        }
    };
    decoder.saturating_add(if container.crop.is_some() { whole } else { 0 })
}

/// A frame with borders, its block information, and a second frame for film grain. In addition: a copy of the data, and all
/// data that is stored in several parts.
fn still_bytes(color: &Image, alpha: Option<&Image>, bytes: u64) -> u64 {
    let longest = color.tiles.iter().map(|tile| tile.len() as u64).max().unwrap_or_default();
    let copied = color.copied_bytes() + alpha.map_or(0, Image::copied_bytes);
    padded(color.tile).saturating_mul(6 * bytes + 2).saturating_add(longest + copied as u64 + (8 << 20))
}

/// Eight frames to which others refer, the frame itself and one for film grain, each with its block information.
fn stream_bytes(size: Size, layout: Layout, bytes: u64) -> u64 {
    const FRAMES: u64 = 10;
    let samples = match layout {
        Layout::Gray => 2,
        Layout::Half => 3,
        Layout::HalfWidth => 4,
        Layout::Full => 6,
    };
    padded(size).saturating_mul(FRAMES * samples * bytes / 2 + 4).saturating_add(8 << 20)
}

/// Pixels of a frame with borders.
fn padded(size: Size) -> u64 {
    let [w, h] = [size.w, size.h].map(|side| u64::from(side) + 256);
    w.saturating_mul(h)
}

fn sequence(container: &Container) -> Result<Sequence, Error> {
    rav1d::sequence(sequence_header(container.first()?)?)
}

fn channels(container: &Container, sequence: &Sequence) -> Channels {
    match (sequence.layout == Layout::Gray, container.alpha()) {
        (true, false) => Channels::Gray,
        (true, true) => Channels::GrayAlpha,
        (false, false) => Channels::Rgb,
        (false, true) => Channels::Rgba,
    }
}

/// ICC profile of primaries and transfer function if they differ from sRGB's, so that one place converts colours.
/// Unspecified codes mean sRGB, and so do those of video: the displays hardly differ, and all viewers treat them
/// alike.
fn profile(cicp: Cicp, sequence: &Sequence) -> Option<Vec<u8>> {
    use moxcms::{CicpColorPrimaries, TransferCharacteristics};
    let srgb_like = matches!(cicp.primaries, 0..=2 | 5 | 6 | 7) && matches!(cicp.transfer, 0..=3 | 6 | 13..=15);
    // Gray has no primaries, and a curve only where it is PQ or HLG.
    if srgb_like || sequence.layout == Layout::Gray && !matches!(cicp.transfer, PQ | HLG) {
        return None;
    }
    let primaries = match cicp.primaries {
        0 | 2 | 3 => CicpColorPrimaries::Bt709,
        code => CicpColorPrimaries::try_from(code).ok()?,
    };
    let transfer = match cicp.transfer {
        0..=3 | 6 | 14 | 15 => TransferCharacteristics::Srgb,
        code => TransferCharacteristics::try_from(code).ok()?,
    };
    color::profile_bytes(&color::cicp_profile(primaries, transfer))
}
