//! [`Watch`]: whether a render should go on. Polled between operations and, in long loops, per band of rows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::Error;

/// A deadline and a flag that is raised when nobody waits any more.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    deadline: Option<Instant>,
    cancelled: Arc<AtomicBool>,
}

impl Watch {
    /// Watches `deadline` and `cancelled`.
    pub fn new(deadline: Instant, cancelled: Arc<AtomicBool>) -> Watch {
        Watch { deadline: Some(deadline), cancelled }
    }

    /// Errs with [`Error::Cancelled`] or [`Error::Timeout`] when the render should stop.
    pub fn check(&self) -> Result<(), Error> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(Error::Cancelled);
        }
        match self.deadline {
            Some(deadline) if Instant::now() >= deadline => Err(Error::Timeout),
            _ => Ok(()),
        }
    }
}
