//! EXIF blocks (Exif 2.32, CIPA DC-008): read, reduced to the fields that may be kept, and written anew, so that a
//! result holds only requested data. This module knows directories of fields; [`super::camera`] knows their meaning.
//!
//! Fields borrow from the block through the bounded `ifd` reader. The crates that read EXIF
//! copy each value: the 65,535 overlapping fields of a hostile 1 MiB block would become 64 GiB.

use std::borrow::Cow;

use super::{Density, Keep};
use crate::pipeline::Size;
use crate::pipeline::ifd::{Directory, TiffFile};

/// Tags of the three directories.
pub mod tag {
    #![allow(missing_docs)]
    pub const MAKE: u16 = 271;
    pub const MODEL: u16 = 272;
    pub const ORIENTATION: u16 = 274;
    pub const X_RESOLUTION: u16 = 282;
    pub const Y_RESOLUTION: u16 = 283;
    pub const RESOLUTION_UNIT: u16 = 296;
    pub const SOFTWARE: u16 = 305;
    pub const ARTIST: u16 = 315;
    pub const XMP: u16 = 700;
    pub const COPYRIGHT: u16 = 33_432;
    pub const EXPOSURE_TIME: u16 = 33_434;
    pub const F_NUMBER: u16 = 33_437;
    pub const EXIF: u16 = 34_665;
    pub const ICC: u16 = 34_675;
    pub const GPS: u16 = 34_853;
    pub const ISO: u16 = 34_855;
    pub const TAKEN: u16 = 36_867;
    pub const TAKEN_OFFSET: u16 = 36_881;
    pub const FOCAL_LENGTH: u16 = 37_386;
    pub const MAKER_NOTE: u16 = 37_500;
    pub const WIDTH: u16 = 40_962;
    pub const HEIGHT: u16 = 40_963;
    pub const INTEROPERABILITY: u16 = 40_965;
    pub const LENS: u16 = 42_036;
}

/// Whether a field of the first directory describes the picture rather than the layout of its samples. In addition to
/// the named tags: description (270), resolution (282, 283, 296), date (306), host (316), chroma position (531),
/// ratings (18246, 18249) and Windows' names (40091..=40095).
pub fn describes(tag: u16) -> bool {
    use tag::{ARTIST, COPYRIGHT, EXIF, GPS, MAKE, MODEL, ORIENTATION, SOFTWARE};
    matches!(tag, MAKE | MODEL | ORIENTATION | SOFTWARE | ARTIST | COPYRIGHT | EXIF | GPS)
        || matches!(tag, 270 | 282 | 283 | 296 | 306 | 316 | 531 | 18_246 | 18_249 | 40_091..=40_095)
}

/// Whether a field of the Exif directory is kept. Maker notes hold offsets, which moving breaks, and previews of the
/// old picture; the size is written anew.
fn survives(tag: u16) -> bool {
    !matches!(tag, tag::MAKER_NOTE | tag::INTEROPERABILITY | tag::WIDTH | tag::HEIGHT)
}

fn is_density(tag: u16) -> bool {
    matches!(tag, tag::X_RESOLUTION | tag::Y_RESOLUTION | tag::RESOLUTION_UNIT)
}

const SHORT: u16 = 3;
const LONG: u16 = 4;
const FRACTION: u16 = 5;

/// A field of a directory, with little-endian values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// Tag that identifies the field.
    pub tag: u16,
    /// Type of the values, 1..=13.
    pub kind: u16,
    /// Bytes of the values.
    pub bytes: Cow<'a, [u8]>,
}

/// Directories of an EXIF block, each sorted by tag.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exif<'a> {
    /// First directory, without pointers.
    pub main: Vec<Field<'a>>,
    /// Exif directory.
    pub exif: Vec<Field<'a>>,
    /// GPS directory.
    pub gps: Vec<Field<'a>>,
}

