//! Group commit: all uploads that are ready share the cost of becoming durable. One thread decides, and the sync
//! threads wait.
//!
//! The way of an upload to this file: `http::routes::upload` -> `store::upload` (`Sealed::commit`, one run for identical
//! uploads) -> `disk::stage` (`commit`) -> `disk` (`Inner::commit`) -> `Committer::submit`.
//!
//! A batch: write and `fdatasync` every file, in parallel; then `linkat` every name; then `fsync` every shard once, in
//! parallel; then acknowledge. The next batch is whatever has arrived meanwhile, so there is no timer and nothing to
//! tune at low load.
//!
//! A large batch (`syncfs_batch_min`) is synced as a whole instead: one `syncfs` for all bytes, and one for all names.
//! The shard folders need no sync of their own then, but for one, which shows errors that `syncfs` does not report. That
//! makes small files cheap, but also waits for other writes to the file system. So it is done only while these are few,
//! and only where the file system and the kernel allow it (`real.rs`). All this is the level `strict`; `relaxed` leaves
//! out the syncs of names, and `none` every sync.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::core::{AtomicCounters, Core, Stored};
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

/// An upload that is to become durable.
pub struct CommitRequest<F: Fs> {
    /// The digest that the bytes were proven to have.
    pub digest: Digest,
    /// The number of bytes.
    pub len: u64,
    /// The bytes.
    pub body: Body<F>,
    /// The inode of a stored file that was found bad. It makes room for this one.
    pub bad: Option<u64>,
    /// Keeps other commits, deletes and quarantines of this digest away.
    pub lock: Guard,
    /// The sender of the answer.
    pub reply: Reply<F>,
}

/// The answer to a request.
pub enum Answer<F: Fs> {
    /// The blob is durable.
    Done(Commit),
    /// A file has this name and length, which is to be proven first. The body and the lock come back.
    Unproven(Body<F>, Guard),
}

type Reply<F> = oneshot::Sender<Result<Answer<F>, Error>>;

/// Sends the result of a request, whose caller may have left.
fn send<F: Fs>(reply: Reply<F>, result: Result<Commit, Error>) {
    let _ = reply.send(result.map(Answer::Done));
}

/// The committing thread. Dropping it finishes what is queued.
pub struct Committer<F: Fs> {
    queue: Option<mpsc::Sender<CommitRequest<F>>>,
    thread: Option<JoinHandle<()>>,
}

impl<F: Fs> Committer<F> {
    /// Starts the thread.
    pub fn start(core: Arc<Core<F>>, syncers: Arc<Pool>) -> std::io::Result<Committer<F>> {
        let (queue, requests) = mpsc::channel();
        let thread =
            thread::Builder::new().name("store-commit".into()).spawn(move || run(&core, &syncers, &requests))?;
        Ok(Committer { queue: Some(queue), thread: Some(thread) })
    }

