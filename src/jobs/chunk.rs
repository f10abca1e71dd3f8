//! Items and the chunks in which the database keeps them: a chunk is one row, its items are lines of one blob.

use bytes::Bytes;

use super::Place;

/// Items of one chunk.
pub const CHUNK_ITEMS_MAX: usize = 256;
/// A chunk of this many bytes takes no further line.
pub const CHUNK_BYTES: usize = 1 << 20;

/// One item that is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub place: Place,
    pub line: Bytes,
}

/// Items that are run together.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub number: i64,
    pub job: i64,
    /// The sender's rights, as [`super::JobExecutor`] understands them.
    pub rights: u32,
    /// Earlier attempts of these items.
    pub attempts: u32,
    /// How often the chunk was begun since anything of it ended, this time included.
    pub starts: u32,
    /// The items that have no result yet.
    pub items: Vec<Item>,
}

/// Packs items as lines `item part line`. A line of NDJSON holds no line feed, so the packed lines can be told apart.
pub fn pack(items: &[Item]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(items.iter().map(|item| item.line.len() + 16).sum());
    for Item { place, line } in items {
        bytes.extend_from_slice(format!("{} {} ", place.item, place.part).as_bytes());
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
    }
    bytes
}

/// Reads what [`pack`] wrote; lines are slices of `bytes`. Lines of another form, which only a damaged file holds, are
/// left out.
pub fn unpack(bytes: &Bytes) -> Vec<Item> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let read = |text: &[u8]| str::from_utf8(text).ok()?.parse().ok();
    lines
        .filter_map(|packed| {
            let mut parts = packed.splitn(3, |byte| *byte == b' ');
            let place = Place { item: read(parts.next()?)?, part: read(parts.next()?)? };
            Some(Item { place, line: bytes.slice_ref(parts.next()?) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_read_as_it_was_written() {
        let item = |item, part, line: &'static str| Item {
            place: Place { item, part },
            line: Bytes::from_static(line.as_bytes()),
        };
        let items = [item(0, 0, r#"{"a": " b  "}"#), item(u64::MAX, 7, ""), item(2, 0, " 1 2 3")];
        assert_eq!(unpack(&pack(&items).into()), items);
        assert_eq!(unpack(&Bytes::from_static(b"1 x {}\n3\n4 0 {}\n")), [item(4, 0, "{}")]);
    }
}
