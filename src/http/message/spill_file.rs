//! [`SpillFile`]: results of one request that wait for its client, in a temporary file without a name. Unlike the bytes
//! of a streamed response ([`super::spool`]) they are taken in any order. The file is made of pieces; each belongs to
//! one result or is free. There are several files only where much waits. Only the disk is waited for.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Weak};

use bytes::{Buf, Bytes};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::spool::{File, PIECE_BYTES, Spools, lost};

/// The length at which a file takes no more. A file never becomes shorter, and its room is given back once it is empty;
/// a single file would hold the most that has ever waited. All files but the last have this length, which bounds their
/// number.
const FILE_PIECES_MAX: u64 = 64 * 1024 * 1024 / PIECE_BYTES as u64;

/// Results of one request in temporary files, within their share of the room.
pub(in crate::http) struct SpillFile {
    spools: Spools,
    share_bytes: u64,
    file_pieces_max: u64,
    /// The file that takes more; it lives while something is kept in it.
    file: Mutex<Weak<PieceFile>>,
    /// Bytes that are kept, in whole pieces.
    bytes: watch::Sender<u64>,
}

/// One file, in pieces.
#[derive(Default)]
struct PieceFile {
    /// Made by the first write. Only for threads that may block.
    file: Mutex<Option<File>>,
    free_list: Mutex<FreeList>,
}

#[derive(Default)]
struct FreeList {
    /// Permits for as many pieces as the file is long.
    held: Option<OwnedSemaphorePermit>,
    count: u64,
    free: Vec<u64>,
}

/// A result in the file. Its pieces become free as they are read, or when this is dropped.
pub(in crate::http) struct Spilled {
    owner: Arc<SpillFile>,
    file: Arc<PieceFile>,
    places: VecDeque<u64>,
    bytes: u64,
}

impl SpillFile {
    /// Makes a spill file without a file yet. All files of `spools` share one room; this one takes more than
    /// `share_bytes` only while half of the room is free.
    pub(in crate::http) fn new(spools: Spools, share_bytes: u64) -> Arc<SpillFile> {
        SpillFile::of_files(spools, share_bytes, FILE_PIECES_MAX)
    }

    fn of_files(spools: Spools, share_bytes: u64, file_pieces_max: u64) -> Arc<SpillFile> {
        Arc::new(SpillFile {
            spools,
            share_bytes,
            file_pieces_max,
            file: Mutex::default(),
            bytes: watch::Sender::new(0),
        })
    }

    /// Waits until no more than `bytes_max` are kept, in whole pieces.
    pub(in crate::http) async fn is_within(&self, bytes_max: u64) {
        // The sender lives as long as `self`.
        _ = self.bytes.subscribe().wait_for(|bytes| *bytes <= bytes_max).await;
    }

    /// Moves `bytes`, however many, into the file; `None` if there is no room in all files together, or in the share of
    /// this request. The write goes on if the caller stops waiting.
    pub(in crate::http) async fn spill(
        self: &Arc<Self>,
        bytes: impl Buf + Send + 'static,
    ) -> io::Result<Option<Spilled>> {
        let Some(spilled) = self.take(bytes.remaining()) else { return Ok(None) };
        let write = move || {
            spilled.write(bytes)?;
            Ok(Some(spilled))
        };
        tokio::task::spawn_blocking(write).await.unwrap_or_else(|_| Err(lost()))
    }

    /// Takes the pieces for so many bytes, all or none.
    fn take(self: &Arc<Self>, bytes: usize) -> Option<Spilled> {
        let count = bytes.div_ceil(PIECE_BYTES);
        let mut current = lock(&self.file);
        if *self.bytes.borrow() + bytes_of(count) > self.share_bytes && !self.spools.leaves_half(count) {
            return None;
        }
        let takes_more = |file: &Arc<PieceFile>| lock(&file.free_list).count < self.file_pieces_max;
        let file = current.upgrade().filter(takes_more).unwrap_or_default();
        let places: VecDeque<u64> = lock(&file.free_list).take(&self.spools, count)?.into();
        *current = Arc::downgrade(&file);
        self.bytes.send_modify(|all| *all += bytes_of(places.len()));
        Some(Spilled { owner: self.clone(), file, places, bytes: bytes as u64 })
    }
}

