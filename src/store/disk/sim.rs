//! [`SimFs`]: a file system in memory that knows what is durable ([`State`]), can lose power or fail a call, and can lie
//! about syncs.

mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use super::fs::{Errno, FileStatus, Fs, Open, Result, Room, Wait};
pub use state::State;
use state::{Edit, Inode, folder_of};

/// Calls that can be made to lie or to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Pwrite,
    Fdatasync,
    FsyncShard,
    Syncfs,
    Linkat,
}

/// The file system.
#[derive(Clone)]
pub struct SimFs(Arc<Mutex<Sim>>);

pub struct Sim {
    pub state: State,
    /// The state and the number of notes after each change, if a trace is wanted.
    pub trace: Option<Vec<(State, usize)>>,
    /// The number of notes that the test has made so far.
    pub notes: usize,
    /// A call that does nothing and reports success.
    pub lie: Option<Call>,
    /// A call that fails after so many more have succeeded.
    pub failure: Option<(Call, usize, Errno)>,
    /// Calls so far that changed or synced something.
    pub calls: usize,
    /// Files and directories opened or listed so far.
    pub looks: usize,
    /// The number from which all of them fail.
    pub calls_max: Option<usize>,
    pub syncfs_reports_errors: bool,
    pub dirty_bytes: Option<u64>,
    pub room: Room,
    /// Cached bytes of inodes that are not those of the device.
    pub flipped: BTreeMap<u64, Arc<Vec<u8>>>,
    /// Inodes that the device cannot read.
    pub unreadable: BTreeSet<u64>,
    /// The number of calls from now after which one fails for lack of something. Syncs do not fail for that.
    pub lack: Option<(usize, Errno)>,
    inode_next: u64,
}

/// An open file or directory.
pub struct SimFile {
    inode: u64,
    folder: Option<String>,
}

impl SimFs {
    pub fn new(state: State) -> SimFs {
        let inode_next = state.inodes.keys().next_back().map_or(1, |last| last + 1);
        SimFs(Arc::new(Mutex::new(Sim {
            state,
            trace: None,
            notes: 0,
            lie: None,
            failure: None,
            calls: 0,
            looks: 0,
            calls_max: None,
            syncfs_reports_errors: true,
            dirty_bytes: Some(0),
            room: Room { free: 1 << 40, all: 1 << 40 },
            flipped: BTreeMap::new(),
            unreadable: BTreeSet::new(),
            lack: None,
            inode_next,
        })))
    }

    pub fn lock(&self) -> MutexGuard<'_, Sim> {
        self.0.lock().unwrap()
    }
}

impl Sim {
    /// Adds the state to the trace, if one is wanted.
    pub fn record(&mut self) {
        self.calls += 1;
        if let Some(trace) = &mut self.trace {
            trace.push((self.state.clone(), self.notes));
        }
    }

    fn dead(&self) -> Result<()> {
        if self.calls_max.is_some_and(|max| self.calls >= max) { Err(Errno::IO) } else { Ok(()) }
    }

    /// Fails the one call that lacks something.
    fn lacks(&mut self) -> Result<()> {
        let Some((left, errno)) = self.lack.as_mut() else { return Ok(()) };
        if *left > 0 {
            *left -= 1;
            return Ok(());
        }
        let errno = *errno;
        self.lack = None;
        Err(errno)
    }

    fn fails(&mut self, call: Call) -> Option<Errno> {
        let (failing, left, errno) = self.failure.as_mut()?;
        if *failing != call {
            return None;
        }
        let fails = *left == 0;
        *left = left.wrapping_sub(1);
        fails.then_some(*errno)
    }

    fn change(&mut self, path: &str, edit: Edit) {
        self.state.change(path, edit);
        self.record();
    }

    fn inode(&self, path: &str) -> Result<u64> {
        self.state.names.get(path).copied().ok_or(Errno::NOENT)
    }

    fn free(&self, path: &str) -> Result<()> {
        let folder = folder_of(path);
        if !folder.is_empty() && !self.state.directories.contains(&folder) {
            return Err(Errno::NOENT);
        }
        if self.state.names.contains_key(path) || self.state.directories.contains(path) {
            return Err(Errno::EXIST);
        }
        Ok(())
    }
}

impl Fs for SimFs {
    type File = SimFile;

    fn openat(&self, path: &str, open: Open, wait: Wait) -> Result<SimFile> {
        if wait == Wait::Cached {
            return Err(Errno::AGAIN);
        }
        let mut sim = self.lock();
        sim.lacks()?;
        sim.looks += 1;
        let path = if path == "." { "" } else { path };
        if open == Open::CreateNew {
            sim.dead()?;
            sim.free(path)?;
            let inode = sim.inode_next;
            sim.inode_next += 1;
            sim.state.inodes.insert(inode, Inode::default());
            sim.change(path, Edit::Add(inode));
            return Ok(SimFile { inode, folder: None });
        }
        if path.is_empty() || sim.state.directories.contains(path) {
            return Ok(SimFile { inode: 0, folder: Some(path.to_owned()) });
        }
        match open {
            Open::Directory => Err(Errno::NOENT),
            _ => Ok(SimFile { inode: sim.inode(path)?, folder: None }),
        }
    }

    fn fstat(&self, file: &SimFile) -> Result<FileStatus> {
        let mut sim = self.lock();
        sim.lacks()?;
        let len = sim.state.inodes.get(&file.inode).map_or(0, |inode| inode.bytes.len() as u64);
        Ok(FileStatus { is_file: file.folder.is_none(), len, inode: file.inode })
    }

