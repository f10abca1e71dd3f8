//! [`Budget`]: memory that callers may hold, and the queue of callers that wait for it. Admits by planned bytes and by
//! number; the queue is bounded by number and time. Knows neither images nor threads.
//!
//! A result outlives the place of its render: it is in a cache, or on its way to a client that reads slowly. A part of the
//! permit goes with it ([`Permit::split`]), and is given back when the last holder drops it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// Bytes and places that all running work shares.
#[derive(Debug)]
pub struct Budget {
    bytes_max: u64,
    cache_bytes_max: u64,
    queue_max: usize,
    state: Mutex<State>,
    refused: AtomicU64,
}

/// Why a permit was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// More than the whole budget: waiting would not help.
    TooLarge {
        /// The bytes that were asked for.
        bytes: u64,
        /// The whole budget.
        bytes_max: u64,
    },
    /// The queue is full, or the deadline passed in it.
    Busy,
}

#[derive(Debug)]
struct State {
    bytes_free: u64,
    /// Bytes of permits without a place: results have these.
    bytes_kept: u64,
    places_free: usize,
    next_ticket: u64,
    queue: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    bytes: u64,
    granted: oneshot::Sender<Permit>,
}

/// The right to hold some bytes and, unless it was split off, one place. A drop gives it back.
#[derive(Debug)]
pub struct Permit {
    budget: Arc<Budget>,
    bytes: u64,
    has_place: bool,
}

impl Budget {
    /// A budget of `bytes_max` bytes and `places` holders. At most `queue_max` callers wait for it.
    pub fn new(bytes_max: u64, places: usize, queue_max: usize) -> Arc<Budget> {
        Budget::with_cache(bytes_max, 0, places, queue_max)
    }

    /// A budget with `cache_bytes_max` additional bytes for results in a cache. A full cache takes nothing from the renders,
    /// and they may use what it leaves. No caller may ask for more than `bytes_max`.
    pub fn with_cache(bytes_max: u64, cache_bytes_max: u64, places: usize, queue_max: usize) -> Arc<Budget> {
        let (bytes_free, queue) = (bytes_max.saturating_add(cache_bytes_max), VecDeque::new());
        let state = State { bytes_free, bytes_kept: 0, places_free: places, next_ticket: 0, queue };
        Arc::new(Budget { bytes_max, cache_bytes_max, queue_max, state: Mutex::new(state), refused: AtomicU64::new(0) })
    }

    /// A permit for `bytes`, at once or from the queue before `deadline`, if there is one. A caller that asks for less does
    /// not overtake others.
    pub async fn acquire(self: &Arc<Self>, bytes: u64, deadline: Option<Instant>) -> Result<Permit, Refused> {
        if bytes > self.bytes_max {
            return Err(Refused::TooLarge { bytes, bytes_max: self.bytes_max });
        }
        let answer = match self.enter(bytes) {
            Turn::Granted(permit) => return Ok(permit),
            Turn::Full => None,
            Turn::Queued(_queued, granted) => match deadline {
                Some(deadline) => timeout_at(deadline, granted).await.ok().and_then(Result::ok),
                None => granted.await.ok(),
            },
        };
        answer.ok_or_else(|| {
            self.count_refusal();
            Refused::Busy
        })
    }

    /// The right to hold `bytes` without a place, if they are free now: for bytes that exist already. Never waits, and
    /// overtakes callers that do, since they wait for a place, too.
    pub fn try_acquire(self: &Arc<Self>, bytes: u64) -> Option<Permit> {
        let mut state = self.state.lock();
        state.bytes_free = state.bytes_free.checked_sub(bytes)?;
        state.bytes_kept += bytes;
        Some(Permit { budget: self.clone(), bytes, has_place: false })
    }

    /// The most bytes of one permit.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Bytes held now by permits with a place.
    pub fn bytes_held(&self) -> u64 {
        let state = self.state.lock();
        self.bytes_max.saturating_add(self.cache_bytes_max) - state.bytes_free - state.bytes_kept
    }

