//! The calls of the file system that the tier makes. Each may fail for lack of descriptors or memory; in tests one of them
//! does, when a test asks for it.

use std::fs::{self, DirBuilder, DirEntry, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::SystemTime;

pub fn open(options: &OpenOptions, path: &Path) -> io::Result<File> {
    lacks()?;
    options.open(path)
}

pub fn metadata(file: &File) -> io::Result<Metadata> {
    lacks()?;
    file.metadata()
}

pub fn set_modified(file: &File, time: SystemTime) -> io::Result<()> {
    lacks()?;
    file.set_modified(time)
}

pub fn read_exact(mut file: &File, buffer: &mut [u8]) -> io::Result<()> {
    lacks()?;
    file.read_exact(buffer)
}

pub fn write_all(mut file: &File, bytes: &[u8]) -> io::Result<()> {
    lacks()?;
    file.write_all(bytes)
}

pub fn exists(path: &Path) -> io::Result<bool> {
    lacks()?;
    fs::exists(path)
}

pub fn symlink_metadata(path: &Path) -> io::Result<Metadata> {
    lacks()?;
    fs::symlink_metadata(path)
}

/// The entries of a folder, all of them or none.
pub fn read_dir(path: &Path) -> io::Result<Vec<DirEntry>> {
    lacks()?;
    fs::read_dir(path)?.map(|entry| lacks().and(entry)).collect()
}

/// The status of an entry; `None`: it is gone by now.
pub fn entry_metadata(entry: &DirEntry) -> io::Result<Option<Metadata>> {
    lacks()?;
    match entry.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        found => found.map(Some),
    }
}

pub fn make_folder(builder: &DirBuilder, path: &Path) -> io::Result<()> {
    lacks()?;
    builder.create(path)
}

pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    lacks()?;
    fs::rename(from, to)
}

pub fn remove_file(path: &Path) -> io::Result<()> {
    lacks()?;
    fs::remove_file(path)
}

#[cfg(not(test))]
fn lacks() -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
use lack::lacks;

/// One call of this thread that fails.
#[cfg(test)]
pub mod lack {
    use std::cell::Cell;
    use std::io;

    thread_local! {
        static LACK: Cell<Option<(usize, i32)>> = const { Cell::new(None) };
    }

    /// Lets a call fail with an error of the system, after `calls` that do not.
    pub fn after(calls: usize, errno: i32) {
        LACK.set(Some((calls, errno)));
    }

    /// Lets no call fail any more. Returns whether one has.
    pub fn end() -> bool {
        LACK.take().is_none()
    }

    pub fn lacks() -> io::Result<()> {
        let Some((left, errno)) = LACK.get() else { return Ok(()) };
        LACK.set(left.checked_sub(1).map(|left| (left, errno)));
        if left == 0 { Err(io::Error::from_raw_os_error(errno)) } else { Ok(()) }
    }
}
