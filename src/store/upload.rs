//! [`Uploads`]: the way into a store, above every backend. It hashes and bounds bytes, checks digests, and shares one
//! durable result between simultaneous uploads of the same bytes. While the store has no room, bytes are hashed and not
//! kept: what is stored already is acknowledged as always, and only new bytes are refused.
//!
//! ```
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! use progimage::store::{Options, Uploads};
//! let store = progimage::store::open("memory:", &Options::default()).await?;
//! let uploads = Uploads::new(store, Options::default());
//! let mut upload = uploads.begin(None).await?;
//! upload.write("abc".into()).await?;
//! let receipt = upload.seal(None).await?.commit().await?;
//! assert!(receipt.created && receipt.bytes == 3);
//! # Ok::<(), progimage::store::Error>(()) }).unwrap();
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Blob, Commit, Error, Options, Stage, Stat, Store};
use crate::digest::{Digest, Hasher};
use crate::singleflight::{Aborted, Group};

/// The unit of the byte budget. The smallest upload costs one unit, so the budget bounds the number of uploads, too.
const PIECE_BYTES: u64 = 4 << 10;

/// The most bytes that are hashed at a time. Other tasks run between the parts of a longer chunk.
const HASH_BYTES: usize = 1 << 20;

/// The way into a store.
pub struct Uploads {
    shared: Arc<Shared>,
    patience: Duration,
}

struct Shared {
    store: Arc<dyn Store>,
    options: Options,
    budget: Arc<Semaphore>,
    read_backs: Arc<Semaphore>,
    /// Commits under way. Detached: a caller that leaves does not stop its commit.
    commits: Group<Digest, Result<Commit, Error>>,
}

/// An upload whose bytes are arriving. A drop leaves nothing behind.
pub struct Upload {
    shared: Arc<Shared>,
    /// `None`: the store has no room, so the bytes are only hashed.
    stage: Option<Box<dyn Stage>>,
    hasher: Hasher,
    len: u64,
    budget: OwnedSemaphorePermit,
    patience: Duration,
    broken: bool,
}

/// An upload whose bytes have all arrived and hash to [`Sealed::digest`]. They are not stored yet.
pub struct Sealed {
    /// The digest of the bytes.
    pub digest: Digest,
    /// The number of bytes.
    pub len: u64,
    shared: Arc<Shared>,
    stage: Option<Box<dyn Stage>>,
    budget: OwnedSemaphorePermit,
    read_back: Option<OwnedSemaphorePermit>,
}

/// An acknowledged upload: bytes and name are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The digest of the blob, which is its name.
    pub digest: Digest,
    /// The length of the blob.
    pub bytes: u64,
    /// Whether this upload stored it. Otherwise it was there, or another upload of the same bytes stored it.
    pub created: bool,
}

impl Uploads {
    /// Uploads into `store`.
    pub fn new(store: Arc<dyn Store>, options: Options) -> Uploads {
        let permits = |count: u64| usize::try_from(count).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let budget = Arc::new(Semaphore::new(permits(options.uploads_bytes_max / PIECE_BYTES)));
        let read_backs = Arc::new(Semaphore::new(permits(options.read_back_max as u64)));
        let shared = Shared { store, options, budget, read_backs, commits: Group::detached() };
        Uploads { shared: Arc::new(shared), patience: Duration::ZERO }
    }

    /// Uploads into the same store with the same budget, but when the budget is used up they wait up to `patience`
    /// before `Busy`. For streams of many uploads.
    pub fn patient(&self, patience: Duration) -> Uploads {
        Uploads { shared: Arc::clone(&self.shared), patience }
    }

    /// The most uploads, and the most bytes, of one group commit.
    pub fn batch(&self) -> (usize, u64) {
        (self.shared.options.batch_max, self.shared.options.batch_bytes_max)
    }

    /// Begins an upload of `declared` bytes, if known. `TooLarge`, `Busy` and `ReadOnly` are returned before a byte is read,
    /// `Full` only by the commit: the store may have the bytes. The budget is taken as bytes come: clients that only declare
    /// a length keep no other from it.
    pub async fn begin(&self, declared: Option<u64>) -> Result<Upload, Error> {
        self.expects(declared.unwrap_or(0))?;
        self.begun(self.acquire_none(), declared, 1).await
    }

    /// Begins an upload of `len` bytes that are there already, covered in part or whole by `reserved`.
    pub async fn begin_within(&self, reserved: Reserved, len: u64) -> Result<Upload, Error> {
        self.begun(reserved, Some(len), len.max(1)).await
    }

    async fn begun(&self, mut reserved: Reserved, declared: Option<u64>, bytes: u64) -> Result<Upload, Error> {
        self.shared.bounded(declared.unwrap_or(0))?;
        let keeps = self.keeps(declared)?;
        reserved.acquire(bytes).await?;
        let Reserved { shared, budget, patience } = reserved;
        let stage = if keeps { Some(shared.store.stage(declared).await?) } else { None };
        Ok(Upload { shared, stage, hasher: Hasher::default(), len: 0, budget, patience, broken: false })
    }