    fn statat(&self, path: &str) -> Result<FileStatus> {
        let mut sim = self.lock();
        sim.lacks()?;
        sim.looks += 1;
        if sim.state.directories.contains(path) {
            return Ok(FileStatus { is_file: false, len: 0, inode: 0 });
        }
        let inode = sim.inode(path)?;
        Ok(FileStatus { is_file: true, len: sim.state.inodes[&inode].bytes.len() as u64, inode })
    }

    fn forget_pages(&self, file: &SimFile) -> Result<()> {
        self.lock().flipped.remove(&file.inode);
        Ok(())
    }

    fn drop_pages(&self, file: &SimFile, _bytes: u64) -> Result<bool> {
        let mut sim = self.lock();
        sim.lacks()?;
        sim.flipped.remove(&file.inode);
        Ok(true)
    }

    fn pread(&self, file: &SimFile, buffer: &mut [u8], offset: u64, wait: Wait) -> Result<usize> {
        if wait == Wait::Cached {
            return Err(Errno::AGAIN);
        }
        let mut sim = self.lock();
        sim.lacks()?;
        let bytes = match sim.flipped.get(&file.inode) {
            Some(bytes) => Arc::clone(bytes),
            None if sim.unreadable.contains(&file.inode) => return Err(Errno::IO),
            None => Arc::clone(&sim.state.inodes.get(&file.inode).ok_or(Errno::IO)?.bytes),
        };
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn pwrite(&self, file: &SimFile, bytes: &[u8], offset: u64) -> Result<usize> {
        let mut sim = self.lock();
        sim.dead()?;
        sim.lacks()?;
        if let Some(errno) = sim.fails(Call::Pwrite) {
            return Err(errno);
        }
        // A short write is legal, so there is one.
        let bytes = &bytes[..bytes.len().min(8)];
        let held = Arc::make_mut(&mut sim.state.inodes.get_mut(&file.inode).ok_or(Errno::IO)?.bytes);
        held.resize(held.len().max(offset as usize + bytes.len()), 0);
        held[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        sim.record();
        Ok(bytes.len())
    }

    fn fdatasync(&self, file: &SimFile) -> Result<()> {
        let mut sim = self.lock();
        sim.dead()?;
        let (failure, lies) = (sim.fails(Call::Fdatasync), sim.lie == Some(Call::Fdatasync));
        let inode = sim.state.inodes.get_mut(&file.inode).ok_or(Errno::IO)?;
        if let Some(errno) = failure {
            inode.forgotten = true;
            return Err(errno);
        }
        if !lies {
            inode.sync();
        }
        sim.record();
        Ok(())
    }

    fn fsync(&self, directory: &SimFile) -> Result<()> {
        let mut sim = self.lock();
        sim.dead()?;
        let folder = directory.folder.as_deref().ok_or(Errno::NOTDIR)?;
        let shard = folder.starts_with("blobs/");
        let failure = if shard { sim.fails(Call::FsyncShard) } else { None };
        if let Some(errno) = failure {
            // The names stay visible, and no later sync writes them.
            sim.state.unsynced.remove(folder);
            return Err(errno);
        }
        if !(shard && sim.lie == Some(Call::FsyncShard)) {
            sim.state.sync_folder(folder);
        }
        sim.record();
        Ok(())
    }

    fn statvfs(&self) -> Result<Room> {
        Ok(self.lock().room)
    }

    fn syncfs(&self) -> Result<()> {
        let mut sim = self.lock();
        sim.dead()?;
        if let Some(errno) = sim.fails(Call::Syncfs) {
            return Err(errno);
        }
        if sim.lie != Some(Call::Syncfs) {
            sim.state.sync_all();
        }
        sim.record();
        Ok(())
    }

    fn syncfs_reports_errors(&self) -> bool {
        self.lock().syncfs_reports_errors
    }

    fn dirty_bytes(&self) -> Option<u64> {
        self.lock().dirty_bytes
    }

    fn linkat(&self, from: &str, to: &str) -> Result<()> {
        let mut sim = self.lock();
        sim.dead()?;
        sim.lacks()?;
        let inode = sim.inode(from)?;
        sim.free(to)?;
        if let Some(errno) = sim.fails(Call::Linkat) {
            return Err(errno);
        }
        sim.change(to, Edit::Add(inode));
        Ok(())
    }

    fn renameat(&self, from: &str, to: &str) -> Result<()> {
        let mut sim = self.lock();
        sim.dead()?;
        sim.lacks()?;
        let inode = sim.inode(from)?;
        sim.change(to, Edit::Add(inode));
        sim.change(from, Edit::Remove);
        Ok(())
    }

    fn unlinkat(&self, path: &str) -> Result<()> {
        let mut sim = self.lock();
        sim.dead()?;
        sim.lacks()?;
        sim.inode(path)?;
        sim.change(path, Edit::Remove);
        Ok(())
    }

    fn mkdirat(&self, path: &str) -> Result<()> {
        let mut sim = self.lock();
        sim.dead()?;
        sim.lacks()?;
        sim.free(path)?;
        sim.change(path, Edit::MakeFolder);
        Ok(())
    }

    fn getdents(&self, path: &str) -> Result<Vec<String>> {
        let mut sim = self.lock();
        sim.lacks()?;
        sim.looks += 1;
        let inside = |name: &String| name.strip_prefix(path)?.strip_prefix('/').map(str::to_owned);
        Ok(sim.state.names.keys().filter_map(inside).collect())
    }
}
