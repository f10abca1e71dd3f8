//! The scheduler: takes what is to be run, a few chunks at a time, and forgets what is over. One task; it decides, [`super::runner`]
//! works.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, broadcast, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::figures::Figures;
use super::ledger::now_ms;
use super::queue::{self, Taken, Task};
use super::receiving::Receiving;
use super::{Error, Ledger, Options, Work, history, runner};
use crate::fetch::Hooks;
use crate::store::Store;

/// Chunks that run at once: the next begins while the last items of one end, and a small job beside a large one.
const CHUNKS_AT_ONCE: usize = 4;
/// How often a chunk may be begun without anything of it ending before it is suspected to end the process, and runs alone, item
/// by item.
pub const STARTS_TRUSTED: u32 = 3;
/// How long the scheduler waits after an error of the ledger or the store.
pub const ERROR_WAIT: Duration = Duration::from_secs(1);
/// Ends of jobs that are kept for those who are slow to hear of them; past these they look for themselves.
const ENDS_MAX: usize = 1_024;
/// How often the age of ended jobs is looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// What the parts of [`super::Jobs`] share.
pub struct Shared {
    pub ledger: Ledger,
    pub work: Arc<dyn Work>,
    pub store: Arc<dyn Store>,
    pub hooks: Hooks,
    pub options: Options,
    pub figures: Figures,
    pub receiving: Receiving,
    /// Places for items that run.
    pub places: Arc<Semaphore>,
    /// An item failed for a reason that may be the store's.
    pub suspects_store: AtomicBool,
    /// Something may be there to run.
    wake: Notify,
    /// Something may be there to forget.
    pub sweep: Notify,
    changes: watch::Sender<u64>,
    ends: broadcast::Sender<i64>,
    runs: Mutex<HashMap<Run, Running>>,
}

/// What runs: a chunk or a selection.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Run {
    Chunk(i64),
    Selection(i64),
}

struct Running {
    job: i64,
    abort: AbortHandle,
    /// Items that have not ended.
    items: Arc<AtomicU64>,
}

impl Shared {
    pub fn new(ledger: Ledger, work: Arc<dyn Work>, store: Arc<dyn Store>, hooks: Hooks, options: Options) -> Shared {
        Shared {
            ledger,
            work,
            store,
            hooks,
            receiving: Receiving::new(options.receiving_max),
            places: Arc::new(Semaphore::new(options.items_at_once)),
            suspects_store: AtomicBool::new(false),
            options,
            figures: Figures::default(),
            wake: Notify::new(),
            sweep: Notify::new(),
            changes: watch::Sender::new(0),
            ends: broadcast::Sender::new(ENDS_MAX),
            runs: Mutex::default(),
        }
    }

    pub fn wake(&self) {
        self.wake.notify_one();
    }

