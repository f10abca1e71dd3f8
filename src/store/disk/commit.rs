//! Group commit: all uploads that are ready share the cost of becoming durable. One thread decides, the sync threads wait.
//!
//! A batch: write and `fdatasync` every file, in parallel; then `linkat` every name; then `fsync` every shard once, in parallel;
//! then acknowledge. The next batch is what has arrived meanwhile, so there is no timer and nothing to tune at low load.
//!
//! A large batch (`syncfs_batch_min`) is synced as a whole instead: `syncfs` once for all bytes, and once for all names. It makes
//! small files cheap, but waits for whatever else is written to the same file system: only where that is little.

use std::collections::BTreeSet;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::core::{Core, Found, Tally};
use super::fs::{Errno, Fs, Wait};
use super::layout;
use super::pool::{Pool, panicked};
use super::stage::Temporary;
use crate::digest::Digest;
use crate::store::locks::Guard;
use crate::store::{Commit, Error, Level};

/// An upload's bytes.
pub enum Body<F: Fs> {
    /// Not written yet.
    Memory(Bytes),
    /// Written, not durable.
    File(Arc<Temporary<F>>),
}

/// An upload that wants to be durable.
pub struct Job<F: Fs> {
    /// The name that the bytes were proven to have.
    pub digest: Digest,
    /// Their number.
    pub len: u64,
    /// The bytes.
    pub body: Body<F>,
    /// No other commit, delete or quarantine of this digest meanwhile.
    pub lock: Guard,
    /// Where the result goes.
    pub reply: oneshot::Sender<Result<Commit, Error>>,
}

/// The committing thread. Dropping it finishes what is queued.
pub struct Committer<F: Fs> {
    queue: Option<mpsc::Sender<Job<F>>>,
    thread: Option<JoinHandle<()>>,
}

impl<F: Fs> Committer<F> {
    /// Starts the thread.
    pub fn start(core: Arc<Core<F>>, syncers: Arc<Pool>) -> std::io::Result<Committer<F>> {
        let (queue, jobs) = mpsc::channel();
        let thread = thread::Builder::new().name("store-commit".into()).spawn(move || run(&core, &syncers, &jobs))?;
        Ok(Committer { queue: Some(queue), thread: Some(thread) })
    }

    /// Queues a job. The queue is bounded by the bytes of uploads in flight. A job that cannot be queued drops its reply.
    pub fn submit(&self, job: Job<F>) {
        if let Some(queue) = &self.queue {
            let _ = queue.send(job);
        }
    }
}

impl<F: Fs> Drop for Committer<F> {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run<F: Fs>(core: &Arc<Core<F>>, syncers: &Pool, jobs: &mpsc::Receiver<Job<F>>) {
    while let Ok(first) = jobs.recv() {
        let mut bytes = first.len;
        let mut batch = vec![first];
        while batch.len() < core.options.batch_max && bytes < core.options.batch_bytes_max {
            let Ok(job) = jobs.try_recv() else { break };
            bytes += job.len;
            batch.push(job);
        }
        commit(core, syncers, batch);
    }
}

/// A job whose bytes are durable.
struct Prepared<F: Fs> {
    digest: Digest,
    /// `None`: the blob is there already.
    file: Option<Arc<Temporary<F>>>,
    _lock: Guard,
    reply: oneshot::Sender<Result<Commit, Error>>,
}

/// A prepared job and what its link came to.
struct Linked<F: Fs> {
    job: Prepared<F>,
    outcome: Result<Commit, Error>,
}

fn commit<F: Fs>(core: &Arc<Core<F>>, syncers: &Pool, batch: Vec<Job<F>>) {
    Tally::add(&core.tally.commits);
    let written = batch.iter().filter(|job| matches!(job.body, Body::File(_))).map(|job| job.len).sum();
    let by = By::of(core, batch.len(), written);
    let prepared = prepare_all(core, syncers, batch, by);
    let mut shards = BTreeSet::new();
    let linked: Vec<Linked<F>> = prepared
        .into_iter()
        .map(|job| {
            let outcome = link(core, &job, &mut shards);
            Linked { job, outcome }
        })
        .collect();
    // A delete's sync of the same shard may have failed meanwhile, and taken the error with it.
    match sync_names(core, syncers, &shards, by).and_then(|()| core.health.writable()) {
        Ok(()) => acknowledge(core, syncers, linked),
        Err(error) => withdraw(core, linked, &error),
    }
}

/// How a batch becomes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// Each file, then each shard.
    File,
    /// All files, then all shards.
    FileSystem,
}

/// What may wait to be written beside a batch that is synced with its file system: a fraction of a second of a slow device.
const OTHERS_DIRTY_BYTES_MAX: u64 = 64 << 20;

