//! [`Watch`]: whether a render should go on. Polled between operations and, in long loops, per band of rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::Error;

/// The end of a render's time and a flag that is raised when nobody waits any more.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    end: Option<End>,
    cancelled: Arc<AtomicBool>,
}

#[derive(Clone, Copy, Debug)]
enum End {
    At(Instant),
    /// By the clock that runs while this thread has a processor.
    OfThread {
        /// It cannot be over before: a thread uses no more than the time that passes. Asking this clock is no system call, and a
        /// render asks hundreds of times.
        not_before: Instant,
        end: Duration,
    },
}

impl Watch {
    /// Watches `deadline` and `cancelled`.
    pub fn new(deadline: Instant, cancelled: Arc<AtomicBool>) -> Watch {
        Watch { end: Some(End::At(deadline)), cancelled }
    }

    /// Lets a render on the present thread use `time` of a processor, however long it has to wait for one. To be asked on this
    /// thread only.
    pub fn of_thread(time: Duration, cancelled: Arc<AtomicBool>) -> Watch {
        let (not_before, end) = (Instant::now() + time, thread_time() + time);
        Watch { end: Some(End::OfThread { not_before, end }), cancelled }
    }

    /// Errs with [`Error::Cancelled`] or [`Error::Timeout`] when the render should stop.
    pub fn check(&self) -> Result<(), Error> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        let over = match self.end {
            Some(End::At(deadline)) => Instant::now() >= deadline,
            Some(End::OfThread { not_before, end }) => Instant::now() >= not_before && thread_time() >= end,
            None => false,
        };
        if over { Err(Error::Timeout) } else { Ok(()) }
    }
}

/// What the present thread has used of a processor.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_waits_uses_no_time() {
        let watch = Watch::of_thread(Duration::from_millis(20), Arc::default());
        // Time passes in another thread: this one waits.
        let passed = std::thread::spawn(|| {
            let start = Instant::now();
            while start.elapsed() < Duration::from_millis(40) {}
        });
        passed.join().expect("it only waits");
        assert_eq!(watch.check(), Ok(()));
        while watch.check().is_ok() {}
        assert_eq!(watch.check(), Err(Error::Timeout));
    }
}
