//! EXIF blocks (Exif 2.32, CIPA DC-008): read, cut down to what may be kept, and written anew, so that nothing travels that was
//! not asked for. Knows directories of fields; [`super::camera`] knows what fields say.
//!
//! Fields are borrowed from the block through the bounded reader of TIFF. The crates that read EXIF copy each value: the 65,535
//! overlapping fields of a hostile block of 1 MiB would become 64 GiB.

use std::borrow::Cow;

use super::Keep;
use crate::pipeline::Size;
use crate::pipeline::ifd::{Directory, File};

/// Tags of the three directories, by name.
pub mod tag {
    #![allow(missing_docs)]
    pub const MAKE: u16 = 271;
    pub const MODEL: u16 = 272;
    pub const ORIENTATION: u16 = 274;
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

/// What of the first directory describes the picture and not how its samples are laid out: those above, the description (270),
/// resolution (282, 283, 296), date (306), host (316), chroma's place (531), ratings (18246, 18249) and Windows' names (40091..=40095).
pub fn describes(tag: u16) -> bool {
    use tag::{ARTIST, COPYRIGHT, EXIF, GPS, MAKE, MODEL, ORIENTATION, SOFTWARE};
    matches!(tag, MAKE | MODEL | ORIENTATION | SOFTWARE | ARTIST | COPYRIGHT | EXIF | GPS)
        || matches!(tag, 270 | 282 | 283 | 296 | 306 | 316 | 531 | 18_246 | 18_249 | 40_091..=40_095)
}

/// What of the Exif directory survives: maker notes hold addresses that moving breaks, and previews of the old picture; the size is
/// written anew.
fn survives(tag: u16) -> bool {
    !matches!(tag, tag::MAKER_NOTE | tag::INTEROPERABILITY | tag::WIDTH | tag::HEIGHT)
}

const SHORT: u16 = 3;
const LONG: u16 = 4;

/// A field of a directory. The bytes are little-endian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// What it says.
    pub tag: u16,
    /// The type of its values, 1..=13.
    pub kind: u16,
    /// The values.
    pub bytes: Cow<'a, [u8]>,
}

/// The directories of a block, each in ascending order of tags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exif<'a> {
    /// The first one, without pointers.
    pub main: Vec<Field<'a>>,
    /// The Exif directory.
    pub exif: Vec<Field<'a>>,
    /// The GPS directory.
    pub gps: Vec<Field<'a>>,
}

/// The block that a result gets: `None` when nothing is left of it, or its fields are longer than `bytes_max` together.
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

impl<'a> Exif<'a> {
    /// Reads the fields of these tags in the first directory and the Exif directory; a directory of whose pointer `main` says no is
    /// not read.
    pub fn read(
        block: &'a [u8],
        bytes_max: usize,
        main: impl Fn(u16) -> bool,
        exif: impl Fn(u16) -> bool,
    ) -> Option<Exif<'a>> {
        let file = File::open(block).ok()?;
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

    fn is_empty(&self) -> bool {
        self.main.is_empty() && self.exif.is_empty() && self.gps.is_empty()
    }

    /// The whole block, little-endian.
    fn block(self) -> Vec<u8> {
        const HEADER: &[u8; 8] = b"II*\0\x08\0\0\0";
        let mut block = HEADER.to_vec();
        self.write(&mut block);
        block
    }

    /// Appends the directories, the first at once, to `file`, which is of an even length below 4 GiB.
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

/// The fields of these tags, each once; `None` when they are longer than what is `left`: honest fields never overlap, so they
/// are no longer than their block.
fn fields<'a>(directory: &Directory<'a>, wanted: &dyn Fn(u16) -> bool, left: &mut usize) -> Option<Vec<Field<'a>>> {
    let mut fields = Vec::new();
    for (tag, field) in directory.iter() {
        // One that is broken is left out; so are the types of BigTIFF.
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

/// Values of this type in the other byte order.
fn turned(kind: u16, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.chunks_exact_mut(unit(kind)).for_each(<[u8]>::reverse);
    bytes
}

/// Bytes that are turned together: a fraction is two numbers.
fn unit(kind: u16) -> usize {
    match kind {
        3 | 8 => 2,
        4 | 5 | 9 | 10 | 11 | 13 => 4,
        12 => 8,
        _ => 1,
    }
}

/// How many values stand in so many bytes.
fn count(kind: u16, bytes: usize) -> usize {
    bytes / if matches!(kind, 5 | 10) { 8 } else { unit(kind) }
}

impl Field<'_> {
    fn number(tag: u16, kind: u16, number: u32) -> Field<'static> {
        Field { tag, kind, bytes: number.to_le_bytes()[..unit(kind)].to_vec().into() }
    }
}

/// A tag, a type, a count, and four bytes of values or their address.
const ENTRY_BYTES: usize = 12;

/// Length of a directory that is written; 0 of one without fields, which is not.
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
    // No further directory: that would be the thumbnail's.
    file.extend([0; 4]);
    for field in fields.iter().filter(|field| field.bytes.len() > 4) {
        file.extend_from_slice(&field.bytes);
        file.resize(file.len().next_multiple_of(2), 0);
    }
}
