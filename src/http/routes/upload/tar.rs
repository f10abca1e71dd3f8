//! `application/x-tar`: ustar, pax and GNU archives as a stream. The crate `tar` reads the headers. What is between
//! them is read here, since only the names and bytes of files are wanted, in bounded memory. Nothing is ever unpacked
//! to a path.
//!
//! The reader is strict where a guess could lose an image. A pax size always counts, a header must have its checksum,
//! and an archive must have its end with nothing after it.

use bytes::{Buf, Bytes};
use tar::{EntryType, Header};

use super::many::{self, Entries, UploadEntry};
use crate::http::call::Call;
use crate::http::error::Error;
use crate::http::message::body::BodyReader;
use crate::http::message::response_body::Response;
use crate::http::routes::prerender::Prerender;

const BLOCK_BYTES: usize = 512;

/// Bytes of a pax header, or of a long name.
const HEADER_BYTES_MAX: u64 = 256 << 10;

const CUT: Error = Error::Malformed { what: "the archive is cut short" };
const HEADER: Error = Error::Malformed { what: "the archive has an invalid header" };
const COMPRESSED: Error = Error::Malformed { what: "the archive is compressed; send a plain tar" };
const PAX: Error = Error::Malformed { what: "the archive has an invalid pax header" };
const TRAILING: Error = Error::Malformed { what: "the archive has data after its end" };
const HEADER_TOO_LARGE: Error = Error::TooLarge { name: "tar_header_bytes_max", max: HEADER_BYTES_MAX };

/// `POST /images` of an archive.
pub(super) async fn upload(call: Call, prerender: &Prerender) -> Result<Response, Error> {
    let Call { app, body, .. } = call;
    app.uploads.admits_bodies()?;
    let reader = body.stream(&app.options);
    let mut archive = Archive { reader, chunk: Bytes::new(), data: 0, padding: 0, entry: None };
    // The first bytes are read before the response begins. A client that waits for `100 Continue` would take an early
    // response for a refusal.
    archive.fill().await?;
    if is_compressed(&archive.chunk) {
        return Err(COMPRESSED);
    }
    Ok(many::answer(&app, archive, None, prerender))
}

/// An archive that is being read.
struct Archive {
    reader: BodyReader,
    /// Bytes that have arrived and were not read yet.
    chunk: Bytes,
    /// Bytes of the entry that are still to come, and the padding of its last block.
    data: u64,
    padding: u64,
    /// The name and the size of the current entry.
    entry: Option<(String, u64)>,
}

/// Values of extended headers, which override the header of the entry.
#[derive(Default)]
struct Overrides {
    name: Option<Vec<u8>>,
    size: Option<u64>,
    sparse: bool,
}

impl Entries for Archive {
    async fn next(&mut self) -> Result<Option<UploadEntry>, Error> {
        let mut overrides = Overrides::default();
        loop {
            self.skip().await?;
            self.entry = None;
            let block = self.block().await?;
            if block.iter().all(|byte| *byte == 0) {
                return self.end().await.map(|()| None);
            }
            let header = Header::from_byte_slice(&block);
            check(header)?;
            let size = header.entry_size().map_err(|_| HEADER)?;
            self.expect(size);
            match header.entry_type() {
                EntryType::XHeader => overrides.read(&self.text(size).await?)?,
                EntryType::XGlobalHeader => {
                    // A global size would hold for every entry that follows, which is surely a mistake.
                    let mut global = Overrides::default();
                    global.read(&self.text(size).await?)?;
                    if global.size.is_some() {
                        return Err(PAX);
                    }
                }
                EntryType::GNULongName => {
                    let name = self.text(size).await?;
                    overrides.name = name.split(|byte| *byte == 0).next().map(<[u8]>::to_vec);
                }
                EntryType::GNULongLink => {}
                kind => {
                    let overrides = std::mem::take(&mut overrides);
                    if let Some(entry) = self.entry(header, kind, overrides).await? {
                        return Ok(Some(entry));
                    }
                }
            }
        }
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if self.data == 0 {
            return Ok(None);
        }
        if !self.fill().await? {
            return Err(self.entry.take().map_or(CUT, |(name, bytes)| Error::ArchiveCut { name, bytes }));
        }
        let count = self.chunk.len().min(usize::try_from(self.data).unwrap_or(usize::MAX));
        self.data -= count as u64;
        Ok(Some(self.chunk.split_to(count)))
    }

