//! [`run`]: reads every file of a store's folder from the device and checks it against its name. It takes no lock, so a
//! server may own the folder meanwhile, and it changes no file: the owner decides what to do about a finding.
//!
//! The only file that it ever removes is the note of a failed sync, with [`Options::recent`].

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FileType, Stat};

use super::fs::{Errno, Fs, Open, Wait};
use super::real::RealFs;
use super::{OwnerLock, check_marker, unavailable};
use super::{layout, proof};
use crate::digest::Digest;
use crate::store::pace::Pace;
use crate::store::{Error, folder};

/// The age up to which a file is recent. Older bytes were written back long before the sync that failed.
const RECENT: Duration = Duration::from_secs(3600);

/// How to verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Files read at once.
    pub threads: usize,
    /// Bytes a second that are read at most, so that a running server keeps its share of the device.
    pub rate_bytes_max: Option<u64>,
    /// Checks only blobs of the hour before the failed sync, or before now. If none is damaged and no server runs, the
    /// note of the failed sync is removed, so that the next start accepts uploads. Strange files in the folder do not
    /// prevent that.
    pub recent: bool,
}

/// Receives progress and findings, on any thread.
pub trait Observer: Sync {
    /// A file of `bytes` was read.
    fn blob(&self, bytes: u64);
    /// One of the [`SHARDS`] is done.
    fn shard(&self);
    /// A fault was found.
    fn found(&self, finding: Finding);
}

/// The number of parts that [`Observer::shard`] counts.
pub const SHARDS: u16 = layout::SHARDS;

/// A file and its fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The path in the store's folder.
    pub path: String,
    /// The fault of the file.
    pub fault: Fault,
}

/// The fault of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its bytes hash to this digest and not to its name.
    Corrupt(Digest),
    /// An id in the wrong folder, where it is never found.
    Misplaced,
    /// A name that the store does not use; or a folder, a link or an empty file under one that it uses.
    Unknown,
    /// A folder of the store that is missing, so that some uploads fail.
    Missing,
    /// It cannot be read, or only from the page cache.
    Unreadable(String),
}

impl Fault {
    /// Whether an image may be lost, or could not be checked.
    fn is_damage(&self) -> bool {
        match self {
            Fault::Corrupt(_) | Fault::Missing | Fault::Unreadable(_) => true,
            Fault::Misplaced | Fault::Unknown => false,
        }
    }

    /// The fault in one word.
    pub fn name(&self) -> &'static str {
        match self {
            Fault::Corrupt(_) => "corrupt",
            Fault::Misplaced => "misplaced",
            Fault::Unknown => "unknown",
            Fault::Missing => "missing",
            Fault::Unreadable(_) => "unreadable",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Corrupt(actual) => write!(f, "the bytes hash to {actual}"),
            Fault::Misplaced => f.write_str("an id in the wrong folder"),
            Fault::Unknown => f.write_str("not a file of the store"),
            Fault::Missing => f.write_str("a folder of the store is missing"),
            Fault::Unreadable(why) => f.write_str(why),
        }
    }
}

/// The result of [`run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Blobs that were read.
    pub blobs: u64,
    /// Bytes of these blobs.
    pub bytes: u64,
    /// Files with a fault.
    pub findings: u64,
    /// Files in quarantine, which the owner has taken out of service.
    pub quarantined: u64,
    /// The note of a failed sync.
    pub note: Note,
}

/// The note of a failed sync. While it is there, no upload is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// There is no note.
    None,
    /// It was removed.
    Removed,
    /// It stays: [`Options::recent`] was not set, or there is damage.
    Kept,
    /// It stays: there is no damage, but a running server would not notice the removal.
    Owned,
}

/// Verifies the store in the folder `path`.
pub fn run(path: &Path, options: &Options, observer: &dyn Observer) -> Result<Summary, Error> {
    let fs = RealFs::open_to_read(path).map_err(|error| Error::Unavailable(format!("{}: {error}", path.display())))?;
    check_marker(&fs)?;
    let noted = layout::read_state(&fs, layout::FAILED_SYNC).map_err(|errno| unavailable("state", errno))?.is_some();
    // Held until the end, so that nothing is written between the look and the removal.
    let lock = if options.recent { lock(&fs)? } else { None };
    let since = if options.recent { Some(since(&fs, noted)?) } else { None };
    let scan =
        Scan { fs: &fs, options, observer, since, pace: Pace::new(options.rate_bytes_max), totals: Totals::default() };
    scan.names().map_err(|errno| unavailable("reading the folder", errno))?;
    let next = AtomicU16::new(0);
    thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| scan.shards(&next));
        }
    });
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let findings = count(&scan.totals.findings);
    let note = match (noted, options.recent && count(&scan.totals.damaged) == 0, &lock) {
        (false, ..) => Note::None,
        (true, false, _) => Note::Kept,
        (true, true, None) => Note::Owned,
        (true, true, Some(_)) => remove_note(path).map(|()| Note::Removed)?,
    };
    let quarantined = fs.getdents(folder::QUARANTINE).map_or(0, |names| names.len() as u64);
    Ok(Summary { blobs: count(&scan.totals.blobs), bytes: count(&scan.totals.bytes), findings, quarantined, note })
}

/// The owner's lock, unless there is an owner.
fn lock(fs: &RealFs) -> Result<Option<OwnerLock>, Error> {
    match fs.lock(".").and_then(|folder| Ok([folder, fs.lock(layout::MARKER)?])) {
        Ok(lock) => Ok(Some(lock)),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(unavailable("lock", errno)),
    }
}

