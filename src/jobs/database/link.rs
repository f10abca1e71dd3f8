//! [`Link`]: the connection to the file of jobs. Without one that can be trusted, nothing is read or written: the file is
//! opened again, or synced again and checked, until it can be used.
//!
//! **After a failed sync** the kernel takes the pages for written, so the next sync would succeed and prove nothing. Then
//! all of the log is copied into the file and that is synced, the file is opened anew, and SQLite checks it.
//!
//! **Damage** that SQLite finds while the file is in use may be a bad read. The file is opened anew and checked; if there is
//! damage, or it is found again, the file is moved aside ([`super::aside`]).

use std::ffi::c_int;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, ErrorCode, ffi};

use super::aside::{self, Lost};
use super::{now_ms, schema};
use crate::jobs::Error;

/// The least time between two attempts to mend, and the most: each failure doubles it.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Pages of the log from which a commit copies them into the file.
const LOG_PAGES: c_int = 1_000;
/// The mode of the file; SQLite gives its log the same.
pub const FILE_MODE: u32 = 0o640;

/// Why the database cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It cannot be opened.
    #[error("its file cannot be opened")]
    Unopened,
    /// It cannot be written to.
    #[error("its file is read-only")]
    ReadOnly,
    /// A sync of it failed.
    #[error("a sync of its file failed")]
    Unsynced,
    /// SQLite found damage, and the file was not checked or moved aside yet.
    #[error("its file is damaged")]
    Damaged,
    /// A later version of the program made it.
    #[error("its file is of a later version of this program")]
    Version,
}

/// Why a file was not opened.
enum Refusal {
    /// It is not a database, or a part of it is missing.
    Malformed(String),
    Fault(Fault, String),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Refusal {
        let text = error.to_string();
        match error.sqlite_error_code() {
            _ if is_damage(&error) => Refusal::Malformed(text),
            Some(ErrorCode::ReadOnly) => Refusal::Fault(Fault::ReadOnly, text),
            _ => Refusal::Fault(Fault::Unopened, text),
        }
    }
}

/// The connection of the thread of jobs.
pub struct Link {
    /// The file; `None`: the database is in memory, and has no faults.
    file: Option<PathBuf>,
    connection: Option<Connection>,
    fault: Arc<Mutex<Option<Fault>>>,
    /// The files that were moved aside.
    lost: Lost,
    /// The number after which the rows of a new file begin, until it is written there.
    begins_at: Option<i64>,
    /// Whether damage was found that a check did not find.
    is_doubted: bool,
    tried: Instant,
    pause: Duration,
}

impl Link {
    /// Opens a file, or makes it.
    pub fn to_file(file: &Path) -> Link {
        let mut link = Link::over(Some(file.to_owned()), None);
        let opened = link.open();
        link.set(opened);
        link
    }

    /// A database in memory.
    pub fn in_memory() -> Result<Link, Error> {
        let connection = Connection::open_in_memory()?;
        schema::set_up(&connection)?;
        Ok(Link::over(None, Some(connection)))
    }

    fn over(file: Option<PathBuf>, connection: Option<Connection>) -> Link {
        let lost = file.as_deref().map(Lost::beside).unwrap_or_default();
        let (fault, tried) = (Arc::default(), Instant::now());
        Link { file, connection, fault, lost, begins_at: None, is_doubted: false, tried, pause: PAUSE }
    }

    /// The cell that says why nothing can be used, for others to read.
    pub fn fault(&self) -> Arc<Mutex<Option<Fault>>> {
        self.fault.clone()
    }

    /// The files that were moved aside, for others to read.
    pub fn lost(&self) -> Lost {
        self.lost.clone()
    }

    /// Runs `statements`, or says why they cannot be run.
    pub fn run<T>(&mut self, statements: impl FnOnce(&mut Connection) -> Result<T, Error>) -> Result<T, Error> {
        self.mend();
        let fault = *self.fault.lock();
        let connection = match (fault, &mut self.connection) {
            (None, Some(connection)) => connection,
            (fault, _) => return Err(Error::Away(fault.unwrap_or(Fault::Unopened))),
        };
        let answer = statements(connection);
        if self.file.is_some() {
            self.note(answer.as_ref().err());
        }
        answer
    }

