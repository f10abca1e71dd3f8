//! Jobs: many items at once, accepted as a whole and run in the background. Each item ends exactly once in the results,
//! whatever happens to the process. Knows no HTTP and nothing of what a line means: a [`JobExecutor`] runs the items, which is
//! `http::routes::jobs::executor`.
//!
//! ```text
//! receive -> chunks of items in the database -> accepted (durable) -> scheduler takes chunks -> JobExecutor::run -> results
//! ```
//!
//! | File | Holds |
//! |---|---|
//! | `database`, `chunk` | the SQLite file and its thread; how items are packed into rows |
//! | `submission`, `submission_slots` | a job that is being received, and how many may be |
//! | `queue`, `selection` | what is to be run: chunks, and parts of the store |
//! | `status`, `counters` | what clients see of jobs: states, results, numbers |
//! | `retention` | which jobs are forgotten, and when |
//! | `executor`, `shared` | the interface that runs an item; the state that the tasks below share |
//! | `runner`, `scheduler`, `webhook` | run a chunk; choose the next; announce the end of a job |
//!
//! **Exactly once.** A chunk stays in the database until everything in it has ended. Results are written as items end,
//! each item's in one transaction, under a unique (job, item, part, output), and they are durable before a client sees
//! them. After a crash, items without a result run again, so an item may run twice but has one result. Running chunks are
//! tracked only in memory: after a restart no chunk is locked.
//!
//! **Why not a queue crate.** apalis 1.0 with apalis-sqlite 1.0 was tried by its own statements. After a kill, a worker
//! of the same name is refused for the time of a heartbeat, and its task counts that as an attempt. `vacuum_before`
//! compares a number with a text, and so removes tasks that have just ended. Nothing cancels the queued tasks of one
//! job, and an acknowledgement cannot share a transaction with our results. It adds 43 crates; rusqlite adds 7, one of
//! which is SQLite (public domain), built in. Four tables are enough.
//!
//! For a `memory:` store the database is in memory, too: jobs live as long as the process.

mod chunk;
mod counters;
mod database;
mod executor;
mod queue;
mod retention;
mod runner;
mod scheduler;
mod selection;
mod shared;
mod status;
mod submission;
mod submission_slots;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::digest::Digest;
use crate::fetch::{self, HostPattern, WebhookClient};
use crate::store::{self, Store};
pub use counters::Counters;
pub use database::{Database, DatabaseCopy, Fault, Restored};
pub use executor::{JobExecutor, Outcome, Place, Verdict, WaitReason};
pub use selection::{Mistake, Selection, Wrong};
use shared::Shared;
pub use status::{Page, State, Status, WebhookStatus};
pub use submission::{Accepted, Submission};
pub use webhook::Secret;

/// Settings of jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Items of all jobs that run at once.
    pub items_at_once: usize,
    /// Attempts per item when the failure is temporary. While the store is away, full or read-only, none is counted.
    pub attempts_max: u32,
    /// Wait before the second attempt of an item; doubled before each further one, up to [`RETRY_MS_MAX`].
    pub retry_ms: u64,
    /// Lines of one job.
    pub items_max: u64,
    /// Unfinished jobs of each [`JobKind`].
    pub unfinished_max: usize,
    /// Jobs of each [`JobKind`] that are being received at once.
    pub receiving_max: usize,
    /// Ended jobs that are remembered. Prerender jobs, and jobs whose webhook is still due, are counted apart, up to
    /// this number each. The oldest are forgotten first.
    pub ended_max: usize,
    /// How long an ended job is remembered; a little longer while its webhook is due.
    pub keep_s: u64,
    /// Bytes of the database past which no line is accepted. From three quarters on, ended jobs are forgotten. Results
    /// of accepted jobs are always written.
    pub bytes_max: u64,
    /// Hosts that webhooks may call; none: webhooks are off.
    pub webhook_allow: Vec<HostPattern>,
    /// The secret that signs webhooks; required if there are hosts.
    pub webhook_secret: Option<Secret>,
}

/// The longest wait before a further attempt, before jitter.
pub const RETRY_MS_MAX: u64 = 300_000;

/// The furthest ahead that anything is planned: [`RETRY_MS_MAX`] with its jitter. A time beyond it was written while the
/// clock was wrong.
const AHEAD_MS_MAX: i64 = (RETRY_MS_MAX / 2 * 3) as i64;

/// The longest that a stop waits for the database.
const STOP_WAIT: Duration = Duration::from_secs(1);

impl Default for Options {
    fn default() -> Options {
        Options {
            items_at_once: 2 * std::thread::available_parallelism().map_or(1, usize::from),
            attempts_max: 5,
            retry_ms: 1_000,
            items_max: 10_000_000,
            unfinished_max: 1_000,
            receiving_max: 16,
            ended_max: 1_000,
            keep_s: 7 * 86_400,
            bytes_max: 8 << 30,
            webhook_allow: Vec::new(),
            webhook_secret: None,
        }
    }
}