/// EXIF block for a result. `None` if no field is left, or if the fields exceed `bytes_max` bytes together.
pub fn kept(block: &[u8], keep: Keep, orientation: u8, size: Size, bytes_max: usize) -> Option<Vec<u8>> {
    let mut exif = match keep {
        Keep::None => return None,
        Keep::Copyright => Exif::read(block, bytes_max, |tag| matches!(tag, tag::ARTIST | tag::COPYRIGHT), |_| false)?,
        Keep::All => Exif::read(block, bytes_max, describes, survives)?,
    };
    if let Some(field) = exif.main.iter_mut().find(|field| field.tag == tag::ORIENTATION) {
        *field = Field::number(tag::ORIENTATION, SHORT, u32::from(orientation));
    }
    if !exif.exif.is_empty() {
        exif.exif.push(Field::number(tag::WIDTH, LONG, size.w));
        exif.exif.push(Field::number(tag::HEIGHT, LONG, size.h));
    }
    (!exif.is_empty()).then(|| exif.block())
}

/// The block with this density in place of its own, if it has one.
pub fn with_density(block: Vec<u8>, density: Density) -> Vec<u8> {
    match Exif::read(&block, block.len(), |_| true, |_| true) {
        Some(mut exif) if exif.main.iter().any(|field| is_density(field.tag)) => {
            exif.set_density(density);
            exif.block()
        }
        _ => block,
    }
}

impl<'a> Exif<'a> {
    /// Reads the first and the Exif directory, limited to fields accepted by `main` and `exif`. A directory is
    /// skipped if `main` rejects its pointer.
    pub fn read(
        block: &'a [u8],
        bytes_max: usize,
        main: impl Fn(u16) -> bool,
        exif: impl Fn(u16) -> bool,
    ) -> Option<Exif<'a>> {
        let file = TiffFile::open(block).ok()?;
        let (directory, _) = file.fields(file.first).ok()?;
        let mut left = bytes_max;
        let child = |pointer: u16| {
            let offset = directory.numbers(pointer).ok()?.iter().next().filter(|_| main(pointer))?;
            Some(file.fields(offset).ok()?.0)
        };
        let mut read = |directory: Option<&Directory<'a>>, wanted: &dyn Fn(u16) -> bool| match directory {
            Some(directory) => fields(directory, wanted, &mut left),
            None => Some(Vec::new()),
        };
        Some(Exif {
            main: read(Some(&directory), &main)?,
            exif: read(child(tag::EXIF).as_ref(), &exif)?,
            gps: read(child(tag::GPS).as_ref(), &|_| true)?,
        })
    }

    /// Sets resolution and its unit, the inch.
    pub fn set_density(&mut self, density: Density) {
        self.main.retain(|field| !is_density(field.tag));
        for (tag, hundredths) in [tag::X_RESOLUTION, tag::Y_RESOLUTION].into_iter().zip(density.hundredths()) {
            let fraction = [hundredths, 100].map(u32::to_le_bytes);
            self.main.push(Field { tag, kind: FRACTION, bytes: fraction.as_flattened().to_vec().into() });
        }
        self.main.push(Field::number(tag::RESOLUTION_UNIT, SHORT, 2));
    }

    fn is_empty(&self) -> bool {
        self.main.is_empty() && self.exif.is_empty() && self.gps.is_empty()
    }

    /// The EXIF block, little-endian.
    fn block(self) -> Vec<u8> {
        const HEADER: &[u8; 8] = b"II*\0\x08\0\0\0";
        let mut block = HEADER.to_vec();
        self.write(&mut block);
        block
    }

    /// Appends the directories to `file`, whose length is even and below 4 GiB. The first directory starts right
    /// there.
    pub fn write(mut self, file: &mut Vec<u8>) {
        let children =
            [(tag::EXIF, bytes(&self.exif)), (tag::GPS, bytes(&self.gps))].map(|(tag, len)| (tag, len as u32));
        let pointers = children.iter().filter(|(_, len)| *len > 0);
        self.main.extend(pointers.map(|(pointer, _)| Field::number(*pointer, LONG, 0)));
        let mut at = (file.len() + bytes(&self.main)) as u32;
        for (pointer, len) in children {
            if let Some(field) = self.main.iter_mut().find(|field| field.tag == pointer) {
                *field = Field::number(pointer, LONG, at);
            }
            at += len;
        }
        for mut fields in [self.main, self.exif, self.gps] {
            fields.sort_by_key(|field| field.tag);
            write_directory(file, &fields);
        }
    }
}

