//! [`State`]: what a disk and the page cache hold, and what a power cut may leave of it. Its durability is the weakest that
//! Linux allows: bytes are durable after `fdatasync` of their file, names after `fsync` of their directory, and everything
//! after `syncfs`. A power cut keeps any part of the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

/// The most unsynced names of a directory of which every subset is enumerated. With more, only some subsets are.
const SUBSETS_OF_MAX: usize = 5;

/// The content of the disk and of the page cache.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub inodes: BTreeMap<u64, Inode>,
    pub names: BTreeMap<String, u64>,
    pub directories: Arc<BTreeSet<String>>,
    durable_names: BTreeMap<String, u64>,
    durable_directories: Arc<BTreeSet<String>>,
    /// Unsynced changes, by folder.
    pub unsynced: BTreeMap<String, Vec<Change>>,
}

/// The bytes of a file: as programs see them, and as the disk has them.
#[derive(Clone, Debug, Default)]
pub struct Inode {
    pub bytes: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    /// Whether a sync failed. The pages count as clean then, and no later sync writes them.
    pub forgotten: bool,
}

#[derive(Clone, Debug)]
pub struct Change {
    path: String,
    edit: Edit,
}

#[derive(Clone, Copy, Debug)]
pub enum Edit {
    Add(u64),
    Remove,
    MakeFolder,
}

/// The folder of a path; empty: the root.
pub fn folder_of(path: &str) -> String {
    path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned()
}

impl State {
    pub fn change(&mut self, path: &str, edit: Edit) {
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

    pub fn sync_folder(&mut self, folder: &str) {
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

    pub fn sync(&mut self) {
        if !self.forgotten {
            self.durable = Arc::clone(&self.bytes);
        }
    }
}
