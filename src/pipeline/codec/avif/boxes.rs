//! The ISO base media file format as far as still images need it: boxes, items, properties. Knows nothing of AV1.
//!
//! Sources: ISO/IEC 14496-12 (boxes, `meta`), ISO/IEC 23008-12 (properties, grids). The gate and the decoder share
//! this parser, so they cannot disagree. It borrows from the file, and holds at most [`ENTRIES_MAX`] of each
//! structure.

use std::borrow::Cow;

use super::NAME;
use crate::pipeline::Error;
use crate::pipeline::codec::cursor::Cursor;

/// Largest number of items, properties, references or extents in a file; real files have tens.
const ENTRIES_MAX: usize = 4096;

/// Type of a box.
pub(super) type Kind = [u8; 4];

/// Iterator over consecutive boxes; ends with an error at one that is truncated.
pub(super) struct Boxes<'a>(Cursor<'a>);

impl<'a> Boxes<'a> {
    /// Boxes that fill `bytes`.
    pub fn of(bytes: &'a [u8]) -> Boxes<'a> {
        Boxes(Cursor::new(NAME, bytes))
    }

    fn read(&mut self) -> Result<(Kind, &'a [u8]), Error> {
        let start = self.0.position();
        let size = self.0.u32_be()?;
        let kind = kind(&mut self.0)?;
        let end = match size {
            0 => start + (self.0.position() - start) + self.0.rest().len(),
            1 => start.saturating_add(u64_be(&mut self.0)?.try_into().unwrap_or(usize::MAX)),
            size => start.saturating_add(size as usize),
        };
        let payload = end.checked_sub(self.0.position()).ok_or_else(|| self.0.corrupt("invalid box length"))?;
        Ok((kind, self.0.take(payload)?))
    }
}

impl<'a> Iterator for Boxes<'a> {
    type Item = Result<(Kind, &'a [u8]), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.rest().is_empty() {
            return None;
        }
        let read = self.read();
        if read.is_err() {
            self.0 = Cursor::new(NAME, &[]);
        }
        Some(read)
    }
}

/// Writes a box.
pub(super) fn append(out: &mut Vec<u8>, kind: [u8; 4], payload: &[u8]) {
    out.extend((payload.len() as u32 + 8).to_be_bytes());
    out.extend(kind);
    out.extend_from_slice(payload);
}

/// A property of an item, and whether readers must understand it.
#[derive(Clone, Copy)]
pub(super) struct Property<'a> {
    /// Type of the property, such as "ispe" or "colr".
    pub kind: Kind,
    /// Contents of the box.
    pub payload: &'a [u8],
    /// Whether a reader that does not know the property must refuse the item.
    pub essential: bool,
}

/// A typed reference from one item to others.
pub(super) struct Reference {
    /// Type of the reference, such as "auxl", "dimg" or "prem".
    pub kind: Kind,
    /// Item that holds the reference.
    pub from: u32,
    /// Items that are referred to.
    pub to: Vec<u32>,
}

struct Location {
    item: u32,
    in_idat: bool,
    extents: Vec<(u64, Option<u64>)>,
}

/// Version of an `iloc` box, and widths of its fields in bytes.
struct LocationFields {
    version: u8,
    offset_bytes: usize,
    length_bytes: usize,
    base_bytes: usize,
    index_bytes: usize,
}

impl LocationFields {
    fn read(cursor: &mut Cursor) -> Result<LocationFields, Error> {
        let version = version(cursor)?;
        let widths = cursor.u16_be()?;
        let width = |shift: u16| usize::from(widths >> shift & 15);
        Ok(LocationFields {
            version,
            offset_bytes: width(12),
            length_bytes: width(8),
            base_bytes: width(4),
            index_bytes: if version > 0 { width(0) } else { 0 },
        })
    }

    /// Reads the location of one item. `None`: its data is in another file or item, which is not supported.
    fn location(&self, cursor: &mut Cursor, extents_left: &mut usize) -> Result<Option<Location>, Error> {
        let item = id(cursor, self.version > 1)?;
        let method = if self.version > 0 { cursor.u16_be()? & 15 } else { 0 };
        let other_file = cursor.u16_be()? != 0;
        let base = sized(cursor, self.base_bytes)?;
        let count = usize::from(cursor.u16_be()?);
        *extents_left = extents_left.checked_sub(count).ok_or_else(too_many)?;
        let extents = (0..count).map(|_| self.extent(cursor, base)).collect::<Result<_, _>>()?;
        let supported = method <= 1 && !other_file;
        Ok(supported.then_some(Location { item, in_idat: method == 1, extents }))
    }

