//! TGA: reads true colour, gray and colour-mapped, plain or run-length encoded, from any corner; writes plain, since
//! the crate's run-length packets cross rows, which some readers (Pillow) refuse, and photographs have no runs. The
//! format has no magic number, so `sniff` checks the whole header, and the row is last in the table.
//!
//! Readers differ on the fourth byte of a pixel of 32 bits. Here the extension area of version 2.0 decides, as in Pillow;
//! without one, the number of alpha bits in the header: writers that name none leave anything in that byte, mostly 0,
//! which would hide the picture. The one bit of 16-bit colours is never alpha: half of the readers take it for opacity,
//! the others for transparency.

use std::io::{Cursor, Read};

use image::ImageError;
use image::codecs::tga::{TgaDecoder, TgaEncoder};

use super::image_crate;
use super::{Codec, DecodeOptions, EncodeOptions, Encoder, Header};
use crate::pipeline::color::{straighten, to_channels};
use crate::pipeline::{Channels, Error, Picture, Raster, Samples};

pub(super) static CODEC: Codec = Codec {
    name: "tga",
    extensions: &["tga"],
    media_type: "image/x-tga",
    doc: "Truevision TGA: gray, colour and colour-mapped, with alpha; written uncompressed.",
    revision: 2,
    shrinks: None,
    metadata: None,
    sniff: |bytes| fields(bytes).is_some(),
    inspect,
    decode,
    encoder: Some(Encoder {
        side_px_max: 65_535,
        channels: &[Channels::Gray, Channels::Rgb, Channels::Rgba],
        encode,
        ..Encoder::PLAIN
    }),
};

/// Length of the header.
const HEADER_BYTES: usize = 18;
/// Most pixels that one run-length packet can encode.
const PACKET_PIXELS: u64 = 128;

/// Length of the footer of version 2.0: the places of the extension area and of the developer's, and a signature.
const FOOTER_BYTES: usize = 26;
const SIGNATURE: &[u8] = b"TRUEVISION-XFILE.\0";
/// Place of the type of alpha in the extension area.
const ATTRIBUTES_AT: usize = 494;

/// Meaning of a pixel's last sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alpha {
    None,
    Straight,
    Premultiplied,
}

/// Place and packing of the pixels.
struct Fields {
    alpha_bits: u8,
    body_at: usize,
    pixels: u64,
    pixel_bytes: u64,
    packets: bool,
}

/// Parses the header, if every field of it is plausible.
fn fields(bytes: &[u8]) -> Option<Fields> {
    let head: &[u8; HEADER_BYTES] = bytes.get(..HEADER_BYTES)?.try_into().ok()?;
    let word = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let [id_bytes, map, kind, .., depth, descriptor] = *head;
    let (map_first, map_entries, map_bits) = (word(3), word(5), head[7]);
    let (w, h) = (word(12), word(14));
    let map_ok = match map {
        0 => map_first == 0 && map_entries == 0 && map_bits == 0,
        1 => map_entries > 0 && matches!(map_bits, 15 | 16 | 24 | 32),
        _ => false,
    };
    let alpha_bits = descriptor & 0x0F;
    let depth_ok = match kind {
        1 | 9 => map == 1 && matches!(depth, 8 | 16) && matches!(alpha_bits, 0 | 1 | 8),
        2 | 10 => matches!((depth, alpha_bits), (15 | 16, 0 | 1 | 8) | (24, 0) | (32, 0 | 8)),
        3 | 11 => matches!((depth, alpha_bits), (8, 0 | 8) | (16, 8)),
        _ => false,
    };
    if !map_ok || !depth_ok || descriptor & 0xC0 != 0 || w == 0 || h == 0 {
        return None;
    }
    let map_bytes = usize::from(map_entries) * usize::from(map_bits).div_ceil(8);
    Some(Fields {
        alpha_bits,
        body_at: HEADER_BYTES + usize::from(id_bytes) + map_bytes,
        pixels: u64::from(w) * u64::from(h),
        pixel_bytes: u64::from(depth).div_ceil(8),
        packets: kind >= 9,
    })
}

