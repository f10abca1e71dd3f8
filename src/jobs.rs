//! Jobs: many items at once, accepted whole, run in the background, each ending exactly once in the results, whatever happens to
//! the process. Knows no HTTP and nothing of what an item says: [`Work`] runs one.
//!
//! ```text
//! receive -> chunks of items in the ledger -> accepted (durable) -> scheduler takes chunks -> Work::run -> results
//! ```
//!
//! **Exactly once.** A chunk stays in the ledger until everything in it has ended; results are written as items end, each item's
//! in one transaction, under a unique (job, item, part, output), and are durable before anybody is told of them. A process that dies
//! runs again what has no result yet, so an item may run twice and be told once. What a process has taken is known to it alone: a new
//! one finds nothing to wait for.
//!
//! **Why not a queue crate.** apalis 1.0 with apalis-sqlite 1.0 was tried by its own statements: a worker of the same name is
//! refused for a heartbeat after a kill, its task counts that as an attempt, `vacuum_before` compares a number with a text and so removes
//! what ended a moment ago, nothing cancels the queued tasks of one job, and an acknowledgement cannot share a transaction with our results. It adds
//! 43 crates; rusqlite adds 7, of which SQLite (public domain) is one, built in. What is needed is four tables.
//!
//! For a `memory:` store the ledger is in memory too: jobs live as long as the process.

mod figures;
mod history;
mod intake;
mod ledger;
mod queue;
mod receiving;
mod runner;
mod scheduler;
mod selection;
mod webhook;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::digest::Digest;
use crate::fetch::{self, Hooks, HostPattern};
use crate::store::{self, Store};
pub use figures::Counters;
pub use history::{Delivery, Page, State, Status};
pub use intake::{Accepted, Intake};
pub use ledger::Ledger;
use scheduler::Shared;
pub use selection::{Mistake, Selection, Wrong};
pub use webhook::Secret;

/// Settings of jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Items that run at once, of all jobs.
    pub items_at_once: usize,
    /// How often an item is tried that fails for a reason that may pass. While the store is away, nothing is tried again.
    pub attempts_max: u32,
    /// How long an item waits before its second attempt; twice as long before each further one, up to [`RETRY_MS_MAX`].
    pub retry_ms: u64,
    /// Lines of one job.
    pub items_max: u64,
    /// Jobs that have not ended: of those that were sent, and as many again of those [beside](Sender::beside) something.
    pub unfinished_max: usize,
    /// Jobs that are being received at once, and as many again beside something.
    pub receiving_max: usize,
    /// Jobs that have ended and are remembered, as many again of those beside something, and as many again whose webhook is still to be
    /// called; the oldest are forgotten first.
    pub ended_max: usize,
    /// How long an ended job is remembered; a little longer while its webhook is still to be called.
    pub keep_s: u64,
    /// Bytes of the ledger past which no line is accepted. Ended jobs are forgotten from three quarters of it on; the results of accepted jobs are
    /// always taken.
    pub bytes_max: u64,
    /// Hosts of webhooks; none: there are no webhooks.
    pub webhook_allow: Vec<HostPattern>,
    /// What they are signed with; must be there where hosts are.
    pub webhook_secret: Option<Secret>,
}

/// The longest wait before a further attempt, before jitter.
pub const RETRY_MS_MAX: u64 = 300_000;

/// How long a stop waits for the ledger.
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
    /// No job of this id, or none any more.
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
    /// The ledger has no room for more lines.
    #[error("the ledger holds {max} bytes")]
    Full {
        /// The bound.
        max: u64,
    },
    /// The idempotency key belongs to a job of other lines.
    #[error("the idempotency key names another job")]
    KeyReused,
    /// These lines are a job of somebody who may do less.
    #[error("the job was sent with fewer rights")]
    OtherRights,
    /// These lines, or this key, are a job that tells somebody else, or nobody, of its end.
    #[error("the job was sent with another webhook")]
    OtherWebhook,
    /// The job has ended meanwhile: nothing more is written of it.
    #[error("the job has ended")]
    Ended,
    /// The webhook must not, or cannot, be called.
    #[error(transparent)]
    Webhook(#[from] fetch::Error),
    /// The store's answer to a selection.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The database's answer; for the log.
    #[error("the ledger of jobs: {0}")]
    Ledger(String),
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        match error {
            rusqlite::Error::QueryReturnedNoRows => Error::NotFound,
            error => Error::Ledger(error.to_string()),
        }
    }
}

