//! [`Counters`]: the numbers of jobs by state, from the database, and of events since the start, from this process.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;

use super::Error;
use super::queue::Ended;
use super::status::State;

/// Numbers for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Jobs of which no item has run.
    pub queued: u64,
    /// Jobs of which some item has run.
    pub running: u64,
    /// Jobs that have ended and are remembered.
    pub done: u64,
    /// Jobs that were cancelled and are remembered.
    pub cancelled: u64,
    /// Unfinished jobs that wait for the store, in the order of [`WaitReason::ALL`](super::WaitReason::ALL). They are
    /// counted as queued or running, too.
    pub waiting: [u64; 3],
    /// Items that succeeded, since the start.
    pub items_done: u64,
    /// Items that failed, since the start.
    pub items_failed: u64,
    /// Attempts that were put off for another one, since the start.
    pub items_retried: u64,
    /// Webhook calls that succeeded, since the start.
    pub webhooks_delivered: u64,
    /// Webhook calls that failed, since the start.
    pub webhooks_failed: u64,
}

/// Events in this process.
#[derive(Debug, Default)]
pub struct LiveCounters {
    items_done: AtomicU64,
    items_failed: AtomicU64,
    items_retried: AtomicU64,
    webhooks_delivered: AtomicU64,
    webhooks_failed: AtomicU64,
}

impl LiveCounters {
    /// Counts items whose results are written.
    pub fn ended(&self, items: &[Ended]) {
        let done = items.iter().filter(|item| item.is_well()).count();
        self.items_done.fetch_add(done as u64, Ordering::Relaxed);
        self.items_failed.fetch_add((items.len() - done) as u64, Ordering::Relaxed);
    }

    /// Counts items that are tried again.
    pub fn retried(&self, items: usize) {
        self.items_retried.fetch_add(items as u64, Ordering::Relaxed);
    }

    /// Counts a call of a webhook.
    pub fn called(&self, well: bool) {
        if well { &self.webhooks_delivered } else { &self.webhooks_failed }.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds the events to the numbers `by_state` of the database.
    pub fn with(&self, by_state: Counters) -> Counters {
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            items_done: now(&self.items_done),
            items_failed: now(&self.items_failed),
            items_retried: now(&self.items_retried),
            webhooks_delivered: now(&self.webhooks_delivered),
            webhooks_failed: now(&self.webhooks_failed),
            ..by_state
        }
    }
}

/// Counts jobs by state. Walks an index that has one entry for each job.
pub fn by_state(database: &Connection) -> Result<Counters, Error> {
    let mut counters = Counters::default();
    let mut statement = database.prepare_cached("SELECT state, count(*) FROM job GROUP BY state")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let count = row.get::<_, i64>(1)?.max(0) as u64;
        match State::of(row.get(0)?) {
            State::Queued => counters.queued = count,
            State::Running => counters.running = count,
            State::Done => counters.done = count,
            State::Cancelled => counters.cancelled = count,
            State::Receiving | State::Forgotten | State::Waiting => {}
        }
    }
    Ok(counters)
}
