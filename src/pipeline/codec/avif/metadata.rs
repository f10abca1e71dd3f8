//! EXIF, XMP and ICC in AVIF: items that describe the primary item, and its property `colr` (HEIF, ISO/IEC 23008-12,
//! annex A; MIAF).
//!
//! The crate that writes AVIF files supports neither profiles nor XMP, so their boxes are added to its output.

use std::borrow::Cow;

use super::NAME;
use super::boxes::{Boxes, Meta, append};
use super::relocate::movie;
use crate::pipeline::Error;
use crate::pipeline::codec::MetadataBlocks;
use crate::pipeline::codec::cursor::Cursor;
use crate::pipeline::metadata::{Blocks, Metadata};

pub(super) static METADATA: MetadataBlocks = MetadataBlocks { read, write, density: false };

/// Ids of items in files that we write: the image is 1, its alpha 2.
const IMAGE_ID: u16 = 1;
const EXIF_ID: u16 = 3;
const XMP_ID: u16 = 4;

fn read(bytes: &[u8], bytes_max: usize) -> Blocks<'_> {
    let Ok(Some(meta)) = Meta::read(bytes) else { return Blocks::default() };
    let describing = |kind: &[u8; 4], is: fn(&[u8]) -> bool| {
        let mut items = meta.references.iter().filter(|one| &one.kind == b"cdsc" && one.to.contains(&meta.primary));
        items.find_map(|item| {
            let data = (meta.kind(item.from).as_ref() == Some(kind)).then(|| meta.data(item.from))?.ok()?;
            (data.len() <= bytes_max && is(&data)).then_some(data)
        })
    };
    Blocks { exif: describing(b"Exif", |data| data.len() > 4).and_then(tiff_header), xmp: describing(b"mime", is_xmp) }
}

/// Whether an item of type mime is XMP, which names its root or RDF at the start.
fn is_xmp(data: &[u8]) -> bool {
    let beginning = &data[..data.len().min(1024)];
    let names: [&[u8]; 2] = [b"adobe:ns:meta", b"http://www.w3.org/1999/02/22-rdf-syntax-ns"];
    names.iter().any(|name| memchr::memmem::find(beginning, name).is_some())
}