impl By {
    /// For so many uploads, of which so many bytes are in files already.
    fn of<F: Fs>(core: &Core<F>, uploads: usize, written: u64) -> By {
        let is_large = (1..=uploads).contains(&core.options.syncfs_batch_min) && core.options.level == Level::Strict;
        let dirty_max = written.saturating_add(OTHERS_DIRTY_BYTES_MAX);
        let suits = || core.fs.syncfs_tells() && core.fs.dirty_bytes().is_some_and(|dirty| dirty <= dirty_max);
        if is_large && suits() { By::FileSystem } else { By::File }
    }

    /// How many files one thread writes, one after the other.
    fn files_of_a_task(self) -> usize {
        match self {
            // They wait for the device side by side.
            By::File => 1,
            // Little waits (a look for what is there already): more threads would only take turns with the lock of `tmp/`.
            By::FileSystem => 8,
        }
    }
}

/// Makes the bytes of every body durable; jobs that fail are answered here and left out.
fn prepare_all<F: Fs>(core: &Arc<Core<F>>, syncers: &Pool, batch: Vec<Job<F>>, by: By) -> Vec<Prepared<F>> {
    let mut jobs = batch.into_iter();
    let mut running = Vec::new();
    while jobs.len() > 0 {
        let (core, part) = (Arc::clone(core), jobs.by_ref().take(by.files_of_a_task()).collect::<Vec<_>>());
        running
            .push(syncers.run(move || part.into_iter().filter_map(|job| prepared(&core, job, by)).collect::<Vec<_>>()));
    }
    // Where a task panicked its replies are dropped, which its callers see.
    let prepared: Vec<_> = running.into_iter().filter_map(|ready| ready.blocking_recv().ok()).flatten().collect();
    let is_written = |job: &Prepared<F>| job.file.is_some();
    match by {
        By::FileSystem if prepared.iter().any(is_written) => match core.sync_file_system() {
            Ok(()) => prepared,
            Err(error) => refuse(prepared, &error),
        },
        _ => prepared,
    }
}

/// A job whose bytes are written; one that fails is answered.
fn prepared<F: Fs>(core: &Arc<Core<F>>, job: Job<F>, by: By) -> Option<Prepared<F>> {
    let Job { digest, len, body, lock, reply } = job;
    match prepare(core, &digest, len, body, by) {
        Ok(file) => Some(Prepared { digest, file, _lock: lock, reply }),
        Err(error) => {
            let _ = reply.send(Err(error));
            None
        }
    }
}

/// Answers those whose bytes are not durable; the others are left.
fn refuse<F: Fs>(prepared: Vec<Prepared<F>>, error: &Error) -> Vec<Prepared<F>> {
    let (written, present): (Vec<_>, Vec<_>) = prepared.into_iter().partition(|job| job.file.is_some());
    for job in written {
        let _ = job.reply.send(Err(error.clone()));
    }
    present
}

/// Writes a body, and makes it durable where that is done file by file, unless the blob is there already.
fn prepare<F: Fs>(
    core: &Arc<Core<F>>,
    digest: &Digest,
    len: u64,
    body: Body<F>,
    by: By,
) -> Result<Option<Arc<Temporary<F>>>, Error> {
    match core.find(digest, Wait::Block) {
        Ok(Found::Blob(status)) if status.len == len => return Ok(None),
        Ok(_) => {}
        Err(errno) => return Err(core.error("stat", errno)),
    }
    core.health.writable()?;
    let file = match body {
        Body::File(file) => file,
        Body::Memory(bytes) => {
            let file = Temporary::create(core)?;
            file.write(&bytes, 0)?;
            Arc::new(file)
        }
    };
    if by == By::File {
        core.sync_file(&file.file)?;
    }
    Ok(Some(file))
}

/// Gives the bytes their name. Nothing more is linked after a failed sync, in this batch or any other.
fn link<F: Fs>(core: &Core<F>, job: &Prepared<F>, shards: &mut BTreeSet<u16>) -> Result<Commit, Error> {
    let Some(file) = &job.file else { return Ok(Commit::Present) };
    core.health.writable()?;
    shards.insert(layout::shard_index(&job.digest));
    core.pending().insert(job.digest);
    let published = publish(core, job, &file.path);
    if published.is_err() {
        core.pending().remove(&job.digest);
    }
    published
}

