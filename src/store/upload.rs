//! Uploads above every backend: hash, bound, digest check, and one durable result for simultaneous uploads of the same bytes.
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

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared as SharedFuture};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Commit, Error, Options, Stage, Stat, Store};
use crate::digest::{Digest, Hasher};

/// The budget is counted in pieces of this size; the smallest upload costs one, so that their number is bounded too.
const PIECE_BYTES: u64 = 4 << 10;

/// A chunk longer than this is hashed in parts, and other tasks run in between.
const HASH_BYTES: usize = 1 << 20;

/// The way into a store.
pub struct Uploads {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn Store>,
    options: Options,
    budget: Arc<Semaphore>,
    read_backs: Arc<Semaphore>,
    flights: Flights,
}

/// Commits under way, by digest.
type Flights = Mutex<HashMap<Digest, Flight>>;
type Flight = SharedFuture<BoxFuture<'static, Result<Commit, Error>>>;

/// Bytes arriving. Dropping it leaves nothing behind.
pub struct Upload {
    shared: Arc<Shared>,
    stage: Box<dyn Stage>,
    hasher: Hasher,
    len: u64,
    budget: OwnedSemaphorePermit,
    broken: bool,
}

/// Bytes that have all arrived and hash to [`Sealed::digest`], not yet stored.
pub struct Sealed {
    /// Their digest.
    pub digest: Digest,
    /// Their length.
    pub len: u64,
    shared: Arc<Shared>,
    stage: Box<dyn Stage>,
    budget: OwnedSemaphorePermit,
    read_back: Option<OwnedSemaphorePermit>,
}

/// An acknowledged upload: bytes and name are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The blob's name.
    pub digest: Digest,
    /// Its length.
    pub bytes: u64,
    /// Whether this upload stored it; false: it was there, or another upload of the same bytes did.
    pub created: bool,
}

impl Uploads {
    /// Uploads into `store`.
    pub fn new(store: Arc<dyn Store>, options: Options) -> Uploads {
        let permits = |count: u64| usize::try_from(count).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let budget = Arc::new(Semaphore::new(permits(options.uploads_bytes_max / PIECE_BYTES)));
        let read_backs = Arc::new(Semaphore::new(permits(options.read_back_max as u64)));
        Uploads { shared: Arc::new(Shared { store, options, budget, read_backs, flights: Flights::default() }) }
    }

    /// Begins an upload of `declared` bytes, if known. `TooLarge`, `Busy`, `ReadOnly` and `Full` are said before a byte is read.
    pub async fn begin(&self, declared: Option<u64>) -> Result<Upload, Error> {
        let shared = Arc::clone(&self.shared);
        let max = shared.options.blob_bytes_max;
        if declared.is_some_and(|len| len > max) {
            return Err(Error::TooLarge { max });
        }
        match shared.store.writable() {
            // Not started yet: the body may arrive meanwhile, and the commit waits.
            Ok(()) | Err(Error::Unavailable(_)) => {}
            Err(error) => return Err(error),
        }
        let budget = shared.reserve(declared.unwrap_or(0).div_ceil(PIECE_BYTES).max(1))?;
        let stage = shared.store.stage(declared).await?;
        Ok(Upload { shared, stage, hasher: Hasher::default(), len: 0, budget, broken: false })
    }

    /// The right to hold `bytes` that arrive but will not be stored, from the same budget as uploads. `TooLarge`, `Busy`.
    pub fn reserve(&self, bytes: u64) -> Result<Reserved, Error> {
        let shared = Arc::clone(&self.shared);
        let budget = shared.reserve(1)?;
        let mut reserved = Reserved { shared, budget };
        reserved.grow(bytes)?;
        Ok(reserved)
    }
}

/// See [`Uploads::reserve`]; given back when it is dropped.
pub struct Reserved {
    shared: Arc<Shared>,
    budget: OwnedSemaphorePermit,
}

impl Reserved {
    /// Makes it the right to hold `bytes` in all.
    pub fn grow(&mut self, bytes: u64) -> Result<(), Error> {
        self.shared.grow(&mut self.budget, bytes)
    }
}

impl Shared {
    fn reserve(&self, pieces: u64) -> Result<OwnedSemaphorePermit, Error> {
        let pieces = u32::try_from(pieces).map_err(|_| Error::Busy)?;
        Arc::clone(&self.budget).try_acquire_many_owned(pieces).map_err(|_| Error::Busy)
    }

