//! The `memory:` backend: blobs in a map, which end with the process. For tests and trials.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use super::locks::Locks;
use super::{Blob, Commit, Error, Future, Listing, Options, Read, Stage, Stat, Store};
use crate::digest::Digest;

/// Blobs in a map.
pub struct Memory {
    blobs: Arc<Mutex<Blobs>>,
    proofs: Locks,
}

struct Blobs {
    by_digest: BTreeMap<Digest, Bytes>,
    bytes: u64,
    bytes_max: u64,
}

impl Memory {
    /// An empty store.
    pub fn new(options: Options) -> Memory {
        let blobs = Blobs { by_digest: BTreeMap::new(), bytes: 0, bytes_max: options.memory_store_bytes_max };
        Memory { blobs: Arc::new(Mutex::new(blobs)), proofs: Locks::default() }
    }
}

fn stat(bytes: &Bytes) -> Stat {
    Stat { len: bytes.len() as u64 }
}

impl Store for Memory {
    fn stat<'a>(&'a self, digests: &'a [Digest]) -> Future<'a, Vec<Option<Stat>>> {
        Box::pin(async {
            let blobs = self.blobs.lock();
            Ok(digests.iter().map(|digest| blobs.by_digest.get(digest).map(stat)).collect())
        })
    }

    fn open<'a>(&'a self, digest: &'a Digest) -> Future<'a, Blob> {
        Box::pin(async {
            let bytes = self.blobs.lock().by_digest.get(digest).cloned().ok_or(Error::NotFound)?;
            Ok(Blob::new(*digest, bytes.len() as u64, Arc::new(Whole(bytes)), self.proofs.clone()))
        })
    }

    fn stage(&self, _size_hint: Option<u64>) -> Future<'_, Box<dyn Stage>> {
        let blobs = Arc::clone(&self.blobs);
        Box::pin(async { Ok(Box::new(Staged { blobs, body: BytesMut::new() }) as Box<dyn Stage>) })
    }

    fn delete<'a>(&'a self, digest: &'a Digest) -> Future<'a, bool> {
        Box::pin(async {
            let mut blobs = self.blobs.lock();
            let Some(bytes) = blobs.by_digest.remove(digest) else { return Ok(false) };
            blobs.bytes -= bytes.len() as u64;
            Ok(true)
        })
    }

    fn list(&self, after: Option<Digest>, limit: usize) -> Future<'_, Listing> {
        Box::pin(async move {
            let start = after.map_or(Bound::Unbounded, Bound::Excluded);
            let blobs = self.blobs.lock();
            let after = blobs.by_digest.range((start, Bound::Unbounded));
            let blobs = after.take(limit).map(|(digest, bytes)| (*digest, stat(bytes))).collect();
            Ok(Listing { blobs, unreadable: Vec::new() })
        })
    }

    fn writable(&self) -> Result<(), Error> {
        let blobs = self.blobs.lock();
        if blobs.bytes < blobs.bytes_max { Ok(()) } else { Err(Error::Full) }
    }
}

struct Staged {
    blobs: Arc<Mutex<Blobs>>,
    body: BytesMut,
}

impl Stage for Staged {
    fn write(&mut self, bytes: Bytes) -> Future<'_, ()> {
        self.body.extend_from_slice(&bytes);
        Box::pin(async { Ok(()) })
    }

    fn bytes(&mut self) -> Future<'_, Bytes> {
        let bytes = Bytes::copy_from_slice(&self.body);
        Box::pin(async { Ok(bytes) })
    }

    fn commit(self: Box<Self>, digest: Digest) -> Future<'static, Commit> {
        Box::pin(async move {
            let mut blobs = self.blobs.lock();
            if blobs.by_digest.contains_key(&digest) {
                return Ok(Commit::Present);
            }
            let bytes = blobs.bytes + self.body.len() as u64;
            if bytes > blobs.bytes_max {
                return Err(Error::Full);
            }
            blobs.bytes = bytes;
            blobs.by_digest.insert(digest, self.body.freeze());
            Ok(Commit::New)
        })
    }
}

/// The bytes of a blob. They were hashed when they were stored, and are never hashed again: memory is trusted.
struct Whole(Bytes);

impl Read for Whole {
    fn read(&self, range: Range<u64>) -> Future<'_, Bytes> {
        // In memory, so both ends fit.
        let bytes = self.0.slice(range.start as usize..range.end as usize);
        Box::pin(async { Ok(bytes) })
    }

    fn verified(&self) -> bool {
        true
    }

    fn verdict(&self, good: bool) -> Future<'_, bool> {
        Box::pin(async move { Ok(good) })
    }
}
