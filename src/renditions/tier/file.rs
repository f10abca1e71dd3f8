//! One rendition as a file, and back. A file that is not whole, or not what its name says, is no rendition.
//!
//! ```text
//! magic with the version, line feed
//! BLAKE3 of all that follows                         32 bytes
//! source, key                                        32 bytes each
//! lengths of codec name and canonical query          4 bytes each, little-endian
//! codec name, canonical query, the encoded image
//! ```
//!
//! What a rendition of a damaged source lacks follows its query, after a line feed, which no query holds.

use std::borrow::Cow;
use std::cell::Cell;
use std::fs::File;
use std::io;

use bytes::Bytes;

use super::super::Rendition;
use super::calls;
use crate::digest::Digest;
use crate::pipeline::{Missing, codec};

/// The first bytes. The version is raised with the layout: files of another version are no renditions.
const MAGIC: &[u8; 22] = b"progimage rendition 1\n";
const NAMES_AT: usize = MAGIC.len() + 3 * 32 + 2 * 4;

/// Most bytes of both names; no version has longer ones.
const NAMES_BYTES_MAX: usize = 1 << 20;

/// The canonical query, and what the rendition lacks.
fn query(rendition: &Rendition) -> Cow<'_, str> {
    match rendition.missing {
        Some(missing) => format!("{}\n{}", rendition.query, missing.name()).into(),
        None => (&*rendition.query).into(),
    }
}

/// The length of the file of a rendition.
pub fn len(rendition: &Rendition) -> u64 {
    (NAMES_AT + rendition.codec.name.len() + query(rendition).len() + rendition.bytes.len()) as u64
}

/// Writes the rendition of `source` by key.
pub fn write(file: &File, source: &Digest, key: &Digest, rendition: &Rendition) -> io::Result<()> {
    let (codec, query) = (rendition.codec.name, &*query(rendition));
    let mut head = Vec::with_capacity(NAMES_AT + codec.len() + query.len());
    head.extend_from_slice(source.as_bytes());
    head.extend_from_slice(key.as_bytes());
    for text in [codec, query] {
        let len = u32::try_from(text.len()).map_err(io::Error::other)?;
        head.extend_from_slice(&len.to_le_bytes());
    }
    head.extend_from_slice(codec.as_bytes());
    head.extend_from_slice(query.as_bytes());
    let mut hasher = blake3::Hasher::new();
    hasher.update(&head).update(&rendition.bytes);
    calls::write_all(file, MAGIC)?;
    calls::write_all(file, hasher.finalize().as_bytes())?;
    calls::write_all(file, &head)?;
    calls::write_all(file, &rendition.bytes)
}

/// Reads the rendition of `source` by key from a file of `len` bytes; `None` if it is another or damaged. An error says
/// nothing about the file.
pub fn read(file: &File, len: u64, source: &Digest, key: &Digest) -> io::Result<Option<Rendition>> {
    let failure = Cell::new(None);
    let rendition = read_with(len, source, key, |buffer| match calls::read_exact(file, buffer) {
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
            failure.set(Some(error));
            None
        }
        read => read.ok(),
    });
    failure.take().map_or(Ok(rendition), Err)
}

/// Reads a rendition; `read` fills a buffer with the next bytes.
fn read_with(len: u64, source: &Digest, key: &Digest, read: impl Fn(&mut [u8]) -> Option<()>) -> Option<Rendition> {
    let mut head = [0; NAMES_AT];
    read(&mut head)?;
    let (magic, rest) = head.split_at(MAGIC.len());
    let (digest, rest) = rest.split_at(32);
    let ids = [source.as_bytes().as_slice(), key.as_bytes()].concat();
    if magic != MAGIC || rest[..64] != ids {
        return None;
    }
    let number = |at: usize| Some(u32::from_le_bytes(rest.get(at..at + 4)?.try_into().ok()?) as usize);
    let (codec_len, query_len) = (number(64)?, number(68)?);
    let names_len = codec_len.checked_add(query_len).filter(|len| *len <= NAMES_BYTES_MAX)?;
    let bytes_len = usize::try_from(len).ok()?.checked_sub(NAMES_AT + names_len)?;
    let (mut names, mut bytes) = (vec![0; names_len], vec![0; bytes_len]);
    read(&mut names)?;
    read(&mut bytes)?;
    let mut hasher = blake3::Hasher::new();
    if hasher.update(rest).update(&names).update(&bytes).finalize().as_bytes() != digest {
        return None;
    }
    let (codec, query) = names.split_at(codec_len);
    let codec = codec::by_name(str::from_utf8(codec).ok()?)?;
    let query = str::from_utf8(query).ok()?;
    let (query, missing) = match query.split_once('\n') {
        Some((query, name)) => (query, Some(Missing::by_name(name)?)),
        None => (query, None),
    };
    Some(Rendition { bytes: Bytes::from(bytes), codec, query: query.into(), missing })
}
