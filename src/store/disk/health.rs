//! [`Health`]: whether the disk backend accepts writes now, and whether its start-up sync has ended. Decides nothing
//! else.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::store::Error;

/// Whether a store accepts writes, and why not.
pub struct Health {
    read_only: OnceLock<String>,
    full_at: Mutex<Option<Instant>>,
    full_retry: Duration,
    start: watch::Sender<StartUp>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum StartUp {
    Syncing,
    Durable,
    Failed,
}

impl Health {
    /// A store that is starting. After the device was full, uploads are refused at once for the time `full_retry`.
    pub fn new(full_retry: Duration) -> Health {
        Health {
            read_only: OnceLock::new(),
            full_at: Mutex::new(None),
            full_retry,
            start: watch::Sender::new(StartUp::Syncing),
        }
    }

    /// Refuses all writes from now on. Returns whether they were accepted before.
    pub fn set_read_only(&self, reason: &str) -> bool {
        self.read_only.set(reason.to_owned()).is_ok()
    }

    /// The reason why writes are refused.
    pub fn read_only(&self) -> Option<&str> {
        self.read_only.get().map(String::as_str)
    }

    /// Notes that the device had no room for a write.
    pub fn set_full(&self) {
        *self.full_at.lock() = Some(Instant::now());
    }

    /// Whether the device had no room lately.
    pub fn is_full(&self) -> bool {
        self.full_at.lock().is_some_and(|at| at.elapsed() < self.full_retry)
    }

    /// Ends the start-up; `durable`: the sync succeeded, so every name in the folder will stay.
    pub fn set_started(&self, durable: bool) {
        self.start.send_replace(if durable { StartUp::Durable } else { StartUp::Failed });
    }

    /// Waits for the start-up sync. Before it, a power cut could take a name that is there.
    pub async fn started(&self) -> Result<(), Error> {
        match self.start.subscribe().wait_for(|start| *start != StartUp::Syncing).await.as_deref() {
            Ok(StartUp::Durable) => Ok(()),
            _ => Err(Error::Unavailable("the start-up sync failed".into())),
        }
    }

    /// Checks whether deletes and commits are accepted.
    pub fn writable(&self) -> Result<(), Error> {
        self.read_only().map_or(Ok(()), |_| Err(Error::ReadOnly))
    }

    /// Checks whether a new upload is accepted now.
    pub fn accepts_uploads(&self) -> Result<(), Error> {
        self.writable()?;
        if self.is_full() {
            return Err(Error::Full);
        }
        if *self.start.borrow() == StartUp::Durable {
            Ok(())
        } else {
            Err(Error::Unavailable("the start-up sync has not ended".into()))
        }
    }
}
