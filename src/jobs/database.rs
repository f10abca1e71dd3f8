//! [`Database`]: the SQLite file of jobs, on a thread of its own. It knows how a transaction becomes durable, and
//! nothing of what is written. The statements are functions over a connection in [`super::submission`],
//! [`super::queue`], [`super::status`], [`super::retention`], [`super::counters`] and [`super::webhook`].
//!
//! A file that cannot be used takes nothing else with it: every call is answered with [`Error::Away`], and [`Link`]
//! tries to mend that.

mod aside;
mod backup;
mod link;
mod schema;

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::Error;
use aside::Lost;
pub use backup::{DatabaseCopy, Restored};
use link::Link;
pub use link::{Fault, is_damage, is_failed_sync};

/// Calls that may wait for the thread.
pub(super) const CALLS_MAX: usize = 1_024;

type Call = Box<dyn FnOnce(&mut Link) + Send>;

/// A handle on the database. The thread ends, and the file is closed, when the last handle is dropped.
#[derive(Clone)]
pub struct Database {
    // Bounded by `permits`, except for callers that cannot wait.
    calls: mpsc::UnboundedSender<Call>,
    /// Bounds queued calls, including those whose caller has gone.
    permits: Arc<Semaphore>,
    fault: Arc<Mutex<Option<Fault>>>,
    lost: Lost,
}

impl Database {
    /// Opens the file, or makes it. Blocks. A malformed file is moved aside. A file that cannot be opened is tried again
    /// and again, and calls fail meanwhile; an error here means that there can be no thread.
    pub fn open(file: &Path) -> Result<Database, Error> {
        Database::over(Link::to_file(file))
    }

    /// Copies the database `from`, as it is at one moment, for the file `to`, also while a server uses it. Returns `None` if
    /// there is none. Blocks.
    pub fn copy(from: &Path, to: &Path) -> Result<Option<DatabaseCopy>, Error> {
        backup::copy(from, to)
    }

    /// Copies the file `from`, which [`Database::copy`] made, to `to`, unless there is a file. Blocks.
    pub fn restore(from: &Path, to: &Path) -> Result<Restored, Error> {
        backup::restore(from, to)
    }

    /// A database in memory, which ends with the process.
    pub fn in_memory() -> Result<Database, Error> {
        Database::over(Link::in_memory()?)
    }

    fn over(mut link: Link) -> Result<Database, Error> {
        let (calls, mut received) = mpsc::unbounded_channel::<Call>();
        let (fault, lost) = (link.fault(), link.lost());
        let run = move || {
            while let Some(call) = received.blocking_recv() {
                call(&mut link);
            }
        };
        std::thread::Builder::new()
            .name("jobs".to_owned())
            .spawn(run)
            .map_err(|error| Error::Database(error.to_string()))?;
        Ok(Database { calls, permits: Arc::new(Semaphore::new(CALLS_MAX)), fault, lost })
    }

    /// Why every call fails now, if it does.
    pub fn fault(&self) -> Option<Fault> {
        *self.fault.lock()
    }

    /// The names of malformed files beside this one, whose jobs do not run.
    pub fn lost(&self) -> Vec<String> {
        self.lost.names()
    }

    /// Runs `statements` on the thread, outside a transaction. They are skipped if the caller has gone before their
    /// turn.
    pub async fn read<T: Send + 'static>(
        &self,
        statements: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.call(true, |connection| statements(connection)).await
    }

    /// Runs `statements` in one transaction that survives the end of the process, and a power cut once a durable one
    /// has followed. Not for results: a power cut may only take back work, which is done again, and the notes about it.
    pub async fn write<T: Send + 'static>(
        &self,
        statements: impl FnOnce(&Transaction) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.call(false, |connection| transact(connection, "NORMAL", statements)).await
    }

    /// Runs `statements` in one transaction that survives a power cut, as does every transaction before it.
    pub async fn write_durably<T: Send + 'static>(
        &self,
        statements: impl FnOnce(&Transaction) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.call(false, |connection| transact(connection, "FULL", statements)).await
    }

    /// Runs `then` on the thread after all earlier calls, without waiting: for callers that cannot wait, such as a
    /// `drop`.
    pub fn afterwards(&self, then: impl FnOnce() + Send + 'static) {
        _ = self.calls.send(Box::new(|_| then()));
    }

    /// Queues `run` and waits for its answer. A call that `only_reads` is skipped if its caller has gone.
    async fn call<T: Send + 'static>(
        &self,
        only_reads: bool,
        run: impl FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let gone = || Error::Database("its thread is gone".to_owned());
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| gone())?;
        let (answer, answered) = oneshot::channel();
        let call = move |link: &mut Link| {
            let _permit = permit;
            if !(only_reads && answer.is_closed()) {
                _ = answer.send(link.run(run));
            }
        };
        self.calls.send(Box::new(call)).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

#[cfg(test)]
impl Database {
    pub(super) fn free_permits(&self) -> usize {
        self.permits.available_permits()
    }
}

fn transact<T>(
    connection: &mut Connection,
    synchronous: &str,
    statements: impl FnOnce(&Transaction) -> Result<T, Error>,
) -> Result<T, Error> {
    connection.pragma_update(None, "synchronous", synchronous)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let answer = statements(&transaction)?;
    transaction.commit()?;
    Ok(answer)
}

/// Bytes that the database holds, without free pages.
pub fn bytes(connection: &Connection) -> Result<u64, Error> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")? - pragma("freelist_count")?;
    Ok((pages * pragma("page_size")?).max(0) as u64)
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as i64)
}