    async fn drain(mut self, bytes_max: u64) {
        let mut left = bytes_max;
        while left > 0
            && let Ok(Some(chunk)) = self.reader.next().await
        {
            left = left.saturating_sub(chunk.len() as u64);
        }
    }
}

impl Archive {
    /// Makes an entry of a header; `None` if it is a directory.
    async fn entry(
        &mut self,
        header: &Header,
        kind: EntryType,
        overrides: Overrides,
    ) -> Result<Option<UploadEntry>, Error> {
        use EntryType::{Block, Char, Continuous, Directory, Fifo, GNUSparse, Link, Regular, Symlink};
        let size = overrides.size.map_or_else(|| header.entry_size().map_err(|_| HEADER), Ok)?;
        let name = overrides.name.unwrap_or_else(|| header.path_bytes().into_owned());
        let mut entry = UploadEntry::new(&name);
        // POSIX says that no data follows these entries, whatever their size.
        let bare = matches!(kind, Link | Symlink | Char | Block | Directory | Fifo);
        self.expect(if bare { 0 } else { size });
        self.entry = Some((entry.name().to_owned(), size));
        match kind {
            Directory => return Ok(None),
            // Directories were written so before they had a type of their own.
            Regular if size == 0 && name.ends_with(b"/") => return Ok(None),
            Regular | Continuous if !overrides.sparse => entry.bytes = Some(size),
            _ => entry.refused = Some(Error::NotAFile),
        }
        if kind == GNUSparse {
            self.skip_map(header).await?;
        }
        Ok(Some(entry))
    }

    /// Skips the map of a sparse file between its header and its data.
    async fn skip_map(&mut self, header: &Header) -> Result<(), Error> {
        const IS_EXTENDED: usize = 504;
        let mut more = header.as_gnu().is_some_and(|header| header.is_extended());
        while more {
            more = self.block().await?[IS_EXTENDED] == 1;
        }
        Ok(())
    }

    /// Expects `size` bytes, and the padding of their last block.
    fn expect(&mut self, size: u64) {
        let over = size % BLOCK_BYTES as u64;
        (self.data, self.padding) = (size, if over == 0 { 0 } else { BLOCK_BYTES as u64 - over });
    }

