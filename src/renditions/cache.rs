//! [`Cache`]: finished renditions by key, bounded in bytes. It does not share work: two callers may both miss.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use moka::notification::RemovalCause;

use super::Rendition;
use super::generation::{Generation, Lineage};
use crate::digest::Digest;

/// Bytes of an entry in addition to its rendition: key, value and generation (about 330 bytes), moka's nodes and tables,
/// the allocator's rounding.
pub const ENTRY_BYTES: u64 = 640;

/// Bytes for each other image that a rendition shows: its generation, and the key noted there.
const OTHER_BYTES: u64 = 384;

/// Finished renditions.
#[derive(Clone)]
pub struct Cache {
    bytes_max: u64,
    entries: Option<moka::sync::Cache<Digest, Entry>>,
    evictions: Arc<AtomicU64>,
    #[cfg(test)]
    looks: Arc<AtomicU64>,
}

#[derive(Clone)]
struct Entry {
    rendition: Rendition,
    lineage: Lineage,
    /// Whether it is in the tier, or need not be.
    is_kept: Arc<AtomicBool>,
}

impl Cache {
    /// A cache of at most `bytes_max` bytes, including [`ENTRY_BYTES`] for each entry; 0: it keeps nothing.
    pub fn new(bytes_max: u64) -> Cache {
        let evictions = Arc::new(AtomicU64::new(0));
        let entries = (bytes_max > 0).then(|| {
            let evictions = evictions.clone();
            moka::sync::Cache::builder()
                .max_capacity(bytes_max)
                .weigher(|_, entry: &Entry| u32::try_from(weight(&entry.rendition, &entry.lineage)).unwrap_or(u32::MAX))
                .eviction_listener(move |key: Arc<Digest>, entry: Entry, cause| {
                    if cause == RemovalCause::Size {
                        evictions.fetch_add(1, Ordering::Relaxed);
                    }
                    if cause != RemovalCause::Replaced {
                        entry.lineage.unnote(&key);
                    }
                })
                .build()
        });
        Cache {
            bytes_max,
            entries,
            evictions,
            #[cfg(test)]
            looks: Arc::default(),
        }
    }

    /// The rendition of `source` by key, unless the source or another image in it was forgotten.
    pub fn get(&self, source: &Digest, key: &Digest) -> Option<Rendition> {
        self.entry(source, key).map(|entry| entry.rendition)
    }

    /// Gets the rendition of `source` by key, and calls `keep` on it at each hit until `keep` returns true: it is in the tier
    /// then, or need not be.
    pub fn get_again(
        &self,
        source: &Digest,
        key: &Digest,
        keep: impl FnOnce(&Rendition, &Lineage) -> bool,
    ) -> Option<Rendition> {
        let entry = self.entry(source, key)?;
        if !entry.is_kept.load(Ordering::Relaxed) && keep(&entry.rendition, &entry.lineage) {
            entry.is_kept.store(true, Ordering::Relaxed);
        }
        Some(entry.rendition)
    }

    fn entry(&self, source: &Digest, key: &Digest) -> Option<Entry> {
        #[cfg(test)]
        self.looks.fetch_add(1, Ordering::Relaxed);
        let entry = self.entries.as_ref()?.get(key)?;
        let serves = entry.lineage.source().source() == source && !entry.lineage.is_over();
        serves.then_some(entry)
    }

    /// Keeps a rendition that was made in a lineage, unless that is over. Its bytes are shared with its readers and not
    /// copied, so they must have no room to spare: their length is what is weighed. `is_kept`: it is in the tier too.
    pub fn insert(&self, key: Digest, rendition: &Rendition, lineage: impl Into<Lineage>, is_kept: bool) {
        let Some(entries) = &self.entries else { return };
        let lineage = lineage.into();
        if lineage.is_over() || weight(rendition, &lineage) > self.bytes_max {
            return;
        }
        // Noted before it can be evicted, and checked again after it is in: `forget` may have come between.
        lineage.note(key);
        let (rendition, is_kept) = (rendition.clone(), Arc::new(AtomicBool::new(is_kept)));
        entries.insert(key, Entry { rendition, lineage: lineage.clone(), is_kept });
        if lineage.is_over() {
            entries.invalidate(&key);
        }
        // moka evicts in batches; a batch of large renditions would be far above the bound.
        entries.run_pending_tasks();
    }

    /// Frees everything that was made in `generation`, which is over: none of it is served any more. Returns the keys of
    /// what was made of other sources.
    pub fn forget(&self, generation: &Generation) -> HashSet<Digest> {
        let Some(entries) = &self.entries else { return HashSet::new() };
        let mut keys = generation.take_keys();
        let is_of_other = |entry: Entry| entry.lineage.source().source() != generation.source();
        keys.retain(|key| entries.remove(key).is_some_and(is_of_other));
        keys
    }

    /// Number of renditions.
    pub fn entries(&self) -> u64 {
        self.entries.as_ref().map_or(0, moka::sync::Cache::entry_count)
    }

    /// Bytes of all entries.
    pub fn bytes(&self) -> u64 {
        self.entries.as_ref().map_or(0, moka::sync::Cache::weighted_size)
    }

    /// Number of renditions that were dropped to make room.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }
}

fn weight(rendition: &Rendition, lineage: &Lineage) -> u64 {
    let texts = (rendition.bytes.len() + rendition.query.len()) as u64;
    texts + ENTRY_BYTES + lineage.others().len() as u64 * OTHER_BYTES
}

