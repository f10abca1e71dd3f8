//! The `memory:` backend: blobs in a map, gone with the process. For tests and trials.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

use super::locks::Locks;
use super::{Blob, Commit, Error, Future, Options, Read, Stage, Stat, Store};
use crate::digest::Digest;

/// Blobs in a map.
pub struct Memory {
    held: Arc<Mutex<Held>>,
    proofs: Locks,
}

struct Held {
    blobs: BTreeMap<Digest, Bytes>,
    bytes: u64,
    bytes_max: u64,
}

fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    /// An empty store.
    pub fn new(options: Options) -> Memory {
        let held = Held { blobs: BTreeMap::new(), bytes: 0, bytes_max: options.memory_store_bytes_max };
        Memory { held: Arc::new(Mutex::new(held)), proofs: Locks::default() }
    }
}

fn stat(bytes: &Bytes) -> Stat {
    Stat { len: bytes.len() as u64 }
}

impl Store for Memory {
    fn stat<'a>(&'a self, digests: &'a [Digest]) -> Future<'a, Vec<Option<Stat>>> {
        Box::pin(async {
            let held = lock(&self.held);
            Ok(digests.iter().map(|digest| held.blobs.get(digest).map(stat)).collect())
        })
    }

    fn open<'a>(&'a self, digest: &'a Digest) -> Future<'a, Blob> {
        Box::pin(async {
            let bytes = lock(&self.held).blobs.get(digest).cloned().ok_or(Error::NotFound)?;
            Ok(Blob::new(*digest, bytes.len() as u64, Arc::new(Whole(bytes)), self.proofs.clone()))
        })
    }

    fn stage(&self, _size_hint: Option<u64>) -> Future<'_, Box<dyn Stage>> {
        let held = Arc::clone(&self.held);
        Box::pin(async { Ok(Box::new(Staged { held, body: BytesMut::new() }) as Box<dyn Stage>) })
    }

    fn delete<'a>(&'a self, digest: &'a Digest) -> Future<'a, bool> {
        Box::pin(async {
            let mut held = lock(&self.held);
            let Some(bytes) = held.blobs.remove(digest) else { return Ok(false) };
            held.bytes -= bytes.len() as u64;
            Ok(true)
        })
    }

    fn list(&self, after: Option<Digest>, limit: usize) -> Future<'_, Vec<(Digest, Stat)>> {
        Box::pin(async move {
            let start = after.map_or(Bound::Unbounded, Bound::Excluded);
            let held = lock(&self.held);
            Ok(held.blobs.range((start, Bound::Unbounded)).take(limit).map(|(d, bytes)| (*d, stat(bytes))).collect())
        })
    }

    fn writable(&self) -> Result<(), Error> {
        let held = lock(&self.held);
        if held.bytes < held.bytes_max { Ok(()) } else { Err(Error::Full) }
    }
}

struct Staged {
    held: Arc<Mutex<Held>>,
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
            let mut held = lock(&self.held);
            if held.blobs.contains_key(&digest) {
                return Ok(Commit::Present);
            }
            let bytes = held.bytes + self.body.len() as u64;
            if bytes > held.bytes_max {
                return Err(Error::Full);
            }
            held.bytes = bytes;
            held.blobs.insert(digest, self.body.freeze());
            Ok(Commit::New)
        })
    }
}

/// A blob's bytes; they were hashed when they were stored, and memory does not rot.
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

    fn verdict(&self, _good: bool) -> Future<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}
