//! [`Generations`]: the time of a source between two deletes. What was made in a generation is not served after its end. Holds
//! memory only for sources of which something is held elsewhere (a cache entry, a flight).

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, MutexGuard};

use crate::digest::Digest;

/// The present generation of every source that somebody holds.
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

impl Generations {
    /// The present generation of `source`.
    pub fn of(&self, source: &Digest) -> Arc<Generation> {
        let mut present = self.registry.lock();
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

    /// Ends the present generation of `source` and returns it; `None` when nothing holds it.
    pub fn end(&self, source: &Digest) -> Option<Arc<Generation>> {
        let ended = self.registry.lock().remove(source);
        // With the lock open: the last holder of a generation takes it when it lets go.
        let generation = ended?.generation.upgrade()?;
        generation.over.store(true, Ordering::Release);
        Some(generation)
    }
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Present>> {
        self.present.lock()
    }
}

impl Generation {
    /// The source.
    pub fn source(&self) -> &Digest {
        &self.source
    }

    /// Tells this generation from every other, of any source.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Whether it has ended: nothing made in it may be served.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Notes the key of a cached rendition, so that its memory can be freed when the generation ends.
    pub fn note(&self, key: Digest) {
        self.keys().insert(key);
    }

    /// Undoes [`Generation::note`].
    pub fn unnote(&self, key: &Digest) {
        self.keys().remove(key);
    }

    /// Takes all noted keys.
    pub fn take_keys(&self) -> HashSet<Digest> {
        std::mem::take(&mut *self.keys())
    }

    fn keys(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.keys.lock()
    }
}

impl Drop for Generation {
    fn drop(&mut self) {
        let mut present = self.registry.lock();
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
        assert_eq!(generations.registry.lock().len(), 1000);
        for generation in &held[..500] {
            assert!(generations.end(generation.source()).is_some());
        }
        assert_eq!(generations.registry.lock().len(), 500);
        drop(held);
        assert!(generations.registry.lock().is_empty());
        assert!(generations.end(&Digest::of(b"never held")).is_none());
    }
}
