//! [`Budget`]: memory that callers may hold, and the queue of those that wait for it. Admits by planned bytes and by number; the queue is bounded
//! by number and time. Knows neither images nor threads.
//!
//! Work that ends may leave something behind that is held longer than its place: a result, in a cache or on its way to a client
//! that reads slowly. A part of the permit goes with it ([`Permit::split`]), and comes back when the last holder lets go.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// Bytes and places that are shared by all that run at once.
#[derive(Debug)]
pub struct Budget {
    bytes_max: u64,
    cache_bytes_max: u64,
    queue_max: usize,
    state: Mutex<State>,
    refused: AtomicU64,
}

/// Why nothing was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// More than the whole budget: waiting would not help.
    TooLarge {
        /// What was asked for.
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
    /// Bytes of permits without a place: those of results.
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

/// The right to hold some bytes and, unless it was split off, one place; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    budget: Arc<Budget>,
    bytes: u64,
    has_place: bool,
}

impl Budget {
    /// A budget of `bytes_max` bytes and `places` holders, for which at most `queue_max` wait.
    pub fn new(bytes_max: u64, places: usize, queue_max: usize) -> Arc<Budget> {
        Budget::with_cache(bytes_max, 0, places, queue_max)
    }

    /// A budget with `cache_bytes_max` bytes more, in which a cache may hold results: filled to its bound it takes nothing from
    /// the renders, and what it leaves is for them. No caller may ask for more than `bytes_max`.
    pub fn with_cache(bytes_max: u64, cache_bytes_max: u64, places: usize, queue_max: usize) -> Arc<Budget> {
        let (bytes_free, queue) = (bytes_max.saturating_add(cache_bytes_max), VecDeque::new());
        let state = State { bytes_free, bytes_kept: 0, places_free: places, next_ticket: 0, queue };
        Arc::new(Budget { bytes_max, cache_bytes_max, queue_max, state: Mutex::new(state), refused: AtomicU64::new(0) })
    }

    /// A permit for `bytes`, at once or from the queue before `deadline`, if there is one. No caller overtakes another for asking less.
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
            self.refused.fetch_add(1, Ordering::Relaxed);
            Refused::Busy
        })
    }

    /// The right to hold `bytes` without a place, if they are free now: for what is there already. Never waits, and overtakes
    /// those that do: they wait for a place too.
    pub fn try_acquire(self: &Arc<Self>, bytes: u64) -> Option<Permit> {
        let mut state = self.lock();
        state.bytes_free = state.bytes_free.checked_sub(bytes)?;
        state.bytes_kept += bytes;
        Some(Permit { budget: self.clone(), bytes, has_place: false })
    }

    /// The most that may be asked for.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Bytes granted now to those that have a place.
    pub fn bytes_held(&self) -> u64 {
        let state = self.lock();
        self.bytes_max.saturating_add(self.cache_bytes_max) - state.bytes_free - state.bytes_kept
    }

    /// Bytes of results that somebody holds now.
    pub fn bytes_kept(&self) -> u64 {
        self.lock().bytes_kept
    }

    /// How many wait now.
    pub fn queue_len(&self) -> usize {
        self.lock().queue.len()
    }

    /// How often [`Refused::Busy`] was said.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    fn enter(self: &Arc<Self>, bytes: u64) -> Turn {
        let mut state = self.lock();
        if state.queue.is_empty() && state.take(bytes) {
            return Turn::Granted(Permit::new(self, bytes));
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
            // A permit that meets no receiver is given back when dropped, which locks: so it is sent with the lock open.
            let Some(waiter) = self.lock().next(self.queue_max) else { return };
            let _ = waiter.granted.send(Permit::new(self, waiter.bytes));
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
    /// deadline, and serving them first would make everyone late.
    fn next(&mut self, queue_max: usize) -> Option<Waiter> {
        let newest = self.queue.len().checked_sub(1)?;
        let index = if self.queue.len() > queue_max / 2 { newest } else { 0 };
        let bytes = self.queue[index].bytes;
        if self.take(bytes) { self.queue.remove(index) } else { None }
    }
}

impl Permit {
    fn new(budget: &Arc<Budget>, bytes: u64) -> Permit {
        Permit { budget: budget.clone(), bytes, has_place: true }
    }

    /// A permit of its own for `bytes` of these, or for as many as are left: for one of several results.
    pub fn split(&mut self, bytes: u64) -> Permit {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        if self.has_place {
            self.budget.lock().bytes_kept += bytes;
        }
        Permit { budget: self.budget.clone(), bytes, has_place: false }
    }

    /// Takes `bytes` more if they are free now. Never waits: a caller that waits must hold nothing, or two could wait for each other.
    pub fn try_acquire_more(&mut self, bytes: u64) -> bool {
        let mut state = self.budget.lock();
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
        let mut state = self.budget.lock();
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

/// A place in the queue. A caller that stops waiting leaves it, and those after it may fit now.
struct Queued {
    budget: Arc<Budget>,
    ticket: u64,
}

impl Drop for Queued {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
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