    /// Notes an error after which the file cannot be trusted.
    fn note(&mut self, error: Option<&Error>) {
        let fault = match error {
            Some(Error::Unsynced(reason)) => {
                tracing::error!(reason, "a sync of the jobs database failed: no job is accepted until it is checked");
                Fault::Unsynced
            }
            Some(Error::Away(Fault::Damaged)) => {
                tracing::error!("the jobs database seems damaged: no job is accepted until it was checked");
                Fault::Damaged
            }
            _ => return,
        };
        self.tried = Instant::now();
        *self.fault.lock() = Some(fault);
    }

    /// Tries to mend a fault, now and then.
    fn mend(&mut self) {
        let fault = *self.fault.lock();
        let Some(fault) = fault.filter(|_| self.tried.elapsed() >= self.pause) else { return };
        let mended = match fault {
            Fault::Unsynced => self.sync(),
            Fault::Damaged => self.check_damage(),
            Fault::Unopened | Fault::ReadOnly | Fault::Version => self.open(),
        };
        self.set(mended);
    }

    /// Notes the result of an attempt.
    fn set(&mut self, attempt: Result<(), Refusal>) {
        let before = *self.fault.lock();
        let now = match attempt {
            Ok(()) => None,
            Err(Refusal::Malformed(reason)) => Some((Fault::Damaged, reason)),
            Err(Refusal::Fault(fault, reason)) => Some((fault, reason)),
        };
        let fault = now.as_ref().map(|(fault, _)| *fault);
        match now {
            Some((fault, reason)) if before != Some(fault) => {
                tracing::error!(reason, "jobs are refused: the jobs database cannot be used, since {fault}");
            }
            None if before.is_some() => tracing::info!("the jobs database is in use again"),
            _ => {}
        }
        *self.fault.lock() = fault;
        self.tried = Instant::now();
        self.pause = if fault.is_some() && before.is_some() { (2 * self.pause).min(PAUSE_MAX) } else { PAUSE };
    }

    /// Opens the file. A malformed one is moved aside, and a new one is made.
    fn open(&mut self) -> Result<(), Refusal> {
        let Some(file) = self.file.clone() else { return Ok(()) };
        self.connection = None;
        match connect(&file) {
            Err(Refusal::Malformed(reason)) => self.replace(&file, &reason),
            opened => self.take(opened?),
        }
    }

    /// Uses a connection from now on. The rows of a new file are numbered before.
    fn take(&mut self, connection: Connection) -> Result<(), Refusal> {
        if let Some(number) = self.begins_at {
            schema::begin_at(&connection, number)?;
            self.begins_at = None;
        }
        self.connection = Some(connection);
        Ok(())
    }

    /// Moves a malformed file aside and makes a new one. Its numbers begin where no earlier file had any: runs of the old
    /// jobs may be under way, and must not write into new ones.
    fn replace(&mut self, file: &Path, reason: &str) -> Result<(), Refusal> {
        self.connection = None;
        let moved_to = aside::move_aside(file).map_err(|error| Refusal::Fault(Fault::Damaged, error.to_string()))?;
        tracing::error!(
            reason,
            moved_to = %moved_to.display(),
            "the jobs database is malformed: it was moved aside, and a new one has no jobs"
        );
        self.lost.add(moved_to);
        (self.begins_at, self.is_doubted) = (Some(now_ms()), false);
        self.take(connect(file)?)
    }

    /// Opens a file anew that seemed damaged, and checks it, which may read gigabytes. Calls wait meanwhile.
    fn check_damage(&mut self) -> Result<(), Refusal> {
        let Some(file) = self.file.clone() else { return Ok(()) };
        self.connection = None;
        let checked = connect(&file).and_then(|connection| check(&connection).map(|()| connection));
        match checked {
            Err(Refusal::Malformed(found)) => self.replace(&file, &found),
            Ok(connection) if self.is_doubted => {
                // Before the name has another file: a connection that ends removes its log by name.
                drop(connection);
                self.replace(&file, "damage was found again")
            }
            checked => {
                self.is_doubted = true;
                self.take(checked?)
            }
        }
    }

    /// Makes durable what a failed sync may have left in memory alone, and checks it.
    fn sync(&mut self) -> Result<(), Refusal> {
        let unsynced = |reason: String| Refusal::Fault(Fault::Unsynced, reason);
        if let Some(connection) = &self.connection {
            let busy: bool = connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
                .map_err(|error| unsynced(error.to_string()))?;
            if busy {
                return Err(unsynced("another process has the file open".to_owned()));
            }
        }
        self.open()?;
        self.connection.as_ref().map_or(Ok(()), check)
    }
}

