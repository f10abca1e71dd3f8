//! Copies of the database as files, which are whole or not there. The copy for a backup gets its name last, when the images
//! that it says are stored have been copied, too.

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::link::FILE_MODE;
use crate::digest::{Digest, Hasher};
use crate::jobs::Error;

/// How long a copy waits for a server that has the file locked.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that are read at a time.
const READ_BYTES: usize = 1 << 20;

/// How a restore ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restored {
    /// The file was copied.
    Now,
    /// A file of the same bytes was there.
    Before,
    /// Another file was there, and stays.
    Other,
    /// The backup has none.
    Absent,
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Database(error.to_string())
    }
}

/// A copy of the database that is whole and has no name yet.
#[derive(Debug)]
pub struct DatabaseCopy {
    part: PathBuf,
    file: PathBuf,
}

impl DatabaseCopy {
    /// Puts the copy in the place of an earlier one, durably and in one step. Blocks.
    pub fn publish(self) -> Result<(), Error> {
        Ok(publish(&self.part, &self.file)?)
    }
}

/// Copies the database `from`, as it is at one moment, for the file `to`. Returns `None` if there is none.
pub fn copy(from: &Path, to: &Path) -> Result<Option<DatabaseCopy>, Error> {
    if !from.exists() {
        return Ok(None);
    }
    let part = fresh_part(to)?;
    let name = part.to_str().ok_or_else(|| Error::Database("the path is not UTF-8".to_owned()))?;
    open(from)?.execute("VACUUM INTO ?1", [name])?;
    check(&part)?;
    Ok(Some(DatabaseCopy { part, file: to.to_owned() }))
}

/// Copies the database of a backup to the file `to`, unless there is one with jobs.
pub fn restore(from: &Path, to: &Path) -> Result<Restored, Error> {
    if !from.exists() {
        return Ok(Restored::Absent);
    }
    check(from)?;
    if to.exists() && !is_empty(to) {
        return Ok(if digest(from)? == digest(to)? { Restored::Before } else { Restored::Other });
    }
    let part = fresh_part(to)?;
    fs::copy(from, &part)?;
    publish(&part, to)?;
    Ok(Restored::Now)
}

fn open(file: &Path) -> Result<Connection, Error> {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    Ok(connection)
}

/// Whether a database has no jobs: a server made it, and was never sent one. A file that cannot be read is not empty.
fn is_empty(file: &Path) -> bool {
    let is_empty = |file: Connection| file.query_row("SELECT NOT EXISTS (SELECT 1 FROM job)", [], |row| row.get(0));
    open(file).is_ok_and(|file| is_empty(file).unwrap_or(false))
}

fn check(file: &Path) -> Result<(), Error> {
    let found: String = open(file)?.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(Error::Database(found)) }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn remove(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The name of the file while it is written, which an earlier attempt may have left.
fn fresh_part(file: &Path) -> io::Result<PathBuf> {
    let part = with_suffix(file, ".part");
    remove(&part)?;
    Ok(part)
}

/// Makes a file durable and gives it its name.
fn publish(part: &Path, file: &Path) -> io::Result<()> {
    fs::set_permissions(part, Permissions::from_mode(FILE_MODE))?;
    File::open(part)?.sync_all()?;
    // The log of an earlier file must not be taken for one of this.
    for suffix in ["-wal", "-shm"] {
        remove(&with_suffix(file, suffix))?;
    }
    fs::rename(part, file)?;
    File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn digest(file: &Path) -> io::Result<Digest> {
    let (mut file, mut hasher, mut buffer) = (File::open(file)?, Hasher::default(), vec![0; READ_BYTES]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.digest()),
            read => hasher.update(&buffer[..read]),
        }
    }
}
