//! [`Tier`]: renditions in files next to the store, for renditions that the cache has lost to a restart or to others. It is
//! a cache, too: bounded in bytes, never synced, checked when read, and its files may be deleted at any time. It does not
//! know whether its images still exist: a caller that finds a rendition here asks the store.
//!
//! ```text
//! <data>/renditions/<3 hex>/<source, 64 hex>.<key, 64 hex>
//! <data>/renditions/<3 hex>/<image, 64 hex>.<key, 64 hex>.<source, 64 hex>
//! ```
//!
//! A file of the second kind is a note that a rendition shows a second image, so that it is found when that is deleted.
//!
//! The only part of `renditions` that knows the file system. Its calls run on tokio's blocking threads.

mod budget;
mod calls;
mod file;
mod name;
mod shards;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::generation::Lineage;
use super::{Options, Rendition};
use crate::digest::Digest;
use crate::pipeline::codec;
use budget::Budget;
pub use shards::Opened;
use shards::Shards;

/// The tier, which may be off.
#[derive(Clone)]
pub struct Tier {
    shards: Option<Arc<Shards>>,
    /// Whether all files that were there at the start are counted.
    counted: watch::Receiver<bool>,
    hits: Arc<AtomicU64>,
}

/// Counts of the tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files in the tier: renditions, and notes of the images that they show.
    pub entries: u64,
    /// Their bytes on the device.
    pub bytes: u64,
    /// Renditions that were read.
    pub hits: u64,
    /// Renditions that were removed to make room.
    pub evictions: u64,
}

impl Tier {
    /// The tier that the options describe. Its files are counted on a thread of its own, so that the start does not depend on
    /// their number; renditions are found meanwhile.
    pub fn open(options: &Options) -> Tier {
        let (sender, counted) = watch::channel(false);
        let folder = options.tier_folder.clone().filter(|_| options.tier_bytes_max > 0);
        let budget = Budget::new(options.tier_bytes_max, options.space_reserve_bytes);
        let shards = folder.map(|folder| Arc::new(Shards::new(folder, budget)));
        if let Some(shards) = shards.clone() {
            let count = move || {
                shards.count();
                sender.send_replace(true);
                let owned = Arc::downgrade(&shards);
                drop(shards);
                fit_for_good(&owned);
            };
            if let Err(error) = std::thread::Builder::new().name("tier-count".to_owned()).spawn(count) {
                tracing::warn!(%error, "the rendition tier cannot be counted: nothing is put into it");
            }
        }
        Tier { shards, counted, hits: Arc::default() }
    }

    /// Whether there is a tier.
    pub fn is_on(&self) -> bool {
        self.shards.is_some()
    }

    /// Opens the file of a rendition, if there is one; its bytes are not read yet.
    pub async fn find(&self, source: &Digest, key: &Digest) -> Option<Opened> {
        let (shards, source, key) = (self.shards.clone()?, *source, *key);
        // Most misses of a small tier need no other thread.
        if shards.surely_lacks(&source) {
            return None;
        }
        spawn_blocking(move || shards.open(&source, &key)).await.ok()?
    }

    /// Reads a rendition that was found. `None`: the file was damaged, and is removed.
    pub async fn read(&self, opened: Opened) -> Option<Rendition> {
        let shards = self.shards.clone()?;
        let rendition = spawn_blocking(move || shards.read(&opened)).await.ok()??;
        self.hits.fetch_add(1, Ordering::Relaxed);
        Some(rendition)
    }

    /// Keeps a rendition that was made in a lineage, unless that is over. Waits until the tier is counted: before that,
    /// the room is not known. A failure is only logged: the rendition can be made again.
    pub async fn insert(&self, lineage: impl Into<Lineage>, key: Digest, rendition: &Rendition) {
        let Some(shards) = self.shards.clone() else { return };
        // A summary has no format name that a file could hold.
        let can_be_read = codec::by_name(rendition.codec.name).is_some();
        if !can_be_read || self.counted.clone().wait_for(|counted| *counted).await.is_err() {
            return;
        }
        let (lineage, rendition) = (lineage.into(), rendition.clone());
        let inserted = spawn_blocking(move || shards.insert(lineage, &key, &rendition)).await;
        if let Ok(Err(error)) = inserted {
            tracing::warn!(%error, "a rendition cannot be kept in the tier");
        }
    }

    /// Removes everything that shows `source`, whose generation has ended. Begins at once, and is done when the future is
    /// ready. Nothing of it is returned meanwhile, since the source is gone from the store. Returns the keys of what was
    /// made of other sources.
    ///
    /// # Panics
    /// Outside a tokio runtime, if there is a tier.
    pub fn forget(&self, source: &Digest) -> impl Future<Output = Vec<Digest>> + Send + use<> {
        let source = *source;
        let removal = self.shards.clone().map(|shards| spawn_blocking(move || shards.forget(&source)));
        async move {
            match removal {
                Some(removal) => removal.await.unwrap_or_default(),
                None => Vec::new(),
            }
        }
    }

    /// The counts at this moment.
    pub fn counts(&self) -> Counts {
        let hits = self.hits.load(Ordering::Relaxed);
        self.shards.as_ref().map_or(Counts::default(), |shards| Counts {
            entries: shards.entries(),
            bytes: shards.bytes(),
            evictions: shards.evictions(),
            hits,
        })
    }
}

/// The time between two looks at the device. Uploads end only at half of what the tier leaves free.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// Keeps the tier within what its device has room for, as long as there is another owner.
fn fit_for_good(shards: &Weak<Shards>) {
    while let Some(shards) = shards.upgrade() {
        shards.fit();
        drop(shards);
        std::thread::sleep(LOOK_AFTER);
    }
}

#[cfg(test)]
mod tests;
