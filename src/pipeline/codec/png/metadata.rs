//! EXIF, XMP and ICC in PNG: the chunks eXIf, iTXt with a reserved keyword, and iCCP (PNG third edition, 11.3; XMP
//! part 3, 1.1.5). The older EXIF as hexadecimal text is ignored.

use std::io::Write;

use super::chunks::written;
use super::container::{Container, SIGNATURE};
use super::encode::failed;
use crate::pipeline::Error;
use crate::pipeline::codec::MetadataBlocks;
use crate::pipeline::metadata::{Blocks, Density, Metadata, fitting};

pub(super) static METADATA: MetadataBlocks = MetadataBlocks { read, write, density: true };

/// Keyword of XMP.
pub(super) const XMP: &[u8] = b"XML:com.adobe.xmp\0";

/// Bytes of the header chunk: length, name, 13 bytes, checksum.
const HEADER_CHUNK_BYTES: usize = 25;

fn read(bytes: &[u8], bytes_max: usize) -> Blocks<'_> {
    let Ok(container) = Container::read(bytes) else { return Blocks::default() };
    Blocks {
        // A few writers put JPEG's name before the block.
        exif: container.exif().and_then(|exif| fitting(exif.strip_prefix(b"Exif\0\0").unwrap_or(exif), bytes_max)),
        xmp: container.xmp().and_then(|chunk| xmp(chunk, bytes_max)),
    }
}

/// Text of an iTXt chunk after its keyword. Before the text are: whether it is deflated, how, a language and a
/// translated keyword, the latter two zero-terminated.
fn xmp(chunk: &[u8], bytes_max: usize) -> Option<std::borrow::Cow<'_, [u8]>> {
    let (deflated, rest) = chunk.split_first()?;
    let (method, rest) = rest.split_first()?;
    let language = memchr::memchr(0, rest)?;
    let rest = &rest[language + 1..];
    let text = &rest[memchr::memchr(0, rest)? + 1..];
    match (deflated, method) {
        (0, _) => fitting(text, bytes_max),
        (1, 0) => {
            fdeflate::decompress_to_vec_bounded(text, bytes_max).ok().filter(|text| !text.is_empty()).map(Into::into)
        }
        _ => None,
    }
}

/// Inserts chunks after the header chunk, since the profile must precede a palette, and all must precede the pixels.
fn write(file: Vec<u8>, metadata: &Metadata) -> Result<Vec<u8>, Error> {
    let mut chunks = Vec::new();
    if let Some(icc) = &metadata.icc {
        let mut stream = flate2::write::ZlibEncoder::new(b"icc\0\0".to_vec(), flate2::Compression::default());
        let deflated = stream.write_all(icc).and_then(|()| stream.finish()).map_err(|error| failed(error.into()))?;
        chunks.extend(written(b"iCCP", &deflated));
    }
    if let Some([x, y]) = metadata.density.map(|density| density.per(Density::METRE)) {
        chunks.extend(written(b"pHYs", &[x.to_be_bytes().as_slice(), &y.to_be_bytes(), &[PER_METRE]].concat()));
    }
    if let Some(exif) = &metadata.exif {
        chunks.extend(written(b"eXIf", exif));
    }
    if let Some(xmp) = &metadata.xmp {
        chunks.extend(written(b"iTXt", &[XMP, &[0; 4], xmp].concat()));
    }
    let (head, rest) = file.split_at(SIGNATURE.len() + HEADER_CHUNK_BYTES);
    Ok([head, &chunks, rest].concat())
}

/// Unit of a pHYs chunk that is a length; another only gives the shape of a pixel.
const PER_METRE: u8 = 1;

/// Density of a pHYs chunk (PNG third edition, 11.3.4.3).
pub(super) fn density(body: &[u8]) -> Option<Density> {
    let [x @ .., _, _, _, _, PER_METRE] = body else { return None };
    let y = body.get(4..8)?;
    let count = |bytes: &[u8]| Some(f64::from(u32::from_be_bytes(bytes.try_into().ok()?)));
    Density::of([count(x)?, count(y)?], Density::METRE)
}