/// An hour before the failed sync, which may be long ago: since then nothing was written.
fn since(fs: &RealFs, noted: bool) -> Result<SystemTime, Error> {
    let mut at = SystemTime::now();
    if noted {
        let file = fs.openat(layout::FAILED_SYNC, Open::Path, Wait::Block);
        let stat = file.and_then(|file| rustix::fs::fstat(&file)).map_err(|errno| unavailable("state", errno))?;
        at = at.min(changed(&stat));
    }
    Ok(at.checked_sub(RECENT).unwrap_or(UNIX_EPOCH))
}

/// When a file was last written, linked or moved.
fn changed(stat: &Stat) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(stat.st_ctime).unwrap_or(0))
}

fn remove_note(path: &Path) -> Result<(), Error> {
    let fs = RealFs::open(path).map_err(|error| Error::Unavailable(format!("{}: {error}", path.display())))?;
    let removed = fs.unlinkat(layout::FAILED_SYNC).and_then(|()| layout::sync_folder(&fs, folder::STATE));
    removed.map_err(|errno| unavailable("removing the note of the failed sync", errno))
}

#[derive(Default)]
struct Totals {
    blobs: AtomicU64,
    bytes: AtomicU64,
    findings: AtomicU64,
    /// Findings that are damage.
    damaged: AtomicU64,
}

/// The state that the threads share.
struct Scan<'a> {
    fs: &'a RealFs,
    options: &'a Options,
    observer: &'a dyn Observer,
    since: Option<SystemTime>,
    pace: Pace,
    totals: Totals,
}

impl Scan<'_> {
    fn found(&self, path: &str, fault: Fault) {
        self.totals.findings.fetch_add(1, Ordering::Relaxed);
        self.totals.damaged.fetch_add(fault.is_damage().into(), Ordering::Relaxed);
        self.observer.found(Finding { path: path.to_owned(), fault });
    }

    /// Reports strange names above the shards.
    fn names(&self) -> Result<(), Errno> {
        for name in self.fs.getdents(".")? {
            if !folder::is_known(&name) {
                self.found(&name, Fault::Unknown);
            }
        }
        for name in self.fs.getdents(folder::BLOBS)? {
            let index = u16::from_str_radix(&name, 16).ok().filter(|index| *index < SHARDS);
            let path = format!("{}/{name}", folder::BLOBS);
            if index.map(layout::shard).as_ref() != Some(&path) {
                self.found(&path, Fault::Unknown);
            }
        }
        Ok(())
    }

    fn shards(&self, next: &AtomicU16) {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= SHARDS {
                return;
            }
            self.shard(index);
            self.observer.shard();
        }
    }

    fn shard(&self, index: u16) {
        let shard = layout::shard(index);
        let mut names = match self.names_of(&shard) {
            Ok(names) => names,
            Err(Errno::NOENT) => return self.found(&shard, Fault::Missing),
            Err(errno) => return self.found(&shard, Fault::Unreadable(errno.to_string())),
        };
        names.sort_unstable();
        for name in names {
            let path = format!("{shard}/{name}");
            match name.parse::<Digest>() {
                Err(_) => self.found(&path, Fault::Unknown),
                Ok(digest) if layout::shard_index(&digest) != index => self.found(&path, Fault::Misplaced),
                Ok(digest) => match self.blob(&digest, &path) {
                    Ok(None) => {}
                    Ok(Some(fault)) => self.found(&path, fault),
                    // Deleted since the folder was read.
                    Err(Errno::NOENT) => {}
                    Err(Errno::LOOP | Errno::NXIO) => self.found(&path, Fault::Unknown),
                    Err(errno) => self.found(&path, Fault::Unreadable(errno.to_string())),
                },
            }
        }
    }

    /// The names in a shard; none if the shard has not changed since [`Scan::since`].
    fn names_of(&self, shard: &str) -> Result<Vec<String>, Errno> {
        if let Some(since) = self.since {
            let folder = self.fs.openat(shard, Open::Directory, Wait::Block)?;
            if changed(&rustix::fs::fstat(&folder)?) < since {
                return Ok(Vec::new());
            }
        }
        self.fs.getdents(shard)
    }

    fn blob(&self, digest: &Digest, path: &str) -> Result<Option<Fault>, Errno> {
        let file = self.fs.openat(path, Open::Read, Wait::Block)?;
        let stat = rustix::fs::fstat(&file)?;
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !is_file || (stat.st_size == 0 && *digest != Digest::of(b"")) {
            return Ok(Some(Fault::Unknown));
        }
        if self.since.is_some_and(|since| changed(&stat) < since) {
            return Ok(None);
        }
        if self.options.recent {
            // Dirty pages cannot be dropped, so they are written first.
            rustix::fs::fdatasync(&file)?;
            if !self.fs.drop_pages(&file, stat.st_size as u64)? {
                let why = "it stays in the page cache: stop what reads it, and try again";
                return Ok(Some(Fault::Unreadable(why.into())));
            }
        } else {
            self.fs.forget_pages(&file)?;
        }
        let (actual, bytes) = proof::hash(self.fs, &file, |bytes| thread::sleep(self.pace.take(bytes)))?;
        // A running server needs the memory for other pages.
        self.fs.forget_pages(&file)?;
        self.totals.blobs.fetch_add(1, Ordering::Relaxed);
        self.totals.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.observer.blob(bytes);
        Ok((actual != *digest).then_some(Fault::Corrupt(actual)))
    }
}
