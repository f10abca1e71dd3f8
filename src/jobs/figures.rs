//! [`Counters`]: how many jobs stand where, which the ledger knows, and what this process has done of them.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;

use super::history::State;
use super::queue::Ended;
use super::{Error, Verdict};

/// Figures of jobs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Jobs of which nothing has run.
    pub queued: u64,
    /// Jobs of which something has run.
    pub running: u64,
    /// Jobs that have ended and are remembered.
    pub done: u64,
    /// Jobs that were cancelled and are remembered.
    pub cancelled: u64,
    /// Items that ended well, since the start.
    pub items_done: u64,
    /// Items that did not.
    pub items_failed: u64,
    /// Attempts of items that are made again.
    pub items_retried: u64,
    /// Webhooks that were called and answered well.
    pub webhooks_delivered: u64,
    /// Calls of webhooks that were not.
    pub webhooks_failed: u64,
}

/// What this process has done.
#[derive(Debug, Default)]
pub struct Figures {
    items_done: AtomicU64,
    items_failed: AtomicU64,
    items_retried: AtomicU64,
    webhooks_delivered: AtomicU64,
    webhooks_failed: AtomicU64,
}

impl Figures {
    /// Counts items whose results are written.
    pub fn ended(&self, items: &[Ended]) {
        let well = |item: &&Ended| item.outcomes.iter().all(|outcome| outcome.verdict == Verdict::Done);
        let done = items.iter().filter(well).count();
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

    /// These, beside what the ledger says.
    pub fn beside(&self, ledger: Counters) -> Counters {
        let now = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        Counters {
            items_done: now(&self.items_done),
            items_failed: now(&self.items_failed),
            items_retried: now(&self.items_retried),
            webhooks_delivered: now(&self.webhooks_delivered),
            webhooks_failed: now(&self.webhooks_failed),
            ..ledger
        }
    }
}

/// How many jobs stand where: one walk over an index of as many rows as there may be jobs.
pub fn by_state(ledger: &Connection) -> Result<Counters, Error> {
    let mut counters = Counters::default();
    let mut statement = ledger.prepare_cached("SELECT state, count(*) FROM job GROUP BY state")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let count = row.get::<_, i64>(1)?.max(0) as u64;
        match State::of(row.get(0)?) {
            State::Queued => counters.queued = count,
            State::Running => counters.running = count,
            State::Done => counters.done = count,
            State::Cancelled => counters.cancelled = count,
            State::Receiving | State::Forgotten => {}
        }
    }
    Ok(counters)
}
