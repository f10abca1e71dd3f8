//! [`SimFs`]: a file system in memory that knows what is durable, can lose power or fail a call, and can lie about
//! syncs.
//!
//! Its durability is the weakest that Linux allows: bytes are durable after `fdatasync` of their file, names after
//! `fsync` of their directory, and everything after `syncfs`. A power cut keeps any part of the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard};

use super::fs::{Errno, FileStatus, Fs, Open, Result, Room, Wait};

/// The most unsynced names of a directory of which every subset is enumerated. With more, only some subsets are.
const SUBSETS_OF_MAX: usize = 5;

/// The content of the disk and of the page cache.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub inodes: BTreeMap<u64, Inode>,
    pub names: BTreeMap<String, u64>,
    directories: Arc<BTreeSet<String>>,
    durable_names: BTreeMap<String, u64>,
    durable_directories: Arc<BTreeSet<String>>,
    /// Unsynced changes, by folder.
    unsynced: BTreeMap<String, Vec<Change>>,
}

/// The bytes of a file: as programs see them, and as the disk has them.
#[derive(Clone, Debug, Default)]
pub struct Inode {
    pub bytes: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    /// Whether a sync failed. The pages count as clean then, and no later sync writes them.
    forgotten: bool,
}

#[derive(Clone, Debug)]
struct Change {
    path: String,
    edit: Edit,
}

#[derive(Clone, Copy, Debug)]
enum Edit {
    Add(u64),
    Remove,
    MakeFolder,
}

fn folder_of(path: &str) -> String {
    path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned()
}

impl State {
    fn change(&mut self, path: &str, edit: Edit) {
        match edit {
            Edit::Add(inode) => drop(self.names.insert(path.to_owned(), inode)),
            Edit::Remove => drop(self.names.remove(path)),
            Edit::MakeFolder => drop(Arc::make_mut(&mut self.directories).insert(path.to_owned())),
        }
        self.unsynced.entry(folder_of(path)).or_default().push(Change { path: path.to_owned(), edit });
    }

    fn settle(&mut self, change: &Change) {
        match change.edit {
            Edit::Add(inode) => drop(self.durable_names.insert(change.path.clone(), inode)),
            Edit::Remove => drop(self.durable_names.remove(&change.path)),
            Edit::MakeFolder => drop(Arc::make_mut(&mut self.durable_directories).insert(change.path.clone())),
        }
    }

    fn sync_folder(&mut self, folder: &str) {
        let changes = self.unsynced.remove(folder).unwrap_or_default();
        changes.iter().for_each(|change| self.settle(change));
    }

    pub fn sync_all(&mut self) {
        let changes = std::mem::take(&mut self.unsynced);
        changes.values().flatten().for_each(|change| self.settle(change));
        self.inodes.values_mut().for_each(Inode::sync);
        if self.directories == self.durable_directories {
            self.directories = Arc::clone(&self.durable_directories);
        }
    }

    /// Every state that a power cut may leave.
    pub fn power_cuts(&self) -> Vec<State> {
        let mut states = vec![State { unsynced: BTreeMap::new(), ..self.clone() }];
        for (folder, changes) in &self.unsynced {
            states = states.iter().flat_map(|state| state.with_some(folder, changes)).collect();
        }
        states.iter().map(State::without_orphans).flat_map(|state| state.with_torn_files()).collect()
    }

    /// This state with each subset of a folder's unsynced changes.
    fn with_some(&self, folder: &str, changes: &[Change]) -> Vec<State> {
        // The content of `tmp` makes no difference, only whether there is any.
        let all = folder != "tmp" && changes.len() <= SUBSETS_OF_MAX;
        let keeps: Vec<Box<dyn Fn(usize) -> bool>> = if all {
            (0..1_usize << changes.len())
                .map(|mask| Box::new(move |i: usize| (mask >> i) & 1 == 1) as Box<dyn Fn(usize) -> bool>)
                .collect()
        } else {
            vec![Box::new(|_| false), Box::new(|_| true), Box::new(|i| i % 2 == 0), Box::new(|i| i % 2 == 1)]
        };
        let apply = |keep: &dyn Fn(usize) -> bool| {
            let mut state = self.clone();
            changes.iter().enumerate().filter(|(i, _)| keep(*i)).for_each(|(_, change)| state.settle(change));
            state
        };
        keeps.iter().map(|keep| apply(keep.as_ref())).collect()
    }

    /// Drops names whose folder is not durable. The durable state becomes the whole state.
    fn without_orphans(&self) -> State {
        let mut state = self.clone();
        if Arc::ptr_eq(&self.directories, &self.durable_directories) {
            state.names = state.durable_names.clone();
            return state;
        }
        let mut folders: BTreeSet<String> = BTreeSet::new();
        for folder in self.durable_directories.iter() {
            let parent = folder_of(folder);
            if parent.is_empty() || folders.contains(&parent) {
                folders.insert(folder.clone());
            }
        }
        let reachable = |path: &String| Some(folder_of(path)).is_some_and(|f| f.is_empty() || folders.contains(&f));
        state.durable_names.retain(|path, _| reachable(path));
        state.names = state.durable_names.clone();
        state.durable_directories = Arc::new(folders);
        state.directories = Arc::clone(&state.durable_directories);
        state
    }

    /// Enumerates files whose bytes are not durable: unchanged, whole, of full length with empty blocks, or half
    /// written.
    fn with_torn_files(&self) -> Vec<State> {
        let mut states = vec![self.clone()];
        for inode in self.names.values() {
            let file = &self.inodes[inode];
            let mut kept = vec![Arc::clone(&file.durable)];
            if file.bytes != file.durable {
                let half = file.bytes[..file.bytes.len() / 2].to_vec();
                kept.extend([Arc::clone(&file.bytes), Arc::new(vec![0; file.bytes.len()]), Arc::new(half)]);
            }
            let with = |state: &State, bytes: &Arc<Vec<u8>>| {
                let mut state = state.clone();
                let file = Inode { bytes: Arc::clone(bytes), durable: Arc::clone(bytes), forgotten: false };
                state.inodes.insert(*inode, file);
                state
            };
            states = states.iter().flat_map(|state| kept.iter().map(move |bytes| with(state, bytes))).collect();
        }
        states
    }

    /// A text of the visible and the durable files. Equal texts are equal states.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (path, inode) in self.names.iter().chain(&self.durable_names) {
            let file = &self.inodes[inode];
            let (seen, durable) = (String::from_utf8_lossy(&file.bytes), String::from_utf8_lossy(&file.durable));
            let _ = writeln!(text, "{path} {inode} {seen:?} {}", if seen == durable { "" } else { &durable });
        }
        for change in self.unsynced.values().flatten() {
            let _ = writeln!(text, "unsynced: {} {:?}", change.path, change.edit);
        }
        text
    }
}

impl Inode {
    /// Other bytes are on the device from now on.
    pub fn rot(&mut self, bytes: Arc<Vec<u8>>) {
        self.durable = Arc::clone(&bytes);
        self.bytes = bytes;
    }

    fn sync(&mut self) {
        if !self.forgotten {
            self.durable = Arc::clone(&self.bytes);
        }
    }
}

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
