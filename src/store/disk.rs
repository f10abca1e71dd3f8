//! The disk backend: one file per blob under its full digest; the file system is the index. Durable when acknowledged.
//!
//! | File | Holds |
//! |---|---|
//! | `layout` | the paths of files, and how a new folder is made |
//! | `fs`, `real` | the system calls, and the real ones |
//! | `core` | the state that all threads share; calls on single blobs |
//! | `stage`, `commit` | an upload's bytes before and while they get their name |
//! | `read`, `list` | reads of an open blob; pages of all blobs |
//! | `proof` | whether a file is its blob |
//! | `verify` | checks every file against its name, without the lock |
//! | `health`, `space` | whether writes are accepted; whether there is room for them |
//! | `pool`, `watch` | threads |
//! | `sim`, `crash` | tests: a file system that can lose power, and a model that checks every state it may leave |

mod commit;
mod core;
mod fs;
mod health;
mod layout;
mod pool;
mod proof;
mod read;
mod real;
pub mod space;
mod stage;
pub mod verify;
mod watch;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use self::commit::{Answer, Body, CommitRequest, Committer};
use self::core::{Core, Stored, list};
use self::fs::{Errno, Fs, Wait};
use self::pool::{Pool, Rank, panicked};
use self::proof::Proof;
use self::read::{Opened, Way, cached};
use self::real::RealFs;
use self::stage::Staged;
use self::watch::Watch;
use super::folder::TEMPORARY;
use super::locks::{Guard, Locks};
use super::{Blob, Commit, Counters, Error, FreeSpace, Future, Listing, Options, Stage, Stat, Store};
use crate::digest::Digest;

/// The most names that are looked up on the caller's thread, if they are cached.
const INLINE_STATS_MAX: usize = 16;

/// The locks of the folder and of its marker.
type OwnerLock = [OwnedFd; 2];

/// A store in a folder.
pub struct Disk<F: Fs> {
    inner: Arc<Inner<F>>,
}

/// The open store. Fields are dropped in this order: the committer ends its work, the threads end, and the lock is
/// freed.
pub struct Inner<F: Fs> {
    committer: Committer<F>,
    syncers: Arc<Pool>,
    readers: Pool,
    scrubber: Pool,
    proofs: Locks,
    _watch: Watch,
    core: Arc<Core<F>>,
    _lock: Option<OwnerLock>,
}

/// Opens the store in the folder `path`, or makes it.
pub async fn open(path: &str, options: Options) -> Result<Disk<RealFs>, Error> {
    let path = PathBuf::from(path);
    let opened = tokio::task::spawn_blocking(move || {
        let fs = RealFs::open(&path).map_err(|error| Error::Unavailable(format!("{}: {error}", path.display())))?;
        // Before anything is changed, and whatever happens to the marker.
        let folder = lock(&fs, ".")?;
        layout::init(&fs, random()?).map_err(|errno| unavailable("making the folders", errno))?;
        // For earlier versions of this program, which lock nothing else.
        let marker = lock(&fs, layout::MARKER)?;
        let is_read_only = fs.is_read_only();
        let disk = Disk::start(fs, options, Some([folder, marker]))?;
        if is_read_only {
            tracing::error!("the data folder is mounted read-only: images are served, and nothing is stored");
            disk.inner.core.health.set_read_only("mounted read-only");
        }
        Ok(disk)
    });
    opened.await.unwrap_or_else(|_| Err(panicked()))
}

/// Opens the store in the folder `path` for reading. The folder is neither locked nor changed, and writes fail.
pub async fn open_to_read(path: &str, options: Options) -> Result<Disk<RealFs>, Error> {
    let path = PathBuf::from(path);
    let opened = tokio::task::spawn_blocking(move || {
        let fs =
            RealFs::open_to_read(&path).map_err(|error| Error::Unavailable(format!("{}: {error}", path.display())))?;
        check_marker(&fs)?;
        let core = Core::new(fs, options);
        core.health.set_read_only("opened for reading");
        core.health.set_started(true);
        Disk::over(core, None)
    });
    opened.await.unwrap_or_else(|_| Err(panicked()))
}

fn check_marker(fs: &impl Fs) -> Result<(), Error> {
    match layout::marker_is_known(fs) {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::Unavailable(format!("{} is of an unknown version", layout::MARKER))),
        Err(errno) => Err(unavailable(layout::MARKER, errno)),
    }
}

fn random() -> Result<u128, Error> {
    use std::io::Read;
    let mut bytes = [0; 16];
    let read = std::fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    read.map_err(|error| Error::Unavailable(format!("/dev/urandom: {error}")))?;
    Ok(u128::from_ne_bytes(bytes))
}

fn lock(fs: &RealFs, path: &str) -> Result<OwnedFd, Error> {
    fs.lock(path).map_err(|errno| match errno {
        Errno::WOULDBLOCK => Error::Unavailable("another process owns this folder".into()),
        errno => unavailable("lock", errno),
    })
}

