//! The store over its public face: what every backend must do, what uploads add, and what can happen to a disk alone.

mod conformance;
mod disk;
#[path = "../../src/store/double.rs"]
pub mod double;
mod uploads;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use progimage::digest::Digest;
use progimage::store::{self, Blob, Commit, Counters, Error, FreeSpace, Future, Listing, Options, Stage, Stat, Store};

/// A folder that is removed after the test. In memory where possible, since a new store makes 4,096 folders and syncs.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

async fn open(folder: &Path, options: &Options) -> Arc<dyn Store> {
    store::open(folder.to_str().unwrap(), options).await.unwrap()
}

/// Stores `bytes` without the in-flight map.
pub async fn put(store: &dyn Store, bytes: &[u8]) -> Result<Commit, Error> {
    let mut stage = store.stage(Some(bytes.len() as u64)).await?;
    for chunk in bytes.chunks(100_000) {
        stage.write(Bytes::copy_from_slice(chunk)).await?;
    }
    stage.commit(Digest::of(bytes)).await
}

async fn get(store: &dyn Store, digest: &Digest) -> Result<Bytes, Error> {
    store.open(digest).await?.bytes().await
}

/// All of `start..end` by frames.
async fn frames(store: &dyn Store, digest: &Digest, start: u64, end: u64) -> (Vec<u8>, Result<(), Error>) {
    let mut got = Vec::new();
    let blob = match store.open(digest).await {
        Ok(blob) => blob,
        Err(error) => return (got, Err(error)),
    };
    while start + (got.len() as u64) < end {
        match blob.frame(start + got.len() as u64..end).await {
            Ok(frame) => {
                assert!(!frame.is_empty() && frame.len() as u64 <= store::FRAME_BYTES_MAX);
                got.extend_from_slice(&frame);
            }
            Err(error) => return (got, Err(error)),
        }
    }
    (got, Ok(()))
}

/// Bytes that differ for each seed.
fn body(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}
