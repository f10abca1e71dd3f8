//! Uploads above every backend: hash, bound, digest check, and one durable result for simultaneous uploads of the same bytes.

use std::sync::Arc;

use bytes::Bytes;

use super::{Error, Options, Store};
use crate::digest::Digest;

/// The way into a store.
pub struct Uploads {
    store: Arc<dyn Store>,
}

/// Bytes arriving.
pub struct Upload {}

/// Bytes that have all arrived and hash to [`Sealed::digest`], not yet stored.
pub struct Sealed {
    /// Their digest.
    pub digest: Digest,
    /// Their length.
    pub len: u64,
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
        let _ = options;
        Uploads { store }
    }

    /// Begins an upload of `declared` bytes, if known. `TooLarge`, `Busy`, `ReadOnly` and `Full` are said before a byte is read.
    pub async fn begin(&self, declared: Option<u64>) -> Result<Upload, Error> {
        let _ = (&self.store, declared);
        todo!()
    }
}

impl Upload {
    /// Takes the next bytes; `TooLarge` past the bound.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Error> {
        let _ = bytes;
        todo!()
    }

    /// Ends the body. `expected`, when given, must be its digest ([`Error::Mismatch`] otherwise, and nothing is stored).
    pub async fn seal(self, expected: Option<Digest>) -> Result<Sealed, Error> {
        let _ = expected;
        todo!()
    }
}

impl Sealed {
    /// The whole body, for the caller's own checks before it commits.
    pub async fn bytes(&mut self) -> Result<Bytes, Error> {
        todo!()
    }

    /// Stores the body; returns once it is durable. Detached: a caller that is dropped does not stop it.
    pub async fn commit(self) -> Result<Receipt, Error> {
        todo!()
    }
}
