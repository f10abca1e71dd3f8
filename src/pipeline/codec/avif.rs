//! AVIF: the codec's row. `boxes` and `container` read the file, `rav1d` decodes AV1, `aom` encodes it, `yuv`
//! converts planes to samples, and `planes` the reverse. For an image sequence only the still image is read.

mod aom;
mod boxes;
mod container;
mod metadata;
mod planes;
mod rav1d;
mod strip;
mod yuv;

use std::borrow::Cow;

use avif_serialize::Aviffy;
use avif_serialize::constants::TransferCharacteristics::{Hlg, Smpte2084};
use avif_serialize::constants::{ColorPrimaries, MatrixCoefficients};

use super::{Chroma, Codec, DecodeOptions, EncodeOptions, Encoder, Header, Lossless};
use crate::pipeline::color::CodePoints;
use crate::pipeline::limits::within;
use crate::pipeline::raster::try_zeroed;
use crate::pipeline::{Channels, Error, Picture, Raster, Samples, Size, color};
use container::{Cicp, Container, Image, obus};
use planes::{Form, planes};
use rav1d::Sequence;
use yuv::{Layout, Target, YuvSample};

const NAME: &str = "avif";

/// Largest side: AV1 holds sides in 16 bits.
const SIDE_PX_MAX: u32 = 65_535;

/// Largest lossy result in pixels. libaom cannot be interrupted within a frame, so work that could exceed any
/// deadline is never begun. Nanoseconds per pixel on one core at the speed of [`aom`]: photographs 210 at quality 65,
/// 480 at 100, 690 lossless; noise 300, 780, 1,500.
const PIXELS_MAX: u64 = 1 << 25;

/// Largest lossless result in pixels; see [`PIXELS_MAX`].
const LOSSLESS_PIXELS_MAX: u64 = 1 << 23;

/// Code of `MatrixCoefficients` in H.273 for RGB.
const MATRIX_IDENTITY: u8 = 0;
const MATRIX_BT601: u8 = 6;

/// Codes of `TransferCharacteristics` in H.273 for HDR.
const PQ: u8 = 16;
const HLG: u8 = 18;

/// Default quality, on libavif's scale.
const QUALITY: u8 = 65;

/// Lowest quality of alpha, whose edges show on every background.
const ALPHA_QUALITY_MIN: u8 = 90;

pub(super) static CODEC: Codec = Codec {
    name: NAME,
    extensions: &["avif"],
    media_type: "image/avif",
    doc: "AVIF: 8 to 12 bits, alpha, grids, HDR (rav1d); written 4:2:0 to 4:4:4, or losslessly as RGB, by libaom.",
    revision: 2,
    shrinks: None,
    metadata: Some(&metadata::METADATA),
    sniff,
    inspect,
    decode,
    encoder: Some(Encoder {
        side_px_max: SIDE_PX_MAX,
        pixels_max: PIXELS_MAX,
        lossless_pixels_max: LOSSLESS_PIXELS_MAX,
        // Measured on 8 megapixels: libaom's references and statistics hold 5.6 times the samples.
        frames_held: 6,
        channels: &[Channels::Rgb, Channels::Rgba, Channels::Gray, Channels::GrayAlpha],
        sixteen_bit: true,
        lossless_bits: 10,
        quality: Some(QUALITY),
        score: 76,
        lossless: Lossless::Choice,
        effort: Some(aom::EFFORT),
        chroma: true,
        hdr: true,
        strip: Some(strip::strip),
        encode,
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
        size: container.color.size,
        orientation: container.orientation,
        frames: 1,
        pages: Vec::new(),
        channels: channels(&container, &sequence),
        bits: if sequence.bits > 8 { 16 } else { 8 },
        icc: container.icc.is_some() || profile(cicp, &sequence).is_some(),
        working_bytes: working_bytes(&container, &sequence),
    })
}

/// Memory of rav1d: a frame with borders, its block information, and a second frame for film grain. In addition: a
/// copy of the data, and all data that is stored in several parts.
fn working_bytes(container: &Container, sequence: &Sequence) -> u64 {
    let bytes = if sequence.bits > 8 { 2 } else { 1 };
    let longest = container.color.tiles.iter().map(|tile| tile.len() as u64).max().unwrap_or_default();
    let [w, h] = [container.color.tile.w, container.color.tile.h].map(|side| u64::from(side) + 256);
    let copied = container.color.copied_bytes() + container.alpha.as_ref().map_or(0, Image::copied_bytes);
    w.saturating_mul(h).saturating_mul(6 * bytes + 2).saturating_add(longest + copied as u64 + (8 << 20))
}