/// Why a job could not be received, found or written down.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No job has this id, or it was forgotten.
    #[error("no such job")]
    NotFound,
    /// Too many jobs are unfinished, or are being received.
    #[error("too many jobs")]
    Busy,
    /// More lines than allowed.
    #[error("more than {max} items")]
    TooManyItems {
        /// The bound.
        max: u64,
    },
    /// The database has no room for more lines.
    #[error("the database holds {max} bytes")]
    Full {
        /// The bound.
        max: u64,
    },
    /// The idempotency key belongs to a job with other lines.
    #[error("the idempotency key names another job")]
    KeyReused,
    /// These lines, or this key, are a job that was sent with fewer rights.
    #[error("the job was sent with fewer rights")]
    OtherRights,
    /// These lines, or this key, are a job that was sent with another webhook, or none.
    #[error("the job was sent with another webhook")]
    OtherWebhook,
    /// The failed items of the job are not kept: it was cancelled, or version 1 of the tables ran it.
    #[error("the failed items are not kept")]
    NotKept,
    /// The job has ended meanwhile, so nothing more is written.
    #[error("the job has ended")]
    Ended,
    /// The webhook must not, or cannot, be called.
    #[error(transparent)]
    Webhook(#[from] fetch::Error),
    /// A folder of the store could not be read, so a selection lacks its images.
    #[error("{folder} cannot be read")]
    Unreadable {
        /// The path in the store's folder.
        folder: String,
    },
    /// The store could not list a selection.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The database failed; for the log.
    #[error("jobs database: {0}")]
    Database(String),
    /// A sync of the database failed, so it is unknown what is durable; for the log.
    #[error("jobs database: a sync failed: {0}")]
    Unsynced(String),
    /// The database cannot be used at all.
    #[error("the jobs database cannot be used: {0}")]
    Away(Fault),
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        match error {
            rusqlite::Error::QueryReturnedNoRows => Error::NotFound,
            error if database::is_failed_sync(&error) => Error::Unsynced(error.to_string()),
            error if database::is_damage(&error) => Error::Away(Fault::Damaged),
            error => Error::Database(error.to_string()),
        }
    }
}

/// The wait after attempt number `attempts` + 1, doubled each time. `seed` varies it by up to a half, so that items
/// that failed together are not tried together again.
fn backoff_ms(first_ms: u64, attempts: u32, seed: i64) -> i64 {
    let base = first_ms.saturating_mul(1 << attempts.min(20)).min(RETRY_MS_MAX);
    let percent = 50 + u64::from(blake3::hash(&seed.to_le_bytes()).as_bytes()[0]) * 100 / 255;
    (base * percent / 100) as i64
}

/// Why a job exists. Jobs of one kind do not use up the bounds of the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JobKind {
    /// A client submitted it. The same lines, or the same key, find it again.
    #[default]
    Submitted,
    /// It renders presets of an upload. It has no key, and is never found again by its lines.
    Prerender,
}

/// The sender of a job, and its wishes.
#[derive(Clone, Debug, Default)]
pub struct Sender<'a> {
    /// The idempotency key.
    pub key: Option<&'a str>,
    /// The name of the sender's API key; empty without one. Jobs of different owners are never the same job.
    pub owner: &'a str,
    /// Rights for [`JobExecutor::run`], a bit each.
    pub rights: u32,
    /// The URL to call when the job has ended. A repeated submission without one finds the job whatever its webhook.
    pub webhook: Option<String>,
    /// Why the job exists.
    pub kind: JobKind,
}