    /// Bytes held now by results.
    pub fn bytes_kept(&self) -> u64 {
        self.state.lock().bytes_kept
    }

    /// Callers that wait now.
    pub fn queue_len(&self) -> usize {
        self.state.lock().queue.len()
    }

    /// Counts a refusal, by this budget or for a wait after it.
    pub fn count_refusal(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Number of refusals as [`Refused::Busy`].
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn enter(self: &Arc<Self>, bytes: u64) -> Turn {
        let mut state = self.state.lock();
        if state.queue.is_empty() && state.take(bytes) {
            return Turn::Granted(Permit { budget: self.clone(), bytes, has_place: true });
        }
        if state.queue.len() >= self.queue_max {
            return Turn::Full;
        }
        let (granted, receiver) = oneshot::channel();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.queue.push_back(Waiter { ticket, bytes, granted });
        Turn::Queued(Queued { budget: self.clone(), ticket }, receiver)
    }

    /// Grants what fits now.
    fn serve(self: &Arc<Self>) {
        loop {
            // A permit without a receiver is dropped, which locks: so it is sent without the lock.
            let Some(waiter) = self.state.lock().next(self.queue_max) else { return };
            let permit = Permit { budget: self.clone(), bytes: waiter.bytes, has_place: true };
            let _ = waiter.granted.send(permit);
        }
    }
}

enum Turn {
    Granted(Permit),
    Queued(Queued, oneshot::Receiver<Permit>),
    Full,
}

impl State {
    fn take(&mut self, bytes: u64) -> bool {
        let fits = self.places_free > 0 && bytes <= self.bytes_free;
        if fits {
            self.places_free -= 1;
            self.bytes_free -= bytes;
        }
        fits
    }

    /// Takes the next waiter out of the queue, if what it asks for is free.
    ///
    /// Oldest first; newest first while the queue is more than half full. Under such pressure the oldest are close to their
    /// deadline, and serving them first would make all of them late.
    fn next(&mut self, queue_max: usize) -> Option<Waiter> {
        let newest = self.queue.len().checked_sub(1)?;
        let index = if self.queue.len() > queue_max / 2 { newest } else { 0 };
        let bytes = self.queue[index].bytes;
        if self.take(bytes) { self.queue.remove(index) } else { None }
    }
}

impl Permit {
    /// Splits off a permit for `bytes`, or for all that are left: for one of several results.
    pub fn split(&mut self, bytes: u64) -> Permit {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        if self.has_place {
            self.budget.state.lock().bytes_kept += bytes;
        }
        Permit { budget: self.budget.clone(), bytes, has_place: false }
    }

    /// Takes `bytes` more if they are free now. Never waits: a caller that waits must hold nothing, or two could wait for
    /// each other.
    pub fn try_acquire_more(&mut self, bytes: u64) -> bool {
        let mut state = self.budget.state.lock();
        let whole = self.bytes.saturating_add(bytes);
        let fits = bytes <= state.bytes_free && whole <= self.budget.bytes_max;
        if fits {
            state.bytes_free -= bytes;
            self.bytes = whole;
        }
        fits
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.budget.state.lock();
        state.bytes_free += self.bytes;
        if self.has_place {
            state.places_free += 1;
        } else {
            state.bytes_kept -= self.bytes;
        }
        drop(state);
        self.budget.serve();
    }
}

/// A place in the queue. When a caller stops waiting, callers after it may fit.
struct Queued {
    budget: Arc<Budget>,
    ticket: u64,
}

impl Drop for Queued {
    fn drop(&mut self) {
        let mut state = self.budget.state.lock();
        let place = state.queue.iter().position(|waiter| waiter.ticket == self.ticket);
        let waiter = place.and_then(|place| state.queue.remove(place));
        drop(state);
        if waiter.is_some() {
            self.budget.serve();
        }
    }
}

#[cfg(test)]
mod tests;
