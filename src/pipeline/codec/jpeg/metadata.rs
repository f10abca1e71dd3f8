//! EXIF, XMP and ICC in JPEG: APP1 and APP2 segments (Exif 2.32, 4.7; XMP part 3, 1.1.3; ICC.1:2022, annex B.4).

use super::container::Container;
use crate::pipeline::Error;
use crate::pipeline::codec::MetadataBlocks;
use crate::pipeline::metadata::{Blocks, Density, Metadata, fitting};

pub(super) static METADATA: MetadataBlocks = MetadataBlocks { read, write, density: true };

/// First bytes of a segment of each kind.
pub(super) const EXIF: &[u8] = b"Exif\0\0";
pub(super) const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
const ICC: &[u8] = b"ICC_PROFILE\0";
const JFIF: &[u8] = b"JFIF\0";

const APP0: u8 = 0xe0;
const APP1: u8 = 0xe1;
const APP2: u8 = 0xe2;

/// Largest payload of a segment, whose 16-bit length includes itself.
const SEGMENT_BYTES_MAX: usize = 65_533;

fn read(bytes: &[u8], bytes_max: usize) -> Blocks<'_> {
    let Ok(container) = Container::read(bytes) else { return Blocks::default() };
    Blocks {
        exif: container.exif.and_then(|exif| fitting(exif, bytes_max)),
        xmp: container.xmp.and_then(|xmp| fitting(xmp, bytes_max)),
    }
}

/// Inserts the blocks after the start of the image and the JFIF segment, which must be first.
fn write(file: Vec<u8>, metadata: &Metadata) -> Result<Vec<u8>, Error> {
    let mut segments = Vec::new();
    for (name, block) in [(EXIF, &metadata.exif), (XMP, &metadata.xmp)] {
        let Some(block) = block else { continue };
        if name.len() + block.len() <= SEGMENT_BYTES_MAX {
            segment(&mut segments, APP1, &[name, block]);
        }
    }
    let parts: Vec<&[u8]> = metadata.icc.iter().flat_map(|icc| icc.chunks(SEGMENT_BYTES_MAX - ICC.len() - 2)).collect();
    if let Ok(count) = u8::try_from(parts.len()) {
        for (number, part) in (1..=count).zip(parts) {
            segment(&mut segments, APP2, &[ICC, &[number, count], part]);
        }
    }
    let at = 2 + jfif_bytes(&file[2..]);
    let mut written = [&file[..at], &segments, &file[at..]].concat();
    if let Some(density) = metadata.density {
        state(&mut written, density.per(Density::INCH));
    }
    Ok(written)
}

/// Places of the unit and of the two densities in a file that begins with a JFIF segment.
const JFIF_UNIT: usize = 13;
const JFIF_DENSITIES: std::ops::Range<usize> = 14..18;

/// States dots per inch in the JFIF segment, if there is one: RGB without it has none.
fn state(file: &mut [u8], dots: [u32; 2]) {
    if jfif_bytes(&file[2..]) < 18 || !file[6..].starts_with(JFIF) {
        return;
    }
    file[JFIF_UNIT] = 1;
    let dots = dots.map(|dots| (dots.min(u32::from(u16::MAX)) as u16).to_be_bytes());
    file[JFIF_DENSITIES].copy_from_slice(dots.as_flattened());
}

/// Density of a JFIF segment; its unit 0 means the shape of a pixel alone (JFIF 1.02, page 5).
pub(super) fn density(segment: &[u8]) -> Option<Density> {
    let [_, _, unit, x1, x2, y1, y2, ..] = segment.strip_prefix(JFIF)? else { return None };
    let counts = [[*x1, *x2], [*y1, *y2]].map(|bytes| f64::from(u16::from_be_bytes(bytes)));
    match unit {
        1 => Density::of(counts, Density::INCH),
        2 => Density::of(counts, Density::CENTIMETRE),
        _ => None,
    }
}

fn segment(out: &mut Vec<u8>, marker: u8, parts: &[&[u8]]) {
    let length = 2 + parts.iter().map(|part| part.len()).sum::<usize>();
    out.extend([0xff, marker, (length >> 8) as u8, length as u8]);
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

fn jfif_bytes(segments: &[u8]) -> usize {
    match segments {
        [0xff, APP0, high, low, ..] => 2 + usize::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    }
}