    /// Queues a request. The queue is bounded by the bytes of uploads in flight. A request that cannot be queued drops
    /// its reply.
    pub fn submit(&self, request: CommitRequest<F>) {
        if let Some(queue) = &self.queue {
            let _ = queue.send(request);
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

fn run<F: Fs>(core: &Arc<Core<F>>, syncers: &Pool, requests: &mpsc::Receiver<CommitRequest<F>>) {
    while let Ok(first) = requests.recv() {
        let mut bytes = first.len;
        let mut batch = vec![first];
        while batch.len() < core.options.batch_max && bytes < core.options.batch_bytes_max {
            let Ok(request) = requests.try_recv() else { break };
            bytes += request.len;
            batch.push(request);
        }
        commit(core, syncers, batch);
    }
}

/// A request whose bytes are durable.
struct Prepared<F: Fs> {
    digest: Digest,
    /// `None`: the blob is there already.
    file: Option<Arc<Temporary<F>>>,
    _lock: Guard,
    reply: Reply<F>,
}

/// A prepared request, and the result of its link.
struct Linked<F: Fs> {
    prepared: Prepared<F>,
    outcome: Result<Commit, Error>,
}

fn commit<F: Fs>(core: &Arc<Core<F>>, syncers: &Pool, batch: Vec<CommitRequest<F>>) {
    AtomicCounters::add(&core.counters.commits);
    let written = batch.iter().filter(|request| matches!(request.body, Body::File(_))).map(|request| request.len).sum();
    let by = By::of(core, batch.len(), written);
    let prepared = prepare_all(core, syncers, batch, by);
    let mut shards = Shards { by, folders: BTreeMap::new() };
    let linked: Vec<Linked<F>> = prepared
        .into_iter()
        .map(|prepared| {
            let outcome = link(core, &prepared, &mut shards);
            Linked { prepared, outcome }
        })
        .collect();
    // A delete's sync of the same shard may have failed meanwhile. It would have consumed the error.
    match shards.sync(core, syncers).and_then(|()| core.health.writable()) {
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

/// Bytes of other writers that may wait for the device when a batch is synced with its file system: a fraction of a
/// second on a slow one.
const OTHERS_DIRTY_BYTES_MAX: u64 = 64 << 20;

impl By {
    /// Chooses for a batch of `uploads`, of which `written` bytes are in files already.
    fn of<F: Fs>(core: &Core<F>, uploads: usize, written: u64) -> By {
        let is_large = (1..=uploads).contains(&core.options.syncfs_batch_min) && core.options.level == Level::Strict;
        let dirty_max = written.saturating_add(OTHERS_DIRTY_BYTES_MAX);
        let suits = || core.fs.syncfs_reports_errors() && core.fs.dirty_bytes().is_some_and(|dirty| dirty <= dirty_max);
        if is_large && suits() { By::FileSystem } else { By::File }
    }

    /// The number of files that one thread writes in turn.
    fn files_of_a_task(self) -> usize {
        match self {
            // All wait for the device at the same time.
            By::File => 1,
            // These hardly wait: more threads would only compete for the lock of `tmp/`.
            By::FileSystem => 8,
        }
    }
}

/// Makes the bytes of every body durable. Requests that fail are answered here and left out.
fn prepare_all<F: Fs>(core: &Arc<Core<F>>, syncers: &Pool, batch: Vec<CommitRequest<F>>, by: By) -> Vec<Prepared<F>> {
    let mut requests = batch.into_iter();
    let mut running = Vec::new();
    while requests.len() > 0 {
        let (core, part) = (Arc::clone(core), requests.by_ref().take(by.files_of_a_task()).collect::<Vec<_>>());
        running.push(
            syncers
                .run(move || part.into_iter().filter_map(|request| prepared(&core, request, by)).collect::<Vec<_>>()),
        );
    }
    // Where a task panicked its replies are dropped, which its callers see.
    let prepared: Vec<_> = running.into_iter().filter_map(|ready| ready.blocking_recv().ok()).flatten().collect();
    let is_written = |prepared: &Prepared<F>| prepared.file.is_some();
    match by {
        By::FileSystem if prepared.iter().any(is_written) => match core.sync_file_system() {
            Ok(()) => prepared,
            Err(error) => refuse(prepared, &error),
        },
        _ => prepared,
    }
}

/// Writes the bytes of a request, unless the blob is there already. A request that goes no further is answered.
fn prepared<F: Fs>(core: &Arc<Core<F>>, request: CommitRequest<F>, by: By) -> Option<Prepared<F>> {
    let CommitRequest { digest, len, body, bad, lock, reply } = request;
    let result = match core.stored(&digest, len, Wait::Block).map_err(|errno| core.error("stat", errno)) {
        Ok(Stored::Proven) => Ok(None),
        Ok(Stored::Unproven(inode)) if bad != Some(inode) => {
            let _ = reply.send(Ok(Answer::Unproven(body, lock)));
            return None;
        }
        Ok(Stored::Otherwise | Stored::Unproven(_)) => prepare(core, body, by).map(Some),
        Err(error) => Err(error),
    };
    match result {
        Ok(file) => Some(Prepared { digest, file, _lock: lock, reply }),
        Err(error) => {
            send(reply, Err(error));
            None
        }
    }
}

/// Answers the requests whose bytes are not durable, and returns the others.
fn refuse<F: Fs>(prepared: Vec<Prepared<F>>, error: &Error) -> Vec<Prepared<F>> {
    let (written, present): (Vec<_>, Vec<_>) = prepared.into_iter().partition(|prepared| prepared.file.is_some());
    for prepared in written {
        send(prepared.reply, Err(error.clone()));
    }
    present
}

/// Writes a body. With [`By::File`] its bytes are durable afterwards.
fn prepare<F: Fs>(core: &Arc<Core<F>>, body: Body<F>, by: By) -> Result<Arc<Temporary<F>>, Error> {
    core.health.writable()?;
    core.has_room()?;
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
    Ok(file)
}

/// Gives the bytes their name. After a failed sync nothing more is linked, in this batch or any other.
fn link<F: Fs>(core: &Core<F>, prepared: &Prepared<F>, shards: &mut Shards<F>) -> Result<Commit, Error> {
    let Some(file) = &prepared.file else { return Ok(Commit::Present) };
    core.health.writable()?;
    shards.open(core, layout::shard_index(&prepared.digest))?;
    core.pending().insert(prepared.digest);
    let published = publish(core, &prepared.digest, &file.path);
    if published.is_err() {
        core.pending().remove(&prepared.digest);
    }
    published
}

fn publish<F: Fs>(core: &Core<F>, digest: &Digest, path: &str) -> Result<Commit, Error> {
    let name = layout::blob(digest);
    match core.fs.linkat(path, &name) {
        Ok(()) => return Ok(Commit::New),
        Err(Errno::EXIST) => {}
        Err(errno) => return Err(core.error("link", errno)),
    }
    // `prepared` found that what is there is not the blob: of another length, empty, not a file, or read and found bad.
    // It makes room only now that the blob's own bytes are durable.
    core.quarantine(digest).map_err(|errno| core.error("quarantine", errno))?;
    core.fs.linkat(path, &name).map_err(|errno| core.error("link", errno))?;
    Ok(Commit::New)
}

/// The shards whose names a batch changes, opened before the first name in each.
struct Shards<F: Fs> {
    by: By,
    folders: BTreeMap<u16, Arc<Option<F::File>>>,
}

impl<F: Fs> Shards<F> {
    /// Opens the shard number `index`, so that its names can be made durable.
    fn open(&mut self, core: &Core<F>, index: u16) -> Result<(), Error> {
        if self.by == By::FileSystem && !self.folders.is_empty() {
            return Ok(());
        }
        if let Entry::Vacant(vacant) = self.folders.entry(index) {
            vacant.insert(Arc::new(core.open_folder(&layout::shard(index))?));
        }
        Ok(())
    }

    /// Makes the names durable.
    fn sync(&self, core: &Arc<Core<F>>, syncers: &Pool) -> Result<(), Error> {
        match (self.by, self.folders.values().next()) {
            (By::FileSystem, Some(one)) => {
                core.sync_file_system()?;
                // On some versions of Linux, `syncfs` does not report a journal that cannot be written any more, nor a
                // file system that became read-only by it. `fsync` does.
                core.sync_folder(one)
            }
            (By::FileSystem, None) => Ok(()),
            (By::File, _) => self.sync_each(core, syncers),
        }
    }

    fn sync_each(&self, core: &Arc<Core<F>>, syncers: &Pool) -> Result<(), Error> {
        let start = |folder: &Arc<Option<F::File>>| {
            let (core, folder) = (Arc::clone(core), Arc::clone(folder));
            syncers.run(move || core.sync_folder(&folder))
        };
        let running: Vec<_> = self.folders.values().map(start).collect();
        // All are awaited, even after one has failed: no sync of this batch may be under way when it is withdrawn.
        let results: Vec<_> =
            running.into_iter().map(|done| done.blocking_recv().unwrap_or_else(|_| Err(panicked()))).collect();
        results.into_iter().collect()
    }
}

fn acknowledge<F: Fs>(core: &Core<F>, syncers: &Pool, linked: Vec<Linked<F>>) {
    {
        let mut pending = core.pending();
        for linked in linked.iter().filter(|linked| linked.outcome.is_ok()) {
            pending.remove(&linked.prepared.digest);
        }
    }
    let mut files = Vec::with_capacity(linked.len());
    for Linked { prepared, outcome } in linked {
        if outcome == Ok(Commit::New) {
            AtomicCounters::add(&core.counters.published);
        }
        files.push(prepared.file);
        send(prepared.reply, outcome);
    }
    // The names in `tmp/` are removed while the next batch is under way.
    drop(syncers.run(move || drop(files)));
}

/// Takes back the names of a batch whose shards could not be synced.
fn withdraw<F: Fs>(core: &Core<F>, linked: Vec<Linked<F>>, error: &Error) {
    for Linked { prepared, outcome } in linked {
        if outcome == Ok(Commit::New) {
            match core.fs.unlinkat(&layout::blob(&prepared.digest)) {
                Ok(()) => {
                    core.pending().remove(&prepared.digest);
                }
                // It stays pending, so no caller ever sees it.
                Err(errno) => {
                    tracing::error!(digest = %prepared.digest, %errno, "cannot withdraw a name that is not durable")
                }
            }
        }
        let present = outcome == Ok(Commit::Present);
        send(prepared.reply, if present { outcome } else { Err(error.clone()) });
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
    fn where_others_write_much_or_it_is_unknown_each_file_is_synced_alone() {
        let dirty_max = OTHERS_DIRTY_BYTES_MAX + 1000;
        for (dirty, expected) in [(Some(dirty_max), By::FileSystem), (Some(dirty_max + 1), By::File), (None, By::File)]
        {
            assert_eq!(by(Options::default(), 32, dirty), expected, "{dirty:?}");
        }
        let fs = SimFs::new(State::default());
        fs.lock().syncfs_reports_errors = false;
        assert_eq!(By::of(&Core::new(fs, Options::default()), 32, 0), By::File);
    }
}
