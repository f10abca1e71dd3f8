//! [`Health`]: whether the disk backend accepts writes now, and whether its start-up sync has ended. Decides nothing else.

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::store::Error;

/// The state of a store.
pub struct Health {
    read_only: OnceLock<String>,
    full_at: Mutex<Option<Instant>>,
    full_retry: Duration,
    start: watch::Sender<Start>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    Syncing,
    Durable,
    Failed,
}

impl Health {
    /// Starting, writable afterwards. After a full device uploads are refused beforehand for `full_retry`.
    pub fn new(full_retry: Duration) -> Health {
        Health {
            read_only: OnceLock::new(),
            full_at: Mutex::new(None),
            full_retry,
            start: watch::Sender::new(Start::Syncing),
        }
    }

    /// No more writes, ever; whether this was news.
    pub fn set_read_only(&self, reason: &str) -> bool {
        self.read_only.set(reason.to_owned()).is_ok()
    }

    /// Why there are no more writes.
    pub fn read_only(&self) -> Option<&str> {
        self.read_only.get().map(String::as_str)
    }

    /// The device had no room for a write just now.
    pub fn set_full(&self) {
        *self.full_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// The start-up sync has ended; `durable`: names that are there will stay.
    pub fn set_started(&self, durable: bool) {
        self.start.send_replace(if durable { Start::Durable } else { Start::Failed });
    }

    /// Waits for the start-up sync: before it, a name may be there that a power cut would take.
    pub async fn started(&self) -> Result<(), Error> {
        match self.start.subscribe().wait_for(|start| *start != Start::Syncing).await.as_deref() {
            Ok(Start::Durable) => Ok(()),
            _ => Err(Error::Unavailable("the start-up sync failed".into())),
        }
    }

    /// Whether deletes and commits may go on.
    pub fn writable(&self) -> Result<(), Error> {
        self.read_only().map_or(Ok(()), |_| Err(Error::ReadOnly))
    }

    /// Whether an upload would be accepted now.
    pub fn accepts_uploads(&self) -> Result<(), Error> {
        self.writable()?;
        if self.full_at.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() < self.full_retry)
        {
            return Err(Error::Full);
        }
        if *self.start.borrow() == Start::Durable {
            Ok(())
        } else {
            Err(Error::Unavailable("the start-up sync has not ended".into()))
        }
    }
}