fn sequence(container: &Container) -> Result<Sequence, Error> {
    let first = container.color.tiles.first().ok_or_else(|| Error::corrupt(NAME, "no frame in the file"))?;
    rav1d::sequence(obus(first)?.sequence_header)
}

fn channels(container: &Container, sequence: &Sequence) -> Channels {
    match (sequence.monochrome, container.alpha.is_some()) {
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
    if srgb_like || sequence.monochrome && !matches!(cicp.transfer, PQ | HLG) {
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

fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Error> {
    let container = Container::read(bytes)?;
    let sequence = sequence(&container)?;
    options.limits.check(container.color.size, 1)?;
    options.limits.check(container.color.tile, 1)?;
    let cicp = container.cicp.unwrap_or(sequence.cicp);
    let channels = channels(&container, &sequence);
    let count = container.color.size.pixels() as usize * channels.count();
    let samples = if sequence.bits > 8 {
        let mut samples = try_zeroed::<u16>(count)?;
        fill(&container, cicp, &sequence, channels, &mut samples, options)?;
        Samples::U16(samples)
    } else {
        let mut samples = try_zeroed::<u8>(count)?;
        fill(&container, cicp, &sequence, channels, &mut samples, options)?;
        Samples::U8(samples)
    };
    let embedded = container.icc.filter(|icc| icc.len() <= options.limits.icc_bytes_max).map(<[u8]>::to_vec);
    let icc = embedded.or_else(|| profile(cicp, &sequence));
    Ok(Picture { icc, ..Picture::still(Raster::new(container.color.size, channels, samples)) })
}

fn fill<S: YuvSample>(
    container: &Container,
    cicp: Cicp,
    sequence: &Sequence,
    channels: Channels,
    samples: &mut [S],
    options: &DecodeOptions,
) -> Result<(), Error> {
    let size = container.color.size;
    each_tile(&container.color, options, |data, at| {
        let planes = rav1d::decode(data, container.color.tile)?;
        if planes.bits != sequence.bits {
            return Err(Error::corrupt(NAME, "bit depth differs from the header"));
        }
        yuv::paint(&planes, cicp, Target { samples: &mut *samples, size, channels, at })
    })?;
    let Some(alpha) = &container.alpha else { return Ok(()) };
    options.limits.check(alpha.tile, 1)?;
    each_tile(alpha, options, |data, at| {
        let full_range = rav1d::sequence(obus(data)?.sequence_header)?.cicp.full_range;
        let planes = rav1d::decode(data, alpha.tile)?;
        yuv::paint_alpha(&planes, full_range, Target { samples: &mut *samples, size, channels, at });
        Ok(())
    })?;
    if container.premultiplied {
        yuv::unpremultiply(samples, channels);
    }
    Ok(())
}

/// Calls `each` with the data of every tile and the position of its upper left corner. rav1d cannot be interrupted
/// within a tile, so each tile's frames are first checked against the limit on pixels of an animation.
fn each_tile(
    image: &Image,
    options: &DecodeOptions,
    mut each: impl FnMut(&Cow<[u8]>, (u32, u32)) -> Result<(), Error>,
) -> Result<(), Error> {
    for (index, data) in (0..).zip(&image.tiles) {
        options.deadline.check()?;
        options.limits.check(image.tile, obus(data)?.frames)?;
        each(data, (index % image.columns * image.tile.w, index / image.columns * image.tile.h))?;
    }
    Ok(())
}

fn encode(picture: &Picture, options: &EncodeOptions) -> Result<Vec<u8>, Error> {
    let raster = picture.first();
    let size = raster.size();
    within("side_px_max", u64::from(size.w.max(size.h)), u64::from(SIDE_PX_MAX))?;
    check_pixels(size, options.lossless)?;
    let hdr = options.code_points;
    let bits = if matches!(raster.samples(), Samples::U16(_)) || hdr.is_some() { 10 } else { 8 };
    let quality = (!options.lossless).then_some(options.quality.unwrap_or(QUALITY));
    let effort = options.effort.unwrap_or(aom::EFFORT.default);
    let (channels, count) = (raster.channels(), raster.channels().count());
    let sampled = match options.chroma {
        Chroma::Half => Layout::Half,
        Chroma::HalfWidth => Layout::HalfWidth,
        Chroma::Full => Layout::Full,
    };
    let (form, layout, matrix) = match (channels.gray(), options.lossless) {
        (true, _) => (Form::Single { channel: 0, count }, Layout::Gray, MATRIX_BT601),
        (false, true) => (Form::Identity { count }, Layout::Full, MATRIX_IDENTITY),
        (false, false) => (Form::Chroma { count, layout: sampled }, sampled, MATRIX_BT601),
    };
    let encode = |form, layout, matrix, quality| {
        options.deadline.check()?;
        let planes = match raster.samples() {
            Samples::U8(samples) => planes(samples, size, form, bits),
            Samples::U16(samples) => planes(samples, size, form, bits),
        };
        // sRGB in full range unless HDR is kept: what libavif writes and all decoders accept.
        let CodePoints { primaries, transfer } = hdr.unwrap_or(CodePoints { primaries: 1, transfer: 13 });
        let cicp = Cicp { primaries, transfer, matrix, full_range: true };
        aom::encode(&aom::PlanarFrame { size, layout, bits, planes: &planes, cicp, quality, effort })
    };
    let color = encode(form, layout, matrix, quality)?;
    let alpha = if channels.alpha() {
        let form = Form::Single { channel: count - 1, count };
        Some(encode(form, Layout::Gray, MATRIX_BT601, quality.map(|quality| quality.max(ALPHA_QUALITY_MIN)))?)
    } else {
        None
    };
    write(size, (layout, matrix, hdr), bits, &color, alpha.as_deref())
}

fn check_pixels(size: Size, lossless: bool) -> Result<(), Error> {
    let (name, max) =
        if lossless { ("avif_lossless_pixels_max", LOSSLESS_PIXELS_MAX) } else { ("avif_pixels_max", PIXELS_MAX) };
    within(name, size.pixels(), max).map(|_| ())
}

fn write(
    size: Size,
    (layout, matrix, hdr): (Layout, u8, Option<CodePoints>),
    bits: u8,
    color: &[u8],
    alpha: Option<&[u8]>,
) -> Result<Vec<u8>, Error> {
    let (mut file, mut container) = (Vec::new(), Aviffy::new());
    if let Some(points) = hdr {
        let transfer = if points.transfer == PQ { Smpte2084 } else { Hlg };
        container.set_color_primaries(primaries(points)).set_transfer_characteristics(transfer);
    }
    let matrix = if matrix == MATRIX_IDENTITY { MatrixCoefficients::Rgb } else { MatrixCoefficients::Bt601 };
    container
        .set_width(size.w)
        .set_height(size.h)
        .set_bit_depth(bits)
        .set_seq_profile(aom::profile(layout))
        .set_chroma_subsampling((layout != Layout::Full, !matches!(layout, Layout::Full | Layout::HalfWidth)))
        .set_monochrome(layout == Layout::Gray)
        .set_matrix_coefficients(matrix)
        .write_slice(&mut file, color, alpha)
        .map_err(|error| Error::Encode { format: NAME, reason: error.to_string() })?;
    Ok(file)
}

/// Primaries of a kept HDR picture.
fn primaries(points: CodePoints) -> ColorPrimaries {
    match points.primaries {
        9 => ColorPrimaries::Bt2020,
        11 => ColorPrimaries::DciP3,
        12 => ColorPrimaries::DisplayP3,
        6 => ColorPrimaries::Bt601,
        _ => ColorPrimaries::Bt709,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libaom_would_take_too_long_for_is_refused() {
        let name = |size, lossless| match check_pixels(size, lossless) {
            Err(Error::Limit { name, .. }) => name,
            other => panic!("{size:?}: {other:?}"),
        };
        assert!(check_pixels(Size::new(8192, 4096), false).is_ok());
        assert_eq!(name(Size::new(8192, 4097), false), "avif_pixels_max");
        assert!(check_pixels(Size::new(4096, 2048), true).is_ok());
        assert_eq!(name(Size::new(4096, 2049), true), "avif_lossless_pixels_max");
    }
}