fn no_thread(error: std::io::Error) -> Error {
    Error::Unavailable(format!("starting a thread: {error}"))
}

fn unavailable(doing: &str, errno: Errno) -> Error {
    Error::Unavailable(format!("{doing}: {errno}"))
}

impl<F: Fs> Disk<F> {
    /// Takes over an initialised folder. Empties `tmp/` and, in the background, syncs what a killed predecessor may
    /// have left in the page cache. The cost does not depend on the number of blobs.
    pub fn start(fs: F, options: Options, lock: Option<OwnerLock>) -> Result<Disk<F>, Error> {
        check_marker(&fs)?;
        empty_temporary(&fs).map_err(|errno| unavailable("emptying tmp", errno))?;
        let failed_sync = layout::read_state(&fs, layout::FAILED_SYNC).map_err(|errno| unavailable("state", errno))?;
        let core = Core::new(fs, options);
        if let Some(reason) = failed_sync {
            tracing::error!(
                reason,
                "a sync failed earlier: the store is read-only until `progimage verify --recent` finds no damage"
            );
            core.health.set_read_only(&reason);
        }
        let disk = Disk::over(core, lock)?;
        let starting = Arc::clone(&disk.inner.core);
        drop(disk.inner.syncers.run(move || sync_all(&starting)));
        Ok(disk)
    }

    /// A store over `core`, with its threads.
    fn over(core: Core<F>, lock: Option<OwnerLock>) -> Result<Disk<F>, Error> {
        let core = Arc::new(core);
        let syncers = Arc::new(Pool::start("store-sync", core.options.sync_threads, Rank::Usual).map_err(no_thread)?);
        let readers = Pool::start("store-read", core.options.read_threads, Rank::Usual).map_err(no_thread)?;
        let scrubber = Pool::start("store-scrub", 1, Rank::Idle).map_err(no_thread)?;
        let committer = Committer::start(Arc::clone(&core), Arc::clone(&syncers)).map_err(no_thread)?;
        let watch = Watch::start(Arc::clone(&core)).map_err(no_thread)?;
        let proofs = Locks::default();
        let inner = Inner { committer, syncers, readers, scrubber, proofs, _watch: watch, core, _lock: lock };
        Ok(Disk { inner: Arc::new(inner) })
    }
}

/// Removes the uploads that were under way when the last owner ended. None of them was acknowledged.
fn empty_temporary(fs: &impl Fs) -> Result<(), Errno> {
    for name in fs.getdents(TEMPORARY)? {
        if let Err(errno) = fs.unlinkat(&format!("{TEMPORARY}/{name}")) {
            tracing::warn!(name, %errno, "cannot remove a file from tmp");
        }
    }
    Ok(())
}

/// Runs the start-up sync. Afterwards every name in the folder is durable, even one that an earlier owner made.
fn sync_all<F: Fs>(core: &Core<F>) {
    core.health.set_started(core.sync_file_system().is_ok());
}

impl<F: Fs> Inner<F> {
    /// Publishes `body` under `digest`. Once it is queued it goes on, even if the caller leaves.
    ///
    /// A file that has this name and length already is proven first, unless it was lately: the client may drop its own
    /// copy after this. Uploads of one digest wait for each other, so that it is read once.
    async fn commit(&self, digest: Digest, len: u64, body: Body<F>) -> Result<Commit, Error> {
        self.core.health.started().await?;
        self.core.health.writable()?;
        let lock = self.core.locks.acquire(digest).await;
        let (body, lock) = match cached(|wait| self.core.stored(&digest, len, wait)) {
            Some(Stored::Proven) => return Ok(self.present(body)),
            Some(Stored::Unproven(_)) => (body, lock),
            Some(Stored::Otherwise) | None => match self.submit(digest, len, body, None, lock).await? {
                Answer::Done(commit) => return Ok(commit),
                Answer::Unproven(body, lock) => (body, lock),
            },
        };
        let (proof, lock) = self.prove(digest, lock).await?;
        let bad = match proof {
            Proof::Good => return Ok(self.present(body)),
            Proof::Bad(inode) => Some(inode),
            Proof::Absent => None,
        };
        match self.submit(digest, len, body, bad, lock).await? {
            Answer::Done(commit) => Ok(commit),
            // Another program works in the folder.
            Answer::Unproven(..) => Err(Error::Unavailable("a file took the place of a corrupt one".into())),
        }
    }

