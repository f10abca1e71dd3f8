//! [`Shared`]: what the parts of [`super::Jobs`] share, and which chunks run now.

mod waits;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, broadcast, watch};
use tokio::task::AbortHandle;

use super::counters::LiveCounters;
use super::database::now_ms;
use super::queue::Taken;
use super::submission_slots::SubmissionSlots;
use super::{Database, Error, JobExecutor, Options, State, Status};
use crate::fetch::WebhookClient;
use crate::store::Store;
use waits::Waits;

/// How long a part waits after an error of the database or the store.
pub const ERROR_WAIT: Duration = Duration::from_secs(1);
/// Ends of jobs that are kept for slow listeners. A listener that missed some looks at its job itself.
const ENDS_MAX: usize = 1_024;

/// State that every part of [`super::Jobs`] may use at any time.
pub struct Shared {
    pub database: Database,
    pub executor: Arc<dyn JobExecutor>,
    pub store: Arc<dyn Store>,
    pub webhooks: WebhookClient,
    pub options: Options,
    pub counters: LiveCounters,
    pub slots: SubmissionSlots,
    /// Permits of items that run.
    pub item_permits: Semaphore,
    /// Jobs that wait for the store.
    pub waits: Waits,
    /// A moment by both clocks: the one that only goes on, and the one that can be set.
    started: (Instant, i64),
    /// Wakes the scheduler: there may be something to run.
    pub wake: Notify,
    /// Wakes the sweeper: there may be something to forget.
    pub sweep: Notify,
    changes: watch::Sender<u64>,
    ends: broadcast::Sender<i64>,
    /// Chunks and selections that run now.
    pub runs: Mutex<HashMap<RunKey, Running>>,
}

/// A chunk or a selection, by its number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum RunKey {
    Chunk(i64),
    Selection(i64),
}

/// A run under way.
pub struct Running {
    pub job: i64,
    pub abort: AbortHandle,
    /// Items that have not ended.
    pub items: Arc<AtomicU64>,
}

impl Shared {
    pub fn new(
        database: Database,
        executor: Arc<dyn JobExecutor>,
        store: Arc<dyn Store>,
        webhooks: WebhookClient,
        options: Options,
    ) -> Shared {
        Shared {
            database,
            executor,
            store,
            webhooks,
            slots: SubmissionSlots::new(options.receiving_max),
            item_permits: Semaphore::new(options.items_at_once),
            started: (Instant::now(), now_ms()),
            waits: Waits::new(Duration::from_millis(options.retry_ms.max(1))),
            options,
            counters: LiveCounters::default(),
            wake: Notify::new(),
            sweep: Notify::new(),
            changes: watch::Sender::new(0),
            ends: broadcast::Sender::new(ENDS_MAX),
            runs: Mutex::default(),
        }
    }

    /// The time by which jobs are forgotten, in milliseconds since 1970. A clock that is set ahead must not make all ended
    /// jobs old at once, so it is never more than what has passed since the start.
    pub fn steady_ms(&self) -> i64 {
        let (instant, at_ms) = self.started;
        now_ms().min(at_ms.saturating_add_unsigned(instant.elapsed().as_millis() as u64))
    }

    /// Announces that something about a job has changed.
    pub fn changed(&self) {
        self.changes.send_modify(|version| *version += 1);
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Announces that a job has ended.
    pub fn ended(&self, job: i64) {
        // Without listeners this is an error, and right.
        _ = self.ends.send(job);
    }

    pub fn ends(&self) -> broadcast::Receiver<i64> {
        self.ends.subscribe()
    }

    /// Items of a job that are taken and have not ended.
    pub fn running(&self, job: i64) -> u64 {
        let runs = self.runs.lock();
        runs.values().filter(|run| run.job == job).map(|run| run.items.load(Ordering::Relaxed)).sum()
    }

    /// Adds what this process alone knows to a status from the database.
    pub fn complete(&self, status: &mut Status) {
        status.running = self.running(status.number).min(status.unfinished());
        // While some of it runs, the store may have recovered.
        if !status.state.has_ended() && status.running == 0 {
            status.waits_for = self.waits.reason(status.number);
            status.state = status.waits_for.map_or(status.state, |_| State::Waiting);
        }
    }

    /// Aborts what runs of a job.
    pub fn abort(&self, job: i64) {
        for run in self.runs.lock().values().filter(|run| run.job == job) {
            run.abort.abort();
        }
        self.sweep.notify_one();
    }

    /// The chunks and selections that run now, and the jobs that wait.
    pub fn taken(&self) -> Taken {
        let (waiting, until) = self.waits.now();
        let mut taken = Taken { waiting, until, ..Taken::default() };
        for run in self.runs.lock().keys() {
            match run {
                RunKey::Chunk(number) => taken.chunks.insert(*number),
                RunKey::Selection(number) => taken.selections.insert(*number),
            };
        }
        taken
    }
}

/// The last error of something that is tried again and again.
#[derive(Default)]
pub struct Told(Option<Error>);

impl Told {
    /// Whether an error is to be told: it differs from the last one. That nothing can be used is told by the database.
    pub fn is_new(&mut self, error: &Error) -> bool {
        let is_new = self.0.as_ref() != Some(error) && !matches!(error, Error::Away(_));
        self.0 = Some(error.clone());
        is_new
    }

    /// Notes a success. After it, every error is new.
    pub fn end(&mut self) {
        self.0 = None;
    }
}

/// Sleeps for `wait`; `None`: for ever.
pub async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::Fault;

    #[test]
    fn an_error_that_stays_is_told_once() {
        let mut told = Told::default();
        let (full, other) = (Error::Database("full".to_owned()), Error::Database("other".to_owned()));
        let tell = |told: &mut Told, error: &Error| told.is_new(error);
        assert_eq!([tell(&mut told, &full), tell(&mut told, &full)], [true, false]);
        assert_eq!([tell(&mut told, &other), tell(&mut told, &full)], [true, true]);
        assert!(!tell(&mut told, &Error::Away(Fault::Damaged)));
        assert!(tell(&mut told, &full));
        told.end();
        assert!(tell(&mut told, &full));
    }
}
