//! [`Memory`]: the digests of files that were hashed before, so that a file which has not changed since is not read again. A cache in
//! one SQLite file: whatever is wrong with it, files are read as if it were not there. Reads no file but its own.
//!
//! A digest is believed when the file's path, device, inode, size, time of modification and time of change (`ctime`, which no program
//! can set) are all what they were, on a file system that says so at once ([`Devices`]). Then its bytes are, too, but for:
//! - a change in the tick of the clock in which it was hashed: files that are younger than [`YOUNG_NS`] are not remembered (git calls
//!   them racy);
//! - file systems without a time of change of their own (FAT, exFAT), when a program changes a file, keeps its size and puts the time
//!   of modification back. They also number files anew at each mount, and the pictures of a burst may have one size and one time: hence
//!   the path, without which one of them could be taken for another;
//! - a program that writes through a memory map, until the system has noticed;
//! - a clock that was turned back.
//!
//! What is sent is held against its digest by the server, so no image is ever stored under a wrong name.

use std::fs::{self, DirBuilder, File, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};

use super::devices::Devices;
use crate::digest::Digest;

/// What the file may take, give or take one write: some 3 million files, at 80 to 110 bytes each. When it is full, files that are new
/// to it are not remembered: to forget others for them would be to remember none when there are more than fit.
pub const BYTES_MAX: u64 = 256 << 20;
/// A file that was changed so shortly before it was hashed may change again and keep its times: those of FAT are in steps of 2 s.
const YOUNG_NS: i64 = 2_000_000_000;
/// A file that was not seen for so long is forgotten.
const KEPT_DAYS: u64 = 90;
/// That a file was seen is written so often, and not at each run; and those that were not are looked for.
const SEEN_EVERY_DAYS: u64 = 7;
/// Changes that are written together, and how long the first of them waits.
const WRITTEN_MAX: usize = 1_000;
const WRITTEN_EVERY: Duration = Duration::from_secs(1);
/// How long another process may write: less than it takes to miss a digest.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// Of the table; a file of a later one is left alone.
const VERSION: i64 = 1;

/// One row a file, in the order of inodes: what lies together on the device is looked up together. `path` is the start of a hash; `seal`
/// tells that a digest belongs to the rest of its row. `swept`, of one row, has the day when files were last forgotten.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS file (
        device INTEGER NOT NULL,
        inode INTEGER NOT NULL,
        path INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        ctime_ns INTEGER NOT NULL,
        seen_day INTEGER NOT NULL,
        digest BLOB NOT NULL,
        seal INTEGER NOT NULL,
        PRIMARY KEY (device, inode)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS swept (day INTEGER NOT NULL);
    INSERT INTO swept SELECT 0 WHERE NOT EXISTS (SELECT * FROM swept)";
const FIND: &str = "SELECT digest, seen_day, seal FROM file
    WHERE device = ?1 AND inode = ?2 AND path = ?3 AND bytes = ?4 AND mtime_ns = ?5 AND ctime_ns = ?6";
const REMEMBER: &str = "REPLACE INTO file (device, inode, path, bytes, mtime_ns, ctime_ns, seen_day, digest, seal)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
/// The same of a file that has its row.
const CORRECT: &str = "UPDATE file
    SET path = ?3, bytes = ?4, mtime_ns = ?5, ctime_ns = ?6, seen_day = ?7, digest = ?8, seal = ?9
    WHERE device = ?1 AND inode = ?2";
const FORGET: &str = "DELETE FROM file WHERE device = ?1 AND inode = ?2";
/// Changes its row when it is due, whichever way the clock was wrong.
const SWEEP: &str = "UPDATE swept SET day = ?1 WHERE abs(day - ?1) >= ?2";
const FORGET_UNSEEN: &str = "DELETE FROM file WHERE seen_day < ?1";

/// A file as it stands, without its bytes: two that are equal have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: i64,
    inode: i64,
    path: i64,
    bytes: i64,
    mtime_ns: i64,
    ctime_ns: i64,
}

impl Stamp {
    /// Of the file at `path`.
    pub fn of(path: &Path, file: &Metadata) -> Stamp {
        // Where there is no folder to be in, the path alone must do.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let nanoseconds = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
        Stamp {
            device: file.dev().cast_signed(),
            inode: file.ino().cast_signed(),
            path: start(&Digest::of(path.as_os_str().as_bytes())),
            bytes: file.len().cast_signed(),
            mtime_ns: nanoseconds(file.mtime(), file.mtime_nsec()),
            ctime_ns: nanoseconds(file.ctime(), file.ctime_nsec()),
        }
    }

