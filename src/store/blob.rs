//! [`Blob`]: an opened blob, and the proof of its bytes against its name. Above every backend; opens and deletes nothing.
//!
//! No reader is given all bytes of a range before the whole blob has hashed to its name: in this read, or lately in another.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};

use super::locks::Locks;
use super::{Error, Read};
use crate::digest::{Digest, Hasher};

/// Bytes of one frame.
pub const FRAME_BYTES_MAX: u64 = 256 << 10;

/// Up to this a whole blob is one read.
const ONE_READ_BYTES_MAX: u64 = 1 << 20;

/// A longer one is proven before memory is taken for it: a damaged length must not cost more than time.
const UNPROVEN_BYTES_MAX: u64 = 256 << 20;

/// An opened blob.
pub struct Blob {
    /// Its name.
    pub digest: Digest,
    /// Its length in bytes.
    pub len: u64,
    source: Arc<dyn Read>,
    proofs: Locks,
    progress: Mutex<Progress>,
}

/// How far frames of the whole blob have been read in order.
#[derive(Default)]
struct Progress {
    hasher: Hasher,
    next: u64,
}

impl Blob {
    /// A blob over a backend's `source`; `proofs` are the locks under which the store's blobs are proven once, not many times.
    pub(super) fn new(digest: Digest, len: u64, source: Arc<dyn Read>, proofs: Locks) -> Blob {
        Blob { digest, len, source, proofs, progress: Mutex::default() }
    }

    /// The whole blob, proven to hash to its name by this very call.
    pub async fn bytes(&self) -> Result<Bytes, Error> {
        if self.len <= ONE_READ_BYTES_MAX {
            let bytes = self.read(0..self.len).await?;
            self.judge(Digest::of(&bytes)).await?;
            return Ok(bytes);
        }
        if self.len > UNPROVEN_BYTES_MAX && !self.source.verified() {
            self.prove().await?;
        }
        let mut whole = BytesMut::with_capacity(usize::try_from(self.len).unwrap_or(usize::MAX));
        let digest = self.scan(|frame| whole.extend_from_slice(frame)).await?;
        self.judge(digest).await?;
        Ok(whole.freeze())
    }

    /// The next frame (at most 256 KiB) of `range` starting at `range.start`: callers loop until the range is empty. While the
    /// blob has not been verified, no range's last frame is given before the digest of the whole agrees.
    pub async fn frame(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let frame = range.start..range.end.min(range.start.saturating_add(FRAME_BYTES_MAX));
        if self.source.verified() {
            return self.read(frame).await;
        }
        // The whole blob in order is hashed as it passes; any other range costs a pass of its own.
        if range.end == self.len && self.follows(range.start) {
            let bytes = self.read(frame.clone()).await?;
            match self.advance(frame.start, &bytes) {
                Some(digest) if frame.end == self.len => return self.judge(digest).await.map(|()| bytes),
                Some(_) => return Ok(bytes),
                None => {}
            }
        }
        self.prove().await?;
        self.read(frame).await
    }

    fn follows(&self, start: u64) -> bool {
        start == 0 || self.progress.lock().unwrap_or_else(PoisonError::into_inner).next == start
    }

    /// The digest so far, if `bytes` at `start` are what comes next; not so when two readers share one `Blob`.
    fn advance(&self, start: u64, bytes: &[u8]) -> Option<Digest> {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
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

    /// Hashes the whole blob, unless another reader is doing or has just done so.
    async fn prove(&self) -> Result<(), Error> {
        let _one_at_a_time = self.proofs.acquire(self.digest).await;
        if self.source.verified() {
            return Ok(());
        }
        let digest = self.scan(|_| {}).await?;
        self.judge(digest).await
    }

    async fn scan(&self, mut take: impl FnMut(&[u8])) -> Result<Digest, Error> {
        let mut hasher = Hasher::default();
        let mut start = 0;
        while start < self.len {
            let end = self.len.min(start + FRAME_BYTES_MAX);
            let frame = self.read(start..end).await?;
            hasher.update(&frame);
            take(&frame);
            start = end;
            // Cached frames need no thread hop, so nothing else makes room for other tasks.
            tokio::task::yield_now().await;
        }
        Ok(hasher.digest())
    }

    async fn read(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let read = self.source.read(range).await;
        if let Err(Error::Corrupt(_)) = read {
            self.source.verdict(false).await?;
        }
        read
    }

    async fn judge(&self, actual: Digest) -> Result<(), Error> {
        let good = actual == self.digest;
        self.source.verdict(good).await?;
        if good { Ok(()) } else { Err(Error::Corrupt(self.digest)) }
    }
}
