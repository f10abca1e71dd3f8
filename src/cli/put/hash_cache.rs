//! [`HashCache`]: the digests of files that were hashed before, so that an unchanged file is not read again. It is one
//! SQLite file. If that is damaged or missing, files are read as without it. Reads no file but its own.
//!
//! A digest is used if path, device, inode, size, mtime and ctime (which no program can set) are unchanged, on a file
//! system that reports changes at once ([`Devices`]). The bytes are unchanged then, with these exceptions:
//! - A change within the same clock tick as the hash. So files younger than [`YOUNG_NS`] are not remembered (git calls
//!   them racy).
//! - File systems without ctime (FAT, exFAT), if a program changes a file, keeps its size and restores its mtime. These
//!   also number files anew at each mount, and the pictures of a burst may have one size and one time. The path keeps
//!   them apart.
//! - A program that writes through a memory map, until the kernel has noticed.
//! - A clock that was turned back.
//!
//! The server checks uploaded bytes against their digest, so no image is ever stored under a wrong name.

use std::fs::{self, DirBuilder, File, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};

use super::devices::Devices;
use crate::digest::Digest;

/// The size of the cache file, give or take one write: about 3 million files, at 80 to 110 bytes each. When it is full,
/// new files are not remembered. If they replaced old ones, a collection larger than the cache would never find any.
pub const BYTES_MAX: u64 = 256 << 20;
/// The age below which a file may change again without a change of its times. FAT keeps times in steps of 2 s.
const YOUNG_NS: i64 = 2_000_000_000;
/// Days after which a file that was not seen again is forgotten.
const KEPT_DAYS: u64 = 90;
/// Days between two notes that a file was seen, and between two sweeps.
const SEEN_EVERY_DAYS: u64 = 7;
/// Changes that are written together, and the longest wait of the first one.
const WRITTEN_MAX: usize = 1_000;
const WRITTEN_EVERY: Duration = Duration::from_secs(1);
/// The longest wait for another process that writes: less than it takes to hash what would be missed.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// The version of the table. A file of a later version is left alone.
const VERSION: i64 = 1;

/// One row for each file, in the order of inodes: neighbours on the device are looked up together. `path` is the start
/// of a hash. `seal` proves that a digest belongs to the rest of its row. `swept` has one row: the day of the last
/// sweep.
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
/// Updates the row of a file that has one, and makes no new row.
const CORRECT: &str = "UPDATE file
    SET path = ?3, bytes = ?4, mtime_ns = ?5, ctime_ns = ?6, seen_day = ?7, digest = ?8, seal = ?9
    WHERE device = ?1 AND inode = ?2";
const FORGET: &str = "DELETE FROM file WHERE device = ?1 AND inode = ?2";
/// Takes note of a sweep if one is due, whichever way the clock was wrong.
const SWEEP: &str = "UPDATE swept SET day = ?1 WHERE abs(day - ?1) >= ?2";
const FORGET_UNSEEN: &str = "DELETE FROM file WHERE seen_day < ?1";

/// The metadata of a file. Equal stamps mean equal bytes, but for the exceptions that the head of this file lists.
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
    /// The stamp of the file at `path`.
    pub fn of(path: &Path, file: &Metadata) -> Stamp {
        // Without a current folder, the path as it is must do.
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

    /// The seal of this stamp and `digest`: 8 bytes of a hash of both.
    fn seal(&self, digest: &Digest) -> i64 {
        let Stamp { device, inode, path, bytes, mtime_ns, ctime_ns } = self;
        let mut both = [device, inode, path, bytes, mtime_ns, ctime_ns].map(|part| part.to_le_bytes()).concat();
        both.extend_from_slice(digest.as_bytes());
        start(&Digest::of(&both))
    }

    /// The size of the file.
    pub fn bytes(&self) -> u64 {
        self.bytes.cast_unsigned()
    }

    /// Whether any change at `now` or later would change the stamp.
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

/// The default path: `progimage/digests.sqlite` in `$XDG_CACHE_HOME`, or else in `$HOME/.cache`; `None`: neither is
/// set.
pub fn default_path() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("progimage/digests.sqlite"))
}

/// The cache. Its calls never fail: an entry that cannot be read is unknown, and one that cannot be written is
/// forgotten.
///
/// Threads share it. Several processes may have the same file open.
pub struct HashCache {
    file: PathBuf,
    devices: Devices,
    bytes_max: u64,
    /// The day when it was opened, in days since 1970.
    today: i64,
    connection: Mutex<Option<Connection>>,
    /// Whether to read. False after a failure, since each attempt might be a long wait.
    reads: AtomicBool,
    /// Whether to write. False after a failure.
    writes: AtomicBool,
    has_written: AtomicBool,
    changes: Mutex<Changes>,
}

/// Changes that are not written yet. A stamp without a digest is to be forgotten.
struct Changes {
    list: Vec<(Stamp, Option<Digest>)>,
    since: Instant,
}

impl HashCache {
    /// Opens `file`, or makes it, with at most about `bytes_max`. Without a file, nothing is ever known.
    pub fn open(file: Option<PathBuf>, bytes_max: u64) -> HashCache {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        HashCache::open_on(file, bytes_max, (now.as_secs() / 86_400).cast_signed(), BUSY_TIMEOUT)
    }

