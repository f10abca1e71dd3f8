//! [`Generations`]: the time of a source between two deletes. What was made in a generation is not served after its end.
//! Takes memory only for sources in use (by a cache entry, a shared run). A [`Lineage`] is that of a rendition, which may
//! show other images.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::digest::Digest;

/// The present generation of every source in use.
#[derive(Default)]
pub struct Generations {
    registry: Arc<Registry>,
}

#[derive(Default)]
struct Registry {
    present: Mutex<HashMap<Digest, Present>>,
    serials: AtomicU64,
}

struct Present {
    serial: u64,
    generation: Weak<Generation>,
}

/// One generation of one source.
pub struct Generation {
    source: Digest,
    serial: u64,
    over: AtomicBool,
    keys: Mutex<HashSet<Digest>>,
    registry: Arc<Registry>,
}

/// The generations in which a rendition is made: of its source, and of the other images that it shows.
#[derive(Clone)]
pub struct Lineage {
    source: Arc<Generation>,
    others: Arc<[Arc<Generation>]>,
}

impl From<&Arc<Generation>> for Lineage {
    fn from(source: &Arc<Generation>) -> Lineage {
        Lineage { source: source.clone(), others: Arc::default() }
    }
}

impl Lineage {
    /// The present generations of `source` and of `others`.
    pub fn of(generations: &Generations, source: &Digest, others: &[Digest]) -> Lineage {
        let others = others.iter().map(|other| generations.of(other)).collect();
        Lineage { source: generations.of(source), others }
    }

    /// The generation of the source.
    pub fn source(&self) -> &Arc<Generation> {
        &self.source
    }

    /// The generations of the other images.
    pub fn others(&self) -> &[Arc<Generation>] {
        &self.others
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Generation>> {
        std::iter::once(&self.source).chain(&*self.others)
    }

    /// A number that changes with each of the generations.
    pub fn serial(&self) -> u64 {
        self.all().map(|generation| generation.serial()).max().unwrap_or_default()
    }

    /// Whether one of the images was deleted: nothing made of them may be served.
    pub fn is_over(&self) -> bool {
        self.all().any(|generation| generation.is_over())
    }

    /// Adds the key of a cached rendition to every generation.
    pub fn note(&self, key: Digest) {
        self.all().for_each(|generation| generation.note(key));
    }

    /// Removes the key of a rendition that left the cache.
    pub fn unnote(&self, key: &Digest) {
        self.all().for_each(|generation| generation.unnote(key));
    }
}

impl Generations {
    /// The present generation of `source`.
    pub fn of(&self, source: &Digest) -> Arc<Generation> {
        let mut present = self.registry.present.lock();
        if let Some(generation) = present.get(source).and_then(|present| present.generation.upgrade()) {
            return generation;
        }
        let serial = self.registry.serials.fetch_add(1, Ordering::Relaxed);
        let generation = Arc::new(Generation {
            source: *source,
            serial,
            over: AtomicBool::new(false),
            keys: Mutex::new(HashSet::new()),
            registry: self.registry.clone(),
        });
        present.insert(*source, Present { serial, generation: Arc::downgrade(&generation) });
        generation
    }

    /// Ends the present generation of `source` and returns it; `None` if it is not in use.
    pub fn end(&self, source: &Digest) -> Option<Arc<Generation>> {
        let ended = self.registry.present.lock().remove(source);
        // Without the lock: the last holder of a generation takes it when it drops it.
        let generation = ended?.generation.upgrade()?;
        generation.over.store(true, Ordering::Release);
        Some(generation)
    }
}

impl Generation {
    /// The source.
    pub fn source(&self) -> &Digest {
        &self.source
    }

    /// A number that no other generation has, of any source.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Whether it has ended: nothing made in it may be served.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Adds the key of a cached rendition, so that its memory can be freed when the generation ends.
    pub fn note(&self, key: Digest) {
        self.keys.lock().insert(key);
    }

    /// Removes the key of a rendition that left the cache.
    pub fn unnote(&self, key: &Digest) {
        self.keys.lock().remove(key);
    }

    /// Removes and returns all keys.
    pub fn take_keys(&self) -> HashSet<Digest> {
        std::mem::take(&mut *self.keys.lock())
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        let mut present = self.registry.present.lock();
        if present.get(&self.source).is_some_and(|present| present.serial == self.serial) {
            present.remove(&self.source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_share_a_generation_until_it_ends() {
        let generations = Generations::default();
        let source = Digest::of(b"a");
        let first = generations.of(&source);
        assert_eq!(first.serial(), generations.of(&source).serial());
        assert_ne!(first.serial(), generations.of(&Digest::of(b"b")).serial());
        generations.end(&source);
        assert!(first.is_over());
        let second = generations.of(&source);
        assert!(!second.is_over());
        drop(first);
        assert_eq!(second.serial(), generations.of(&source).serial(), "an old holder's end changes nothing");
    }

    #[test]
    fn nothing_is_remembered_once_the_last_holder_is_gone() {
        let generations = Generations::default();
        let held: Vec<_> = (0..1000u32).map(|n| generations.of(&Digest::of(&n.to_le_bytes()))).collect();
        assert_eq!(generations.registry.present.lock().len(), 1000);
        for generation in &held[..500] {
            assert!(generations.end(generation.source()).is_some());
        }
        assert_eq!(generations.registry.present.lock().len(), 500);
        drop(held);
        assert!(generations.registry.present.lock().is_empty());
        assert!(generations.end(&Digest::of(b"never held")).is_none());
    }
}
