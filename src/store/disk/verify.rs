//! [`run`]: every file of a store's folder is read from the device and held against its name. Without the lock, so also while a
//! server owns the folder, and without changing a file: what to do about a finding is left to the owner.
//!
//! The one thing that is ever removed is the note of a failed sync, by [`Options::recent`].

mod page_cache;

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::{Advice, FileType, Stat};

use super::fs::{Errno, Fs, Open, Wait};
use super::layout;
use super::real::RealFs;
use super::{check_marker, unavailable};
use crate::digest::{Digest, Hasher};
use crate::store::Error;

/// Read, and hashed, at once.
const READ_BYTES: usize = 1 << 20;
/// What counts as recent: older bytes were written back long before a sync could fail.
const RECENT: Duration = Duration::from_secs(3600);
/// Names in the root that the program makes, and what a file system has in its own.
const ROOT_NAMES: [&str; 7] = [layout::MARKER, "blobs", "tmp", "quarantine", "state", "renditions", "lost+found"];
const ROOT_PREFIX: &str = "jobs.sqlite";

/// How to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Files read at once.
    pub threads: usize,
    /// Bytes a second that are read at most, so that a server beside it keeps its share of the device.
    pub rate_bytes_max: Option<u64>,
    /// Only blobs of the hour before the failed sync that was noted, or before now. When all of them are well, and no server runs,
    /// the note is removed, so that the next start accepts uploads; strangers in the folder do not keep it.
    pub recent: bool,
}

/// Told what goes on, from any thread.
pub trait Watch: Sync {
    /// One more file of `bytes` was read.
    fn blob(&self, bytes: u64);
    /// One more of the [`SHARDS`] was gone through.
    fn shard(&self);
    /// Something is wrong.
    fn found(&self, finding: Finding);
}

/// Parts of the whole that [`Watch::shard`] counts.
pub const SHARDS: u16 = layout::SHARDS;

/// A file and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its path in the store's folder.
    pub path: String,
    /// What is wrong.
    pub fault: Fault,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its bytes hash to this and not to its name.
    Corrupt(Digest),
    /// An id, in a folder where nobody looks for it.
    Misplaced,
    /// Not a name that the store gives; or a folder, a link or an empty file under one.
    Unknown,
    /// A folder of the store that is not there: no upload can go into it.
    Missing,
    /// It cannot be read, or not past the page cache.
    Unreadable(String),
}

impl Fault {
    /// Whether an image may be lost by it, or could not be looked at.
    fn is_damage(&self) -> bool {
        match self {
            Fault::Corrupt(_) | Fault::Missing | Fault::Unreadable(_) => true,
            Fault::Misplaced | Fault::Unknown => false,
        }
    }

    /// One word.
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
            Fault::Misplaced => f.write_str("an id in a folder where it is not looked for"),
            Fault::Unknown => f.write_str("not a file of the store"),
            Fault::Missing => f.write_str("a folder of the store is not there"),
            Fault::Unreadable(why) => f.write_str(why),
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Blobs that were read.
    pub blobs: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Findings.
    pub findings: u64,
    /// Files that the owner has taken out of service.
    pub quarantined: u64,
    /// The note of a failed sync.
    pub note: Note,
}

/// The note of a failed sync, while which is there no upload is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// There is none.
    None,
    /// It was removed.
    Removed,
    /// It is there: it was not asked about, or not all is well.
    Kept,
    /// All is well, but a server runs, which would not notice.
    Owned,
}

/// Reads the store in the folder `path`.
pub fn run(path: &Path, options: &Options, watch: &dyn Watch) -> Result<Summary, Error> {
    let fs = RealFs::open_to_read(path).map_err(|error| Error::Unavailable(format!("{}: {error}", path.display())))?;
    check_marker(&fs)?;
    let noted = layout::read_state(&fs, layout::FAILED_SYNC).map_err(|errno| unavailable("state", errno))?.is_some();
    // Held until the end, so that nothing is written between the look and the removal.
    let lock = if options.recent { lock(&fs)? } else { None };
    let since = if options.recent { Some(since(&fs, noted)?) } else { None };
    let scan =
        Scan { fs: &fs, options, watch, since, pace: Pace::new(options.rate_bytes_max), tally: Tally::default() };
    scan.names().map_err(|errno| unavailable("reading the folder", errno))?;
    let next = AtomicU16::new(0);
    thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            scope.spawn(|| scan.shards(&next));
        }
    });
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let findings = count(&scan.tally.findings);
    let note = match (noted, options.recent && count(&scan.tally.damaged) == 0, &lock) {
        (false, ..) => Note::None,
        (true, false, _) => Note::Kept,
        (true, true, None) => Note::Owned,
        (true, true, Some(_)) => remove_note(path).map(|()| Note::Removed)?,
    };
    let quarantined = fs.getdents("quarantine").map_or(0, |names| names.len() as u64);
    Ok(Summary { blobs: count(&scan.tally.blobs), bytes: count(&scan.tally.bytes), findings, quarantined, note })
}