impl FreeList {
    fn take(&mut self, spools: &Spools, count: usize) -> Option<Vec<u64>> {
        let missing = count.saturating_sub(self.free.len()) as u64;
        if !spools.hold(&mut self.held, missing) {
            return None;
        }
        self.free.extend(self.count..self.count + missing);
        self.count += missing;
        Some(self.free.split_off(self.free.len() - count))
    }
}

impl Spilled {
    /// Bytes that were not read yet.
    pub(in crate::http) fn len(&self) -> u64 {
        self.bytes
    }

    /// The bytes of the next piece, and the rest after it.
    pub(in crate::http) async fn next(mut self) -> io::Result<(Bytes, Option<Spilled>)> {
        let read = move || {
            let bytes = self.read()?;
            // The last piece closes the file here, since closing a long file takes a while.
            Ok((bytes, (self.bytes > 0).then_some(self)))
        };
        tokio::task::spawn_blocking(read).await.unwrap_or_else(|_| Err(lost()))
    }

    fn write(&self, mut bytes: impl Buf) -> io::Result<()> {
        let file = self.open()?;
        self.places.iter().try_for_each(|place| {
            let piece = bytes.copy_to_bytes(bytes.remaining().min(PIECE_BYTES));
            file.write_all_at(&piece, place * PIECE_BYTES as u64)
        })
    }

    fn read(&mut self) -> io::Result<Bytes> {
        let Some(place) = self.places.front() else { return Ok(Bytes::new()) };
        let mut bytes = vec![0; PIECE_BYTES.min(usize::try_from(self.bytes).unwrap_or(PIECE_BYTES))];
        self.open()?.read_exact_at(&mut bytes, place * PIECE_BYTES as u64)?;
        self.bytes -= bytes.len() as u64;
        self.give_back(1);
        Ok(bytes.into())
    }

    fn open(&self) -> io::Result<File> {
        let mut file = lock(&self.file.file);
        match &*file {
            Some(file) => Ok(file.clone()),
            None => Ok(file.insert(self.owner.spools.create()?).clone()),
        }
    }

    /// Frees the first `count` pieces.
    fn give_back(&mut self, count: usize) {
        lock(&self.file.free_list).free.extend(self.places.drain(..count));
        self.owner.bytes.send_modify(|all| *all -= bytes_of(count));
    }
}

impl Drop for Spilled {
    fn drop(&mut self) {
        self.give_back(self.places.len());
    }
}

fn bytes_of(pieces: usize) -> u64 {
    (pieces * PIECE_BYTES) as u64
}

/// Locks; the guard is never held across an await.
fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock()
}

