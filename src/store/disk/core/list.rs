//! [`list`]: pages of all blobs, in digest order. A shard that cannot be read takes only its own blobs with it: it is named,
//! and [`Unreadable`] remembers it until it can be read.

use std::collections::BTreeSet;

use parking_lot::Mutex;

use super::Core;
use crate::digest::Digest;
use crate::store::Listing;
use crate::store::disk::fs::{Errno, Fs, Wait};
use crate::store::disk::layout;

/// Shards in a row, and no other, that make an error of a list: then the device is away, and not some folders of it.
const UNREADABLE_MAX: usize = 64;

/// The shards that could not be read when they were last needed.
#[derive(Default)]
pub struct Unreadable(Mutex<BTreeSet<u16>>);

impl Unreadable {
    /// Notes whether a shard could be read.
    fn note(&self, index: u16, failure: Option<Errno>) {
        let mut shards = self.0.lock();
        match failure {
            Some(errno) if shards.insert(index) => {
                tracing::error!(folder = layout::shard(index), %errno, "a folder of images cannot be read: they are left out");
            }
            None if shards.remove(&index) => {
                tracing::info!(folder = layout::shard(index), "a folder can be read again")
            }
            _ => {}
        }
    }

    /// Their paths.
    pub fn folders(&self) -> Vec<String> {
        self.indices().into_iter().map(layout::shard).collect()
    }

    fn indices(&self) -> Vec<u16> {
        self.0.lock().iter().copied().collect()
    }
}

/// Blobs in digest order, after `after`.
pub fn list<F: Fs>(core: &Core<F>, after: Option<Digest>, limit: usize) -> Result<Listing, Errno> {
    let (mut page, mut was_read, mut failure) = (Listing::default(), false, None);
    for index in after.as_ref().map_or(0, layout::shard_index)..layout::SHARDS {
        if page.blobs.len() >= limit {
            break;
        }
        match read_shard(core, index, after, &mut page, limit) {
            Ok(None) => was_read = true,
            Err(errno) if passes(errno) => return Err(errno),
            Ok(Some(errno)) | Err(errno) => {
                failure = Some(errno);
                page.unreadable.push(layout::shard(index));
            }
        }
    }
    match failure {
        Some(errno) if !was_read && page.unreadable.len() >= UNREADABLE_MAX => Err(errno),
        _ => Ok(page),
    }
}

/// Adds the blobs of one shard. Returns the error of a blob that could not be looked up, after all others.
fn read_shard<F: Fs>(
    core: &Core<F>,
    index: u16,
    after: Option<Digest>,
    page: &mut Listing,
    limit: usize,
) -> Result<Option<Errno>, Errno> {
    let names = match core.fs.getdents(&layout::shard(index)) {
        Err(Errno::NOENT) => return Ok(None),
        names => {
            let failure = names.as_ref().err().copied();
            if !failure.is_some_and(passes) {
                core.unreadable.note(index, failure);
            }
            names?
        }
    };
    let mut digests: Vec<Digest> = names
        .iter()
        .filter_map(|name| name.parse().ok())
        .filter(|digest| layout::shard_index(digest) == index && after.is_none_or(|after| *digest > after))
        .collect();
    digests.sort_unstable();
    let mut failure = None;
    for digest in digests {
        if page.blobs.len() >= limit {
            break;
        }
        match core.stat(&digest, Wait::Block) {
            Ok(Some(stat)) => page.blobs.push((digest, stat)),
            Ok(None) => {}
            Err(errno) if passes(errno) => return Err(errno),
            Err(errno) => failure = Some(errno),
        }
    }
    Ok(failure)
}

/// Whether an error tells of this process or this moment, and nothing of the folder.
fn passes(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN | Errno::INTR)
}

/// Looks at the shards that could not be read, in case they can be read by now.
pub fn look_again<F: Fs>(core: &Core<F>) {
    for index in core.unreadable.indices() {
        look(core, index);
    }
}

/// Looks at the shard of a blob that could not be looked up or opened, so that operators hear of it.
pub fn suspect<F: Fs>(core: &Core<F>, digest: &Digest, errno: Errno) {
    if passes(errno) {
        return;
    }
    look(core, layout::shard_index(digest));
}

fn look<F: Fs>(core: &Core<F>, index: u16) {
    match core.fs.getdents(&layout::shard(index)) {
        Err(failure) if passes(failure) || failure == Errno::NOENT => {}
        names => core.unreadable.note(index, names.err()),
    }
}
