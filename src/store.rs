//! The store: blobs by digest, durable when acknowledged. Knows no images.
//!
//! [`Store`] is what a backend offers. [`Uploads`] stands above every backend: it hashes and bounds bytes, checks
//! digests, and lets simultaneous uploads of the same bytes share one durable result. [`Blob`] stands above every
//! backend, too: it proves that bytes match their name before a reader gets the last of them. [`Scrub`] reads all blobs
//! in the background. [`Folder`] lists the names in a data folder.

mod blob;
mod disk;
mod folder;
mod locks;
mod memory;
mod pace;
mod scrub;
mod upload;

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::digest::Digest;
pub use blob::{Blob, FRAME_BYTES_MAX};
pub use disk::space::reserve;
pub use disk::verify;
pub use folder::Folder;
pub use scrub::{Counters as ScrubCounters, Scrub};
pub use upload::{Receipt, Reserved, Sealed, Upload, Uploads};

/// A boxed future: backends are used as `dyn`.
pub type Future<'a, T> = Pin<Box<dyn std::future::Future<Output = Result<T, Error>> + Send + 'a>>;

/// Why a call of the store failed, by what a caller can do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no blob of this name.
    #[error("no such blob")]
    NotFound,
    /// The blob's bytes do not match its name. It is out of service now.
    #[error("blob {0} is corrupt")]
    Corrupt(Digest),
    /// The bytes do not match the digest that the client declared.
    #[error("the bytes hash to {actual}, not {expected}")]
    Mismatch {
        /// The digest that the client declared.
        expected: Digest,
        /// The digest of the bytes.
        actual: Digest,
    },
    /// More bytes than allowed.
    #[error("more than {max} bytes")]
    TooLarge {
        /// The bound.
        max: u64,
    },
    /// Too many bytes are being uploaded at this moment.
    #[error("too many uploads in flight")]
    Busy,
    /// The device has no room.
    #[error("no space left")]
    Full,
    /// A sync failed, or the folder is read-only. Nothing more is acknowledged.
    #[error("the store is read-only")]
    ReadOnly,
    /// The start-up has not finished, or the backend cannot be reached.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

/// The metadata of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The length in bytes.
    pub len: u64,
}

/// The space of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeSpace {
    /// Bytes that are free.
    pub bytes: u64,
    /// Bytes that uploads leave free.
    pub reserve_bytes: u64,
}

/// A page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Blobs in digest order.
    pub blobs: Vec<(Digest, Stat)>,
    /// Folders that could not be read, as paths in the store's folder. Their blobs are left out.
    pub unreadable: Vec<String>,
}

/// Whether a commit stored something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// The blob is new.
    New,
    /// The blob was there already, as durable as a new one.
    Present,
}

/// A backend.
pub trait Store: Send + Sync {
    /// Looks up one or many digests. The results are in the order of the digests.
    fn stat<'a>(&'a self, digests: &'a [Digest]) -> Future<'a, Vec<Option<Stat>>>;
    /// Opens a blob for reading.
    fn open<'a>(&'a self, digest: &'a Digest) -> Future<'a, Blob>;
    /// Begins a write; `size_hint` is the declared length, if any.
    fn stage(&self, size_hint: Option<u64>) -> Future<'_, Box<dyn Stage>>;
    /// Removes a blob durably. Returns whether it was there.
    fn delete<'a>(&'a self, digest: &'a Digest) -> Future<'a, bool>;
    /// Lists up to `limit` blobs after `after`, in digest order. A part that cannot be read is named and left out; it is
    /// an error only if nothing can be read.
    fn list(&self, after: Option<Digest>, limit: usize) -> Future<'_, Listing>;
    /// The folders that could not be read when they were last needed, as paths in the store's folder.
    fn unreadable(&self) -> Vec<String> {
        Vec::new()
    }
    /// Checks whether uploads are accepted now.
    fn writable(&self) -> Result<(), Error>;
    /// Opens a blob to read what its device has, with a lower rank than all other reads. Where a backend has no own way to
    /// do so, this is [`Store::open`].
    fn open_to_scrub<'a>(&'a self, digest: &'a Digest) -> Future<'a, Blob> {
        self.open(digest)
    }
    /// Reads what [`Store::set_scrub_note`] kept. A backend may have lost it.
    fn scrub_note(&self) -> Future<'_, Option<String>> {
        Box::pin(async { Ok(None) })
    }
    /// Keeps a line of text beyond the end of the process. A backend may keep nothing.
    fn set_scrub_note(&self, _note: String) -> Future<'_, ()> {
        Box::pin(async { Ok(()) })
    }
    /// The space of the device, as it was last seen; `None`: it is not known.
    fn free_space(&self) -> Option<FreeSpace> {
        None
    }
    /// Counts of calls to the device since the store was opened.
    fn counters(&self) -> Counters {
        Counters::default()
    }
}

/// A write in progress. A drop leaves nothing behind.
pub trait Stage: Send {
    /// Takes the next bytes.
    fn write(&mut self, bytes: Bytes) -> Future<'_, ()>;
    /// All bytes so far, read back if they were spilled to a file.
    fn bytes(&mut self) -> Future<'_, Bytes>;
    /// Publishes the bytes under `digest`, which the caller has proven. Returns once bytes and name are as durable as
    /// the level of the store says ([`Level`]).
    fn commit(self: Box<Self>, digest: Digest) -> Future<'static, Commit>;
}