    /// Reads until there are bytes; `false` at the end of the body.
    async fn fill(&mut self) -> Result<bool, Error> {
        while self.chunk.is_empty() {
            match self.reader.next().await? {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Skips the rest of the entry.
    async fn skip(&mut self) -> Result<(), Error> {
        while self.chunk().await?.is_some() {}
        self.data = std::mem::take(&mut self.padding);
        while self.chunk().await?.is_some() {}
        Ok(())
    }

    async fn block(&mut self) -> Result<[u8; BLOCK_BYTES], Error> {
        let mut block = [0; BLOCK_BYTES];
        let mut filled = 0;
        while filled < BLOCK_BYTES {
            if !self.fill().await? {
                return Err(CUT);
            }
            let count = self.chunk.len().min(BLOCK_BYTES - filled);
            self.chunk.copy_to_slice(&mut block[filled..filled + count]);
            filled += count;
        }
        Ok(block)
    }

    /// Reads the data of a header into memory.
    async fn text(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        if size > HEADER_BYTES_MAX {
            return Err(HEADER_TOO_LARGE);
        }
        let mut text = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            text.extend_from_slice(&chunk);
        }
        Ok(text)
    }

    /// Checks that only zeros follow the first block of zeros.
    async fn end(&mut self) -> Result<(), Error> {
        while self.fill().await? {
            if self.chunk.iter().any(|byte| *byte != 0) {
                return Err(TRAILING);
            }
            self.chunk.clear();
        }
        Ok(())
    }
}

/// Whether the bytes begin as gzip, bzip2, xz or zstd do. No plausible name of a first entry begins so.
fn is_compressed(begin: &[u8]) -> bool {
    const BZIP2_BLOCK: &[u8] = b"\x31\x41\x59\x26\x53\x59";
    let is_bzip2 = begin.starts_with(b"BZh") && begin.get(4..).is_some_and(|rest| rest.starts_with(BZIP2_BLOCK));
    let others: [&[u8]; 3] = [b"\x1f\x8b\x08", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    is_bzip2 || others.iter().any(|magic| begin.starts_with(magic))
}

/// Checks the checksum of a header, in which its own field counts as blanks. Some old writers summed signed bytes.
fn check(header: &Header) -> Result<(), Error> {
    let bytes =
        header.as_bytes().iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte });
    let said = header.cksum().map_err(|_| HEADER)?;
    let unsigned: u32 = bytes.clone().map(u32::from).sum();
    let signed: i32 = bytes.map(|byte| i32::from(byte.cast_signed())).sum();
    if said == unsigned || said.cast_signed() == signed { Ok(()) } else { Err(HEADER) }
}

impl Overrides {
    /// Reads records of `<length> <key>=<value>` and a line feed. A value may hold any bytes, so only the length tells
    /// its end.
    fn read(&mut self, mut text: &[u8]) -> Result<(), Error> {
        while !text.is_empty() {
            let Record { key, value, rest } = record(text).ok_or(PAX)?;
            text = rest;
            match (key, value) {
                (b"path", path) => self.name = Some(path.to_vec()),
                (b"size", size) => self.size = Some(number(size).ok_or(PAX)?),
                (key, _) => self.sparse |= key.starts_with(b"GNU.sparse."),
            }
        }
        Ok(())
    }
}

struct Record<'a> {
    key: &'a [u8],
    value: &'a [u8],
    /// The text after the record.
    rest: &'a [u8],
}

/// Reads the first record.
fn record(text: &[u8]) -> Option<Record<'_>> {
    let blank = text.iter().take(20).position(|byte| *byte == b' ')?;
    let length = usize::try_from(number(&text[..blank])?).ok()?;
    let (record, rest) = text.split_at_checked(length)?;
    let (b'\n', record) = record.get(blank + 1..)?.split_last()? else { return None };
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some(Record { key: &record[..equals], value: &record[equals + 1..], rest })
}

fn number(digits: &[u8]) -> Option<u64> {
    // `parse` alone would accept a sign.
    let plain = digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pax_records_are_told_apart_by_their_length_alone() {
        let read = |text: &[u8]| {
            let mut overrides = Overrides::default();
            overrides.read(text).map(|()| (overrides.name, overrides.size, overrides.sparse))
        };
        let check = |text: &[u8], name: Option<&[u8]>, size, sparse| {
            assert_eq!(read(text), Ok((name.map(<[u8]>::to_vec), size, sparse)), "{}", String::from_utf8_lossy(text));
        };
        check(b"", None, None, false);
        check(b"10 path=a\n11 size=12\n", Some(b"a"), Some(12), false);
        check(b"13 path=a\nb=\n12 comment=\n", Some(b"a\nb="), None, false);
        check(b"11 path=a\n\n", Some(b"a\n"), None, false);
        check(b"22 GNU.sparse.major=1\n", None, None, true);
        for bad in [
            "10 path=a",
            "11 path=a\n",
            "8 path=a\n",
            "path=a\n",
            " path=a\n",
            "0 a=\n",
            "3 \n",
            "10 pathea\n",
            "12 size=+12\n",
            "11 size=-1\n",
            "11 size=1x\n",
            "31 size=18446744073709551616000\n",
            "-1 a=b\n",
            "99999999999999999999 a=b\n",
        ] {
            assert_eq!(read(bad.as_bytes()), Err(PAX), "{bad}");
        }
    }
}