    /// Reads offset and length of an extent. Without a length, or with 0, it reaches to the end.
    fn extent(&self, cursor: &mut Cursor, base: u64) -> Result<(u64, Option<u64>), Error> {
        sized(cursor, self.index_bytes)?;
        let offset = base.saturating_add(sized(cursor, self.offset_bytes)?);
        let length = sized(cursor, self.length_bytes)?;
        Ok((offset, Some(length).filter(|&length| length > 0)))
    }
}

/// The `meta` box of a file.
#[derive(Default)]
pub(super) struct Meta<'a> {
    /// Primary item, the one to display.
    pub primary: u32,
    /// References, in file order.
    pub references: Vec<Reference>,
    items: Vec<(u32, Kind)>,
    locations: Vec<Location>,
    properties: Vec<(Kind, &'a [u8])>,
    /// Associations of an item, a property (from 1), and whether it is essential.
    associations: Vec<(u32, usize, bool)>,
    idat: &'a [u8],
    file: &'a [u8],
}

impl<'a> Meta<'a> {
    /// Reads the `meta` box of `file`; later boxes may be truncated. `None`: there is no such box, and so no still image.
    pub fn read(file: &'a [u8]) -> Result<Option<Meta<'a>>, Error> {
        for found in Boxes::of(file) {
            if let (b"meta", payload) = split(&found?) {
                return Meta::read_children(file, payload).map(Some);
            }
        }
        Ok(None)
    }

    fn read_children(file: &'a [u8], payload: &'a [u8]) -> Result<Meta<'a>, Error> {
        let mut meta = Meta { file, ..Meta::default() };
        let mut has_primary = false;
        for child in Boxes::of(payload.get(4..).unwrap_or_default()) {
            let (kind, payload) = child?;
            let mut cursor = Cursor::new(NAME, payload);
            match &kind {
                b"pitm" => {
                    let wide = version(&mut cursor)? > 0;
                    meta.primary = id(&mut cursor, wide)?;
                    has_primary = true;
                }
                b"iinf" => meta.read_items(cursor)?,
                b"iloc" => meta.read_locations(cursor)?,
                b"iref" => meta.read_references(cursor)?,
                b"iprp" => meta.read_properties(payload)?,
                b"idat" => meta.idat = payload,
                _ => {}
            }
        }
        if has_primary { Ok(meta) } else { Err(Error::corrupt(NAME, "missing primary item")) }
    }

    fn read_items(&mut self, mut cursor: Cursor<'a>) -> Result<(), Error> {
        // The count has 2 or 4 bytes and is ignored, since the boxes that follow show it.
        let wide = version(&mut cursor)? > 0;
        id(&mut cursor, wide)?;
        for entry in Boxes::of(cursor.rest()) {
            let (kind, payload) = entry?;
            let mut cursor = Cursor::new(NAME, payload);
            let version = version(&mut cursor)?;
            if &kind == b"infe" && version >= 2 {
                let item = id(&mut cursor, version > 2)?;
                cursor.skip(2)?;
                push(&mut self.items, (item, self::kind(&mut cursor)?))?;
            }
        }
        Ok(())
    }

    fn read_locations(&mut self, mut cursor: Cursor<'a>) -> Result<(), Error> {
        let fields = LocationFields::read(&mut cursor)?;
        let count = id(&mut cursor, fields.version > 1)?;
        let mut extents_left = ENTRIES_MAX;
        for _ in 0..count {
            if let Some(location) = fields.location(&mut cursor, &mut extents_left)? {
                push(&mut self.locations, location)?;
            }
        }
        Ok(())
    }

    fn read_references(&mut self, mut cursor: Cursor<'a>) -> Result<(), Error> {
        let wide = version(&mut cursor)? > 0;
        let mut left = ENTRIES_MAX;
        for reference in Boxes::of(cursor.rest()) {
            let (kind, payload) = reference?;
            let mut cursor = Cursor::new(NAME, payload);
            let from = id(&mut cursor, wide)?;
            let count = usize::from(cursor.u16_be()?);
            left = left.checked_sub(count).ok_or_else(too_many)?;
            let to = (0..count).map(|_| id(&mut cursor, wide)).collect::<Result<_, _>>()?;
            push(&mut self.references, Reference { kind, from, to })?;
        }
        Ok(())
    }

    fn read_properties(&mut self, payload: &'a [u8]) -> Result<(), Error> {
        for child in Boxes::of(payload) {
            match split(&child?) {
                (b"ipco", payload) => {
                    for property in Boxes::of(payload) {
                        push(&mut self.properties, property?)?;
                    }
                }
                (b"ipma", payload) => self.read_associations(Cursor::new(NAME, payload))?,
                _ => {}
            }
        }
        Ok(())
    }