/// Lets SQLite look for damage in the whole file.
fn check(connection: &Connection) -> Result<(), Refusal> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(Refusal::Malformed(found)) }
}

fn connect(file: &Path) -> Result<Connection, Refusal> {
    // Made here for its mode. What prevents it is told by SQLite.
    _ = OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(file);
    let mut connection = Connection::open(file)?;
    if connection.is_readonly("main")? {
        return Err(Refusal::Fault(Fault::ReadOnly, "it was opened for reading only".to_owned()));
    }
    if !schema::set_up(&connection)? {
        let text = format!("this program knows version {}", schema::VERSION);
        return Err(Refusal::Fault(Fault::Version, text));
    }
    connection.wal_hook(Some(copy_log))?;
    Ok(connection)
}

/// Copies a long log into the file after a commit. SQLite would do so by itself, but tell no error of it, and a sync that
/// failed then must not pass unnoticed.
fn copy_log(log: &mut Wal, pages: c_int) -> rusqlite::Result<()> {
    match if pages < LOG_PAGES { Ok(()) } else { log.checkpoint() } {
        Err(error) if is_failed_sync(&error) => Err(error),
        // A backup reads the log, or the device is full: a later commit tries again.
        _ => Ok(()),
    }
}

/// Whether an error of SQLite is that of a sync.
pub fn is_failed_sync(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC))
}

