//! EXIF, XMP and ICC in WebP: chunks of the extended format (RFC 9649, 2.7).

use super::NAME;
use super::container::Container;
use crate::pipeline::Error;
use crate::pipeline::codec::MetadataBlocks;
use crate::pipeline::metadata::{Blocks, Metadata, fitting};

pub(super) static METADATA: MetadataBlocks = MetadataBlocks { read, write, density: false };

const ICC_FLAG: u8 = 0x20;
const ALPHA_FLAG: u8 = 0x10;
const EXIF_FLAG: u8 = 0x08;
const XMP_FLAG: u8 = 0x04;

fn read(bytes: &[u8], bytes_max: usize) -> Blocks<'_> {
    let Ok(container) = Container::read(bytes) else { return Blocks::default() };
    Blocks {
        exif: container.exif.and_then(|exif| fitting(without_name(exif), bytes_max)),
        xmp: container.xmp.and_then(|xmp| fitting(xmp, bytes_max)),
    }
}

/// EXIF from its TIFF header on, as WebP stores it; some writers leave the six bytes of the JPEG marker before it.
pub(super) fn without_name(exif: &[u8]) -> &[u8] {
    exif.strip_prefix(b"Exif\0\0").unwrap_or(exif)
}

/// Inserts the profile before the image, the other blocks after it, and a header that lists them.
fn write(file: Vec<u8>, metadata: &Metadata) -> Result<Vec<u8>, Error> {
    let chunks = file.get(12..).unwrap_or_default();
    let (mut header, image) = match chunks.strip_prefix(b"VP8X\x0a\0\0\0").and_then(|rest| rest.split_first_chunk()) {
        Some((header, image)) => (*header, image),
        None => (simple_header(&file)?, chunks),
    };
    let mut body = b"WEBP".to_vec();
    let blocks = [(ICC_FLAG, &metadata.icc), (EXIF_FLAG, &metadata.exif), (XMP_FLAG, &metadata.xmp)];
    header[0] |= blocks.iter().filter(|(_, block)| block.is_some()).map(|(flag, _)| flag).sum::<u8>();
    chunk(&mut body, b"VP8X", Some(&header))?;
    chunk(&mut body, b"ICCP", metadata.icc.as_deref())?;
    body.extend_from_slice(image);
    chunk(&mut body, b"EXIF", metadata.exif.as_deref())?;
    chunk(&mut body, b"XMP ", metadata.xmp.as_deref())?;
    let mut out = Vec::with_capacity(body.len() + 8);
    chunk(&mut out, b"RIFF", Some(&body))?;
    Ok(out)
}

/// Extended header for a file that has none.
fn simple_header(file: &[u8]) -> Result<[u8; 10], Error> {
    let container = Container::read(file)?;
    let [w, h] = [container.size.w - 1, container.size.h - 1].map(u32::to_le_bytes);
    let flags = if container.alpha { ALPHA_FLAG } else { 0 };
    Ok([flags, 0, 0, 0, w[0], w[1], w[2], h[0], h[1], h[2]])
}

fn chunk(out: &mut Vec<u8>, id: &[u8; 4], payload: Option<&[u8]>) -> Result<(), Error> {
    let Some(payload) = payload else { return Ok(()) };
    let too_long = |_| Error::Encode { format: NAME, reason: "file of 4 GiB or more".into() };
    out.extend_from_slice(id);
    out.extend(u32::try_from(payload.len()).map_err(too_long)?.to_le_bytes());
    out.extend_from_slice(payload);
    // Payloads are padded to an even length.
    out.resize(out.len() + payload.len() % 2, 0);
    Ok(())
}
