//! EXIF, XMP and ICC in TIFF: fields of the first directory, and the Exif and GPS directories that it points to.

use crate::pipeline::Error;
use crate::pipeline::codec::MetadataBlocks;
use crate::pipeline::ifd::{TiffFile, corrupt};
use crate::pipeline::metadata::exif::{Exif, Field, describes, tag};
use crate::pipeline::metadata::{Blocks, Metadata, fitting};

pub(super) static METADATA: MetadataBlocks = MetadataBlocks { read, write, density: true };

const BYTE: u16 = 1;
const UNDEFINED: u16 = 7;

/// Reads the blocks. A TIFF file has the form of an EXIF block, with an image in it.
fn read(bytes: &[u8], bytes_max: usize) -> Blocks<'_> {
    let xmp = || {
        let file = TiffFile::open(bytes).ok()?;
        let (_, _, xmp) = file.fields(file.first).ok()?.0.field(tag::XMP).ok()??;
        fitting(xmp, bytes_max)
    };
    Blocks { exif: Some(bytes.into()), xmp: xmp() }
}

/// Appends a directory of old and new fields and points to it. The old one, some 200 bytes, remains unused.
fn write(mut file: Vec<u8>, metadata: &Metadata) -> Result<Vec<u8>, Error> {
    let exif = metadata.exif.as_deref();
    let mut whole = exif.and_then(|exif| Exif::read(exif, exif.len(), describes, |_| true)).unwrap_or_default();
    if let Some(density) = metadata.density {
        whole.set_density(density);
    }
    let written = file.clone();
    let mut image =
        Exif::read(&written, written.len(), |_| true, |_| false).ok_or_else(|| corrupt("missing directory"))?;
    // The resolution is in both.
    image.main.retain(|field| whole.main.iter().all(|other| other.tag != field.tag));
    whole.main.extend(image.main);
    for (tag, kind, block) in [(tag::XMP, BYTE, &metadata.xmp), (tag::ICC, UNDEFINED, &metadata.icc)] {
        whole.main.extend(block.as_ref().map(|block| Field { tag, kind, bytes: block.into() }));
    }
    file.resize(file.len().next_multiple_of(2), 0);
    let first = u32::try_from(file.len()).map_err(|_| corrupt("file of 4 GiB or more"))?;
    file[4..8].copy_from_slice(&first.to_le_bytes());
    whole.write(&mut file);
    Ok(file)
}
