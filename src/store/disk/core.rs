//! [`Core`]: the state that all threads of the disk backend share, and blocking calls on single blobs. Batches are in
//! `commit`.

pub mod list;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use parking_lot::{Mutex, MutexGuard};

use super::fs::{Errno, FileStatus, Fs, Open, Wait};
use super::health::Health;
use super::layout;
use super::space::Space;
use crate::digest::Digest;
use crate::store::folder::{QUARANTINE, TEMPORARY};
use crate::store::locks::Locks;
use crate::store::{Counters, Error, Level, Options, Stat};

/// Blobs that are remembered as verified. The longest unread are forgotten first.
const VERIFIED_MAX: u64 = 1 << 17;

/// The shared part of an open store.
pub struct Core<F: Fs> {
    /// The system calls.
    pub fs: F,
    /// The settings.
    pub options: Options,
    /// Whether writes are accepted.
    pub health: Health,
    /// Whether the device has its reserve free.
    pub space: Space,
    /// Commit, delete and quarantine of a digest exclude each other.
    pub locks: Locks,
    /// Shards that could not be read.
    pub unreadable: list::Unreadable,
    /// Counts of calls to the device.
    pub counters: AtomicCounters,
    /// Names that are linked and not yet durable. For all other callers they do not exist.
    ///
    /// A panic under this lock can only leave a name here too long, and so hide a blob. It never shows one that is not
    /// durable.
    pending: Mutex<HashSet<Digest>>,
    /// Inodes of blobs whose bytes were read and matched their name.
    verified: Cache<Digest, u64>,
    temporary_next: AtomicU64,
}

/// The members of [`Counters`], as atomics.
#[derive(Default)]
pub struct AtomicCounters {
    pub fdatasync: AtomicU64,
    pub fsync: AtomicU64,
    pub syncfs: AtomicU64,
    pub commits: AtomicU64,
    pub published: AtomicU64,
    pub quarantined: AtomicU64,
}

impl AtomicCounters {
    /// Adds one.
    pub fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts at this moment.
    pub fn snapshot(&self) -> Counters {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            fdatasync: count(&self.fdatasync),
            fsync: count(&self.fsync),
            syncfs: count(&self.syncfs),
            commits: count(&self.commits),
            published: count(&self.published),
            quarantined: count(&self.quarantined),
        }
    }
}

/// What the file system has under a blob's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Nothing, or nothing durable yet.
    Absent,
    /// A regular file that may be the blob.
    Blob(FileStatus),
    /// Something that cannot be the blob: not a regular file, or an empty one.
    Foreign(FileStatus),
}

/// What is stored under a blob's name, for an upload of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// The blob: its file was lately found good.
    Proven,
    /// A file of the blob's length, with its inode.
    Unproven(u64),
    /// Nothing, or a file that cannot be the blob.
    Otherwise,
}

impl<F: Fs> Core<F> {
    /// A core over an initialised folder.
    pub fn new(fs: F, options: Options) -> Core<F> {
        let verified = Cache::builder()
            .max_capacity(VERIFIED_MAX)
            .time_to_live(Duration::from_secs(options.verify_after_s))
            .build();
        let health = Health::new(Duration::from_millis(options.full_retry_ms));
        let space = Space::new(options.space_reserve_bytes);
        let (locks, counters, pending) = (Locks::default(), AtomicCounters::default(), Mutex::default());
        Core {
            fs,
            options,
            health,
            space,
            locks,
            counters,
            pending,
            verified,
            temporary_next: AtomicU64::new(0),
            unreadable: list::Unreadable::default(),
        }
    }

    /// An unused path in `tmp/`, which was emptied at start.
    pub fn temporary_path(&self) -> String {
        format!("{TEMPORARY}/{}", self.temporary_next.fetch_add(1, Ordering::Relaxed))
    }