/// Type of alpha that the extension area states: 0 for none, 1 and 2 for undefined data, 3 for alpha, 4 for premultiplied
/// colours.
fn attributes_type(bytes: &[u8]) -> Option<u8> {
    let footer = &bytes[bytes.len().checked_sub(FOOTER_BYTES)?..];
    let (at, signature) = (footer.first_chunk()?, &footer[8..]);
    let at = u32::from_le_bytes(*at) as usize;
    if at == 0 || signature != SIGNATURE { None } else { bytes.get(at.checked_add(ATTRIBUTES_AT)?).copied() }
}

fn alpha(bytes: &[u8], fields: &Fields) -> Alpha {
    match attributes_type(bytes) {
        Some(0..=2) => Alpha::None,
        Some(3) => Alpha::Straight,
        Some(4) => Alpha::Premultiplied,
        _ if fields.alpha_bits == 0 => Alpha::None,
        _ => Alpha::Straight,
    }
}

/// Header and alpha, of a file that is long enough for its pixels.
fn read(bytes: &[u8]) -> Result<(Header, Alpha), Error> {
    let fields = fields(bytes).ok_or_else(|| Error::corrupt("tga", "invalid header"))?;
    let least = if fields.packets {
        fields.pixels.div_ceil(PACKET_PIXELS) * (1 + fields.pixel_bytes)
    } else {
        fields.pixels * fields.pixel_bytes
    };
    image_crate::body_holds("tga", bytes.len().saturating_sub(fields.body_at), least)?;
    let decoder = open(bytes).map_err(|e| image_crate::decode_error("tga", e))?;
    let header = image_crate::header("tga", &decoder)?;
    let alpha = if header.channels.alpha() { alpha(bytes, &fields) } else { Alpha::None };
    let channels = Channels::of(header.channels.gray(), alpha != Alpha::None);
    // Indices, 15-bit pixels and pixels that lose their fourth byte are copied; a colour map has at most 65,535 entries,
    // held twice.
    let copy_bytes = fields.pixel_bytes.max(header.channels.count() as u64);
    Ok((Header { channels, working_bytes: fields.pixels * copy_bytes + (512 << 10), ..header }, alpha))
}

/// The crate's decoder, which knows no colours of 16 bits of which 8 are said to be alpha.
fn open<R: Read>(mut file: R) -> Result<TgaDecoder<impl Read>, ImageError> {
    let mut head = [0; HEADER_BYTES];
    file.read_exact(&mut head)?;
    if matches!(head[2], 2 | 10) && head[16] <= 16 {
        head[17] &= 0xF0;
    }
    TgaDecoder::new(Cursor::new(head).chain(file))
}

fn inspect(bytes: &[u8]) -> Result<Header, Error> {
    read(bytes).map(|(header, _)| header)
}

fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Error> {
    let (header, alpha) = read(bytes)?;
    image_crate::still_picture("tga", bytes, options, open)?.map(|raster| match alpha {
        Alpha::Premultiplied => straight(raster),
        _ => to_channels(raster, header.channels),
    })
}

/// Divides the colours of a raster by its alpha.
fn straight(raster: Raster) -> Result<Raster, Error> {
    let (size, channels) = (raster.size(), raster.channels());
    let Samples::U8(mut samples) = raster.into_samples() else { return Err(Error::corrupt("tga", "16-bit samples")) };
    samples.chunks_exact_mut(channels.count()).for_each(straighten);
    Ok(Raster::new(size, channels, Samples::U8(samples)))
}

fn encode(picture: &Picture, _options: &EncodeOptions) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    image_crate::encode("tga", TgaEncoder::new(&mut out).disable_rle(), picture)?;
    Ok(out)
}