/// Whether an error of SQLite says that the file is damaged.
pub fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn jobs(link: &mut Link) -> Result<i64, Error> {
        link.run(|connection| Ok(connection.query_row("SELECT count(*) FROM job", [], |row| row.get(0))?))
    }

    fn add(link: &mut Link) {
        let insert = "INSERT INTO job (state, created_ms) VALUES (1, 0)";
        link.run(|connection| Ok(connection.execute(insert, [])?)).expect("written");
    }

    /// The files whose names tell that they were moved aside.
    fn aside(folder: &Path) -> Vec<PathBuf> {
        let names = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        names.filter(|path| path.to_string_lossy().contains("jobs.sqlite.malformed-")).collect()
    }

    #[test]
    fn a_malformed_file_is_moved_aside_and_a_new_one_takes_its_place() {
        for damage in ["garbage", "half"] {
            let folder = tempfile::tempdir().expect("a folder");
            let file = folder.path().join("jobs.sqlite");
            let mut link = Link::to_file(&file);
            (0..2_000).for_each(|_| add(&mut link));
            drop(link);
            let whole = fs::read(&file).expect("the file");
            let damaged = if damage == "half" { whole[..whole.len() / 2].to_vec() } else { vec![b'x'; 10_000] };
            fs::write(&file, &damaged).expect("damaged");
            let mut link = Link::to_file(&file);
            assert_eq!(jobs(&mut link), Ok(0), "{damage}");
            add(&mut link);
            let kept = aside(folder.path());
            assert_eq!(kept.len(), 1, "{kept:?}");
            assert_eq!(fs::read(&kept[0]).expect("kept"), damaged);
        }
    }

    /// A file of which all but the first page is damaged, so that it can be opened.
    fn damaged_later(file: &Path) -> Vec<u8> {
        let mut link = Link::to_file(file);
        (0..2_000).for_each(|_| add(&mut link));
        drop(link);
        let mut bytes = fs::read(file).expect("the file");
        bytes[4_096..].fill(b'x');
        fs::write(file, &bytes).expect("damaged");
        bytes
    }

    #[test]
    fn damage_that_is_found_after_the_open_is_refused_and_then_moved_aside() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("jobs.sqlite");
        let damaged = damaged_later(&file);
        let mut link = Link::to_file(&file);
        assert_eq!(*link.fault().lock(), None, "only the first page was read");
        link.pause = Duration::from_secs(3_600);
        for _ in 0..2 {
            assert_eq!(jobs(&mut link), Err(Error::Away(Fault::Damaged)));
        }
        assert_eq!((*link.fault().lock(), aside(folder.path()).len()), (Some(Fault::Damaged), 0));
        link.pause = Duration::ZERO;
        assert_eq!((jobs(&mut link), *link.fault().lock()), (Ok(0), None));
        let kept = aside(folder.path());
        assert_eq!(kept.iter().map(|kept| fs::read(kept).expect("kept") == damaged).collect::<Vec<_>>(), [true]);
        let name = kept[0].file_name().expect("a name").to_string_lossy().into_owned();
        assert_eq!(link.lost().names(), [name.as_str()]);
        // A run of a job of the old file does not meet a new one.
        add(&mut link);
        let number = link.run(|connection| Ok(connection.query_row("SELECT number FROM job", [], |row| row.get(0))?));
        assert!(number.as_ref().is_ok_and(|number: &i64| *number > 1_000_000), "{number:?}");
        drop(link);
        let next = Link::to_file(&file);
        assert_eq!(next.lost().names(), [name.as_str()], "the next process tells, too");
        fs::remove_file(&kept[0]).expect("removed");
        assert_eq!(next.lost().names(), [] as [&str; 0]);
    }

    #[test]
    fn a_file_that_was_only_read_badly_stays_and_is_moved_aside_at_the_second_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut link = Link::to_file(&folder.path().join("jobs.sqlite"));
        add(&mut link);
        link.pause = Duration::ZERO;
        let damage = || Error::Away(Fault::Damaged);
        assert_eq!(link.run(|_| Err::<(), _>(damage())), Err(damage()));
        assert_eq!((jobs(&mut link), aside(folder.path()).len()), (Ok(1), 0));
        assert_eq!(link.run(|_| Err::<(), _>(damage())), Err(damage()));
        link.pause = Duration::ZERO;
        assert_eq!((jobs(&mut link), aside(folder.path()).len()), (Ok(0), 1));
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_tried_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("jobs.sqlite");
        fs::create_dir(&file).expect("something else in its place");
        let mut link = Link::to_file(&file);
        link.pause = Duration::from_secs(3_600);
        assert_eq!(jobs(&mut link), Err(Error::Away(Fault::Unopened)));
        fs::remove_dir(&file).expect("removed");
        assert_eq!(jobs(&mut link), Err(Error::Away(Fault::Unopened)), "not yet");
        link.pause = Duration::ZERO;
        assert_eq!(jobs(&mut link), Ok(0));
        assert!(aside(folder.path()).is_empty());
    }

    #[test]
    fn after_a_failed_sync_nothing_is_accepted_until_the_file_was_synced_and_checked() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("jobs.sqlite");
        let mut link = Link::to_file(&file);
        add(&mut link);
        let failure = || Error::Unsynced("as asked".to_owned());
        assert_eq!(link.run(|_| Err::<(), _>(failure())), Err(failure()));
        link.pause = Duration::from_secs(3_600);
        assert_eq!(jobs(&mut link), Err(Error::Away(Fault::Unsynced)));
        // The log cannot be copied while another process reads it.
        let other = Connection::open(&file).expect("opened");
        other.execute_batch("BEGIN; SELECT count(*) FROM job").expect("a read begins");
        let read = other.prepare("SELECT number FROM job").map(|mut rows| rows.exists([]).expect("a row"));
        assert_eq!(read, Ok(true));
        link.connection.as_ref().expect("still open").busy_timeout(Duration::ZERO).expect("set");
        link.pause = Duration::ZERO;
        assert_eq!(jobs(&mut link), Err(Error::Away(Fault::Unsynced)));
        drop(other);
        link.pause = Duration::ZERO;
        assert_eq!(jobs(&mut link), Ok(1));
        let log = folder.path().join("jobs.sqlite-wal");
        assert_eq!(fs::metadata(log).map_or(0, |log| log.len()), 0, "all of it is in the file");
    }

    #[test]
    fn a_long_log_is_copied_into_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("jobs.sqlite");
        let mut link = Link::to_file(&file);
        let before = fs::metadata(&file).expect("the file").len();
        let fill = "WITH RECURSIVE count (item) AS (SELECT 1 UNION ALL SELECT item + 1 FROM count LIMIT 4000)
            INSERT INTO result (job, item, part, output, line) SELECT 1, item, 0, 0, randomblob(2000) FROM count";
        add(&mut link);
        link.run(|connection| Ok(connection.execute(fill, [])?)).expect("written");
        assert!(fs::metadata(&file).expect("the file").len() > before + 4_000 * 2_000);
    }
}