    /// Looks up a blob's name. `EAGAIN`: the answer needs the device, and `wait` forbids that.
    pub fn find(&self, digest: &Digest, wait: Wait) -> Result<Lookup, Errno> {
        let path = layout::blob(digest);
        let status = match wait {
            // The system looks up names in memory alone only to open them.
            Wait::Cached => self.fs.openat(&path, Open::Path, wait).and_then(|file| self.fs.fstat(&file)),
            Wait::Block => self.fs.statat(&path),
        };
        let lookup = match status {
            Err(Errno::NOENT) => return Ok(Lookup::Absent),
            Err(error) => return Err(self.suspected(digest, wait, error)),
            Ok(status) => self.classify(digest, status),
        };
        // Checked after the lookup: a name is pending before it is linked, and until it is durable.
        Ok(if self.is_pending(digest) { Lookup::Absent } else { lookup })
    }

    /// An error that a lookup met. The folder may be what cannot be read.
    fn suspected(&self, digest: &Digest, wait: Wait, errno: Errno) -> Errno {
        if wait == Wait::Block {
            list::suspect(self, digest, errno);
        }
        errno
    }

    fn classify(&self, digest: &Digest, status: FileStatus) -> Lookup {
        if status.is_file && (status.len > 0 || *digest == Digest::of(b"")) {
            Lookup::Blob(status)
        } else {
            Lookup::Foreign(status)
        }
    }

    /// Whether `len` bytes are stored under a blob's name, and proven to be the blob.
    pub fn stored(&self, digest: &Digest, len: u64, wait: Wait) -> Result<Stored, Errno> {
        Ok(match self.find(digest, wait)? {
            Lookup::Blob(status) if status.len != len => Stored::Otherwise,
            Lookup::Blob(status) if self.is_verified(digest, status.inode) => Stored::Proven,
            Lookup::Blob(status) => Stored::Unproven(status.inode),
            Lookup::Absent | Lookup::Foreign(_) => Stored::Otherwise,
        })
    }

    /// The blob's length, if it is there.
    pub fn stat(&self, digest: &Digest, wait: Wait) -> Result<Option<Stat>, Errno> {
        Ok(match self.find(digest, wait)? {
            Lookup::Blob(status) => Some(Stat { len: status.len }),
            Lookup::Absent | Lookup::Foreign(_) => None,
        })
    }

    /// Opens the blob's file.
    pub fn open(&self, digest: &Digest, wait: Wait) -> Result<Option<(F::File, FileStatus)>, Errno> {
        let file = match self.fs.openat(&layout::blob(digest), Open::Read, wait) {
            // A symbolic link or a socket is no blob.
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
            opened => opened.map_err(|errno| self.suspected(digest, wait, errno))?,
        };
        let status = self.fs.fstat(&file)?;
        Ok((status.is_file && !self.is_pending(digest)).then_some((file, status)))
    }

    /// Removes a blob durably. The caller holds its digest's lock.
    pub fn delete(&self, digest: &Digest) -> Result<bool, Error> {
        self.health.writable()?;
        match self.find(digest, Wait::Block).map_err(|errno| self.error("stat", errno))? {
            Lookup::Absent | Lookup::Foreign(_) => return Ok(false),
            Lookup::Blob(_) => {}
        }
        let shard = self.open_folder(&layout::shard(layout::shard_index(digest)))?;
        self.fs.unlinkat(&layout::blob(digest)).map_err(|errno| self.error("unlink", errno))?;
        self.verified.invalidate(digest);
        self.sync_folder(&shard)?;
        Ok(true)
    }

    /// Moves the file under a blob's name out of service. The caller holds its digest's lock, and syncs the shard.
    pub fn quarantine(&self, digest: &Digest) -> Result<(), Errno> {
        let target = layout::quarantine(digest);
        self.fs.renameat(&layout::blob(digest), &target)?;
        self.verified.invalidate(digest);
        AtomicCounters::add(&self.counters.quarantined);
        tracing::error!(%digest, moved_to = target, "a blob did not match its name and is out of service");
        Ok(())
    }