    /// Makes `held` the right to one body of `len` bytes.
    fn grow(&self, held: &mut OwnedSemaphorePermit, len: u64) -> Result<(), Error> {
        let max = self.options.blob_bytes_max;
        if len > max {
            return Err(Error::TooLarge { max });
        }
        let missing = len.div_ceil(PIECE_BYTES).saturating_sub(held.num_permits() as u64);
        if missing > 0 {
            held.merge(self.reserve(missing)?);
        }
        Ok(())
    }
}

impl Upload {
    /// Takes the next bytes; `TooLarge` past the bound. After an error, or when this future was dropped, the upload is void.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.intact()?;
        // Until the stage has all that the hasher has seen, they may differ.
        self.broken = true;
        self.admit(bytes.len() as u64)?;
        for part in bytes.chunks(HASH_BYTES) {
            self.hasher.update(part);
            if bytes.len() > HASH_BYTES {
                tokio::task::yield_now().await;
            }
        }
        self.stage.write(bytes).await?;
        self.broken = false;
        Ok(())
    }

    fn admit(&mut self, more: u64) -> Result<(), Error> {
        self.len = self.len.saturating_add(more);
        self.shared.grow(&mut self.budget, self.len)
    }

    fn intact(&self) -> Result<(), Error> {
        if self.broken { Err(Error::Unavailable("an earlier write of this upload failed".into())) } else { Ok(()) }
    }

    /// Ends the body. `expected`, when given, must be its digest ([`Error::Mismatch`] otherwise, and nothing is stored).
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
    /// The whole body, for the caller's own checks before it commits. Bodies over `memory_bytes_max` are read back from the
    /// backend, and only `read_back_max` of their `Sealed` are let through at a time: the others wait.
    pub async fn bytes(&mut self) -> Result<Bytes, Error> {
        let spilled = self.len > self.shared.options.memory_bytes_max as u64;
        if spilled && self.read_back.is_none() {
            let permit = Arc::clone(&self.shared.read_backs).acquire_owned().await;
            self.read_back = Some(permit.expect("this semaphore is never closed"));
        }
        self.stage.bytes().await
    }

    /// Stores the body; returns once it is durable. Detached: a caller that is dropped does not stop it.
    ///
    /// While the same digest is being stored, this waits for *that* durable result and writes nothing, unless a delete has taken
    /// the result away again: it may have been asked for, and answered, before this upload came.
    pub async fn commit(self) -> Result<Receipt, Error> {
        let Sealed { digest, len, shared, stage, budget, read_back } = self;
        drop(read_back);
        let receipt = |created| Receipt { digest, bytes: len, created };
        let mut ready = (stage, budget);
        // Once more for each delete that came in between.
        loop {
            match shared.join(digest, ready) {
                Joined::Leads(flight) => return flight.await.map(|commit| receipt(commit == Commit::New)),
                Joined::Follows(flight, own) => {
                    flight.await?;
                    if shared.store.stat(&[digest]).await? == [Some(Stat { len })] {
                        return Ok(receipt(false));
                    }
                    ready = own;
                }
            }
        }
    }
}

/// Bytes that may be committed, and the right to hold them.
type Ready = (Box<dyn Stage>, OwnedSemaphorePermit);

/// How a commit came by its flight.
enum Joined {
    /// It started it.
    Leads(Flight),
    /// It was under way; the bytes come back.
    Follows(Flight, Ready),
}

impl Shared {
    /// The flight of `digest`, started with `ready` if there is none.
    fn join(self: &Arc<Shared>, digest: Digest, ready: Ready) -> Joined {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(&digest) {
            return Joined::Follows(flight.clone(), ready);
        }
        let (stage, budget) = ready;
        let landing = Landing { shared: Arc::clone(self), digest };
        let task = tokio::spawn(async move {
            let _held_until_durable = (budget, landing);
            stage.commit(digest).await
        });
        let flight =
            task.map(|ended| ended.unwrap_or_else(|failed| Err(Error::Unavailable(format!("commit: {failed}")))));
        let flight = flight.boxed().shared();
        flights.insert(digest, flight.clone());
        Joined::Leads(flight)
    }
}

/// Takes a flight off the map when it ends, also by a panic.
struct Landing {
    shared: Arc<Shared>,
    digest: Digest,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.shared.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.digest);
    }
}
