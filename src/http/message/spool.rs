//! [`Spools`]: bytes that wait for their client, in temporary files without names. The file of a streamed response is a
//! ring, so that a client which is always a little behind needs no more room than that. Other waiting bytes share the
//! room ([`super::spill_file`]).

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit in which the room of all files is counted: whole pages of memory, and base64 without a remainder.
pub(in crate::http) const PIECE_BYTES: usize = 48 << 10;

/// The files of all responses together.
#[derive(Clone)]
pub(in crate::http) struct Spools {
    bytes_max: u64,
    /// Pieces of room for all files, and the free ones.
    pieces: usize,
    free: Arc<Semaphore>,
    create: Create,
}

/// Opens a new temporary file.
type Create = Arc<dyn Fn() -> io::Result<File> + Send + Sync>;

impl Spools {
    /// Sets the bounds: `bytes_max` bytes for each file, and `all_bytes_max` for all together.
    pub(in crate::http) fn new(bytes_max: u64, all_bytes_max: u64) -> Spools {
        let pieces = usize::try_from(all_bytes_max / PIECE_BYTES as u64).unwrap_or(usize::MAX);
        let pieces = pieces.min(Semaphore::MAX_PERMITS);
        let free = Arc::new(Semaphore::new(pieces));
        Spools { bytes_max, pieces, free, create: Arc::new(|| Ok(Arc::new(tempfile::tempfile()?))) }
    }

    /// Opens a new file. Blocks, so it is not for a thread of the runtime.
    pub(in crate::http) fn create(&self) -> io::Result<File> {
        (self.create)()
    }

    /// Takes room for so many further pieces, all or none.
    pub(in crate::http) fn hold(&self, held: &mut Option<OwnedSemaphorePermit>, pieces: u64) -> bool {
        let Ok(pieces) = u32::try_from(pieces) else { return false };
        let Ok(more) = Arc::clone(&self.free).try_acquire_many_owned(pieces) else { return false };
        match held {
            Some(held) => held.merge(more),
            none => *none = Some(more),
        }
        true
    }

    /// Whether half of the room stays free after taking so many further pieces.
    pub(in crate::http) fn leaves_half(&self, pieces: usize) -> bool {
        self.free.available_permits() >= self.pieces / 2 + pieces
    }

    /// Makes a spool without a file yet.
    pub(in crate::http) fn spool(&self) -> Spool {
        Spool { spools: self.clone(), file: None, held: None, writing: false, read: 0, written: 0 }
    }
}

pub(in crate::http) fn lost() -> io::Error {
    io::Error::other("the runtime is stopping")
}

/// An open file, read and written by position.
pub(in crate::http) type File = Arc<dyn FileExt + Send + Sync>;

/// The bytes of one response, first in, first out.
pub(in crate::http) struct Spool {
    spools: Spools,
    file: Option<File>,
    /// Permits for as many pieces as the file is long.
    held: Option<OwnedSemaphorePermit>,
    /// Whether bytes are on their way into the file.
    writing: bool,
    read: u64,
    written: u64,
}

impl Spool {
    /// Bytes that wait.
    pub(in crate::http) fn len(&self) -> u64 {
        self.written - self.read
    }

    /// Whether bytes are on their way into the file. Later bytes come after them.
    pub(in crate::http) fn is_writing(&self) -> bool {
        self.writing
    }

    /// Prepares a write of `parts` after the rest, if there is room for them.
    pub(in crate::http) fn write(&mut self, parts: Vec<Bytes>) -> Option<SpoolWrite> {
        let len: u64 = parts.iter().map(|part| part.len() as u64).sum();
        if self.len() + len > self.spools.bytes_max || !self.hold(self.written + len) {
            return None;
        }
        self.writing = true;
        Some(SpoolWrite {
            ring: Ring { bytes_max: self.spools.bytes_max },
            file: self.file.clone(),
            create: self.spools.create.clone(),
            at: self.written,
            parts,
        })
    }

    /// Records the result of a [`SpoolWrite`].
    pub(in crate::http) fn wrote(&mut self, written: io::Result<SpoolWritten>) -> io::Result<()> {
        self.writing = false;
        let written = written?;
        self.written += written.len;
        self.file = Some(written.file);
        Ok(())
    }

    /// Prepares a read of the next bytes, up to `max`; `None` if there are none.
    pub(in crate::http) fn next(&self, max: u64) -> Option<SpoolRead> {
        let file = Arc::clone(self.file.as_ref()?);
        let (ring, len) = (Ring { bytes_max: self.spools.bytes_max }, self.len().min(max));
        (len > 0).then_some(SpoolRead { ring, file, at: self.read, len })
    }

    /// Records what was read, and gives the file back once it is empty.
    pub(in crate::http) fn advance(&mut self, count: u64) {
        self.read += count;
        if self.len() == 0 && !self.writing {
            let file = self.file.take();
            *self = self.spools.spool();
            // Freeing the blocks of a long file takes a while.
            drop(tokio::task::spawn_blocking(move || drop(file)));
        }
    }

