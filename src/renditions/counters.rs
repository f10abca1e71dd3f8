//! [`Counters`] of the rendition layer.

use std::sync::atomic::Ordering;

use super::Renditions;

/// Counts of events since the start, and what is held now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Answers from the cache.
    pub hits: u64,
    /// Requests that were not in the cache.
    pub misses: u64,
    /// Misses that shared a run under way.
    pub joined: u64,
    /// Runs that lost their last caller.
    pub cancelled: u64,
    /// Renders of single requests that were answered, well or not.
    pub renders: u64,
    /// Renders that panicked.
    pub panics: u64,
    /// Worker processes that died or were killed during a render.
    pub worker_deaths: u64,
    /// Refusals: the queue was full, or no permit came in time.
    pub busy: u64,
    /// Renders that wait for admission now.
    pub queue_len: u64,
    /// Memory that is granted to renders now, sources included.
    pub bytes_in_flight: u64,
    /// Bytes of results that the cache or a response holds.
    pub result_bytes: u64,
    /// Renditions in the cache.
    pub cache_entries: u64,
    /// Weight of the cache.
    pub cache_bytes: u64,
    /// Renditions dropped from the cache to make room.
    pub evictions: u64,
    /// Outputs that the bulk lane has rendered, well or not.
    pub bulk_renders: u64,
    /// Callers that wait for room in the bulk lane now.
    pub bulk_waiting: u64,
    /// Memory that is granted in the bulk lane now, sources included.
    pub bulk_bytes_in_flight: u64,
    /// Renditions in the tier.
    pub tier_entries: u64,
    /// Bytes of the tier on the device.
    pub tier_bytes: u64,
    /// Answers from the tier.
    pub tier_hits: u64,
    /// Renditions dropped from the tier to make room.
    pub tier_evictions: u64,
}

impl Renditions {
    /// The counts at this moment.
    pub fn counters(&self) -> Counters {
        let runs = self.runs.counts();
        let (single, bulk, tier) = (&self.engine.single, &self.engine.bulk, self.tier.counts());
        Counters {
            hits: self.hits.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            joined: runs.joined,
            cancelled: runs.cancelled,
            renders: single.renders.load(Ordering::Relaxed),
            panics: single.panics.load(Ordering::Relaxed) + bulk.panics.load(Ordering::Relaxed),
            worker_deaths: self.engine.workers.as_ref().map_or(0, |workers| workers.deaths()),
            busy: single.memory.refused() + single.reads.refused(),
            queue_len: single.memory.queue_len() as u64,
            bytes_in_flight: single.memory.bytes_held(),
            result_bytes: single.memory.bytes_kept(),
            cache_entries: self.cache.entries(),
            cache_bytes: self.cache.bytes(),
            evictions: self.cache.evictions(),
            bulk_renders: bulk.renders.load(Ordering::Relaxed),
            bulk_waiting: bulk.memory.queue_len() as u64,
            bulk_bytes_in_flight: bulk.memory.bytes_held(),
            tier_entries: tier.entries,
            tier_bytes: tier.bytes,
            tier_hits: tier.hits,
            tier_evictions: tier.evictions,
        }
    }
}
