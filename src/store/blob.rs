//! [`Blob`]: an opened blob, whose bytes are proven to match its name. Above every backend; opens and deletes nothing.
//!
//! No reader gets all bytes of a range before the whole blob has hashed to its name, in this read or lately in another.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use super::locks::Locks;
use super::pace::Pace;
use super::{Error, Read};
use crate::digest::{Digest, Hasher};

/// The most bytes of one frame.
pub const FRAME_BYTES_MAX: u64 = 256 << 10;

/// The longest blob that is read at once.
const ONE_READ_BYTES_MAX: u64 = 1 << 20;

/// The longest blob for which memory is taken before it is proven: a damaged length must cost no more than time.
const UNPROVEN_BYTES_MAX: u64 = 256 << 20;

/// Reads of a whole blob: the first one, and one more if the stored bytes are good and those of the first were not.
const READS_MAX: usize = 2;

/// An opened blob.
pub struct Blob {
    /// The name of the blob.
    pub digest: Digest,
    /// The length in bytes.
    pub len: u64,
    source: Arc<dyn Read>,
    proofs: Locks,
    progress: Mutex<Progress>,
}

/// The part of the blob that was read in order, frame by frame, and its hash.
#[derive(Default)]
struct Progress {
    hasher: Hasher,
    next: u64,
}

impl Blob {
    /// A blob over a backend's `source`. `proofs` are locks, so that simultaneous readers prove a blob once.
    pub(super) fn new(digest: Digest, len: u64, source: Arc<dyn Read>, proofs: Locks) -> Blob {
        Blob { digest, len, source, proofs, progress: Mutex::default() }
    }

    /// The whole blob, proven to hash to its name by this very call.
    pub async fn bytes(&self) -> Result<Bytes, Error> {
        for _ in 0..READS_MAX {
            let (bytes, digest) = self.whole().await?;
            if self.check(digest).await? == Check::Good {
                return Ok(bytes);
            }
        }
        Err(misread())
    }

    async fn whole(&self) -> Result<(Bytes, Digest), Error> {
        if self.len <= ONE_READ_BYTES_MAX {
            let bytes = self.read(0..self.len).await?;
            let digest = Digest::of(&bytes);
            return Ok((bytes, digest));
        }
        if self.len > UNPROVEN_BYTES_MAX {
            self.prove().await?;
        }
        let mut whole = BytesMut::with_capacity(usize::try_from(self.len).unwrap_or(usize::MAX));
        let digest = self.scan(None, |frame| whole.extend_from_slice(frame)).await?;
        Ok((whole.freeze(), digest))
    }

    /// The next frame (at most 256 KiB) from `range.start`; callers loop until the range is empty. Unless the blob was
    /// verified lately, the last frame of a range is withheld until the whole blob is proven.
    pub async fn frame(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let frame = range.start..range.end.min(range.start.saturating_add(FRAME_BYTES_MAX));
        if self.source.verified() {
            return self.read(frame).await;
        }
        // A read of the whole blob in order is hashed as it passes. Any other range costs a pass of its own.
        if range.end == self.len && self.follows(range.start) {
            let bytes = self.read(frame.clone()).await?;
            match self.advance(frame.start, &bytes) {
                Some(digest) if frame.end == self.len => {
                    // Earlier frames are with the reader already, so this read cannot begin anew.
                    return if self.check(digest).await? == Check::Good { Ok(bytes) } else { Err(misread()) };
                }
                Some(_) => return Ok(bytes),
                None => {}
            }
        }
        self.prove().await?;
        self.read(frame).await
    }

    fn follows(&self, start: u64) -> bool {
        start == 0 || self.progress.lock().next == start
    }

    /// Hashes `bytes` if they come next in order, and returns the digest so far. They do not when two readers share one
    /// `Blob`.
    fn advance(&self, start: u64, bytes: &[u8]) -> Option<Digest> {
        let mut progress = self.progress.lock();
        if start == 0 {
            *progress = Progress::default();
        }
        if progress.next != start {
            return None;
        }
        progress.hasher.update(bytes);
        progress.next = start + bytes.len() as u64;
        Some(progress.hasher.digest())
    }

    /// Proves that the whole blob hashes to its name, unless that was done lately. If another reader is doing so, waits for
    /// it instead.
    pub async fn prove(&self) -> Result<(), Error> {
        let _one_at_a_time = self.proofs.acquire(self.digest).await;
        if self.source.verified() {
            return Ok(());
        }
        let digest = self.scan(None, |_| {}).await?;
        self.check(digest).await.map(drop)
    }

    /// Reads the whole blob at a pace and proves it, however lately that was done. `take` gets each frame.
    pub(super) async fn prove_again(&self, pace: &Pace, take: impl FnMut(&[u8])) -> Result<(), Error> {
        let digest = self.scan(Some(pace), take).await?;
        self.check(digest).await.map(drop)
    }

    async fn scan(&self, pace: Option<&Pace>, mut take: impl FnMut(&[u8])) -> Result<Digest, Error> {
        let mut hasher = Hasher::default();
        let mut start = 0;
        while start < self.len {
            let end = self.len.min(start + FRAME_BYTES_MAX);
            let frame = self.read(start..end).await?;
            hasher.update(&frame);
            take(&frame);
            start = end;
            match pace {
                Some(pace) => tokio::time::sleep(pace.take(frame.len() as u64)).await,
                // Cached frames are read on this thread, so other tasks need a chance to run.
                None => tokio::task::yield_now().await,
            }
        }
        Ok(hasher.digest())
    }

    async fn read(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let read = self.source.read(range).await;
        if let Err(Error::Corrupt(_)) = read
            && self.source.verdict(false).await?
        {
            return Err(misread());
        }
        read
    }

    /// Compares a digest of all bytes that were read with the name.
    async fn check(&self, actual: Digest) -> Result<Check, Error> {
        let good = actual == self.digest;
        match (good, self.source.verdict(good).await?) {
            (true, _) => Ok(Check::Good),
            (false, true) => Ok(Check::Misread),
            (false, false) => Err(Error::Corrupt(self.digest)),
        }
    }
}

/// The result of a check of a blob that is not corrupt.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    /// The bytes that were read are those of the blob.
    Good,
    /// The stored bytes are those of the blob, and the ones that were read are not.
    Misread,
}

fn misread() -> Error {
    Error::Unavailable("a read returned other bytes than are stored".into())
}