/// EXIF block of an item, after 4 bytes that give the offset to its TIFF header.
fn tiff_header(item: Cow<'_, [u8]>) -> Option<Cow<'_, [u8]>> {
    let skipped = u32::from_be_bytes(*item.first_chunk()?) as usize;
    let start = skipped.checked_add(4).filter(|start| *start < item.len())?;
    Some(match item {
        Cow::Borrowed(item) => Cow::Borrowed(&item[start..]),
        Cow::Owned(item) => Cow::Owned(item[start..].to_vec()),
    })
}

/// An item to add: its id, its description after the id, its data.
type Item = (u16, &'static [u8], Vec<u8>);

fn write(file: Vec<u8>, metadata: &Metadata) -> Result<Vec<u8>, Error> {
    let mut items: Vec<Item> = Vec::new();
    if let Some(exif) = &metadata.exif {
        items.push((EXIF_ID, b"\0\0Exif\0", [&[0; 4], &exif[..]].concat()));
    }
    if let Some(xmp) = &metadata.xmp {
        items.push((XMP_ID, b"\0\0mime\0application/rdf+xml\0", xmp.clone()));
    }
    // Offsets depend on the length of the box that holds them, which does not depend on the offsets.
    let grown = rebuilt(&file, metadata, &items, 0)?.len() - file.len();
    let added: usize = items.iter().map(|(_, _, data)| data.len()).sum::<usize>() + 8 * usize::from(!items.is_empty());
    rebuilt(&file, metadata, &items, grown - added)
}

/// The file with the blocks in it. Existing data moves by `moved` bytes; data of new items is at the end.
fn rebuilt(file: &[u8], metadata: &Metadata, items: &[Item], moved: usize) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    let data_at = file.len() + moved + 8;
    for found in Boxes::of(file) {
        let (kind, payload) = found?;
        match &kind {
            b"meta" => append(&mut out, kind, &meta(payload, metadata, items, (moved, data_at))?),
            b"moov" => append(&mut out, kind, &movie(payload, moved, metadata.icc.as_deref())?),
            _ => append(&mut out, kind, payload),
        }
    }
    if !items.is_empty() {
        append(&mut out, *b"mdat", &items.iter().flat_map(|(_, _, data)| data).copied().collect::<Vec<u8>>());
    }
    Ok(out)
}

/// A new `meta` box: version and flags, then boxes.
fn meta(payload: &[u8], metadata: &Metadata, items: &[Item], places: (usize, usize)) -> Result<Vec<u8>, Error> {
    let mut out = payload[..4].to_vec();
    let mut referred = false;
    for found in Boxes::of(&payload[4..]) {
        let (kind, payload) = found?;
        let payload = match &kind {
            b"iinf" => item_information(payload, items)?,
            b"iloc" => locations(payload, items, places)?,
            b"iref" => [payload, &references(items)].concat(),
            b"iprp" => properties(payload, metadata.icc.as_deref())?,
            _ => payload.to_vec(),
        };
        referred |= &kind == b"iref";
        append(&mut out, kind, &payload);
    }
    if !referred && !items.is_empty() {
        append(&mut out, *b"iref", &[&[0; 4], &references(items)[..]].concat());
    }
    Ok(out)
}

/// A new `iinf` box of version 0: the number of items, then a box for each.
fn item_information(payload: &[u8], items: &[Item]) -> Result<Vec<u8>, Error> {
    let mut cursor = Cursor::new(NAME, payload);
    cursor.skip(4)?;
    let count = cursor.u16_be()? + items.len() as u16;
    let mut out = [&[0; 4], &count.to_be_bytes()[..], cursor.rest()].concat();
    for (id, description, _) in items {
        append(&mut out, *b"infe", &[&[2, 0, 0, 0], &id.to_be_bytes()[..], description].concat());
    }
    Ok(out)
}

/// A new `iref` box of version 0: the item that each new item describes.
fn references(items: &[Item]) -> Vec<u8> {
    let mut out = Vec::new();
    for (id, ..) in items {
        let [[a, b], [c, d]] = [*id, IMAGE_ID].map(u16::to_be_bytes);
        append(&mut out, *b"cdsc", &[a, b, 0, 1, c, d]);
    }
    out
}

/// A new `iloc` box of version 0, with offsets and lengths of 4 bytes and no base.
fn locations(payload: &[u8], items: &[Item], (moved, mut data_at): (usize, usize)) -> Result<Vec<u8>, Error> {
    let mut cursor = Cursor::new(NAME, payload);
    let head = cursor.take(6)?;
    if head != [0, 0, 0, 0, 0x44, 0] {
        return Err(Error::Encode { format: NAME, reason: "unexpected form of iloc".into() });
    }
    let count = cursor.u16_be()?;
    let mut out = [head, &(count + items.len() as u16).to_be_bytes()].concat();
    for _ in 0..count {
        out.extend_from_slice(cursor.take(4)?);
        let extents = cursor.u16_be()?;
        out.extend(extents.to_be_bytes());
        for _ in 0..extents {
            out.extend((cursor.u32_be()? + moved as u32).to_be_bytes());
            out.extend_from_slice(cursor.take(4)?);
        }
    }
    for (id, _, data) in items {
        out.extend(id.to_be_bytes());
        out.extend([0, 0, 0, 1]);
        out.extend((data_at as u32).to_be_bytes());
        out.extend((data.len() as u32).to_be_bytes());
        data_at += data.len();
    }
    Ok(out)
}

/// A new `iprp` box, with the property `colr` of type prof as the last one and an association with the image.
fn properties(payload: &[u8], icc: Option<&[u8]>) -> Result<Vec<u8>, Error> {
    let Some(icc) = icc else { return Ok(payload.to_vec()) };
    let mut out = Vec::new();
    let mut index = 1;
    for found in Boxes::of(payload) {
        let (kind, payload) = found?;
        match &kind {
            b"ipco" => {
                index += Boxes::of(payload).count() as u8;
                let mut grown = payload.to_vec();
                append(&mut grown, *b"colr", &[b"prof", icc].concat());
                append(&mut out, kind, &grown);
            }
            b"ipma" => append(&mut out, kind, &associations(payload, index)?),
            _ => append(&mut out, kind, payload),
        }
    }
    Ok(out)
}

/// A new `ipma` box of version 0 with indices of 7 bits; the image's list comes first.
fn associations(payload: &[u8], index: u8) -> Result<Vec<u8>, Error> {
    let mut cursor = Cursor::new(NAME, payload);
    let head = cursor.take(8)?;
    let (id, count) = (cursor.u16_be()?, cursor.u8()?);
    let properties = cursor.take(usize::from(count))?;
    if id != IMAGE_ID || head[..4] != [0; 4] {
        return Err(Error::Encode { format: NAME, reason: "unexpected form of ipma".into() });
    }
    Ok([head, &id.to_be_bytes(), &[count + 1], properties, &[index], cursor.rest()].concat())
}
