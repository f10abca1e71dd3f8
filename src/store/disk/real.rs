//! [`RealFs`]: the calls of [`Fs`] on a Linux folder, and its lock. No policy.

mod page_cache;
mod reserve;

use std::fs::{self, DirBuilder, File};
use std::io;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Advice, AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, ResolveFlags, Stat, StatVfsMountFlags};
use rustix::io::ReadWriteFlags;

pub use self::reserve::RealFile;
use self::reserve::Reserve;
use super::fs::{Errno, FileStatus, Fs, Open, Result, Room, Wait};

const FILE_MODE: Mode = Mode::from_raw_mode(0o640);
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o750);

/// The longest wait for a lock. An owner that is ending, or a process being started that inherited the descriptor,
/// frees it in this time.
const LOCK_WAIT: Duration = Duration::from_secs(1);
const LOCK_POLL: Duration = Duration::from_millis(10);

/// File systems (ext2 to ext4, XFS, Btrfs; `statfs(2)`) whose `syncfs` reports writes that failed since the last one.
/// Others, such as the layers of a container, write to a second file system and may not report its errors.
const REPORTING_FILE_SYSTEMS: [u64; 3] = [0xEF53, 0x5846_5342, 0x9123_683E];

/// The first version of Linux whose `syncfs` reports failed writes.
const REPORTING_LINUX: (u32, u32) = (5, 8);

/// A folder.
pub struct RealFs {
    root: OwnedFd,
    reserve: Arc<Reserve>,
    /// Whether calls that change something are made, or fail as on a read-only device.
    writes: bool,
    /// Whether the file system is mounted for reading only.
    is_read_only: bool,
    syncfs_reports_errors: bool,
}

impl RealFs {
    /// Opens the folder `root`. If it is missing, it is made durably, with its ancestors.
    pub fn open(root: &Path) -> io::Result<RealFs> {
        make_durably(root)?;
        RealFs::over(root, true)
    }

    /// Opens the folder `root` for reading. All calls that change something fail.
    pub fn open_to_read(root: &Path) -> io::Result<RealFs> {
        RealFs::over(root, false)
    }

    fn over(root: &Path, writes: bool) -> io::Result<RealFs> {
        let root: OwnedFd = File::open(root)?.into();
        let kind = rustix::fs::fstatfs(&root)?.f_type;
        let telling = REPORTING_FILE_SYSTEMS.iter().any(|&telling| u64::try_from(kind) == Ok(telling));
        let linux = rustix::system::uname().release().to_str().ok().and_then(version);
        let syncfs_reports_errors = telling && linux.is_some_and(|linux| linux >= REPORTING_LINUX);
        let is_read_only = rustix::fs::fstatvfs(&root)?.f_flag.contains(StatVfsMountFlags::RDONLY);
        let reserve = Arc::new(Reserve::new(root.try_clone()?));
        if writes {
            reserve.fill();
        }
        Ok(RealFs { root, reserve, writes, is_read_only, syncfs_reports_errors })
    }

    /// Whether the file system was mounted for reading only when the folder was opened.
    pub fn is_read_only(&self) -> bool {
        self.is_read_only
    }

    fn writes(&self) -> Result<()> {
        if self.writes { Ok(()) } else { Err(Errno::ROFS) }
    }

    /// Opens `path` with a descriptor that is free.
    fn open_free(&self, path: &str, open: Open, wait: Wait) -> Result<OwnedFd> {
        if open == Open::CreateNew {
            self.writes()?;
        }
        let flags = OFlags::CLOEXEC
            | match open {
                // NONBLOCK: opening a named pipe must not wait for its writer.
                Open::Read => OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK,
                Open::Path => OFlags::PATH | OFlags::NOFOLLOW,
                Open::CreateNew => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
                Open::Directory => OFlags::RDONLY | OFlags::DIRECTORY,
            };
        match wait {
            Wait::Block => rustix::fs::openat(&self.root, path, flags, FILE_MODE),
            // All other errors (including an unknown call, or one refused by a filter) are left to the call that may
            // wait.
            Wait::Cached => match rustix::fs::openat2(&self.root, path, flags, Mode::empty(), ResolveFlags::CACHED) {
                Err(error) if error != Errno::NOENT => Err(Errno::AGAIN),
                opened => opened,
            },
        }
    }

    /// Opens `path` for a change. It may take a descriptor of the reserve, and gives it back when it is closed.
    fn open_for_change(&self, path: &str, open: Open) -> Result<RealFile> {
        let opened = match self.open_free(path, open, Wait::Block) {
            Err(errno @ (Errno::MFILE | Errno::NFILE)) => {
                self.reserve.open(errno, || self.open_free(path, open, Wait::Block))
            }
            opened => opened,
        };
        Ok(RealFile::new(opened?, self.writes.then(|| Arc::clone(&self.reserve))))
    }

    /// The number of descriptors that are kept back.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.reserve.kept()
    }

    /// Takes the exclusive lock on the file or folder `path` until the result is dropped. `EWOULDBLOCK`: another process
    /// kept it for the time [`LOCK_WAIT`].
    pub fn lock(&self, path: &str) -> Result<OwnedFd> {
        let file = self.open_free(path, Open::Read, Wait::Block)?;
        let deadline = Instant::now() + LOCK_WAIT;
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => thread::sleep(LOCK_POLL),
                Err(errno) => return Err(errno),
            }
        }
    }
}

