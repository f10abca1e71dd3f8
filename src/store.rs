//! The store: blobs by digest, durable when acknowledged. Knows no images.
//!
//! [`Store`] is what a backend offers; [`Uploads`] stands above every backend: it hashes, bounds, checks digests and lets
//! simultaneous uploads of the same bytes share one durable result.

mod upload;

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

use crate::digest::Digest;
pub use upload::{Receipt, Sealed, Upload, Uploads};

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

/// Reads ranges of an opened blob's bytes: a backend's file or object.
pub trait Read: Send + Sync {
    /// Exactly the bytes of `range`, which lies inside the blob.
    fn read(&self, range: Range<u64>) -> Future<'_, Bytes>;
}

/// An opened blob.
#[derive(Clone)]
pub struct Blob {
    /// Its name.
    pub digest: Digest,
    /// Its length in bytes.
    pub len: u64,
    source: Arc<dyn Read>,
}

impl Blob {
    /// The whole blob, proven to hash to its name.
    pub async fn bytes(&self) -> Result<Bytes, Error> {
        let _ = &self.source;
        todo!()
    }

    /// The next frame (at most 256 KiB) of `range` starting at `range.start`: callers loop until the range is empty. While the
    /// blob has not been verified, no range's last frame is given before the digest of the whole agrees.
    pub async fn frame(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let _ = range;
        todo!()
    }
}

/// Opens a backend by URL or path: `memory:`, or the path of a folder. The table of backends.
pub async fn open(url: &str, options: &Options) -> Result<Arc<dyn Store>, Error> {
    let _ = (url, options);
    todo!()
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
}

impl Default for Options {
    fn default() -> Options {
        Options { blob_bytes_max: 50 << 20, uploads_bytes_max: 1 << 30, memory_bytes_max: 1 << 20 }
    }
}