#[cfg(test)]
impl SpillFile {
    /// Pieces that are in use.
    pub(in crate::http) fn pieces(&self) -> usize {
        *self.bytes.borrow() as usize / PIECE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// A spill file with room for `pieces` in all files.
    fn owner(pieces: usize) -> Arc<SpillFile> {
        SpillFile::new(Spools::new(1, bytes_of(pieces)), u64::MAX)
    }

    async fn spill(owner: &Arc<SpillFile>, bytes: &[u8]) -> Option<Spilled> {
        owner.spill(Bytes::copy_from_slice(bytes)).await.expect("a temporary file")
    }

    async fn read(spilled: Spilled) -> Vec<u8> {
        let (mut all, mut rest) = (Vec::new(), Some(spilled));
        while let Some(spilled) = rest {
            let (piece, more) = spilled.next().await.expect("a temporary file");
            assert!(piece.len() <= PIECE_BYTES);
            all.extend_from_slice(&piece);
            rest = more;
        }
        all
    }

    fn long(pieces: usize, more: usize) -> Vec<u8> {
        (0..pieces * PIECE_BYTES + more).map(|n| (n / 7) as u8).collect()
    }

    #[tokio::test]
    async fn what_is_kept_is_taken_in_any_order_and_its_places_are_used_again() {
        let owner = owner(4);
        let [first, second] = [long(1, 1), long(1, 0)];
        let one = spill(&owner, &first).await.expect("room");
        let two = spill(&owner, &second).await.expect("room");
        let three = spill(&owner, b"x").await.expect("the room itself");
        assert!(spill(&owner, b"y").await.is_none(), "one past it");
        assert!(spill(&owner, b"").await.is_some(), "which needs no room");
        assert!(read(two).await == second);
        // This takes a place of the second result.
        let four = spill(&owner, b"z").await.expect("room");
        assert_eq!((read(three).await, read(four).await), (b"x".to_vec(), b"z".to_vec()));
        // This takes places that are apart.
        let five = spill(&owner, &first).await.expect("room");
        assert!(read(one).await == first && read(five).await == first);
        assert_eq!(owner.spools.free_pieces(), 4);
    }

    #[tokio::test]
    async fn more_than_its_share_is_taken_only_while_half_of_all_room_is_free() {
        let spools = Spools::new(1, bytes_of(16));
        let [one, other] = [(); 2].map(|()| SpillFile::new(spools.clone(), bytes_of(4)));
        let fits = async |owner: &Arc<SpillFile>, pieces: usize| spill(owner, &long(pieces - 1, 1)).await;
        let first = fits(&one, 7).await.expect("alone");
        assert!(fits(&one, 2).await.is_none(), "one past half");
        let second = fits(&one, 1).await.expect("half itself");
        let third = fits(&other, 4).await.expect("the share itself");
        assert!(fits(&other, 1).await.is_none() && fits(&one, 1).await.is_none(), "one past it");
        drop((first, second));
        assert!(fits(&other, 5).await.is_none() && fits(&other, 4).await.is_some());
        drop(third);
    }

    #[tokio::test]
    async fn pieces_count_whole_until_they_are_read() {
        let owner = owner(8);
        let spilled = spill(&owner, &long(1, 1)).await.expect("room");
        assert!(owner.is_within(bytes_of(2)).now_or_never().is_some(), "the bound itself");
        assert!(owner.is_within(bytes_of(2) - 1).now_or_never().is_none(), "one past it");
        let (_, rest) = spilled.next().await.expect("a temporary file");
        assert_eq!(*owner.bytes.borrow(), bytes_of(1));
        assert_eq!(rest.as_ref().map(Spilled::len), Some(1));
        drop(rest);
        assert_eq!((*owner.bytes.borrow(), owner.spools.free_pieces()), (0, 8));
    }

    #[tokio::test]
    async fn one_file_holds_all_and_ends_with_the_last() {
        let owner = owner(8);
        let [one, two] = [spill(&owner, b"a").await.expect("room"), spill(&owner, b"b").await.expect("room")];
        assert!(Arc::ptr_eq(&one.file, &two.file));
        let file = Arc::downgrade(&one.file);
        drop(one);
        assert_eq!(read(two).await, b"b");
        assert!(file.upgrade().is_none());
        assert_eq!(read(spill(&owner, b"c").await.expect("room")).await, b"c", "in another one");
    }

    #[tokio::test]
    async fn a_long_file_takes_no_more_and_gives_its_room_back_while_others_wait() {
        let owner = SpillFile::of_files(Spools::new(1, bytes_of(9)), u64::MAX, 2);
        let same_file = |one: &Spilled, other: &Spilled| Arc::ptr_eq(&one.file, &other.file);
        let one = spill(&owner, b"1").await.expect("room");
        let two = spill(&owner, b"2").await.expect("room");
        assert!(same_file(&one, &two), "the bound itself");
        let long = spill(&owner, &long(2, 1)).await.expect("room");
        assert!(!same_file(&one, &long), "one past it");
        let more = spill(&owner, b"3").await.expect("room");
        assert!(!same_file(&long, &more));
        assert_eq!(owner.spools.free_pieces(), 9 - 2 - 3 - 1);
        drop(long);
        assert_eq!(owner.spools.free_pieces(), 9 - 2 - 1);
        drop((one, two, more));
        assert_eq!(owner.spools.free_pieces(), 9);
    }

    #[tokio::test]
    async fn a_file_that_fails_leaves_no_room_taken() {
        let full = || Ok(Arc::new(std::fs::File::options().write(true).open("/dev/full")?) as File);
        for create in [|| Err(io::Error::other("no folder")), full as fn() -> io::Result<File>] {
            let owner = SpillFile::new(Spools::new(1, bytes_of(2)).created_by(create), u64::MAX);
            assert!(owner.spill(Bytes::from_static(b"x")).await.is_err());
            assert_eq!((*owner.bytes.borrow(), owner.spools.free_pieces()), (0, 2));
        }
    }
}