    /// Of it together with `digest`: 8 bytes of a hash of both.
    fn seal(&self, digest: &Digest) -> i64 {
        let Stamp { device, inode, path, bytes, mtime_ns, ctime_ns } = self;
        let mut both = [device, inode, path, bytes, mtime_ns, ctime_ns].map(|part| part.to_le_bytes()).concat();
        both.extend_from_slice(digest.as_bytes());
        start(&Digest::of(&both))
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.bytes.cast_unsigned()
    }

    /// Whether a change at `now` or later would show.
    pub fn is_settled(&self, now: SystemTime) -> bool {
        let now_ns = now.duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
        let youngest = i64::try_from(now_ns).unwrap_or(i64::MAX).saturating_sub(YOUNG_NS);
        self.mtime_ns.max(self.ctime_ns) <= youngest
    }
}

fn start(digest: &Digest) -> i64 {
    let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
    i64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Where it lies: `$XDG_CACHE_HOME/progimage/digests.sqlite`, else in `$HOME/.cache`; `None` where there is neither.
pub fn place() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("progimage/digests.sqlite"))
}

/// What is known of files. Nothing here fails: what cannot be read is not known, what cannot be written is not remembered.
///
/// Threads share it. Two processes may have the same file open.
pub struct Memory {
    file: PathBuf,
    devices: Devices,
    bytes_max: u64,
    /// Days since 1970, when it was opened.
    today: i64,
    connection: Mutex<Option<Connection>>,
    /// Not again after it has failed: each time might be a long wait.
    reads: AtomicBool,
    writes: AtomicBool,
    has_written: AtomicBool,
    changes: Mutex<Changes>,
}

/// What is not written yet; no digest: to be forgotten.
struct Changes {
    list: Vec<(Stamp, Option<Digest>)>,
    since: Instant,
}

impl Memory {
    /// Opens `file`, or makes it, of about `bytes_max` at most; without one, nothing is ever known.
    pub fn open(file: Option<PathBuf>, bytes_max: u64) -> Memory {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Memory::open_on(file, bytes_max, (now.as_secs() / 86_400).cast_signed(), BUSY_TIMEOUT)
    }

    fn open_on(file: Option<PathBuf>, bytes_max: u64, today: i64, busy_timeout: Duration) -> Memory {
        let connection = file.as_deref().and_then(|file| connect(file, busy_timeout));
        let is_there = connection.is_some();
        Memory {
            file: file.unwrap_or_default(),
            devices: Devices::default(),
            bytes_max,
            today,
            connection: Mutex::new(connection),
            reads: AtomicBool::new(is_there),
            writes: AtomicBool::new(is_there),
            has_written: AtomicBool::new(false),
            changes: Mutex::new(Changes { list: Vec::new(), since: Instant::now() }),
        }
    }

    /// Whether `file` may be recalled and remembered; `kind` is that of its file system.
    pub fn covers(&self, file: &Stamp, kind: impl FnOnce() -> Option<u64>) -> bool {
        self.devices.is_local(file.device.cast_unsigned(), kind)
    }

    /// The digests of files, where they are known. Better asked of many at once: each question locks the file.
    pub fn recall(&self, files: &[Stamp]) -> Vec<Option<Digest>> {
        let found = self.attempt(&self.reads, |connection| {
            let transaction = connection.transaction()?;
            files.iter().map(|file| find(&transaction, file)).collect::<rusqlite::Result<Vec<_>>>()
        });
        let found = found.unwrap_or_else(|| vec![None; files.len()]);
        let known = files.iter().zip(found).map(|(file, found)| {
            found.map(|(digest, seen_day)| {
                // Either way: the clock may have been wrong.
                if self.today.abs_diff(seen_day) >= SEEN_EVERY_DAYS {
                    self.change(*file, Some(digest));
                }
                digest
            })
        });
        known.collect()
    }

    /// Keeps the digest of a file that was settled when it began to be hashed, and still was the same when it ended.
    pub fn remember(&self, file: Stamp, digest: Digest) {
        self.change(file, Some(digest));
    }

    /// Its digest is another one, or may be.
    pub fn forget(&self, file: Stamp) {
        self.change(file, None);
    }

    /// Writes what is left to be written; if anything was, drops what was not seen for long, where that is due.
    pub fn close(&self) {
        self.write();
        if self.has_written.load(Ordering::Relaxed) {
            self.attempt(&self.writes, |connection| sweep(connection, self.today));
        }
    }

    fn change(&self, file: Stamp, digest: Option<Digest>) {
        let mut changes = locked(&self.changes);
        changes.list.push((file, digest));
        let is_due = changes.list.len() >= WRITTEN_MAX || changes.since.elapsed() >= WRITTEN_EVERY;
        drop(changes);
        if is_due {
            self.write();
        }
    }

