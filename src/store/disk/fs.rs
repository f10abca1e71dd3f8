//! [`Fs`]: the system calls that the disk backend makes, under their own names. No buffering, no retry, no policy.
//!
//! Paths are relative to the store's root. [`super::real::RealFs`] makes the calls. `SimFs`, in tests, simulates them
//! and what a power cut may leave.

pub use rustix::io::{Errno, Result};

/// The kind of file to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// For reading; a symbolic link is an error.
    Read,
    /// Only for `fstat`; opens a symbolic link itself.
    Path,
    /// For reading and writing; the file must not exist.
    CreateNew,
    /// A directory, for `fsync` and `getdents`.
    Directory,
}

/// Whether a call may wait for the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It may wait.
    Block,
    /// It answers from memory, or `EAGAIN`.
    Cached,
}

/// The status of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileStatus {
    /// Whether it is a regular file.
    pub is_file: bool,
    /// The length in bytes.
    pub len: u64,
    /// The number of the inode. Another file under the same name has another number.
    pub inode: u64,
}

/// The space of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes that this user may still take.
    pub free: u64,
    /// Bytes in all.
    pub all: u64,
}

/// The system calls.
pub trait Fs: Send + Sync + 'static {
    /// An open file; closed when dropped.
    type File: Send + Sync + 'static;

    /// Opens `path`.
    fn openat(&self, path: &str, open: Open, wait: Wait) -> Result<Self::File>;
    /// The status of `file`.
    fn fstat(&self, file: &Self::File) -> Result<FileStatus>;
    /// The status of what has the name `path`; a symbolic link is not followed. Needs no descriptor.
    fn statat(&self, path: &str) -> Result<FileStatus>;
    /// Reads into `buffer` from `offset`; 0 at the end of the file.
    fn pread(&self, file: &Self::File, buffer: &mut [u8], offset: u64, wait: Wait) -> Result<usize>;
    /// Tells the system that the cached pages of a file are not needed, so that a later read comes from the device, most
    /// likely.
    fn forget_pages(&self, file: &Self::File) -> Result<()>;
    /// Drops the cached pages of a file of `bytes` bytes, all of them durable, so that the next read comes from the
    /// device. Returns whether they are gone.
    fn drop_pages(&self, file: &Self::File, bytes: u64) -> Result<bool>;
    /// Writes some of `bytes` at `offset`.
    fn pwrite(&self, file: &Self::File, bytes: &[u8], offset: u64) -> Result<usize>;
    /// Makes a file's bytes durable.
    fn fdatasync(&self, file: &Self::File) -> Result<()>;
    /// Makes a directory's names durable.
    fn fsync(&self, directory: &Self::File) -> Result<()>;
    /// The space of the file system.
    fn statvfs(&self) -> Result<Room>;
    /// Makes everything on the file system durable.
    fn syncfs(&self) -> Result<()>;
    /// Whether `syncfs` reports every write that failed.
    fn syncfs_reports_errors(&self) -> bool;
    /// Bytes that wait to be written, of this file system and all others; `None`: unknown.
    fn dirty_bytes(&self) -> Option<u64>;
    /// Gives a file a second name; `EEXIST`: that name is taken.
    fn linkat(&self, from: &str, to: &str) -> Result<()>;
    /// Moves a name.
    fn renameat(&self, from: &str, to: &str) -> Result<()>;
    /// Removes a file's name.
    fn unlinkat(&self, path: &str) -> Result<()>;
    /// Makes a directory.
    fn mkdirat(&self, path: &str) -> Result<()>;
    /// The names in a directory, in any order. A name that is not UTF-8 has replacement characters.
    fn getdents(&self, path: &str) -> Result<Vec<String>>;
}