fn publish<F: Fs>(core: &Core<F>, job: &Prepared<F>, path: &str) -> Result<Commit, Error> {
    let name = layout::blob(&job.digest);
    match core.fs.linkat(path, &name) {
        Ok(()) => return Ok(Commit::New),
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(core.error("link", errno)),
    }
    // `prepare` found that what stands there is not the blob: of another length, empty, or no file. It makes room.
    core.quarantine(&job.digest).map_err(|errno| core.error("quarantine", errno))?;
    core.fs.linkat(path, &name).map_err(|errno| core.error("link", errno))?;
    Ok(Commit::New)
}

/// Makes the names in `shards` durable.
fn sync_names<F: Fs>(core: &Arc<Core<F>>, syncers: &Pool, shards: &BTreeSet<u16>, by: By) -> Result<(), Error> {
    match (by, shards.first()) {
        (By::FileSystem, Some(&one)) => {
            core.sync_file_system()?;
            // A journal that cannot be written any more is not an error of `syncfs` on every Linux, nor is a file system that has
            // become read-only by it. It is one of `fsync`.
            core.sync_shard(one)
        }
        (By::FileSystem, None) => Ok(()),
        (By::File, _) => sync_shards(core, syncers, shards),
    }
}

fn sync_shards<F: Fs>(core: &Arc<Core<F>>, syncers: &Pool, shards: &BTreeSet<u16>) -> Result<(), Error> {
    let running: Vec<_> = shards
        .iter()
        .map(|&index| {
            let core = Arc::clone(core);
            syncers.run(move || core.sync_shard(index))
        })
        .collect();
    // All are awaited, also after one has failed: nothing of this batch may be under way when it is withdrawn.
    let results: Vec<_> =
        running.into_iter().map(|done| done.blocking_recv().unwrap_or_else(|_| Err(panicked()))).collect();
    results.into_iter().collect()
}

fn acknowledge<F: Fs>(core: &Core<F>, syncers: &Pool, linked: Vec<Linked<F>>) {
    {
        let mut pending = core.pending();
        for linked in linked.iter().filter(|linked| linked.outcome.is_ok()) {
            pending.remove(&linked.job.digest);
        }
    }
    let mut files = Vec::with_capacity(linked.len());
    for Linked { job, outcome } in linked {
        if outcome == Ok(Commit::New) {
            Tally::add(&core.tally.published);
        }
        files.push(job.file);
        let _ = job.reply.send(outcome);
    }
    // The names in `tmp/` go while the next batch is under way.
    drop(syncers.run(move || drop(files)));
}

/// Takes back the names of a batch whose shards could not be synced.
fn withdraw<F: Fs>(core: &Core<F>, linked: Vec<Linked<F>>, error: &Error) {
    for Linked { job, outcome } in linked {
        if outcome == Ok(Commit::New) {
            match core.fs.unlinkat(&layout::blob(&job.digest)) {
                Ok(()) => {
                    core.pending().remove(&job.digest);
                }
                // It stays pending, so it is never said to exist.
                Err(errno) => {
                    tracing::error!(digest = %job.digest, %errno, "cannot withdraw a name that is not durable")
                }
            }
        }
        let present = outcome == Ok(Commit::Present);
        let _ = job.reply.send(if present { outcome } else { Err(error.clone()) });
    }
}

#[cfg(test)]
mod tests {
    use super::super::sim::{SimFs, State};
    use super::*;
    use crate::store::Options;

    fn by(options: Options, uploads: usize, dirty_bytes: Option<u64>) -> By {
        let fs = SimFs::new(State::default());
        fs.lock().dirty_bytes = dirty_bytes;
        By::of(&Core::new(fs, options), uploads, 1000)
    }

    #[test]
    fn large_batches_are_synced_with_the_file_system() {
        for (uploads, expected) in [(1, By::File), (31, By::File), (32, By::FileSystem), (256, By::FileSystem)] {
            assert_eq!(by(Options::default(), uploads, Some(0)), expected, "{uploads}");
        }
        assert_eq!(by(Options { syncfs_batch_min: 0, ..Options::default() }, 256, Some(0)), By::File, "switched off");
        for level in [Level::Relaxed, Level::None] {
            assert_eq!(by(Options { level, ..Options::default() }, 256, Some(0)), By::File, "{level:?}");
        }
    }

    #[test]
    fn where_others_write_much_or_nobody_knows_each_file_is_synced_alone() {
        let dirty_max = OTHERS_DIRTY_BYTES_MAX + 1000;
        for (dirty, expected) in [(Some(dirty_max), By::FileSystem), (Some(dirty_max + 1), By::File), (None, By::File)]
        {
            assert_eq!(by(Options::default(), 32, dirty), expected, "{dirty:?}");
        }
        let fs = SimFs::new(State::default());
        fs.lock().syncfs_tells = false;
        assert_eq!(By::of(&Core::new(fs, Options::default()), 32, 0), By::File);
    }
}