/// How long to wait after `attempts` + 1 of them: twice as long each time, and up to half of it more or less, by `seed`, so that what
/// failed together does not come back together.
fn backoff_ms(first_ms: u64, attempts: u32, seed: i64) -> i64 {
    let base = first_ms.saturating_mul(1 << attempts.min(20)).min(RETRY_MS_MAX);
    let percent = 50 + u64::from(blake3::hash(&seed.to_le_bytes()).as_bytes()[0]) * 100 / 255;
    (base * percent / 100) as i64
}

/// Which item: a line of a job and, where the line names a part of the store, which of its images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The line, from 0.
    pub item: u64,
    /// 0: the line itself; from 1: the images of its selection.
    pub part: u64,
}

/// What runs one item.
pub trait Work: Send + Sync + 'static {
    /// Runs the item of this line: one outcome for each output, at least one. `rights` are those with which the job was received.
    /// An empty line is one that was too long to be held.
    fn run(&self, rights: u32, place: Place, line: Bytes) -> BoxFuture<'static, Vec<Outcome>>;

    /// Whether whoever has these rights may name a part of the store. Else such a line is run like any other, and no image of it is
    /// looked up.
    fn may_select(&self, rights: u32) -> bool;

    /// The outcome of a line that cannot be run, for a reason that lies with the jobs.
    fn refused(&self, place: Place, error: Error) -> Outcome;

    /// The outcome of an item of which nobody knows what it did: its run panicked, or ended the process each time.
    fn lost(&self, place: Place) -> Outcome;
}

/// What came of one output of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The output, from 0; an item without outputs has one outcome, the first.
    pub output: u32,
    /// As the results tell it: one JSON object.
    pub line: Bytes,
    /// How it ended.
    pub verdict: Verdict,
}

/// How an output ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Well.
    Done,
    /// Not well, and it would not another time.
    Failed,
    /// Not well, for a reason that may pass: the item is tried again while it may be.
    Retry,
}

/// Who sends a job.
#[derive(Clone, Debug, Default)]
pub struct Sender<'a> {
    /// Its own name for the job.
    pub key: Option<&'a str>,
    /// What [`Work::run`] is told of it, a bit each.
    pub rights: u32,
    /// Where it is to be told that the job has ended. Whoever sends a job again without one finds it, whomever it tells.
    pub webhook: Option<String>,
    /// The job comes beside something else, and nobody sends it again: it has an id of its own and no key, and is counted and forgotten
    /// among its like.
    pub beside: bool,
}

