//! [`Reserve`]: descriptors that are kept back for changes, so that uploads and deletes end well even while connections hold
//! all others. A file that was opened for a change gives its descriptor back when it is closed: no other thread can take it
//! in between.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::io::DupFlags;

use crate::store::disk::fs::{Errno, Result};

/// Descriptors in a whole reserve. A change takes two at a time: its file, and the folder of its name.
const WHOLE: usize = 16;

/// Descriptors that nothing else can take. Each stands for a folder that is open anyway.
pub struct Reserve {
    root: OwnedFd,
    kept: Mutex<Vec<OwnedFd>>,
}

impl Reserve {
    /// An empty reserve, which holds descriptors of `root`.
    pub fn new(root: OwnedFd) -> Reserve {
        Reserve { root, kept: Mutex::default() }
    }

    /// Keeps back as many as are missing and free.
    pub fn fill(&self) {
        let mut kept = self.kept.lock();
        while kept.len() < WHOLE {
            let Ok(one) = rustix::io::fcntl_dupfd_cloexec(&self.root, 0) else { return };
            kept.push(one);
        }
    }

    /// Frees kept descriptors until `open` finds one. Another thread may take the one that becomes free.
    pub fn open(&self, errno: Errno, open: impl Fn() -> Result<OwnedFd>) -> Result<OwnedFd> {
        loop {
            let Some(kept) = self.kept.lock().pop() else { return Err(errno) };
            drop(kept);
            match open() {
                Err(Errno::MFILE | Errno::NFILE) => {}
                opened => return opened,
            }
        }
    }

    /// The number that are kept.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.kept.lock().len()
    }

    /// Closes a file. If one is missing, the number of its descriptor is kept in the same call.
    fn take_back(&self, mut file: OwnedFd) {
        let mut kept = self.kept.lock();
        if kept.len() < WHOLE && rustix::io::dup3(&self.root, &mut file, DupFlags::CLOEXEC).is_ok() {
            kept.push(file);
        }
    }
}

/// An open file of a folder.
pub struct RealFile {
    /// Always there, until the drop.
    file: Option<OwnedFd>,
    /// The reserve that gets the descriptor.
    reserve: Option<Arc<Reserve>>,
}

impl RealFile {
    /// A file whose descriptor goes to `reserve`, if any, when it is closed.
    pub fn new(file: OwnedFd, reserve: Option<Arc<Reserve>>) -> RealFile {
        RealFile { file: Some(file), reserve }
    }
}

impl AsFd for RealFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_ref().expect("the file is open until the drop").as_fd()
    }
}

impl Drop for RealFile {
    fn drop(&mut self) {
        if let (Some(file), Some(reserve)) = (self.file.take(), &self.reserve) {
            reserve.take_back(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use rustix::process::{Resource, Rlimit, setrlimit};

    use super::super::RealFs;
    use super::*;
    use crate::store::disk::fs::{Fs, Open, Wait};

    /// Uploads at a time, and their number in all.
    const ROUNDS: [usize; 4] = [1, 3, 7, 2];
    const UPLOADS_OF_A_ROUND: usize = 10;

    /// Takes every descriptor that is free, as connections do.
    fn take_all(from: &OwnedFd, taken: &mut Vec<OwnedFd>) -> usize {
        let before = taken.len();
        taken.extend(std::iter::from_fn(|| rustix::io::fcntl_dupfd_cloexec(from, 0).ok()));
        taken.len() - before
    }

    /// The calls of uploads in a process that has no free descriptor.
    fn uploads_without_a_free_descriptor(folder: &Path) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: Some(64) }).expect("a limit");
        let fs = RealFs::open(folder).expect("a folder");
        let (root, mut connections) = (std::fs::File::open(folder).expect("a folder").into(), Vec::new());
        assert!(take_all(&root, &mut connections) > 8);
        assert_eq!(fs.openat(".", Open::Read, Wait::Block).err(), Some(Errno::MFILE), "none is free for a read");
        for (round, at_once) in ROUNDS.into_iter().enumerate() {
            for upload in 0..UPLOADS_OF_A_ROUND {
                let open = |path: &str, open| fs.openat(path, open, Wait::Block).expect("a kept descriptor");
                let name = |file: usize| format!("{round}-{upload}-{file}");
                let files: Vec<_> = (0..at_once).map(|file| open(&name(file), Open::CreateNew)).collect();
                let folders: Vec<_> = (0..at_once).map(|_| open(".", Open::Directory)).collect();
                files.iter().for_each(|file| assert_eq!(fs.pwrite(file, b"x", 0), Ok(1)));
                folders.iter().for_each(|folder| fs.fsync(folder).expect("a sync"));
                drop((files, folders));
                assert_eq!(take_all(&root, &mut connections), 0, "a descriptor of upload {upload} became free");
            }
        }
        drop(connections);
        let files: Vec<_> =
            (0..2 * WHOLE).map(|file| fs.openat(&format!("free-{file}"), Open::CreateNew, Wait::Block)).collect();
        assert!(files.iter().all(Result::is_ok), "free again");
        drop(files);
        assert_eq!(fs.kept(), WHOLE);
    }

    #[test]
    fn uploads_go_on_while_connections_hold_every_other_descriptor() {
        const CHILD: &str = "PROGIMAGE_TEST_DESCRIPTORS";
        if let Some(folder) = std::env::var_os(CHILD) {
            return uploads_without_a_free_descriptor(Path::new(&folder));
        }
        // The limit is for a process of its own.
        let folder = tempfile::tempdir().expect("a folder");
        let name = concat!(module_path!(), "::uploads_go_on_while_connections_hold_every_other_descriptor");
        let name = name.split_once("::").expect("a crate").1;
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", name, "--test-threads=1"])
            .env(CHILD, folder.path())
            .output()
            .expect("a process");
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{said}");
    }
}