fn status(stat: &Stat) -> FileStatus {
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    FileStatus { is_file, len: u64::try_from(stat.st_size).unwrap_or(0), inode: stat.st_ino }
}

/// The first two numbers of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn kib(memory: &str, name: &str) -> Option<u64> {
    let line = memory.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// Makes a folder and its ancestors, and syncs the parent of each: before that, a new folder is not durable.
fn make_durably(folder: &Path) -> io::Result<()> {
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(Path::new(""));
    make_durably(parent)?;
    match DirBuilder::new().mode(DIRECTORY_MODE.bits()).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?.sync_all()
}

impl Fs for RealFs {
    type File = RealFile;

    fn openat(&self, path: &str, open: Open, wait: Wait) -> Result<RealFile> {
        match open {
            Open::CreateNew | Open::Directory => self.open_for_change(path, open),
            Open::Read | Open::Path => Ok(RealFile::new(self.open_free(path, open, wait)?, None)),
        }
    }

    fn fstat(&self, file: &RealFile) -> Result<FileStatus> {
        rustix::fs::fstat(file).map(|stat| status(&stat))
    }

    fn statat(&self, path: &str) -> Result<FileStatus> {
        rustix::fs::statat(&self.root, path, AtFlags::SYMLINK_NOFOLLOW).map(|stat| status(&stat))
    }

    fn pread(&self, file: &RealFile, buffer: &mut [u8], offset: u64, wait: Wait) -> Result<usize> {
        match wait {
            Wait::Block => rustix::io::pread(file, buffer, offset),
            Wait::Cached => {
                let read = rustix::io::preadv2(file, &mut [IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT);
                read.map_err(|_| Errno::AGAIN)
            }
        }
    }

    fn forget_pages(&self, file: &RealFile) -> Result<()> {
        rustix::fs::fadvise(file, 0, None, Advice::DontNeed)
    }

    fn drop_pages(&self, file: &RealFile, bytes: u64) -> Result<bool> {
        page_cache::drop_pages(file, bytes)
    }

    fn pwrite(&self, file: &RealFile, bytes: &[u8], offset: u64) -> Result<usize> {
        rustix::io::pwrite(file, bytes, offset)
    }

    fn fdatasync(&self, file: &RealFile) -> Result<()> {
        rustix::fs::fdatasync(file)
    }

    fn fsync(&self, directory: &RealFile) -> Result<()> {
        rustix::fs::fsync(directory)
    }

    fn statvfs(&self) -> Result<Room> {
        let found = rustix::fs::fstatvfs(&self.root)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Room { free: bytes(found.f_bavail), all: bytes(found.f_blocks) })
    }

    fn syncfs(&self) -> Result<()> {
        rustix::fs::syncfs(&self.root)
    }

    fn syncfs_reports_errors(&self) -> bool {
        self.syncfs_reports_errors
    }

    fn dirty_bytes(&self) -> Option<u64> {
        let memory = fs::read_to_string("/proc/meminfo").ok()?;
        ["Dirty:", "Writeback:"].iter().map(|name| kib(&memory, name)).sum::<Option<u64>>().map(|kib| kib << 10)
    }

    fn linkat(&self, from: &str, to: &str) -> Result<()> {
        self.writes()?;
        rustix::fs::linkat(&self.root, from, &self.root, to, AtFlags::empty())
    }

    fn renameat(&self, from: &str, to: &str) -> Result<()> {
        self.writes()?;
        rustix::fs::renameat(&self.root, from, &self.root, to)
    }

    fn unlinkat(&self, path: &str) -> Result<()> {
        self.writes()?;
        rustix::fs::unlinkat(&self.root, path, AtFlags::empty())
    }

    fn mkdirat(&self, path: &str) -> Result<()> {
        self.writes()?;
        rustix::fs::mkdirat(&self.root, path, DIRECTORY_MODE)
    }

    fn getdents(&self, path: &str) -> Result<Vec<String>> {
        let directory = self.open_free(path, Open::Directory, Wait::Block)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(directory.as_fd())? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_figures_are_read() {
        let memory = "MemTotal:       24684096 kB\nDirty:               124 kB\nWriteback:             0 kB\nWritebackTmp: 7 kB\n";
        assert_eq!(kib(memory, "Dirty:"), Some(124));
        assert_eq!(kib(memory, "Writeback:"), Some(0));
        assert_eq!(kib(memory, "Swap:"), None);
        assert_eq!(kib("Dirty: many kB", "Dirty:"), None);
    }

    #[test]
    fn the_kernels_version_is_read() {
        for (release, expected) in [
            ("6.1.0-13-amd64", Some((6, 1))),
            ("5.8-rc1", Some((5, 8))),
            ("4.18.0-553.el8_10.x86_64", Some((4, 18))),
            ("6", None),
            ("", None),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
    }

    /// Compares with the names of `stat -f`.
    #[test]
    fn what_a_file_system_tells_is_known_by_its_kind() {
        let folder = tempfile::tempdir().expect("a folder");
        let stat =
            std::process::Command::new("stat").args(["-f", "-c", "%T"]).arg(folder.path()).output().expect("stat");
        let kind = String::from_utf8(stat.stdout).expect("a name");
        let telling = ["ext2/ext3", "xfs", "btrfs"].contains(&kind.trim());
        let fs = RealFs::open_to_read(folder.path()).expect("a folder");
        assert_eq!(fs.syncfs_reports_errors(), telling, "{kind}");
        assert!(fs.dirty_bytes().is_some());
    }
}
