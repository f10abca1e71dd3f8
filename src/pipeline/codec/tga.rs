//! TGA: reads true colour, gray and colour-mapped, plain or run-length encoded, from any corner; writes plain, since
//! the crate's run-length packets cross rows, which some readers (Pillow) refuse, and photographs have no runs. The
//! format has no magic number, so `sniff` checks the whole header, and the row is last in the table.

use image::codecs::tga::{TgaDecoder, TgaEncoder};

use super::image_crate;
use super::{Codec, DecodeOptions, EncodeOptions, Encoder, Header};
use crate::pipeline::{Channels, Error, Picture};

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

/// Place and packing of the pixels.
struct Fields {
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
        2 | 10 => matches!((depth, alpha_bits), (15 | 16, 0 | 1) | (24, 0) | (32, 0 | 8)),
        3 | 11 => matches!((depth, alpha_bits), (8, 0 | 8) | (16, 8)),
        _ => false,
    };
    if !map_ok || !depth_ok || descriptor & 0xC0 != 0 || w == 0 || h == 0 {
        return None;
    }
    let map_bytes = usize::from(map_entries) * usize::from(map_bits).div_ceil(8);
    Some(Fields {
        body_at: HEADER_BYTES + usize::from(id_bytes) + map_bytes,
        pixels: u64::from(w) * u64::from(h),
        pixel_bytes: u64::from(depth).div_ceil(8),
        packets: kind >= 9,
    })
}

fn inspect(bytes: &[u8]) -> Result<Header, Error> {
    let fields = fields(bytes).ok_or_else(|| Error::corrupt("tga", "invalid header"))?;
    let least = if fields.packets {
        fields.pixels.div_ceil(PACKET_PIXELS) * (1 + fields.pixel_bytes)
    } else {
        fields.pixels * fields.pixel_bytes
    };
    image_crate::body_holds("tga", bytes.len().saturating_sub(fields.body_at), least)?;
    let decoder = TgaDecoder::new(bytes).map_err(|e| image_crate::decode_error("tga", e))?;
    let header = image_crate::header("tga", &decoder)?;
    // Indices and 15-bit pixels are expanded from a copy; a colour map has at most 65,535 entries, held twice.
    Ok(Header { working_bytes: fields.pixels * fields.pixel_bytes + (512 << 10), ..header })
}

fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Error> {
    inspect(bytes)?;
    image_crate::still_picture("tga", bytes, options, TgaDecoder::new)
}

fn encode(picture: &Picture, _options: &EncodeOptions) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    image_crate::encode("tga", TgaEncoder::new(&mut out).disable_rle(), picture)?;
    Ok(out)
}
