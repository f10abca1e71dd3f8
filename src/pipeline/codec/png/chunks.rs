//! [`Chunks`]: the chunks of a PNG file, one after the other; [`written`]: a chunk with its length and checksum.

use super::container::SIGNATURE;

/// Bytes of a chunk before its body: length and name.
const HEAD: usize = 8;

/// One chunk.
pub(super) struct Chunk<'a> {
    pub name: [u8; 4],
    /// Shorter than its length says where the file is cut.
    pub body: &'a [u8],
    /// The chunk as in the file: length, name, body, checksum.
    pub bytes: &'a [u8],
    /// Whether the file ends within the chunk.
    pub is_cut: bool,
}

impl Chunk<'_> {
    /// Whether the chunk is whole and its checksum right.
    pub fn is_intact(&self) -> bool {
        let sum = checksum(&self.name, self.body).to_be_bytes();
        !self.is_cut && self.bytes.ends_with(&sum)
    }

    /// Whether a picture cannot be read without chunks of this name. The bit of the first letter's case says so.
    pub fn is_critical(&self) -> bool {
        self.name[0] & 0x20 == 0
    }
}

/// Iterator over chunks up to the end of the file; the last may be cut.
pub(super) struct Chunks<'a>(&'a [u8]);

impl<'a> Chunks<'a> {
    /// The chunks of a file.
    pub fn of(file: &'a [u8]) -> Chunks<'a> {
        Chunks(file.get(SIGNATURE.len()..).unwrap_or_default())
    }
}

impl<'a> Iterator for Chunks<'a> {
    type Item = Chunk<'a>;

    fn next(&mut self) -> Option<Chunk<'a>> {
        let rest = self.0;
        let (head, after) = rest.split_at_checked(HEAD)?;
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let body = &after[..length.min(after.len())];
        let end = HEAD.saturating_add(length).saturating_add(4);
        let bytes = &rest[..end.min(rest.len())];
        self.0 = &rest[bytes.len()..];
        Some(Chunk { name: [head[4], head[5], head[6], head[7]], body, bytes, is_cut: bytes.len() < end })
    }
}

/// A chunk with its length and checksum.
pub(super) fn written(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut chunk = Vec::with_capacity(body.len() + 12);
    chunk.extend((body.len() as u32).to_be_bytes());
    chunk.extend_from_slice(name);
    chunk.extend_from_slice(body);
    chunk.extend(checksum(name, body).to_be_bytes());
    chunk
}

fn checksum(name: &[u8; 4], body: &[u8]) -> u32 {
    let mut checksum = flate2::Crc::new();
    checksum.update(name);
    checksum.update(body);
    checksum.sum()
}
