//! DDS, read only: the first surface of a DXT1, DXT3 or DXT5 texture. Mip levels, cube faces and the one-bit alpha of
//! DXT1 are ignored; other texture formats are refused.

use image::codecs::dds::DdsDecoder;

use super::super::image_crate;
use super::super::{Codec, DecodeOptions, Header};
use crate::pipeline::{Channels, Error, Picture};

pub(in crate::pipeline::codec) static CODEC: Codec = Codec {
    name: "dds",
    extensions: &["dds"],
    media_type: "image/vnd-ms.dds",
    doc: "DirectDraw surface: the largest level of DXT1, DXT3 and DXT5 textures; read only.",
    revision: 1,
    shrinks: None,
    metadata: None,
    // Magic number and fixed header size.
    sniff: |bytes| bytes.starts_with(b"DDS \x7C\0\0\0"),
    inspect,
    decode,
    encoder: None,
};

fn inspect(bytes: &[u8]) -> Result<Header, Error> {
    let decoder = DdsDecoder::new(bytes).map_err(|e| image_crate::decode_error("dds", e))?;
    let header = image_crate::header("dds", &decoder)?;
    let body_at = if bytes.get(84..88) == Some(b"DX10") { 148 } else { 128 };
    let block_bytes = if header.channels == Channels::Rgb { 8 } else { 16 };
    let blocks = u64::from(header.size.w / 4) * u64::from(header.size.h / 4);
    image_crate::body_holds("dds", bytes.len().saturating_sub(body_at), blocks * block_bytes)?;
    Ok(Header { working_bytes: u64::from(header.size.w) * 4, ..header })
}

fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Error> {
    inspect(bytes)?;
    image_crate::still_picture("dds", bytes, options, DdsDecoder::new)
}