    fn open_on(file: Option<PathBuf>, bytes_max: u64, today: i64, busy_timeout: Duration) -> HashCache {
        let connection = file.as_deref().and_then(|file| connect(file, busy_timeout));
        let is_there = connection.is_some();
        HashCache {
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

    /// Whether the cache may be used for `file`. `kind` returns the kind of its file system.
    pub fn covers(&self, file: &Stamp, kind: impl FnOnce() -> Option<u64>) -> bool {
        self.devices.is_local(file.device.cast_unsigned(), kind)
    }

    /// Looks up the digests of files. Each call locks the cache file, so callers ask for many at once.
    pub fn recall(&self, files: &[Stamp]) -> Vec<Option<Digest>> {
        let found = self.attempt(&self.reads, |connection| {
            let transaction = connection.transaction()?;
            files.iter().map(|file| find(&transaction, file)).collect::<rusqlite::Result<Vec<_>>>()
        });
        let found = found.unwrap_or_else(|| vec![None; files.len()]);
        let known = files.iter().zip(found).map(|(file, found)| {
            found.map(|(digest, seen_day)| {
                // In both directions: the clock may have been wrong.
                if self.today.abs_diff(seen_day) >= SEEN_EVERY_DAYS {
                    self.change(*file, Some(digest));
                }
                digest
            })
        });
        known.collect()
    }

    /// Remembers the digest of a file whose stamp was settled before it was hashed, and was the same afterwards.
    pub fn remember(&self, file: Stamp, digest: Digest) {
        self.change(file, Some(digest));
    }

    /// Forgets the digest of a file, which may be wrong.
    pub fn forget(&self, file: Stamp) {
        self.change(file, None);
    }

    /// Writes the remaining changes. If anything was written, sweeps when that is due.
    pub fn close(&self) {
        self.write();
        if self.has_written.load(Ordering::Relaxed) {
            self.attempt(&self.writes, |connection| sweep(connection, self.today));
        }
    }

    fn change(&self, file: Stamp, digest: Option<Digest>) {
        let mut changes = self.changes.lock();
        changes.list.push((file, digest));
        let is_due = changes.list.len() >= WRITTEN_MAX || changes.since.elapsed() >= WRITTEN_EVERY;
        drop(changes);
        if is_due {
            self.write();
        }
    }

    fn write(&self) {
        self.attempt(&self.writes, |connection| {
            // Taken under the lock of the connection, so that changes are written in their order.
            let mut changes = self.changes.lock();
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
            self.changes.lock().list = Vec::new();
        }
    }

    /// Runs `statements`, unless such statements have failed before.
    fn attempt<T>(
        &self,
        goes_well: &AtomicBool,
        statements: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Option<T> {
        let mut connection = self.connection.lock();
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

fn find(transaction: &Transaction, file: &Stamp) -> rusqlite::Result<Option<(Digest, i64)>> {
    let Stamp { device, inode, path, bytes, mtime_ns, ctime_ns } = file;
    let found =
        transaction.prepare_cached(FIND)?.query_row(params![device, inode, path, bytes, mtime_ns, ctime_ns], |row| {
            let digest = Digest::from_bytes(row.get(0)?);
            let (seen_day, seal): (i64, i64) = (row.get(1)?, row.get(2)?);
            Ok((seal == file.seal(&digest)).then_some((digest, seen_day)))
        });
    // A row with a wrong seal counts as none.
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

/// Forgets files that were not seen for long. It reads every row, and so is not done in every run.
fn sweep(connection: &mut Connection, today: i64) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if transaction.execute(SWEEP, [today, SEEN_EVERY_DAYS.cast_signed()])? > 0 {
        transaction.execute(FORGET_UNSEEN, [today - KEPT_DAYS.cast_signed()])?;
    }
    transaction.commit()
}

/// Bytes of the file, without free pages.
fn size(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")? - pragma("freelist_count")?;
    Ok((pages * pragma("page_size")?).max(0).cast_unsigned())
}

/// Opens or makes `file`. A broken file is replaced.
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

/// Opens the database; `None`: the file is of a later version.
///
/// It has a rollback journal, because a home folder may be on NFS, where a write-ahead log cannot be shared. It is
/// never synced: after a power cut it may be broken, and is made anew, or have torn rows, which their seals reveal.
fn set_up(file: &Path, busy_timeout: Duration) -> rusqlite::Result<Option<Connection>> {
    // Names and hashes of files are private. Errors here are seen when the file is opened.
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
        // In one transaction: of several processes that find it empty, one makes the tables.
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(SCHEMA)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()?;
    }
    Ok((version(&connection)? <= VERSION).then_some(connection))
}

/// Whether the file is not a database of this program. A locked, read-only or full one is not broken.
fn is_broken(error: &rusqlite::Error) -> bool {
    match error.sqlite_error_code() {
        // None: a value has the wrong type. `Unknown`: a column is missing.
        None => true,
        Some(code) => matches!(code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown),
    }
}

/// Removes the file. The journal goes first, so that the next file does not find it.
fn remove(file: &Path) {
    let mut journal = file.as_os_str().to_owned();
    journal.push("-journal");
    let _ = fs::remove_file(journal);
    let _ = fs::remove_file(file);
}

#[cfg(test)]
mod tests;
