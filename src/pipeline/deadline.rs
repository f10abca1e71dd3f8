//! [`Deadline`]: when a render must stop. Checked between operations and, in long loops, per band of rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

use super::Error;

/// Time that a part of a render may take, from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimeLimit {
    /// Elapsed time.
    Elapsed(Duration),
    /// Processor time of the thread.
    OfThread(Duration),
}

/// Time limit of a render, and a flag that is set when no caller waits for the result.
///
/// ```
/// use progimage::pipeline::{Deadline, Error};
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use std::time::{Duration, Instant};
/// let cancelled = Arc::new(AtomicBool::new(false));
/// let deadline = Deadline::new(Instant::now() + Duration::from_secs(60), cancelled.clone());
/// assert_eq!(deadline.check(), Ok(()));
/// cancelled.store(true, Ordering::Relaxed);
/// assert_eq!(deadline.check(), Err(Error::Cancelled));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Deadline {
    end: Option<End>,
    cancelled: Arc<AtomicBool>,
}

#[derive(Clone, Copy, Debug)]
enum End {
    At(Instant),
    /// Limit on the processor time of the current thread.
    OfThread {
        /// Earliest time at which the limit can be reached, since processor time never exceeds elapsed time. Reading
        /// this clock needs no system call, and a render checks hundreds of times.
        not_before: Instant,
        end: Duration,
    },
}

impl Deadline {
    /// A limit at the time `end`, or earlier when `cancelled` is set.
    pub fn new(end: Instant, cancelled: Arc<AtomicBool>) -> Deadline {
        Deadline { end: Some(End::At(end)), cancelled }
    }

    /// A limit that begins now, on this thread.
    pub fn within(limit: TimeLimit, cancelled: Arc<AtomicBool>) -> Deadline {
        match limit {
            TimeLimit::Elapsed(time) => Deadline::new(Instant::now() + time, cancelled),
            TimeLimit::OfThread(time) => Deadline::of_thread(time, cancelled),
        }
    }

    /// A limit of `time` on the processor time of the current thread, which excludes waiting for a processor. Must be
    /// checked on this thread only.
    pub fn of_thread(time: Duration, cancelled: Arc<AtomicBool>) -> Deadline {
        let (not_before, end) = (Instant::now() + time, thread_time() + time);
        Deadline { end: Some(End::OfThread { not_before, end }), cancelled }
    }

    /// Errs with [`Error::Cancelled`] or [`Error::Timeout`] if the render must stop.
    pub fn check(&self) -> Result<(), Error> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        let over = match self.end {
            Some(End::At(end)) => Instant::now() >= end,
            Some(End::OfThread { not_before, end }) => Instant::now() >= not_before && thread_time() >= end,
            None => false,
        };
        if over { Err(Error::Timeout) } else { Ok(()) }
    }
}

/// Processor time used by the current thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_waits_uses_no_time() {
        let deadline = Deadline::of_thread(Duration::from_millis(20), Arc::default());
        // Time passes in another thread while this one waits.
        let passed = std::thread::spawn(|| {
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(40) {}
        });
        passed.join().expect("it only waits");
        assert_eq!(deadline.check(), Ok(()));
        while deadline.check().is_ok() {}
        assert_eq!(deadline.check(), Err(Error::Timeout));
    }
}