    pub fn changed(&self) {
        self.changes.send_modify(|version| *version += 1);
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Tells of a job that has ended.
    pub fn ended(&self, job: i64) {
        // Nobody may be there to hear it.
        _ = self.ends.send(job);
    }

    pub fn ends(&self) -> broadcast::Receiver<i64> {
        self.ends.subscribe()
    }

    /// Items of a job that have been taken and have not ended.
    pub fn running(&self, job: i64) -> u64 {
        let runs = self.runs();
        runs.values().filter(|run| run.job == job).map(|run| run.items.load(Ordering::Relaxed)).sum()
    }

    /// Stops what runs of a job.
    pub fn give_up(&self, job: i64) {
        for run in self.runs().values().filter(|run| run.job == job) {
            run.abort.abort();
        }
        self.sweep.notify_one();
    }

    pub fn taken(&self) -> Taken {
        let mut taken = Taken::default();
        for run in self.runs().keys() {
            match run {
                Run::Chunk(number) => taken.chunks.insert(*number),
                Run::Selection(number) => taken.selections.insert(*number),
            };
        }
        taken
    }

    fn runs(&self) -> MutexGuard<'_, HashMap<Run, Running>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs what the ledger holds, for ever.
pub async fn run(shared: Arc<Shared>) {
    let mut scheduler = Scheduler { shared, runs: JoinSet::new(), last_job: 0 };
    loop {
        let wait = match scheduler.fill().await {
            Ok(wait) => wait,
            Err(error) => {
                tracing::error!(%error, "the ledger of jobs");
                Some(ERROR_WAIT)
            }
        };
        scheduler.wait(wait).await;
    }
}

struct Scheduler {
    shared: Arc<Shared>,
    runs: JoinSet<Run>,
    last_job: i64,
}

impl Scheduler {
    /// Begins as much as may run; how long it makes sense to wait before looking again.
    async fn fill(&mut self) -> Result<Option<Duration>, Error> {
        while self.runs.len() < CHUNKS_AT_ONCE {
            if !self.store_answers().await {
                return Ok(Some(ERROR_WAIT));
            }
            let (taken, last_job) = (self.shared.taken(), self.last_job);
            let task = self.shared.ledger.write(move |ledger| queue::take(ledger, &taken, last_job, now_ms())).await?;
            match task {
                Task::Run(chunk) if chunk.starts > STARTS_TRUSTED => self.run_alone(chunk).await,
                Task::Run(chunk) => self.begin(chunk, false),
                Task::Select { number, job } => {
                    let shared = self.shared.clone();
                    let select = async move { runner::select(&shared, number).await };
                    self.spawn(Run::Selection(number), job, Arc::default(), select);
                }
                Task::Wait(at_ms) => {
                    let wait = |at_ms: i64| Duration::from_millis((at_ms - now_ms()).max(1) as u64);
                    return Ok(at_ms.map(wait));
                }
            }
        }
        Ok(None)
    }

    /// Whether the store is there, where that is in doubt. While it is not, nothing is begun: an item is tried a few times, within
    /// seconds, and a store may be away for longer.
    async fn store_answers(&self) -> bool {
        let Shared { suspects_store, store, .. } = &*self.shared;
        if !suspects_store.swap(false, Ordering::Relaxed) {
            return true;
        }
        let answer = store.list(None, 1).await;
        if let Err(error) = &answer {
            tracing::warn!(%error, "jobs wait for the store");
            suspects_store.store(true, Ordering::Relaxed);
        }
        answer.is_ok()
    }

    fn begin(&mut self, chunk: queue::Chunk, alone: bool) {
        self.last_job = chunk.job;
        let items = Arc::new(AtomicU64::new(chunk.items.len() as u64));
        let (number, job, left, shared) = (chunk.number, chunk.job, items.clone(), self.shared.clone());
        self.spawn(Run::Chunk(number), job, items, async move { runner::run(&shared, chunk, &left, alone).await });
    }

    /// Runs a chunk that is suspected to end the process, so that no other item is suspected with it.
    async fn run_alone(&mut self, chunk: queue::Chunk) {
        tracing::warn!(job = chunk.job, starts = chunk.starts, "a chunk was begun again and again: it runs alone");
        while !self.runs.is_empty() {
            self.join().await;
        }
        self.begin(chunk, true);
        self.join().await;
    }

    fn spawn(&mut self, run: Run, job: i64, items: Arc<AtomicU64>, work: impl Future<Output = ()> + Send + 'static) {
        // Held while it is spawned: whoever gives the job up sees the run, or the run finds that the job has ended.
        let mut runs = self.shared.runs();
        let abort = self.runs.spawn(async move {
            work.await;
            run
        });
        runs.insert(run, Running { job, abort, items });
    }

    async fn wait(&mut self, wait: Option<Duration>) {
        let shared = self.shared.clone();
        let full = self.runs.len() >= CHUNKS_AT_ONCE;
        tokio::select! {
            () = self.join(), if !self.runs.is_empty() => {}
            () = shared.wake.notified(), if !full => {}
            () = sleep(wait) => {}
        }
    }

    /// Waits for one run to end.
    async fn join(&mut self) {
        match self.runs.join_next_with_id().await {
            Some(Ok((_, run))) => _ = self.shared.runs().remove(&run),
            // Given up, or our bug: it is known by its task alone.
            Some(Err(error)) => self.shared.runs().retain(|_, run| run.abort.id() != error.id()),
            None => {}
        }
        self.shared.sweep.notify_one();
        self.shared.changed();
    }
}

/// Sleeps so long; `None`: for ever.
pub async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// Forgets old jobs and removes what is forgotten, a little at a time.
pub async fn sweep(shared: Arc<Shared>) {
    loop {
        if let Err(error) = sweep_all(&shared).await {
            tracing::error!(%error, "the ledger of jobs");
        }
        tokio::select! {
            () = shared.sweep.notified() => {}
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
    }
}

async fn sweep_all(shared: &Shared) -> Result<(), Error> {
    // Seen in its turn by the ledger: what is seated then is still written, and what is not was asked for before.
    let (options, receiving) = (shared.options.clone(), shared.receiving.clone());
    shared.ledger.write(move |ledger| history::forget_unaccepted(ledger, &receiving)).await?;
    shared.ledger.write(move |ledger| history::forget_old(ledger, &options)).await?;
    while shared.ledger.write(history::sweep).await? {}
    while shared.ledger.read(history::shrink).await? {}
    Ok(())
}