/// The bytes of an opened blob: a backend's file or object.
pub trait Read: Send + Sync {
    /// Reads exactly the bytes of `range`, which lies inside the blob; [`Error::Corrupt`] if there are fewer.
    fn read(&self, range: Range<u64>) -> Future<'_, Bytes>;
    /// Whether the bytes were lately proven to match their name.
    fn verified(&self) -> bool;
    /// Takes the result of a proof. Good bytes count as verified for a while. After bad ones the stored bytes are read once
    /// more, past any cache, and go out of service if they are bad, too. Returns whether the stored bytes are good.
    fn verdict(&self, good: bool) -> Future<'_, bool>;
}

/// Opens a backend by its URL: `memory:`, or the path of a folder.
///
/// Must be called on a tokio runtime. Reads are served at once; all other calls wait for the backend's start-up.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// use progimage::digest::Digest;
/// use progimage::store::{self, Options, Stat, Uploads};
/// let store = store::open("memory:", &Options::default()).await?;
/// let uploads = Uploads::new(store.clone(), Options::default());
/// let mut receipts = Vec::new();
/// for _ in 0..2 {
///     let mut upload = uploads.begin(Some(5)).await?;
///     upload.write("hello".into()).await?;
///     receipts.push(upload.seal(Some(Digest::of(b"hello"))).await?.commit().await?);
/// }
/// // The bytes are stored once, under their hash.
/// assert!(receipts[0].created && !receipts[1].created);
/// let id = receipts[0].digest;
/// assert_eq!(store.list(None, 10).await?.blobs, [(id, Stat { len: 5 })]);
/// assert_eq!(store.open(&id).await?.bytes().await?, "hello");
/// assert!(store.delete(&id).await? && store.open(&id).await.is_err());
/// # Ok::<(), store::Error>(()) }).unwrap();
/// ```
pub async fn open(url: &str, options: &Options) -> Result<Arc<dyn Store>, Error> {
    match url.split_once(':') {
        Some(("memory", _)) => Ok(Arc::new(memory::Memory::new(options.clone()))),
        Some((scheme, rest)) if rest.starts_with("//") => Err(Error::Unavailable(format!("no backend for {scheme}:"))),
        _ => Ok(Arc::new(disk::open(url, options.clone()).await?)),
    }
}

/// Opens an existing backend for reading. Nothing in it is changed, and a folder may have another owner meanwhile.
///
/// Names that this owner has not made durable yet may be seen.
pub async fn open_to_read(url: &str, options: &Options) -> Result<Arc<dyn Store>, Error> {
    match url.split_once(':') {
        Some((scheme, rest)) if scheme == "memory" || rest.starts_with("//") => open(url, options).await,
        _ => Ok(Arc::new(disk::open_to_read(url, options.clone()).await?)),
    }
}

/// What is durable when an upload is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The bytes and the name.
    #[default]
    Strict,
    /// The bytes. A power cut may take the names of the last seconds.
    Relaxed,
    /// Nothing: for tests.
    None,
}

/// Counts of calls to the device since the store was opened, for metrics and benches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Files whose bytes were synced.
    pub fdatasync: u64,
    /// Directories whose names were synced.
    pub fsync: u64,
    /// Syncs of the whole file system.
    pub syncfs: u64,
    /// Group commits.
    pub commits: u64,
    /// Blobs published by group commits.
    pub published: u64,
    /// Blobs taken out of service.
    pub quarantined: u64,
}

impl Counters {
    /// The number of sync calls of any kind.
    pub fn syncs(&self) -> u64 {
        self.fdatasync + self.fsync + self.syncfs
    }
}

/// Settings of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The most bytes of one blob.
    pub blob_bytes_max: u64,
    /// The most bytes of all uploads that are not yet durable.
    pub uploads_bytes_max: u64,
    /// The longest body that stays in memory until it is committed.
    pub memory_bytes_max: usize,
    /// Longer bodies that may be held in memory at once, read back for the caller's own checks.
    pub read_back_max: usize,
    /// What is durable when an upload is acknowledged.
    pub level: Level,
    /// The time after which a verified blob is hashed again when it is read.
    pub verify_after_s: u64,
    /// The most uploads of one group commit; 1: each is synced by itself.
    pub batch_max: usize,
    /// The bytes at which a group commit takes no further upload.
    pub batch_bytes_max: u64,
    /// The number of uploads from which a group commit syncs the whole file system instead of each file and folder; 0:
    /// never. Applies only to ext4, XFS and Btrfs, and while few other writes wait. A failed write of another program
    /// counts as a failed sync then.
    pub syncfs_batch_min: usize,
    /// Threads that write and sync.
    pub sync_threads: usize,
    /// Threads that read bytes which are not in the page cache.
    pub read_threads: usize,
    /// How long uploads are refused at once after the device was full.
    pub full_retry_ms: u64,
    /// Bytes of the device that uploads leave free; at most a twentieth of it.
    pub space_reserve_bytes: u64,
    /// Days in which every blob is read once in the background; 0: never.
    pub scrub_days: u64,
    /// The most bytes a second that are read for that.
    pub scrub_rate_max: u64,
    /// The most bytes in a `memory:` store.
    pub memory_store_bytes_max: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            blob_bytes_max: 50 << 20,
            uploads_bytes_max: 1 << 30,
            memory_bytes_max: 1 << 20,
            read_back_max: 4,
            level: Level::Strict,
            verify_after_s: 86_400,
            batch_max: 256,
            batch_bytes_max: 256 << 20,
            syncfs_batch_min: 32,
            sync_threads: 64,
            read_threads: 16,
            full_retry_ms: 1_000,
            space_reserve_bytes: 1 << 30,
            scrub_days: 30,
            scrub_rate_max: 16 << 20,
            memory_store_bytes_max: 4 << 30,
        }
    }
}

#[cfg(test)]
pub(crate) mod double;
