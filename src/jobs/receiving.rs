//! [`Receiving`]: which jobs this process receives at this moment, and how many may be. The rows of all others that were never
//! accepted are nobody's.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::ledger::now_ms;

/// See the module.
#[derive(Clone)]
pub struct Receiving {
    places: Arc<Semaphore>,
    /// Of jobs beside something: they last as long as that does, and keep no place from those that are sent.
    beside: Arc<Semaphore>,
    marks: Arc<Mutex<Marks>>,
}

struct Marks {
    next: i64,
    /// Of those that are received.
    now: HashSet<i64>,
}

/// The place of one job that is received; dropped once nothing more is asked of the ledger for it.
pub struct Seat {
    /// What its row is known by, to this process.
    pub mark: i64,
    receiving: Receiving,
    _place: OwnedSemaphorePermit,
}

impl Receiving {
    /// At most so many of each kind.
    pub fn new(max: usize) -> Receiving {
        let places = || Arc::new(Semaphore::new(max));
        // What earlier processes left has lower marks, if the clock goes on.
        let marks = Marks { next: now_ms(), now: HashSet::new() };
        Receiving { places: places(), beside: places(), marks: Arc::new(Mutex::new(marks)) }
    }

    /// Takes a place, if there is one.
    pub fn begin(&self, beside: bool) -> Option<Seat> {
        let places = if beside { &self.beside } else { &self.places };
        let place = Arc::clone(places).try_acquire_owned().ok()?;
        let mut marks = self.marks();
        let mark = marks.next;
        marks.next += 1;
        marks.now.insert(mark);
        Some(Seat { mark, receiving: self.clone(), _place: place })
    }

    /// Whether a job of this mark is received now.
    pub fn is_received(&self, mark: i64) -> bool {
        self.marks().now.contains(&mark)
    }

    fn marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.receiving.marks().now.remove(&self.mark);
    }
}