    fn write(&self) {
        self.attempt(&self.writes, |connection| {
            // Taken when it can be written, so that changes are written in their order.
            let mut changes = locked(&self.changes);
            changes.since = Instant::now();
            let list = std::mem::take(&mut changes.list);
            drop(changes);
            if list.is_empty() {
                return Ok(());
            }
            self.has_written.store(true, Ordering::Relaxed);
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let statement = if size(&transaction)? < self.bytes_max { REMEMBER } else { CORRECT };
            for (file, digest) in list {
                apply(&transaction, statement, &file, digest, self.today)?;
            }
            transaction.commit()
        });
        if !self.writes.load(Ordering::Relaxed) {
            locked(&self.changes).list = Vec::new();
        }
    }

    /// Runs `statements` as long as these go well.
    fn attempt<T>(
        &self,
        goes_well: &AtomicBool,
        statements: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Option<T> {
        let mut connection = locked(&self.connection);
        let open = connection.as_mut().filter(|_| goes_well.load(Ordering::Relaxed))?;
        let error = match statements(open) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        goes_well.store(false, Ordering::Relaxed);
        if is_broken(&error) {
            *connection = None;
            self.reads.store(false, Ordering::Relaxed);
            self.writes.store(false, Ordering::Relaxed);
            remove(&self.file);
        }
        None
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn find(transaction: &Transaction, file: &Stamp) -> rusqlite::Result<Option<(Digest, i64)>> {
    let Stamp { device, inode, path, bytes, mtime_ns, ctime_ns } = file;
    let found =
        transaction.prepare_cached(FIND)?.query_row(params![device, inode, path, bytes, mtime_ns, ctime_ns], |row| {
            let digest = Digest::from_bytes(row.get(0)?);
            let (seen_day, seal): (i64, i64) = (row.get(1)?, row.get(2)?);
            Ok((seal == file.seal(&digest)).then_some((digest, seen_day)))
        });
    // Without its seal it is as good as none.
    found.optional().map(Option::flatten)
}

fn apply(
    transaction: &Transaction,
    remember: &str,
    file: &Stamp,
    digest: Option<Digest>,
    today: i64,
) -> rusqlite::Result<()> {
    let Stamp { device, inode, path, bytes, mtime_ns, ctime_ns } = file;
    match digest {
        None => transaction.prepare_cached(FORGET)?.execute(params![device, inode])?,
        Some(digest) => transaction.prepare_cached(remember)?.execute(params![
            device,
            inode,
            path,
            bytes,
            mtime_ns,
            ctime_ns,
            today,
            digest.as_bytes(),
            file.seal(&digest)
        ])?,
    };
    Ok(())
}

/// Looks at every row, and so not in every run.
fn sweep(connection: &mut Connection, today: i64) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if transaction.execute(SWEEP, [today, SEEN_EVERY_DAYS.cast_signed()])? > 0 {
        transaction.execute(FORGET_UNSEEN, [today - KEPT_DAYS.cast_signed()])?;
    }
    transaction.commit()
}

/// Bytes of the file, without what is free for reuse.
fn size(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")? - pragma("freelist_count")?;
    Ok((pages * pragma("page_size")?).max(0).cast_unsigned())
}

/// Opens or makes `file`; one that is broken is replaced.
fn connect(file: &Path, busy_timeout: Duration) -> Option<Connection> {
    let opened = set_up(file, busy_timeout);
    let opened = match opened {
        Err(error) if is_broken(&error) => {
            remove(file);
            set_up(file, busy_timeout)
        }
        opened => opened,
    };
    opened.ok().flatten()
}

/// None when the file is of a later version.
///
/// With a rollback journal, because a home folder may be on NFS, where a write-ahead log cannot be shared; and without syncs: after a
/// power cut it may be broken, and is made anew, or have rows of which one half is older than the other, which their seals tell.
fn set_up(file: &Path, busy_timeout: Duration) -> rusqlite::Result<Option<Connection>> {
    // Names and hashes of files are nobody else's. What goes wrong here is seen when the file is opened.
    if let Some(folder) = file.parent() {
        let _ = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    }
    let _ = File::options().append(true).create(true).mode(0o600).open(file);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(busy_timeout)?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    let version =
        |connection: &Connection| connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
    if version(&connection)? == 0 {
        // All of it or nothing, by one of those who find it empty.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()?;
    }
    Ok((version(&connection)? <= VERSION).then_some(connection))
}

/// Whether the file is no database, or not ours; not that it is locked, read-only or full.
fn is_broken(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        // A value is not what is written there, or (`Unknown`) a column is missing.
        None => true,
        Some(code) => matches!(code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown),
    }
}

/// The journal first: it must not be taken for that of the next file.
fn remove(file: &Path) {
    let mut journal = file.as_os_str().to_owned();
    journal.push("-journal");
    let _ = fs::remove_file(journal);
    let _ = fs::remove_file(file);
}

#[cfg(test)]
mod tests;