    async fn submit(
        &self,
        digest: Digest,
        len: u64,
        body: Body<F>,
        bad: Option<u64>,
        lock: Guard,
    ) -> Result<Answer<F>, Error> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.committer.submit(CommitRequest { digest, len, body, bad, lock, reply });
        answer.await.unwrap_or_else(|_| Err(panicked()))
    }

    /// Proves the stored file on a thread, which holds the lock even if the caller leaves.
    async fn prove(&self, digest: Digest, lock: Guard) -> Result<(Proof, Guard), Error> {
        let core = Arc::clone(&self.core);
        self.readers.call(move || Ok((core.prove(&digest)?, lock))).await
    }

    /// The answer to an upload of what is there. The file of a spilled body is removed on the sync threads.
    fn present(&self, body: Body<F>) -> Commit {
        drop(self.syncers.run(move || drop(body)));
        Commit::Present
    }

    async fn read<T: Send + 'static>(
        &self,
        name: &'static str,
        call: impl FnOnce(&Core<F>) -> Result<T, Errno> + Send + 'static,
    ) -> Result<T, Error> {
        let core = Arc::clone(&self.core);
        self.readers.call(move || call(&core).map_err(|errno| core.error(name, errno))).await
    }
}

impl<F: Fs> Store for Disk<F> {
    fn stat<'a>(&'a self, digests: &'a [Digest]) -> Future<'a, Vec<Option<Stat>>> {
        Box::pin(async move {
            let inner = &self.inner;
            inner.core.health.started().await?;
            if digests.len() <= INLINE_STATS_MAX {
                let known = cached(|wait| digests.iter().map(|digest| inner.core.stat(digest, wait)).collect());
                if let Some(known) = known {
                    return Ok(known);
                }
            }
            let digests = digests.to_vec();
            inner.read("stat", move |core| digests.iter().map(|digest| core.stat(digest, Wait::Block)).collect()).await
        })
    }

    fn open<'a>(&'a self, digest: &'a Digest) -> Future<'a, Blob> {
        Box::pin(async move {
            let (inner, digest) = (&self.inner, *digest);
            let opened = match cached(|wait| inner.core.open(&digest, wait)) {
                Some(opened) => opened,
                None => inner.read("open", move |core| core.open(&digest, Wait::Block)).await?,
            };
            let (file, status) = opened.ok_or(Error::NotFound)?;
            let source = Arc::new(Opened::new(Arc::clone(inner), file, digest, status, Way::CachedFirst));
            Ok(Blob::new(digest, status.len, source, inner.proofs.clone()))
        })
    }

    fn open_to_scrub<'a>(&'a self, digest: &'a Digest) -> Future<'a, Blob> {
        Box::pin(async move {
            let (inner, core, digest) = (&self.inner, Arc::clone(&self.inner.core), *digest);
            let open = move || {
                let opened = core.open(&digest, Wait::Block).map_err(|errno| core.error("open", errno))?;
                let (file, status) = opened.ok_or(Error::NotFound)?;
                core.fs.forget_pages(&file).map_err(|errno| core.error("fadvise", errno))?;
                Ok((file, status))
            };
            let (file, status) = inner.scrubber.call(open).await?;
            let source = Arc::new(Opened::new(Arc::clone(inner), file, digest, status, Way::Scrub));
            Ok(Blob::new(digest, status.len, source, inner.proofs.clone()))
        })
    }

    fn scrub_note(&self) -> Future<'_, Option<String>> {
        Box::pin(async move { self.inner.read("state", |core| layout::read_state(&core.fs, layout::SCRUB)).await })
    }

    fn set_scrub_note(&self, note: String) -> Future<'_, ()> {
        Box::pin(async move {
            self.inner.core.health.writable()?;
            self.inner.read("state", move |core| layout::replace_state(&core.fs, layout::SCRUB, &note)).await
        })
    }

    fn stage(&self, size_hint: Option<u64>) -> Future<'_, Box<dyn Stage>> {
        Box::pin(async move { Ok(Box::new(Staged::new(Arc::clone(&self.inner), size_hint)) as Box<dyn Stage>) })
    }

    fn delete<'a>(&'a self, digest: &'a Digest) -> Future<'a, bool> {
        Box::pin(async move {
            let (core, digest) = (Arc::clone(&self.inner.core), *digest);
            core.health.started().await?;
            let lock = core.locks.acquire(digest).await;
            let deleted = self.inner.syncers.call(move || {
                let _lock = lock;
                core.delete(&digest)
            });
            deleted.await
        })
    }

    fn list(&self, after: Option<Digest>, limit: usize) -> Future<'_, Listing> {
        Box::pin(async move {
            self.inner.core.health.started().await?;
            self.inner.read("list", move |core| list::list(core, after, limit)).await
        })
    }

    fn unreadable(&self) -> Vec<String> {
        self.inner.core.unreadable.folders()
    }

    fn writable(&self) -> Result<(), Error> {
        self.inner.core.health.accepts_uploads()?;
        if self.inner.core.space.was_short() { Err(Error::Full) } else { Ok(()) }
    }

    fn free_space(&self) -> Option<FreeSpace> {
        self.inner.core.space.seen()
    }

    fn counters(&self) -> Counters {
        self.inner.core.counters.snapshot()
    }
}

#[cfg(test)]
mod crash;
#[cfg(test)]
mod sim;