    fn read_associations(&mut self, mut cursor: Cursor<'a>) -> Result<(), Error> {
        let head = cursor.u32_be()?;
        let (wide_id, wide_index) = (head >> 24 > 0, head & 1 != 0);
        for _ in 0..cursor.u32_be()? {
            let item = id(&mut cursor, wide_id)?;
            for _ in 0..cursor.u8()? {
                let (bits, field) = if wide_index { (15, cursor.u16_be()?) } else { (7, u16::from(cursor.u8()?)) };
                let index = usize::from(field & ((1 << bits) - 1));
                push(&mut self.associations, (item, index, field >> bits != 0))?;
            }
        }
        Ok(())
    }

    /// Length of the file.
    pub fn file_bytes(&self) -> usize {
        self.file.len()
    }

    /// Type of an item.
    pub fn kind(&self, item: u32) -> Option<Kind> {
        self.items.iter().find(|(id, _)| *id == item).map(|(_, kind)| *kind)
    }

    /// Properties of an item, in the order in which they apply.
    pub fn properties(&self, item: u32) -> impl Iterator<Item = Property<'a>> {
        self.associations.iter().filter(move |(id, ..)| *id == item).filter_map(|&(_, index, essential)| {
            let &(kind, payload) = self.properties.get(index.checked_sub(1)?)?;
            Some(Property { kind, payload, essential })
        })
    }

    /// First property of this type.
    pub fn property(&self, item: u32, kind: &Kind) -> Option<&'a [u8]> {
        self.properties(item).find(|property| &property.kind == kind).map(|property| property.payload)
    }

    /// Items to which `from` has a reference of this type.
    pub fn referred(&self, kind: &Kind, from: u32) -> &[u32] {
        let mut found = self.references.iter().filter(|reference| &reference.kind == kind && reference.from == from);
        found.next().map_or(&[], |reference| &reference.to)
    }

    /// Bytes of an item.
    ///
    /// Errors: [`Error::Corrupt`] if some are outside the file, as in a truncated one.
    pub fn data(&self, item: u32) -> Result<Cow<'a, [u8]>, Error> {
        let location = self.locations.iter().find(|location| location.item == item);
        let location = location.ok_or_else(|| Error::corrupt(NAME, "item without data"))?;
        let whole = if location.in_idat { self.idat } else { self.file };
        let mut parts = Vec::new();
        let mut total = 0;
        for &(offset, length) in &location.extents {
            let part = extent(whole, offset, length).ok_or_else(|| Error::corrupt(NAME, "truncated file"))?;
            total += part.len();
            parts.push(part);
        }
        if let [only] = parts[..] {
            return Ok(Cow::Borrowed(only));
        }
        // Extents may overlap, but an image is never longer than its file.
        if total > whole.len() {
            return Err(Error::corrupt(NAME, "item longer than the file"));
        }
        Ok(Cow::Owned(parts.concat()))
    }
}

fn extent(whole: &[u8], offset: u64, length: Option<u64>) -> Option<&[u8]> {
    let rest = whole.get(usize::try_from(offset).ok()?..)?;
    match length {
        None => Some(rest),
        Some(length) => rest.get(..usize::try_from(length).ok()?),
    }
}

pub(super) fn split<'a, 'b>((kind, payload): &'b (Kind, &'a [u8])) -> (&'b Kind, &'a [u8]) {
    (kind, payload)
}

pub(super) fn push<T>(entries: &mut Vec<T>, entry: T) -> Result<(), Error> {
    if entries.len() == ENTRIES_MAX {
        return Err(too_many());
    }
    entries.push(entry);
    Ok(())
}

fn too_many() -> Error {
    Error::Unsupported { format: NAME, feature: "more than 4096 items, properties, references or extents" }
}

fn kind(cursor: &mut Cursor) -> Result<Kind, Error> {
    Ok(cursor.u32_be()?.to_be_bytes())
}

/// Reads the version of a full box and skips its flags.
pub(super) fn version(cursor: &mut Cursor) -> Result<u8, Error> {
    Ok((cursor.u32_be()? >> 24) as u8)
}

fn id(cursor: &mut Cursor, wide: bool) -> Result<u32, Error> {
    if wide { cursor.u32_be() } else { cursor.u16_be().map(u32::from) }
}

fn u64_be(cursor: &mut Cursor) -> Result<u64, Error> {
    Ok(u64::from(cursor.u32_be()?) << 32 | u64::from(cursor.u32_be()?))
}

/// Reads a field of 0, 4 or 8 bytes.
fn sized(cursor: &mut Cursor, bytes: usize) -> Result<u64, Error> {
    match bytes {
        0 => Ok(0),
        4 => cursor.u32_be().map(u64::from),
        8 => u64_be(cursor),
        _ => Err(cursor.corrupt("invalid field size in iloc")),
    }
}
