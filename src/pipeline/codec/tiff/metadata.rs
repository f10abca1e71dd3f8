//! EXIF, XMP and ICC in TIFF: fields of the first directory, and the Exif and GPS directories below it.

use crate::pipeline::Error;
use crate::pipeline::codec::MetadataBlocks;
use crate::pipeline::ifd::{File, corrupt};
use crate::pipeline::metadata::exif::{Exif, Field, describes, tag};
use crate::pipeline::metadata::{Blocks, Metadata, fitting};

pub(super) static METADATA: MetadataBlocks = MetadataBlocks { read, write };

const BYTE: u16 = 1;
const UNDEFINED: u16 = 7;

/// A TIFF file is an EXIF block, with an image in it.
fn read(bytes: &[u8], bytes_max: usize) -> Blocks<'_> {
    let xmp = || {
        let file = File::open(bytes).ok()?;
        let (_, _, xmp) = file.fields(file.first).ok()?.0.field(tag::XMP).ok()??;
        fitting(xmp, bytes_max)
    };
    Blocks { exif: Some(bytes.into()), xmp: xmp() }
}

/// Appends a directory with the old fields and the new ones, and points at it; the old one stays behind, some 200 bytes.
fn write(mut file: Vec<u8>, metadata: &Metadata) -> Result<Vec<u8>, Error> {
    let exif = metadata.exif.as_deref();
    let mut whole = exif.and_then(|exif| Exif::read(exif, exif.len(), describes, |_| true)).unwrap_or_default();
    let written = file.clone();
    let mut image = Exif::read(&written, written.len(), |_| true, |_| false).ok_or_else(|| corrupt("no directory"))?;
    // Resolution is in both.
    image.main.retain(|field| whole.main.iter().all(|other| other.tag != field.tag));
    whole.main.extend(image.main);
    for (tag, kind, block) in [(tag::XMP, BYTE, &metadata.xmp), (tag::ICC, UNDEFINED, &metadata.icc)] {
        whole.main.extend(block.as_ref().map(|block| Field { tag, kind, bytes: block.into() }));
    }
    file.resize(file.len().next_multiple_of(2), 0);
    let first = u32::try_from(file.len()).map_err(|_| corrupt("the file would be 4 GiB long"))?;
    file[4..8].copy_from_slice(&first.to_le_bytes());
    whole.write(&mut file);
    Ok(file)
}