/// The owner's lock, unless there is an owner.
fn lock(fs: &RealFs) -> Result<Option<OwnedFd>, Error> {
    match fs.lock(layout::MARKER) {
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
    let removed = fs.unlinkat(layout::FAILED_SYNC).and_then(|()| layout::sync_folder(&fs, "state"));
    removed.map_err(|errno| unavailable("removing the note of the failed sync", errno))
}

#[derive(Default)]
struct Tally {
    blobs: AtomicU64,
    bytes: AtomicU64,
    findings: AtomicU64,
    /// Of these, damage.
    damaged: AtomicU64,
}

/// What the threads share.
struct Scan<'a> {
    fs: &'a RealFs,
    options: &'a Options,
    watch: &'a dyn Watch,
    since: Option<SystemTime>,
    pace: Pace,
    tally: Tally,
}

impl Scan<'_> {
    fn found(&self, path: &str, fault: Fault) {
        self.tally.findings.fetch_add(1, Ordering::Relaxed);
        self.tally.damaged.fetch_add(fault.is_damage().into(), Ordering::Relaxed);
        self.watch.found(Finding { path: path.to_owned(), fault });
    }

    /// Names that no part of the program gives, above the blobs.
    fn names(&self) -> Result<(), Errno> {
        for name in self.fs.getdents(".")? {
            if !ROOT_NAMES.contains(&name.as_str()) && !name.starts_with(ROOT_PREFIX) {
                self.found(&name, Fault::Unknown);
            }
        }
        for name in self.fs.getdents("blobs")? {
            let index = u16::from_str_radix(&name, 16).ok().filter(|index| *index < SHARDS);
            if index.map(layout::shard) != Some(format!("blobs/{name}")) {
                self.found(&format!("blobs/{name}"), Fault::Unknown);
            }
        }
        Ok(())
    }

    fn shards(&self, next: &AtomicU16) {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= SHARDS {
                return;
            }
            self.shard(index, &mut buffer);
            self.watch.shard();
        }
    }

    fn shard(&self, index: u16, buffer: &mut [u8]) {
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
                Ok(digest) => match self.blob(&digest, &path, buffer) {
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

    /// None of a shard in which no name has come or gone lately.
    fn names_of(&self, shard: &str) -> Result<Vec<String>, Errno> {
        if let Some(since) = self.since {
            let folder = self.fs.openat(shard, Open::Directory, Wait::Block)?;
            if changed(&rustix::fs::fstat(&folder)?) < since {
                return Ok(Vec::new());
            }
        }
        self.fs.getdents(shard)
    }

    fn blob(&self, digest: &Digest, path: &str, buffer: &mut [u8]) -> Result<Option<Fault>, Errno> {
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
            // Pages that are still to be written cannot be dropped.
            rustix::fs::fdatasync(&file)?;
            if !page_cache::drop_pages(&file, stat.st_size as u64)? {
                let why = "it stays in the page cache; stop what reads it, and try again";
                return Ok(Some(Fault::Unreadable(why.into())));
            }
        } else {
            rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
        }
        let (actual, bytes) = self.hash(&file, buffer)?;
        // What a server beside this needs in memory is not what was only hashed.
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
        self.tally.blobs.fetch_add(1, Ordering::Relaxed);
        self.tally.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.watch.blob(bytes);
        Ok((actual != *digest).then_some(Fault::Corrupt(actual)))
    }

    fn hash(&self, file: &OwnedFd, buffer: &mut [u8]) -> Result<(Digest, u64), Errno> {
        let (mut hasher, mut bytes) = (Hasher::default(), 0);
        loop {
            let count = layout::read_full(self.fs, file, buffer, bytes)?;
            if count == 0 {
                return Ok((hasher.digest(), bytes));
            }
            hasher.update(&buffer[..count]);
            bytes += count as u64;
            self.pace.take(count as u64);
        }
    }
}

/// Keeps all threads together at a rate.
struct Pace {
    started: Instant,
    bytes: AtomicU64,
    rate: Option<u64>,
}

impl Pace {
    fn new(rate: Option<u64>) -> Pace {
        Pace { started: Instant::now(), bytes: AtomicU64::new(0), rate }
    }

    fn take(&self, bytes: u64) {
        let Some(rate) = self.rate else { return };
        let all = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        thread::sleep(self.due(all, rate));
    }

    /// How much too early it is for so many bytes.
    fn due(&self, all: u64, rate: u64) -> Duration {
        Duration::from_secs_f64(all as f64 / rate.max(1) as f64).saturating_sub(self.started.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept() {
        let pace = Pace::new(Some(1_000));
        let due = pace.due(100_000, 1_000);
        assert!(due > Duration::from_secs(90) && due <= Duration::from_secs(100), "{due:?}");
        Pace::new(None).take(u64::MAX);
    }
}