    /// Quarantines the file `inode`, unless another has replaced it by now. The caller holds its digest's lock.
    pub fn condemn(&self, digest: &Digest, inode: u64) -> Result<(), Error> {
        self.health.writable()?;
        match self.find(digest, Wait::Block) {
            Ok(Lookup::Blob(status) | Lookup::Foreign(status)) if status.inode == inode => {}
            _ => return Ok(()),
        }
        let quarantine = self.open_folder(QUARANTINE)?;
        let shard = self.open_folder(&layout::shard(layout::shard_index(digest)))?;
        self.quarantine(digest).map_err(|errno| self.error("quarantine", errno))?;
        self.sync_folder(&quarantine)?;
        self.sync_folder(&shard)
    }

    /// Whether the file `inode` was found good lately.
    pub fn is_verified(&self, digest: &Digest, inode: u64) -> bool {
        self.verified.get(digest) == Some(inode)
    }

    /// Remembers that the file `inode` was found good.
    pub fn set_verified(&self, digest: &Digest, inode: u64) {
        self.verified.insert(*digest, inode);
    }

    /// The names that are linked and not yet durable.
    pub fn pending(&self) -> MutexGuard<'_, HashSet<Digest>> {
        self.pending.lock()
    }

    fn is_pending(&self, digest: &Digest) -> bool {
        self.pending().contains(digest)
    }

    /// Makes a file's bytes durable, where the level asks for it.
    pub fn sync_file(&self, file: &F::File) -> Result<(), Error> {
        if self.options.level == Level::None {
            return Ok(());
        }
        AtomicCounters::add(&self.counters.fdatasync);
        self.fs.fdatasync(file).map_err(|errno| self.sync_failed("fdatasync", errno))
    }

    /// Opens a directory whose names are to be made durable, where the level asks for it. This comes before a name in it
    /// changes: without a descriptor or memory for it the change could not be made durable, and is not made.
    pub fn open_folder(&self, path: &str) -> Result<Option<F::File>, Error> {
        if self.options.level != Level::Strict {
            return Ok(None);
        }
        let folder = self.fs.openat(path, Open::Directory, Wait::Block);
        folder.map(Some).map_err(|errno| self.error("open", errno))
    }

    /// Makes the names in an opened directory durable. Only the error of the sync itself condemns the device.
    pub fn sync_folder(&self, folder: &Option<F::File>) -> Result<(), Error> {
        let Some(folder) = folder else { return Ok(()) };
        AtomicCounters::add(&self.counters.fsync);
        self.fs.fsync(folder).map_err(|errno| self.sync_failed("fsync", errno))
    }

    /// Makes everything on the file system durable, where the level asks for anything.
    pub fn sync_file_system(&self) -> Result<(), Error> {
        if self.options.level == Level::None {
            return Ok(());
        }
        AtomicCounters::add(&self.counters.syncfs);
        self.fs.syncfs().map_err(|errno| self.sync_failed("syncfs", errno))
    }

    /// A sync failed: the kernel has forgotten which pages were dirty, so trying again would lie. No more writes.
    pub fn sync_failed(&self, call: &str, errno: Errno) -> Error {
        let reason = format!("{call} failed: {errno}");
        if self.health.set_read_only(&reason) {
            tracing::error!(reason, "read-only from now on; check the device, then run `progimage verify --recent`");
            if let Err(errno) = layout::write_state(&self.fs, layout::FAILED_SYNC, &reason) {
                tracing::error!(%errno, "the next start will not know of the failed sync");
            }
        }
        Error::ReadOnly
    }

    /// Checks whether there is room for new bytes: [`Error::Full`]. The call may wait for the device.
    pub fn has_room(&self) -> Result<(), Error> {
        if self.health.is_full() || self.space.is_short(&self.fs) { Err(Error::Full) } else { Ok(()) }
    }

    /// What a failed call means to a caller.
    pub fn error(&self, call: &str, errno: Errno) -> Error {
        match errno {
            Errno::NOSPC | Errno::DQUOT => {
                self.health.set_full();
                Error::Full
            }
            Errno::ROFS => Error::ReadOnly,
            _ => Error::Unavailable(format!("{call}: {errno}")),
        }
    }
}