/// The jobs of one ledger. Dropping it stops the work where it stands; opening the ledger again takes it up.
///
/// # Concurrency
/// Everything may be called from any task at once.
pub struct Jobs {
    shared: Arc<Shared>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Jobs {
    /// Takes up what the ledger holds. Must be called on a tokio runtime.
    pub fn start(ledger: Ledger, work: Arc<dyn Work>, store: Arc<dyn Store>, hooks: Hooks, options: Options) -> Jobs {
        let shared = Arc::new(Shared::new(ledger, work, store, hooks, options));
        let mut tasks =
            vec![tokio::spawn(scheduler::run(shared.clone())), tokio::spawn(scheduler::sweep(shared.clone()))];
        if let Some(secret) = shared.options.webhook_secret.clone() {
            tasks.push(tokio::spawn(webhook::run(shared.clone(), secret)));
        }
        Jobs { shared, tasks: Mutex::new(tasks) }
    }

    /// Stops the work where it stands. What is asked and received after this is answered; it is taken up when the ledger is opened
    /// again.
    pub async fn stop(&self) {
        let tasks = std::mem::take(&mut *self.tasks());
        tasks.iter().for_each(JoinHandle::abort);
        for task in tasks {
            // It was given up, or has panicked and been told.
            _ = task.await;
        }
        let left = self.shared.taken().chunks;
        let leave = self.shared.ledger.write(move |ledger| queue::leave(ledger, &left));
        // Requests under way are given their time after this: a backup that has the file locked must not take it.
        let written = timeout(STOP_WAIT, leave).await.unwrap_or_else(|_| Err(Error::Ledger("it is in use".to_owned())));
        if let Err(error) = written {
            tracing::warn!(%error, "what ran may be suspected to have ended the process");
        }
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to receive a job: lines are pushed, then it is accepted whole. Dropped before, it leaves nothing.
    pub fn receive(&self, sender: Sender) -> Result<Intake, Error> {
        Intake::new(self.shared.clone(), sender)
    }

    /// How far a job is.
    pub async fn status(&self, id: &Digest) -> Result<Status, Error> {
        let id = *id;
        let mut status = self.shared.ledger.read(move |ledger| history::status(ledger, &id)).await?;
        status.running = self.shared.running(status.number).min(status.waiting());
        Ok(status)
    }

    /// The jobs, youngest first, at most `limit`.
    pub async fn list(&self, limit: usize) -> Result<Vec<Status>, Error> {
        let mut list = self.shared.ledger.read(move |ledger| history::list(ledger, limit)).await?;
        for status in &mut list {
            status.running = self.shared.running(status.number).min(status.waiting());
        }
        Ok(list)
    }

    /// Results in the order in which they were known, from behind `after` (0: from the first), at most `limit`.
    pub async fn results(&self, id: &Digest, after: u64, limit: usize) -> Result<Page, Error> {
        let id = *id;
        self.shared.ledger.read(move |ledger| history::results(ledger, &id, after, limit)).await
    }

    /// How far this very job is: not one that was sent again under its id since.
    pub async fn status_now(&self, of: &Status) -> Result<Status, Error> {
        let now = self.status(&of.id).await?;
        if now.number == of.number { Ok(now) } else { Err(Error::NotFound) }
    }

    /// The results behind a page, of this very job: not of one that was sent again under its id since.
    pub async fn page_after(&self, page: &Page, limit: usize) -> Result<Page, Error> {
        let next = self.results(&page.status.id, page.after, limit).await?;
        if next.status.number == page.status.number { Ok(next) } else { Err(Error::NotFound) }
    }

    /// Ends a job: what runs is given up, what has a result keeps it. Whether it had not ended before.
    pub async fn cancel(&self, id: &Digest) -> Result<bool, Error> {
        let id = *id;
        let (number, ended) = self.shared.ledger.write_durably(move |ledger| history::cancel(ledger, &id)).await?;
        self.shared.give_up(number);
        self.shared.changed();
        self.shared.ended(number);
        Ok(ended)
    }

    /// What happened since the start, and how many jobs stand where.
    pub async fn counters(&self) -> Result<Counters, Error> {
        let counters = self.shared.ledger.read(figures::by_state).await?;
        Ok(self.shared.figures.beside(counters))
    }

    /// The jobs that end from now on.
    pub fn ends(&self) -> Ends {
        Ends(self.shared.ends())
    }

    /// Turns whenever something about any job has changed.
    #[cfg(test)]
    fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.shared.changes()
    }
}

/// See [`Jobs::ends`].
pub struct Ends(broadcast::Receiver<i64>);

impl Ends {
    /// Waits until a job has ended, or may have: whoever was too slow to hear of each does not know.
    pub async fn wait(&mut self, job: &Status) {
        while self.0.recv().await.is_ok_and(|ended| ended != job.number) {}
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.tasks().iter().for_each(JoinHandle::abort);
    }
}

#[cfg(test)]
mod tests;