/// Accepted fields, each once. `None` if they are longer than `left`: fields of well-formed blocks never overlap, so
/// they are no longer than the block.
fn fields<'a>(directory: &Directory<'a>, wanted: &dyn Fn(u16) -> bool, left: &mut usize) -> Option<Vec<Field<'a>>> {
    let mut fields = Vec::new();
    for (tag, field) in directory.iter() {
        // Malformed fields and types of BigTIFF are left out.
        let Some((kind @ 1..=13, _, bytes)) = field.ok().filter(|_| wanted(tag)) else { continue };
        if matches!(tag, tag::EXIF | tag::GPS) || bytes.is_empty() {
            continue;
        }
        *left = left.checked_sub(ENTRY_BYTES + bytes.len())?;
        let bytes = if directory.file.big_endian { turned(kind, bytes).into() } else { bytes.into() };
        fields.push(Field { tag, kind, bytes });
    }
    fields.sort_by_key(|field: &Field| field.tag);
    fields.dedup_by_key(|field| field.tag);
    Some(fields)
}

/// Values of a type in the opposite byte order.
fn turned(kind: u16, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.chunks_exact_mut(unit(kind)).for_each(<[u8]>::reverse);
    bytes
}

/// Bytes per swapped unit; a fraction is two units.
fn unit(kind: u16) -> usize {
    match kind {
        3 | 8 => 2,
        4 | 5 | 9 | 10 | 11 | 13 => 4,
        12 => 8,
        _ => 1,
    }
}

/// Number of values in this many bytes.
fn count(kind: u16, bytes: usize) -> usize {
    bytes / if matches!(kind, 5 | 10) { 8 } else { unit(kind) }
}

impl Field<'_> {
    fn number(tag: u16, kind: u16, number: u32) -> Field<'static> {
        Field { tag, kind, bytes: number.to_le_bytes()[..unit(kind)].to_vec().into() }
    }
}

/// Entry of a directory: tag, type, count, and four bytes for the values or their offset.
const ENTRY_BYTES: usize = 12;

/// Length of a directory as written; 0 for one without fields, which is left out.
fn bytes(fields: &[Field]) -> usize {
    if fields.is_empty() {
        return 0;
    }
    let values = fields.iter().map(|field| field.bytes.len()).filter(|len| *len > 4);
    2 + fields.len() * ENTRY_BYTES + 4 + values.map(|len| len.next_multiple_of(2)).sum::<usize>()
}

fn write_directory(file: &mut Vec<u8>, fields: &[Field]) {
    if fields.is_empty() {
        return;
    }
    let mut at = file.len() + 2 + fields.len() * ENTRY_BYTES + 4;
    file.extend((fields.len() as u16).to_le_bytes());
    for field in fields {
        let len = field.bytes.len();
        file.extend(field.tag.to_le_bytes());
        file.extend(field.kind.to_le_bytes());
        file.extend((count(field.kind, len) as u32).to_le_bytes());
        if len > 4 {
            file.extend((at as u32).to_le_bytes());
            at += len.next_multiple_of(2);
        } else {
            file.extend_from_slice(&field.bytes);
            file.resize(file.len() + 4 - len, 0);
        }
    }
    // No next directory, since it would be the thumbnail's.
    file.extend([0; 4]);
    for field in fields.iter().filter(|field| field.bytes.len() > 4) {
        file.extend_from_slice(&field.bytes);
        file.resize(file.len().next_multiple_of(2), 0);
    }
}
