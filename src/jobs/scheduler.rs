//! The scheduler: takes a few chunks at a time from the database and starts them. One task. It decides what runs;
//! [`super::runner`] runs it. The sweeper is a second task, which forgets old jobs.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::chunk::Chunk;
use super::database::now_ms;
use super::queue::{self, Task};
use super::shared::{ERROR_WAIT, RunKey, Running, Shared, Told, sleep};
use super::{Error, retention, runner};

/// Chunks that run at once: the next begins while the last items of one end, and a small job runs next to a large one.
const CHUNKS_AT_ONCE: usize = 4;
/// How often the sweeper looks at the age of ended jobs.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Runs what the database holds, for ever.
pub async fn run(shared: Arc<Shared>) {
    let (mut scheduler, mut told) = (Scheduler::new(shared), Told::default());
    loop {
        let wait = match scheduler.fill().await {
            Ok(wait) => {
                told.end();
                wait
            }
            Err(error) => {
                if told.is_new(&error) {
                    tracing::error!(%error, "cannot read the jobs database; trying again");
                }
                Some(ERROR_WAIT)
            }
        };
        scheduler.wait(wait).await;
    }
}

/// Chooses what runs next, and starts it.
pub struct Scheduler {
    shared: Arc<Shared>,
    runs: JoinSet<RunKey>,
    last_job: i64,
}

impl Scheduler {
    /// A scheduler with nothing under way.
    pub fn new(shared: Arc<Shared>) -> Scheduler {
        Scheduler { shared, runs: JoinSet::new(), last_job: 0 }
    }

    /// Starts as much as may run, and returns how long to wait before the next look.
    pub async fn fill(&mut self) -> Result<Option<Duration>, Error> {
        while self.runs.len() < CHUNKS_AT_ONCE {
            let (taken, last_job) = (self.shared.taken(), self.last_job);
            // Of the same moment: a pause that ends during the call of the database was skipped there, and must end here.
            let until = taken.until;
            let task = self.shared.database.write(move |database| queue::take(database, &taken, last_job, now_ms()));
            match task.await? {
                Task::Run(chunk) if runner::is_suspected(&chunk) => self.run_alone(chunk).await,
                Task::Run(chunk) => self.begin(chunk),
                Task::Select { number, job } => self.select(number, job),
                Task::Wait(at_ms) => {
                    let due = at_ms.map(|at_ms| Duration::from_millis((at_ms - now_ms()).max(1) as u64));
                    let pause = until.map(|until| until.saturating_duration_since(Instant::now()));
                    return Ok([due, pause].into_iter().flatten().min());
                }
            }
        }
        Ok(None)
    }

    fn begin(&mut self, chunk: Chunk) {
        self.last_job = chunk.job;
        let items = Arc::new(AtomicU64::new(chunk.items.len() as u64));
        let (number, job, left, shared) = (chunk.number, chunk.job, items.clone(), self.shared.clone());
        self.spawn(RunKey::Chunk(number), job, items, async move { runner::run(&shared, chunk, &left).await });
    }

    fn select(&mut self, number: i64, job: i64) {
        let shared = self.shared.clone();
        let select = async move { runner::select(&shared, number, job).await };
        self.spawn(RunKey::Selection(number), job, Arc::default(), select);
    }

    /// Runs a suspected chunk while nothing else runs, so that no other item comes under suspicion.
    async fn run_alone(&mut self, chunk: Chunk) {
        tracing::warn!(job = chunk.job, starts = chunk.starts, "a chunk was begun again and again: it runs alone");
        while !self.runs.is_empty() {
            self.join().await;
        }
        self.begin(chunk);
        self.join().await;
    }

    fn spawn(&mut self, run: RunKey, job: i64, items: Arc<AtomicU64>, work: impl Future<Output = ()> + Send + 'static) {
        // Locked while it spawns: either a cancel sees the run, or the run finds that its job has ended.
        let mut runs = self.shared.runs.lock();
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
            Some(Ok((_, run))) => _ = self.shared.runs.lock().remove(&run),
            // Aborted, or panicked, which is our bug: only the task's id is known.
            Some(Err(error)) => self.shared.runs.lock().retain(|_, run| run.abort.id() != error.id()),
            None => {}
        }
        self.shared.sweep.notify_one();
        self.shared.changed();
    }
}

/// Forgets old jobs and removes what is forgotten, a little at a time, for ever.
pub async fn sweep(shared: Arc<Shared>) {
    let mut told = Told::default();
    loop {
        match sweep_all(&shared).await {
            Ok(()) => told.end(),
            Err(error) if told.is_new(&error) => tracing::error!(%error, "cannot sweep the jobs database"),
            Err(_) => {}
        }
        tokio::select! {
            () = shared.sweep.notified() => {}
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
    }
}

async fn sweep_all(shared: &Shared) -> Result<(), Error> {
    // Slots are read on the database's thread: a submission with a slot may still write there, one without has asked
    // before.
    let (options, slots) = (shared.options.clone(), shared.slots.clone());
    shared.database.write(move |database| retention::forget_unaccepted(database, &slots)).await?;
    let now_ms = shared.steady_ms();
    shared.database.write(move |database| retention::forget_old(database, &options, now_ms)).await?;
    while shared.database.write(retention::sweep).await? {}
    while shared.database.read(retention::shrink).await? {}
    let unfinished = shared.database.read(queue::unfinished).await?;
    shared.waits.retain(&unfinished.into_iter().collect());
    Ok(())
}