#[cfg(test)]
impl Cache {
    /// Number of lookups.
    pub fn looks(&self) -> u64 {
        self.looks.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::super::generation::Generations;
    use super::*;
    use crate::pipeline::codec::CODECS;
    use bytes::Bytes;

    fn digest(n: usize) -> Digest {
        Digest::of(&n.to_le_bytes())
    }

    fn rendition(len: usize) -> Rendition {
        Rendition { bytes: Bytes::from(vec![1; len]), codec: CODECS[0], query: "".into(), missing: None }
    }

    #[test]
    fn an_entry_is_found_until_its_source_is_forgotten() {
        let (cache, generations) = (Cache::new(1 << 20), Generations::default());
        let [source, key] = [1, 2].map(digest);
        cache.insert(key, &rendition(10), &generations.of(&source), false);
        assert_eq!(cache.get(&source, &key).expect("cached").bytes, vec![1; 10]);
        let ended = generations.end(&source).expect("the entry holds it");
        assert!(cache.get(&source, &key).is_none(), "the end alone is enough");
        cache.forget(&ended);
        cache.entries.as_ref().expect("a cache").run_pending_tasks();
        assert_eq!((cache.entries(), cache.bytes()), (0, 0), "and its memory is freed");
    }

    #[test]
    fn an_entry_goes_with_every_image_that_it_shows() {
        let (cache, generations) = (Cache::new(1 << 20), Generations::default());
        let [source, mask, key, own] = [1, 2, 3, 4].map(digest);
        cache.insert(key, &rendition(10), Lineage::of(&generations, &source, &[mask]), false);
        cache.insert(own, &rendition(10), Lineage::of(&generations, &mask, &[]), false);
        let ended = generations.end(&mask).expect("the entries hold it");
        assert!(cache.get(&source, &key).is_none() && cache.get(&mask, &own).is_none());
        assert_eq!(cache.forget(&ended), HashSet::from([key]), "what others have lost");
        cache.entries.as_ref().expect("a cache").run_pending_tasks();
        assert_eq!((cache.entries(), cache.bytes()), (0, 0));
    }

    #[test]
    fn an_entry_that_is_asked_for_again_is_shown_until_it_is_settled_what_becomes_of_it() {
        let (cache, generations) = (Cache::new(1 << 20), Generations::default());
        let [source, key, kept] = [1, 2, 3].map(digest);
        let generation = generations.of(&source);
        cache.insert(key, &rendition(10), &generation, false);
        cache.insert(kept, &rendition(10), &generation, true);
        let mut shown = 0;
        for settled in [false, true, true] {
            assert!(cache.get_again(&source, &kept, |_, _| panic!("it is kept elsewhere")).is_some());
            let show = |_: &Rendition, of: &Lineage| {
                shown += 1;
                assert_eq!(of.source().source(), &source);
                settled
            };
            assert_eq!(cache.get_again(&source, &key, show).expect("cached").bytes.len(), 10);
        }
        assert_eq!(shown, 2);
    }

    #[test]
    fn what_a_run_brings_after_the_end_of_its_generation_is_not_kept() {
        let (cache, generations) = (Cache::new(1 << 20), Generations::default());
        let [source, key] = [1, 2].map(digest);
        let old = generations.of(&source);
        generations.end(&source);
        cache.insert(key, &rendition(10), &old, false);
        assert!(cache.get(&source, &key).is_none());
        assert_eq!(cache.entries(), 0);
        cache.insert(key, &rendition(20), &generations.of(&source), false);
        assert_eq!(cache.get(&source, &key).expect("made after it").bytes.len(), 20);
    }

    #[test]
    fn racing_forgets_and_inserts_leave_nothing_of_an_ended_generation() {
        let (cache, generations) = (Cache::new(1 << 20), Generations::default());
        let source = digest(0);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (cache, generations) = (&cache, &generations);
                scope.spawn(move || {
                    for n in 0..200 {
                        let generation = generations.of(&source);
                        cache.insert(digest(thread * 1000 + n), &rendition(n), &generation, false);
                        if n % 3 == 0
                            && let Some(ended) = generations.end(&source)
                        {
                            cache.forget(&ended);
                        }
                    }
                });
            }
        });
        if let Some(ended) = generations.end(&source) {
            cache.forget(&ended);
        }
        assert!((0..4000).all(|n| cache.get(&source, &digest(n)).is_none()));
        cache.entries.as_ref().expect("a cache").run_pending_tasks();
        assert_eq!((cache.entries(), cache.bytes()), (0, 0));
    }

    #[test]
    fn the_bytes_are_bounded_after_every_insert() {
        let bound = 100_000;
        let (cache, generations) = (Cache::new(bound), Generations::default());
        for n in 0..300 {
            cache.insert(digest(n), &rendition(n * 37 % 9000), &generations.of(&digest(n)), false);
            assert!(cache.bytes() <= bound, "{} after {n}", cache.bytes());
        }
        assert!(cache.bytes() > bound / 2 && cache.evictions() > 0);
        cache.insert(digest(1000), &rendition(bound as usize), &generations.of(&digest(1000)), false);
        assert!(cache.get(&digest(1000), &digest(1000)).is_none(), "one larger than the whole cache is not kept");
        assert!(cache.bytes() <= bound);
    }

    #[test]
    fn keys_of_evicted_entries_are_not_remembered() {
        let (cache, generations) = (Cache::new(20 * (ENTRY_BYTES + 10)), Generations::default());
        let generation = generations.of(&digest(0));
        for n in 0..500 {
            cache.insert(digest(n), &rendition(10), &generation, false);
        }
        assert!(generation.take_keys().len() <= 20);
    }

    #[test]
    fn a_cache_of_no_bytes_keeps_nothing() {
        let (cache, generations) = (Cache::new(0), Generations::default());
        cache.insert(digest(1), &rendition(0), &generations.of(&digest(1)), false);
        assert!(cache.get(&digest(1), &digest(1)).is_none());
        assert_eq!((cache.entries(), cache.bytes(), cache.evictions()), (0, 0, 0));
    }
}
