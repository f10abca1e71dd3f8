//! [`SubmissionSlots`]: bounds the jobs that this process receives at this moment, and knows their rows. An unaccepted
//! row without a slot is left over, and the sweeper removes it.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::JobKind;
use super::database::now_ms;

/// Slots for jobs that are being received; clones are handles on the same slots.
#[derive(Clone)]
pub struct SubmissionSlots {
    submitted: Arc<Semaphore>,
    /// Apart from the others: these last as long as their upload, and must not keep a slot from jobs that are
    /// submitted.
    prerender: Arc<Semaphore>,
    marks: Arc<Mutex<Marks>>,
}

struct Marks {
    next: i64,
    /// Marks of the jobs that are being received.
    live: HashSet<i64>,
}

/// The slot of one job that is being received. It is dropped once nothing more is asked of the database for this job.
pub struct Slot {
    /// Identifies the job's row within this process.
    pub mark: i64,
    marks: Arc<Mutex<Marks>>,
    _permit: OwnedSemaphorePermit,
}

impl SubmissionSlots {
    /// `max` slots of each kind.
    pub fn new(max: usize) -> SubmissionSlots {
        let permits = || Arc::new(Semaphore::new(max));
        // Rows that earlier processes left have lower marks, unless the clock was turned back.
        let marks = Marks { next: now_ms(), live: HashSet::new() };
        SubmissionSlots { submitted: permits(), prerender: permits(), marks: Arc::new(Mutex::new(marks)) }
    }

    /// Takes a slot, if one is free.
    pub fn try_acquire(&self, kind: JobKind) -> Option<Slot> {
        let permits = match kind {
            JobKind::Submitted => &self.submitted,
            JobKind::Prerender => &self.prerender,
        };
        let permit = Arc::clone(permits).try_acquire_owned().ok()?;
        let mut marks = self.marks.lock();
        let mark = marks.next;
        marks.next += 1;
        marks.live.insert(mark);
        Some(Slot { mark, marks: self.marks.clone(), _permit: permit })
    }

    /// Whether the job with this mark is being received now.
    pub fn is_received(&self, mark: i64) -> bool {
        self.marks.lock().live.contains(&mark)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.marks.lock().live.remove(&self.mark);
    }
}