    /// Takes the room for a file that is written up to `end`.
    fn hold(&mut self, end: u64) -> bool {
        let pieces = end.min(self.spools.bytes_max).div_ceil(PIECE_BYTES as u64);
        let missing = pieces.saturating_sub(self.held.as_ref().map_or(0, |held| held.num_permits() as u64));
        self.spools.hold(&mut self.held, missing)
    }
}

/// The mapping of positions to offsets in a file.
#[derive(Clone, Copy)]
struct Ring {
    bytes_max: u64,
}

impl Ring {
    /// The offset of `at`, and how many of `len` bytes follow it without a break.
    fn piece(self, at: u64, len: usize) -> (u64, usize) {
        let offset = at % self.bytes_max;
        let before_the_end = usize::try_from(self.bytes_max - offset).unwrap_or(usize::MAX);
        (offset, len.min(before_the_end))
    }
}

/// Bytes on their way into a file. Blocks, so it is not for a thread of the runtime.
pub(in crate::http) struct SpoolWrite {
    ring: Ring,
    file: Option<File>,
    create: Create,
    at: u64,
    parts: Vec<Bytes>,
}

/// The result of a [`SpoolWrite`].
pub(in crate::http) struct SpoolWritten {
    file: File,
    len: u64,
}

impl SpoolWrite {
    pub(in crate::http) fn run(self) -> io::Result<SpoolWritten> {
        let file = match self.file {
            Some(file) => file,
            None => (self.create)()?,
        };
        let mut at = self.at;
        for part in &self.parts {
            let mut rest = part.as_ref();
            while !rest.is_empty() {
                let (offset, count) = self.ring.piece(at, rest.len());
                file.write_all_at(&rest[..count], offset)?;
                rest = &rest[count..];
                at += count as u64;
            }
        }
        Ok(SpoolWritten { file, len: at - self.at })
    }
}

/// Bytes on their way out of a file. Blocks, so it is not for a thread of the runtime.
pub(in crate::http) struct SpoolRead {
    ring: Ring,
    file: File,
    at: u64,
    len: u64,
}

impl SpoolRead {
    pub(in crate::http) fn run(self) -> io::Result<Bytes> {
        let mut bytes = vec![0; usize::try_from(self.len).map_err(io::Error::other)?];
        let mut done = 0;
        while done < bytes.len() {
            let (offset, count) = self.ring.piece(self.at + done as u64, bytes.len() - done);
            self.file.read_exact_at(&mut bytes[done..done + count], offset)?;
            done += count;
        }
        Ok(bytes.into())
    }
}

#[cfg(test)]
impl Spools {
    /// Replaces the function that opens files.
    pub(in crate::http) fn created_by(self, create: impl Fn() -> io::Result<File> + Send + Sync + 'static) -> Spools {
        Spools { create: Arc::new(create), ..self }
    }

    pub(in crate::http) fn free_pieces(&self) -> usize {
        self.free.available_permits()
    }
}

#[cfg(test)]
pub(in crate::http) mod shortage;
#[cfg(test)]
mod tests {
    use super::*;

    fn write(spool: &mut Spool, bytes: &'static [u8]) -> bool {
        let write = spool.write(vec![Bytes::from_static(bytes)]);
        write.map(|write| spool.wrote(write.run()).expect("a temporary file")).is_some()
    }

    fn read(spool: &mut Spool, max: u64) -> Bytes {
        let bytes = spool.next(max).map_or(Bytes::new(), |read| read.run().expect("a temporary file"));
        spool.advance(bytes.len() as u64);
        bytes
    }

    #[tokio::test]
    async fn a_ring_gives_back_what_it_took_in_order_and_never_holds_more_than_its_bound() {
        let mut spool = Spools::new(10, PIECE_BYTES as u64).spool();
        assert!(write(&mut spool, b"abcdef") && write(&mut spool, b"ghij"), "the bound itself");
        assert!(!write(&mut spool, b"k"), "one past it");
        assert_eq!(read(&mut spool, 4), "abcd");
        assert!(write(&mut spool, b"klmn"), "round the end of the file");
        assert!(!write(&mut spool, b"o"));
        // The file runs empty while more bytes are on their way into it.
        assert_eq!(read(&mut spool, 9), "efghijklm");
        let write = spool.write(vec![Bytes::from_static(b"op")]).expect("room");
        assert_eq!(read(&mut spool, 100), "n");
        spool.wrote(write.run()).expect("a temporary file");
        assert_eq!(read(&mut spool, 100), "op");
        assert_eq!(read(&mut spool, 100), "");
    }

    #[tokio::test]
    async fn all_files_together_hold_the_budget_and_give_it_back() {
        let spools = Spools::new(1 << 20, 2 * PIECE_BYTES as u64 + 1);
        let (mut first, mut second, mut third) = (spools.spool(), spools.spool(), spools.spool());
        assert!(write(&mut first, b"a") && write(&mut second, b"b"));
        assert!(!write(&mut third, b"c"));
        assert!(write(&mut first, &[7; PIECE_BYTES - 1]), "what its piece still holds");
        assert!(!write(&mut first, b"x"));
        assert_eq!(read(&mut second, 1), "b");
        assert!(write(&mut third, b"c"));
        drop((first, third));
        assert_eq!(spools.free_pieces(), 2);
    }
}
