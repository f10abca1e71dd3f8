//! Removes metadata from an AVIF without decoding it, in place, so that no offset changes: of the data only that of the
//! picture stays, and all else gets zeros and a type without a meaning.

use std::borrow::Cow;
use std::ops::Range;

use super::NAME;
use super::boxes::{Boxes, Kind, Meta, version};
use super::container::{Container, Content};
use crate::pipeline::Error;
use crate::pipeline::codec::cursor::Cursor;

/// Boxes of a file that are kept, and of its `meta`.
const FILE: &[&Kind] = &[b"ftyp", b"meta", b"mdat"];
const META: &[&Kind] = &[b"hdlr", b"pitm", b"iinf", b"iloc", b"iref", b"iprp", b"idat", b"dinf", b"grpl"];

/// Types of items that are a part of a picture.
const PICTURE: &[&Kind] = &[b"av01", b"grid", b"iovl", b"iden"];

/// The property with a title, a description and tags.
const DESCRIPTION: &Kind = b"udes";

/// Type of boxes and items without a meaning.
const FREE: &Kind = b"free";

pub(super) fn strip(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    check(bytes)?;
    let mut out = bytes.to_vec();
    let inside = boxes(bytes, 0..bytes.len())?;
    if inside.iter().any(|found| &found.kind == b"moov") {
        return Err(refused("a sequence"));
    }
    let children = children(bytes, &inside)?;
    for data in inside.iter().filter(|found| &found.kind == b"mdat") {
        out[data.payload.clone()].fill(0);
    }
    for data in children.iter().filter(|found| &found.kind == b"idat") {
        out[data.payload.clone()].fill(0);
    }
    let (items, meta) = (items(bytes, &children)?, Meta::read(bytes)?.ok_or_else(|| refused("no still image"))?);
    let (shown, hidden): (Vec<_>, Vec<_>) = items.iter().partition(|item| is_shown(&meta, item));
    // Items may name the same bytes thousands of times.
    let mut left = bytes.len();
    for item in shown {
        let data = place(bytes, meta.data(item.id)?)?;
        left = left.checked_sub(data.len()).ok_or_else(|| refused("parts that overlap"))?;
        out[data.clone()].copy_from_slice(&bytes[data]);
    }
    for item in hidden {
        out[item.kind_at..item.kind_at + 4].copy_from_slice(FREE);
    }
    let other = |found: &&Found, kept: &[&Kind]| !kept.contains(&&found.kind);
    let others =
        inside.iter().filter(|found| other(found, FILE)).chain(children.iter().filter(|found| other(found, META)));
    others.for_each(|found| found.erase(&mut out));
    descriptions(bytes, &children)?.iter().for_each(|found| found.erase(&mut out));
    if is_same(&Container::read(bytes)?, &Container::read(&out)?) {
        Ok(out)
    } else {
        Err(refused("parts that overlap"))
    }
}

/// Whether an item is a part of the picture. A thumbnail may show an older one.
fn is_shown(meta: &Meta, item: &Item) -> bool {
    let is_thumbnail = || meta.references.iter().any(|one| &one.kind == b"thmb" && one.from == item.id);
    PICTURE.contains(&&item.kind) && (item.id == meta.primary || !is_thumbnail())
}

/// Whether two files show the same still picture, to the byte.
fn is_same(one: &Container, other: &Container) -> bool {
    let facts = |of: &Container| (of.size, of.crop, of.premultiplied, of.orientation, of.cicp);
    let tiles = |of: &Container| match &of.content {
        Content::Still { color, alpha } => {
            Some((color.tiles.concat(), alpha.as_ref().map(|alpha| alpha.tiles.concat())))
        }
        Content::Movie(_) => None,
    };
    facts(one) == facts(other) && tiles(one).is_some() && tiles(one) == tiles(other)
}