    /// Checks that a body of so many bytes would find room now, and takes none. Uploads that may wait find it later.
    /// `TooLarge`, `Busy`.
    pub fn expects(&self, bytes: u64) -> Result<(), Error> {
        self.shared.bounded(bytes)?;
        let is_free = bytes.div_ceil(PIECE_BYTES) <= self.shared.budget.available_permits() as u64;
        if is_free || !self.patience.is_zero() { Ok(()) } else { Err(Error::Busy) }
    }

    /// Checks whether uploads may begin at all: `ReadOnly`, `Full`.
    pub fn admits(&self) -> Result<(), Error> {
        match self.shared.store.writable() {
            // Not started yet: the body may arrive meanwhile, and the commit will wait.
            Ok(()) | Err(Error::Unavailable(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Checks whether bodies are read at all: `ReadOnly`. A full store may have their bytes already.
    pub fn admits_bodies(&self) -> Result<(), Error> {
        self.admits().or_else(|error| if error == Error::Full { Ok(()) } else { Err(error) })
    }

    /// Whether the bytes of a body of `declared` bytes are kept until they are committed. Without room only short ones are,
    /// in memory.
    fn keeps(&self, declared: Option<u64>) -> Result<bool, Error> {
        self.admits_bodies()?;
        let is_short = declared.is_some_and(|bytes| bytes <= self.shared.options.memory_bytes_max as u64);
        Ok(is_short || self.admits().is_ok())
    }

    /// Takes `bytes` of the budget of uploads, for bytes that arrive but are not stored. `TooLarge`, `Busy`.
    pub fn try_acquire(&self, bytes: u64) -> Result<Reserved, Error> {
        let shared = Arc::clone(&self.shared);
        let budget = shared.try_acquire(1)?;
        let mut reserved = Reserved { shared, budget, patience: self.patience };
        reserved.try_acquire(bytes)?;
        Ok(reserved)
    }

    /// Takes nothing of the budget yet; [`Reserved::acquire`] takes more as bytes come.
    pub fn acquire_none(&self) -> Reserved {
        let shared = Arc::clone(&self.shared);
        let budget = shared.try_acquire(0).expect("nothing is always free");
        Reserved { shared, budget, patience: self.patience }
    }
}

/// A part of the budget of uploads: the right to hold bytes in memory. A drop gives it back.
pub struct Reserved {
    shared: Arc<Shared>,
    budget: OwnedSemaphorePermit,
    patience: Duration,
}

impl Reserved {
    /// Takes as much as is missing to hold `bytes` in all, for one body. `TooLarge`, `Busy`.
    pub fn try_acquire(&mut self, bytes: u64) -> Result<(), Error> {
        let missing = self.shared.missing(&self.budget, bytes)?;
        if missing > 0 {
            self.budget.merge(self.shared.try_acquire(missing)?);
        }
        Ok(())
    }

    /// Takes as much as is missing to hold `bytes` in all; may wait. They are not one blob, so its bound does not
    /// apply. `Busy`.
    pub async fn acquire(&mut self, bytes: u64) -> Result<(), Error> {
        let missing = missing(&self.budget, bytes);
        if missing > 0 {
            self.budget.merge(self.shared.acquire(missing, self.patience).await?);
        }
        Ok(())
    }
}

/// Pieces that are missing in `acquired` to hold `bytes`.
fn missing(acquired: &OwnedSemaphorePermit, bytes: u64) -> u64 {
    bytes.div_ceil(PIECE_BYTES).saturating_sub(acquired.num_permits() as u64)
}

impl Shared {
    fn try_acquire(&self, pieces: u64) -> Result<OwnedSemaphorePermit, Error> {
        let pieces = u32::try_from(pieces).map_err(|_| Error::Busy)?;
        Arc::clone(&self.budget).try_acquire_many_owned(pieces).map_err(|_| Error::Busy)
    }

    /// Waits up to `patience` where [`Shared::try_acquire`] would refuse. The bound ends the wait of two callers for
    /// each other.
    async fn acquire(&self, pieces: u64, patience: Duration) -> Result<OwnedSemaphorePermit, Error> {
        let acquired = self.try_acquire(pieces);
        if acquired.is_ok() || patience.is_zero() {
            return acquired;
        }
        let pieces = u32::try_from(pieces).map_err(|_| Error::Busy)?;
        let acquired = Arc::clone(&self.budget).acquire_many_owned(pieces);
        tokio::time::timeout(patience, acquired).await.ok().and_then(Result::ok).ok_or(Error::Busy)
    }

    /// Pieces that are missing in `acquired` to hold one body of `len` bytes.
    fn missing(&self, acquired: &OwnedSemaphorePermit, len: u64) -> Result<u64, Error> {
        self.bounded(len)?;
        Ok(missing(acquired, len))
    }

    fn bounded(&self, len: u64) -> Result<(), Error> {
        let max = self.options.blob_bytes_max;
        if len > max { Err(Error::TooLarge { max }) } else { Ok(()) }
    }

    /// The blob that an upload without room has the bytes of; `Full` if they are not stored, or no longer what they were.
    async fn stored(&self, digest: &Digest) -> Result<Blob, Error> {
        match self.store.open(digest).await {
            Err(Error::NotFound) => Err(Error::Full),
            opened => opened,
        }
    }

    /// The receipt of an upload without room; `Full` as for [`Shared::stored`].
    async fn known(&self, digest: Digest, len: u64) -> Result<Receipt, Error> {
        self.stored(&digest).await?.prove().await.map_err(not_replaced)?;
        Ok(Receipt { digest, bytes: len, created: false })
    }
}

/// What an error in the bytes of a stored blob means to an upload that cannot replace them.
fn not_replaced(error: Error) -> Error {
    if matches!(error, Error::Corrupt(_) | Error::NotFound) { Error::Full } else { error }
}

impl Upload {
    /// Takes the next bytes; `TooLarge` past the bound. After an error, or if this future is dropped, the upload is
    /// void. Where the room ends, the bytes so far are dropped, and the rest is only hashed.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.intact()?;
        // The stage and the hasher differ until the stage has taken all bytes.
        self.broken = true;
        self.acquire(bytes.len() as u64).await?;
        for part in bytes.chunks(HASH_BYTES) {
            self.hasher.update(part);
            if bytes.len() > HASH_BYTES {
                tokio::task::yield_now().await;
            }
        }
        if let Some(stage) = &mut self.stage {
            match stage.write(bytes).await {
                Err(Error::Full) => self.stage = None,
                written => written?,
            }
        }
        self.broken = false;
        Ok(())
    }

    async fn acquire(&mut self, more: u64) -> Result<(), Error> {
        self.len = self.len.saturating_add(more);
        let missing = self.shared.missing(&self.budget, self.len)?;
        if missing > 0 {
            self.budget.merge(self.shared.acquire(missing, self.patience).await?);
        }
        Ok(())
    }

    fn intact(&self) -> Result<(), Error> {
        if self.broken { Err(Error::Unavailable("an earlier write of this upload failed".into())) } else { Ok(()) }
    }

    /// Ends the body. If `expected` is given and is not its digest, nothing is stored ([`Error::Mismatch`]).
    pub async fn seal(self, expected: Option<Digest>) -> Result<Sealed, Error> {
        self.intact()?;
        let digest = self.hasher.digest();
        match expected {
            Some(expected) if expected != digest => Err(Error::Mismatch { expected, actual: digest }),
            _ => {
                let Upload { shared, stage, len, budget, .. } = self;
                Ok(Sealed { digest, len, shared, stage, budget, read_back: None })
            }
        }
    }
}

impl Sealed {
    /// The whole body, for the caller's own checks before the commit. Bodies over `memory_bytes_max` are read back from
    /// the backend. At most `read_back_max` such uploads hold their bytes at a time; others wait.
    pub async fn bytes(&mut self) -> Result<Bytes, Error> {
        let spilled = self.len > self.shared.options.memory_bytes_max as u64;
        if spilled && self.read_back.is_none() {
            let permit = Arc::clone(&self.shared.read_backs).acquire_owned().await;
            self.read_back = Some(permit.expect("this semaphore is never closed"));
        }
        if let Some(stage) = &mut self.stage {
            match stage.bytes().await {
                // The end of the body had to go to the device.
                Err(Error::Full) => self.stage = None,
                bytes => return bytes,
            }
        }
        self.shared.stored(&self.digest).await?.bytes().await.map_err(not_replaced)
    }

    /// Stores the body; returns once it is durable. A caller that leaves does not stop it. `Full` if there is no room, and
    /// the bytes are not stored already.
    ///
    /// While the same digest is being stored, this waits for *that* durable result and writes nothing. If a delete has
    /// removed that result by then, the body is stored after all: the delete may have been answered before this upload
    /// came.
    pub async fn commit(self) -> Result<Receipt, Error> {
        let Sealed { digest, len, shared, stage, budget, read_back } = self;
        drop(read_back);
        let Some(stage) = stage else { return shared.known(digest, len).await };
        let mut own = Some((stage, budget));
        // Once more for each delete that came in between.
        loop {
            let committed = shared.commits.join_or_start(digest, || {
                let (stage, budget) = own.take().expect("the bytes stay here until their own commit starts");
                async move {
                    let _held_until_durable = budget;
                    stage.commit(digest).await
                }
            });
            let committed = committed.await;
            let commit =
                match committed.unwrap_or_else(|Aborted| Err(Error::Unavailable("the commit was aborted".into()))) {
                    Err(Error::Full) => return shared.known(digest, len).await,
                    commit => commit?,
                };
            if own.is_none() {
                return Ok(Receipt { digest, bytes: len, created: commit == Commit::New });
            }
            if shared.store.stat(&[digest]).await? == [Some(Stat { len })] {
                return Ok(Receipt { digest, bytes: len, created: false });
            }
        }
    }
}
