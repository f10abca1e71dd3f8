//! The store: blobs by digest, durable when acknowledged. Knows no images.
//!
//! [`Store`] is what a backend offers; [`Uploads`] stands above every backend: it hashes, bounds, checks digests and lets
//! simultaneous uploads of the same bytes share one durable result. [`Blob`] stands above every backend too: it proves bytes
//! against their name before it gives the last of them away.

mod blob;
mod disk;
mod locks;
mod memory;
mod upload;

use std::ops::Range;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::digest::Digest;
pub use blob::{Blob, FRAME_BYTES_MAX};
pub use disk::verify;
pub use upload::{Receipt, Reserved, Sealed, Upload, Uploads};

/// A boxed future: backends are used as `dyn`.
pub type Future<'a, T> = Pin<Box<dyn std::future::Future<Output = Result<T, Error>> + Send + 'a>>;

/// Why the store could not do it, shaped by what a caller can do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No blob of this name.
    #[error("no such blob")]
    NotFound,
    /// The blob's bytes are not what its name says; it is out of service now.
    #[error("blob {0} is corrupt")]
    Corrupt(Digest),
    /// The bytes are not what the client said they would be.
    #[error("the bytes hash to {actual}, not {expected}")]
    Mismatch {
        /// The digest that the client named.
        expected: Digest,
        /// The digest of what it sent.
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
    /// No room on the device.
    #[error("no space left")]
    Full,
    /// A sync failed (or the folder is read-only): nothing more is acknowledged.
    #[error("the store is read-only")]
    ReadOnly,
    /// Start-up has not finished, or the backend cannot be reached.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

/// What is known of a blob without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Length in bytes.
    pub len: u64,
}

/// Whether a commit stored something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// The blob is new.
    New,
    /// It was there already; as durable as a new one.
    Present,
}

/// A backend.
pub trait Store: Send + Sync {
    /// Looks up one or many digests; answers in the same order.
    fn stat<'a>(&'a self, digests: &'a [Digest]) -> Future<'a, Vec<Option<Stat>>>;
    /// Opens a blob for reading.
    fn open<'a>(&'a self, digest: &'a Digest) -> Future<'a, Blob>;
    /// Begins a write; `size_hint` is the declared length, if any.
    fn stage(&self, size_hint: Option<u64>) -> Future<'_, Box<dyn Stage>>;
    /// Removes a blob durably; whether it was there.
    fn delete<'a>(&'a self, digest: &'a Digest) -> Future<'a, bool>;
    /// Up to `limit` blobs in digest order after `after`.
    fn list(&self, after: Option<Digest>, limit: usize) -> Future<'_, Vec<(Digest, Stat)>>;
    /// Whether uploads would be accepted now.
    fn writable(&self) -> Result<(), Error>;
    /// What the store has asked of its device so far.
    fn counters(&self) -> Counters {
        Counters::default()
    }
}

/// A write in progress; dropping it leaves nothing behind.
pub trait Stage: Send {
    /// Takes the next bytes.
    fn write(&mut self, bytes: Bytes) -> Future<'_, ()>;
    /// The bytes written so far, whole (read back where they were spilled).
    fn bytes(&mut self) -> Future<'_, Bytes>;
    /// Publishes the bytes under `digest`, which the caller has proven; returns once bytes and name are durable.
    fn commit(self: Box<Self>, digest: Digest) -> Future<'static, Commit>;
}

/// An opened blob's bytes: a backend's file or object, and what is known of it.
pub trait Read: Send + Sync {
    /// Exactly the bytes of `range`, which lies inside the blob; [`Error::Corrupt`] when there are fewer.
    fn read(&self, range: Range<u64>) -> Future<'_, Bytes>;
    /// Whether the bytes were proven to hash to their name lately.
    fn verified(&self) -> bool;
    /// Takes note of a proof: good bytes are verified for a while, bad ones go out of service.
    fn verdict(&self, good: bool) -> Future<'_, ()>;
}

/// Opens a backend by URL or path: `memory:`, or the path of a folder. The table of backends.
///
/// Must be called on a tokio runtime. Reads are served at once; everything else waits for the backend's start-up.
pub async fn open(url: &str, options: &Options) -> Result<Arc<dyn Store>, Error> {
    match url.split_once(':') {
        Some(("memory", _)) => Ok(Arc::new(memory::Memory::new(options.clone()))),
        Some((scheme, rest)) if rest.starts_with("//") => Err(Error::Unavailable(format!("no backend for {scheme}:"))),
        _ => Ok(Arc::new(disk::open(url, options.clone()).await?)),
    }
}

/// The folder in which a backend keeps its files, if it has one: others may keep theirs there too, in folders of other names than
/// the backend's own.
pub fn folder(url: &str) -> Option<&Path> {
    let is_path = url.split_once(':').is_none_or(|(scheme, rest)| scheme != "memory" && !rest.starts_with("//"));
    is_path.then(|| Path::new(url))
}

/// Opens a backend that is there, to read it: nothing in it is changed, and a folder may have another owner meanwhile.
///
/// Names that this owner has not made durable yet may be seen.
pub async fn open_to_read(url: &str, options: &Options) -> Result<Arc<dyn Store>, Error> {
    match url.split_once(':') {
        Some((scheme, rest)) if scheme == "memory" || rest.starts_with("//") => open(url, options).await,
        _ => Ok(Arc::new(disk::open_to_read(url, options.clone()).await?)),
    }
}

/// How much is durable when an upload is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Bytes and name.
    #[default]
    Strict,
    /// Bytes; a power cut may take the names of the last seconds.
    Relaxed,
    /// Nothing: for tests.
    None,
}

/// What the store has asked of its device since it was opened, for metrics and benches.
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
    /// Blobs published by them.
    pub published: u64,
    /// Blobs taken out of service.
    pub quarantined: u64,
}

impl Counters {
    /// Sync calls of any kind.
    pub fn syncs(&self) -> u64 {
        self.fdatasync + self.fsync + self.syncfs
    }
}

/// Settings of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of one blob.
    pub blob_bytes_max: u64,
    /// Bytes of all uploads that are not yet durable.
    pub uploads_bytes_max: u64,
    /// Bodies up to this stay in memory until they are committed.
    pub memory_bytes_max: usize,
    /// Larger bodies that may be held in memory at once, read back for the caller's own checks.
    pub read_back_max: usize,
    /// What an acknowledgement means.
    pub level: Level,
    /// A blob read longer ago than this is hashed again when it is next read.
    pub verify_after_s: u64,
    /// Uploads of one group commit; 1 is one-by-one fsync.
    pub batch_max: usize,
    /// Bytes of one group commit (and one more upload).
    pub batch_bytes_max: u64,
    /// Uploads from which on a group commit syncs the whole file system instead of each file and folder, where that is ext4, XFS
    /// or Btrfs and little else waits to be written; 0: it never does. What others could not write to the file system counts as a
    /// failed sync then, too.
    pub syncfs_batch_min: usize,
    /// Threads that write and sync.
    pub sync_threads: usize,
    /// Threads that read what is not cached.
    pub read_threads: usize,
    /// How long uploads are refused beforehand after the device was full, before one may try again.
    pub full_retry_ms: u64,
    /// Bytes that a `memory:` store may hold.
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
            memory_store_bytes_max: 4 << 30,
        }
    }
}

#[cfg(test)]
pub(crate) mod double;
