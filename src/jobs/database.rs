//! [`Database`]: the SQLite file of jobs, on a thread of its own. It knows how a transaction becomes durable, and
//! nothing of what is written. The statements are functions over a connection in [`super::submission`],
//! [`super::queue`], [`super::status`], [`super::retention`], [`super::counters`] and [`super::webhook`].

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::Error;

/// How long a statement waits for another process that has the file open, say a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// The size to which the write-ahead log is cut back after a checkpoint.
const LOG_BYTES_MAX: i64 = 64 << 20;

/// The version of the tables. A file of a later version is refused.
const VERSION: i64 = 1;

/// The tables.
///
/// - `job`: one row for each. `id` is null until the job is accepted. `body` is the digest of its lines, null for a
///   prerender job, and the mark of its slot until the job is accepted. `webhook_attempts` counts calls that failed.
/// - `chunk`: items that are still to be run.
/// - `selection`: parts of the store that are still to be listed for a line.
/// - `result`: the line of each output, in the order in which outputs ended.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS job (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id BLOB UNIQUE,
        body BLOB,
        rights INTEGER NOT NULL DEFAULT 0,
        state INTEGER NOT NULL,
        created_ms INTEGER NOT NULL,
        started_ms INTEGER,
        ended_ms INTEGER,
        items INTEGER NOT NULL DEFAULT 0,
        done INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0,
        webhook TEXT,
        webhook_at_ms INTEGER,
        webhook_attempts INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX IF NOT EXISTS job_by_state ON job (state, number);
    CREATE INDEX IF NOT EXISTS job_by_webhook ON job (webhook_at_ms) WHERE webhook_at_ms IS NOT NULL;
    CREATE TABLE IF NOT EXISTS chunk (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        job INTEGER NOT NULL REFERENCES job (number),
        run_at_ms INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        starts INTEGER NOT NULL DEFAULT 0,
        items BLOB NOT NULL
    );
    CREATE INDEX IF NOT EXISTS chunk_by_job ON chunk (job, run_at_ms, number);
    CREATE TABLE IF NOT EXISTS selection (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        job INTEGER NOT NULL REFERENCES job (number),
        item INTEGER NOT NULL,
        whole INTEGER NOT NULL,
        after BLOB,
        left_over INTEGER,
        parts INTEGER NOT NULL DEFAULT 0,
        line BLOB NOT NULL
    );
    CREATE INDEX IF NOT EXISTS selection_by_job ON selection (job, whole, number);
    CREATE TABLE IF NOT EXISTS result (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        job INTEGER NOT NULL REFERENCES job (number),
        item INTEGER NOT NULL,
        part INTEGER NOT NULL,
        output INTEGER NOT NULL,
        line BLOB NOT NULL,
        UNIQUE (job, item, part, output)
    );
    CREATE INDEX IF NOT EXISTS result_by_job ON result (job, number);
";

/// Calls that may wait for the thread.
pub(super) const CALLS_MAX: usize = 1_024;

type Call = Box<dyn FnOnce(&mut Connection) + Send>;

/// A handle on the database. The thread ends, and the file is closed, when the last handle is dropped.
#[derive(Clone)]
pub struct Database {
    // Bounded by `permits`, except for callers that cannot wait.
    calls: mpsc::UnboundedSender<Call>,
    /// Bounds queued calls, including those whose caller has gone.
    permits: Arc<Semaphore>,
}

impl Database {
    /// Opens the file, or makes it. Blocks.
    pub fn open(file: &Path) -> Result<Database, Error> {
        Database::over(Connection::open(file)?)
    }

    /// A database in memory, which ends with the process.
    pub fn in_memory() -> Result<Database, Error> {
        Database::over(Connection::open_in_memory()?)
    }

    fn over(mut connection: Connection) -> Result<Database, Error> {
        set_up(&connection)?;
        let (calls, mut received) = mpsc::unbounded_channel::<Call>();
        let run = move || {
            while let Some(call) = received.blocking_recv() {
                call(&mut connection);
            }
        };
        std::thread::Builder::new()
            .name("jobs".to_owned())
            .spawn(run)
            .map_err(|error| Error::Database(error.to_string()))?;
        Ok(Database { calls, permits: Arc::new(Semaphore::new(CALLS_MAX)) })
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
        let call = move |connection: &mut Connection| {
            let _permit = permit;
            if !(only_reads && answer.is_closed()) {
                _ = answer.send(run(connection));
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

fn set_up(connection: &Connection) -> Result<(), Error> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version > VERSION {
        return Err(Error::Database(format!("version {version} is unknown; this program knows version {VERSION}")));
    }
    // An up-to-date file is not written to, so a start syncs nothing.
    let new = version < VERSION;
    if new {
        // Before the first table is made: it is a property of the file.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_MAX)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    if new {
        connection.execute_batch(SCHEMA)?;
        connection.pragma_update(None, "user_version", VERSION)?;
    }
    Ok(())
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