/// Checks that the picture looks the same without a colour profile.
fn check(bytes: &[u8]) -> Result<(), Error> {
    let container = Container::read(bytes)?;
    let cicp = container.cicp.map_or_else(|| super::sequence(&container).map(|sequence| sequence.cicp), Ok)?;
    // Code points stay, but PQ and HLG would be shown in another way than they were decoded.
    if matches!(cicp.transfer, super::PQ | super::HLG) { Err(refused("colours of high dynamic range")) } else { Ok(()) }
}

fn refused(why: &str) -> Error {
    Error::corrupt(NAME, why)
}

/// A box, with the places of its type and payload in the file.
struct Found {
    kind: Kind,
    kind_at: usize,
    payload: Range<usize>,
}

impl Found {
    fn erase(&self, out: &mut [u8]) {
        out[self.payload.clone()].fill(0);
        out[self.kind_at..self.kind_at + 4].copy_from_slice(FREE);
    }
}

/// The place of a part of the file.
fn place_of(bytes: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - bytes.as_ptr().addr();
    start..start + part.len()
}

/// The boxes in a part of the file.
fn boxes(bytes: &[u8], part: Range<usize>) -> Result<Vec<Found>, Error> {
    let mut start = part.start;
    let part = bytes.get(part).ok_or_else(|| refused("a truncated box"))?;
    let found = Boxes::of(part).map(|found| {
        let (kind, payload) = found?;
        let payload = place_of(bytes, payload);
        // Its length comes first.
        let kind_at = start + 4;
        start = payload.end;
        Ok(Found { kind, kind_at, payload })
    });
    found.collect()
}

/// The boxes in `meta`, after its version and flags.
fn children(bytes: &[u8], inside: &[Found]) -> Result<Vec<Found>, Error> {
    let mut metas = inside.iter().filter(|found| &found.kind == b"meta");
    let (Some(meta), None) = (metas.next(), metas.next()) else { return Err(refused("not one meta box")) };
    boxes(bytes, meta.payload.start + 4..meta.payload.end)
}

/// An item, with the place of its type.
struct Item {
    id: u32,
    kind: Kind,
    kind_at: usize,
}

/// The items of the boxes `infe` in `iinf`.
fn items(bytes: &[u8], children: &[Found]) -> Result<Vec<Item>, Error> {
    let mut items = Vec::new();
    for list in children.iter().filter(|found| &found.kind == b"iinf") {
        let mut cursor = Cursor::new(NAME, &bytes[list.payload.clone()]);
        let count_bytes = if version(&mut cursor)? > 0 { 4 } else { 2 };
        for entry in boxes(bytes, list.payload.start + 4 + count_bytes..list.payload.end)? {
            items.push(item(bytes, &entry)?);
        }
    }
    Ok(items)
}

fn item(bytes: &[u8], entry: &Found) -> Result<Item, Error> {
    let mut cursor = Cursor::new(NAME, &bytes[entry.payload.clone()]);
    let id = match version(&mut cursor)? {
        2 => u32::from(cursor.u16_be()?),
        3 => cursor.u32_be()?,
        _ => return Err(refused("an item without a type")),
    };
    // The index of its protection comes between.
    cursor.skip(2)?;
    let kind_at = entry.payload.start + cursor.position();
    Ok(Item { id, kind: cursor.u32_be()?.to_be_bytes(), kind_at })
}

/// The place of an item's data, which must be in one piece.
fn place(bytes: &[u8], data: Cow<'_, [u8]>) -> Result<Range<usize>, Error> {
    match data {
        Cow::Borrowed(data) => Ok(place_of(bytes, data)),
        Cow::Owned(_) => Err(refused("an item in several pieces")),
    }
}

/// The properties that describe the picture in words.
fn descriptions(bytes: &[u8], children: &[Found]) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    for properties in children.iter().filter(|found| &found.kind == b"iprp") {
        for list in boxes(bytes, properties.payload.clone())?.iter().filter(|found| &found.kind == b"ipco") {
            found.extend(boxes(bytes, list.payload.clone())?.into_iter().filter(|one| &one.kind == DESCRIPTION));
        }
    }
    Ok(found)
}