/// The jobs of one database. A drop stops the work where it stands. It goes on when the database is opened again.
///
/// # Concurrency
/// All methods may be called from any task at any time.
pub struct Jobs {
    shared: Arc<Shared>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Jobs {
    /// Starts to run the jobs of the database. Must be called on a tokio runtime.
    pub fn start(
        database: Database,
        executor: Arc<dyn JobExecutor>,
        store: Arc<dyn Store>,
        webhooks: WebhookClient,
        options: Options,
    ) -> Jobs {
        let shared = Arc::new(Shared::new(database, executor, store, webhooks, options));
        let mut tasks =
            vec![tokio::spawn(scheduler::run(shared.clone())), tokio::spawn(scheduler::sweep(shared.clone()))];
        if let Some(secret) = shared.options.webhook_secret.clone() {
            tasks.push(tokio::spawn(webhook::run(shared.clone(), secret)));
        }
        Jobs { shared, tasks: Mutex::new(tasks) }
    }

    /// Stops the work where it stands. Calls after this are still answered, and new jobs received. All of it goes on
    /// when the database is opened again.
    pub async fn stop(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.iter().for_each(JoinHandle::abort);
        for task in tasks {
            // It was aborted, or it panicked, which was logged then.
            _ = task.await;
        }
        let left = self.shared.taken().chunks;
        let leave = self.shared.database.write(move |database| queue::leave(database, &left));
        // A backup may have the file locked. It must not use up the time that requests under way have after this.
        let written =
            timeout(STOP_WAIT, leave).await.unwrap_or_else(|_| Err(Error::Database("it is in use".to_owned())));
        if let Err(error) = written {
            tracing::warn!(%error, "could not record a clean stop; running items may be retried one by one after restart");
        }
    }

    /// Begins to receive a job: the caller pushes its lines, then accepts it as a whole. Dropped before, it leaves
    /// nothing.
    pub fn receive(&self, sender: Sender) -> Result<Submission, Error> {
        Submission::new(self.shared.clone(), sender)
    }

    /// The status of a job.
    pub async fn status(&self, id: &Digest) -> Result<Status, Error> {
        let id = *id;
        let mut status = self.shared.database.read(move |database| status::status(database, &id)).await?;
        self.shared.complete(&mut status);
        Ok(status)
    }

    /// The youngest jobs, at most `limit`, youngest first.
    pub async fn list(&self, limit: usize) -> Result<Vec<Status>, Error> {
        let mut list = self.shared.database.read(move |database| status::list(database, limit)).await?;
        list.iter_mut().for_each(|status| self.shared.complete(status));
        Ok(list)
    }

    /// Results in the order in which outputs ended, after the cursor `after` (0: from the first), at most `limit`.
    pub async fn results(&self, id: &Digest, after: u64, limit: usize) -> Result<Page, Error> {
        let id = *id;
        let read = move |database: &rusqlite::Connection| status::results(database, &id, after, limit);
        let mut page = self.shared.database.read(read).await?;
        self.shared.complete(&mut page.status);
        Ok(page)
    }

    /// The status of this very job, not of a later one with the same id.
    pub async fn status_now(&self, of: &Status) -> Result<Status, Error> {
        let now = self.status(&of.id).await?;
        if now.number == of.number { Ok(now) } else { Err(Error::NotFound) }
    }

    /// The results after a page of this very job, not of a later one with the same id.
    pub async fn page_after(&self, page: &Page, limit: usize) -> Result<Page, Error> {
        let next = self.results(&page.status.id, page.after, limit).await?;
        if next.status.number == page.status.number { Ok(next) } else { Err(Error::NotFound) }
    }

    /// Ends a job: running items are aborted, and results stay. Returns whether it had not ended before.
    pub async fn cancel(&self, id: &Digest) -> Result<bool, Error> {
        let id = *id;
        let (number, ended) = self.shared.database.write_durably(move |database| queue::cancel(database, &id)).await?;
        self.shared.abort(number);
        self.shared.changed();
        self.shared.ended(number);
        Ok(ended)
    }

    /// Runs the failed items of a job that is done once more. Returns whether there are any.
    pub async fn retry(&self, id: &Digest) -> Result<bool, Error> {
        let (id, options) = (*id, self.shared.options.clone());
        let retry = move |database: &rusqlite::Transaction| queue::retry::retry(database, &id, &options);
        let runs = self.shared.database.write_durably(retry).await?;
        self.shared.wake.notify_one();
        self.shared.changed();
        Ok(runs)
    }

    /// The numbers of jobs by state, and of events since the start.
    pub async fn counters(&self) -> Result<Counters, Error> {
        let by_state = self.shared.database.read(counters::by_state).await?;
        let waiting = WaitReason::ALL.map(|reason| self.shared.waits.count(reason));
        Ok(Counters { waiting, ..self.shared.counters.with(by_state) })
    }

    /// Why no job can be read or accepted now, if that is so.
    pub fn fault(&self) -> Option<Fault> {
        self.shared.database.fault()
    }

    /// The names of malformed databases that were moved aside, whose jobs do not run, as long as their files are there.
    pub fn lost(&self) -> Vec<String> {
        self.shared.database.lost()
    }

    /// A listener for the jobs that end from now on.
    pub fn ends(&self) -> Ends {
        Ends(self.shared.ends())
    }

    /// A receiver that changes whenever something about any job has changed.
    #[cfg(test)]
    fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.shared.changes()
    }
}

/// A listener for ends of jobs, made by [`Jobs::ends`].
pub struct Ends(broadcast::Receiver<i64>);

impl Ends {
    /// Waits until a job has ended. Also returns when this listener was too slow to hear of every end: the job may be
    /// one of those.
    pub async fn wait(&mut self, job: &Status) {
        while self.0.recv().await.is_ok_and(|ended| ended != job.number) {}
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.tasks.lock().iter().for_each(JoinHandle::abort);
    }
}

#[cfg(test)]
mod tests;
