//! [`Clock`]: the time that a render has.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crate::pipeline::{Deadline, TimeLimit};

/// The time of one render, from its beginning on a thread.
///
/// Single work has one limit on elapsed time for the whole render. Bulk work has a limit on processor time for the decode
/// and for each output, since its thread may wait long for a processor.
pub struct Clock {
    /// When single work must be done.
    pub(super) end: Option<Instant>,
    pub(super) timeout: Duration,
    pub(super) cancelled: Arc<AtomicBool>,
}

impl Clock {
    /// The limit of the next part.
    pub fn limit(&self) -> TimeLimit {
        match self.end {
            Some(end) => TimeLimit::Elapsed(end.saturating_duration_since(Instant::now())),
            None => TimeLimit::OfThread(self.timeout),
        }
    }

    /// The deadline of the next part, on this thread.
    pub fn deadline(&self) -> Deadline {
        Deadline::within(self.limit(), self.cancelled.clone())
    }

    /// Set when no caller waits any more.
    pub fn cancelled(&self) -> &AtomicBool {
        &self.cancelled
    }
}
