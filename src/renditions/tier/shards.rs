//! [`Shards`]: the files of the tier, in 4096 folders by the first three hex digits of their source, so that one folder holds
//! all renditions of a source. Counts its files, and makes room. Blocking calls.
//!
//! A folder is changed under its lock and read without. Files whose names are not ours are left alone.

use std::fs::{DirBuilder, DirEntry, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, MutexGuard};
use rustix::fs::OFlags;

use super::super::Rendition;
use super::super::generation::{Generation, Lineage};
use super::budget::Budget;
use super::name::Name;
use super::{calls, file};
use crate::digest::Digest;

const SHARDS: usize = 4096;

/// The modes of files and folders, equal to those of the store.
const FILE_MODE: u32 = 0o640;
const FOLDER_MODE: u32 = 0o750;

/// The unit of space on the device: a file takes whole blocks.
const BLOCK_BYTES: u64 = 4096;

/// The end of the name of a file that is being written.
const UNFINISHED: &str = ".new";

/// The age at which a used file gets the present time: eviction needs no more precision.
const TOUCH_AFTER: Duration = Duration::from_secs(86_400);

/// Folders of one sample. To make room, the least recently used files of a sample are removed, half of them at most: close to
/// the least recently used of all, without a list of all.
const SAMPLE_SHARDS: usize = 32;
const SAMPLE_FILES_MAX: usize = 1024;

/// Most samples for one insertion: one that needs more room is given up.
const ROUNDS_MAX: usize = 64;

/// The part of the tier that an insertion without room frees for others, too: a sample for each would cost more than the
/// rendition.
const SPARE_PART: u64 = 1024;

/// Threads that make room at the start. A device that is informed of each removal may take a millisecond for it, and many at
/// once take no longer: 2,500 files a second on one thread, 20,000 on eight.
const SHRINKERS: usize = 8;

/// The folder of the tier.
pub struct Shards {
    root: PathBuf,
    budget: Budget,
    shards: Vec<Mutex<Shard>>,
    bytes: AtomicU64,
    entries: AtomicU64,
    evictions: AtomicU64,
    /// The folder at which the next sample begins.
    hand: AtomicUsize,
    /// Whether every folder is counted.
    is_counted: AtomicBool,
}

/// The content of one folder, known after it was counted.
#[derive(Clone, Copy, Default)]
struct Shard {
    is_counted: bool,
    entries: u64,
    bytes: u64,
}

/// A file of the tier.
struct Entry {
    path: PathBuf,
    name: Name,
    shard: usize,
    bytes: u64,
    used: SystemTime,
    /// Whether the file is complete; otherwise it was being written.
    is_whole: bool,
}

/// An opened rendition.
pub struct Opened {
    file: File,
    source: Digest,
    key: Digest,
    /// The length of the file.
    pub len: u64,
}

impl Shards {
    /// The folder at `root`, not counted yet.
    pub fn new(root: PathBuf, budget: Budget) -> Shards {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        let [bytes, entries, evictions] = [0; 3].map(AtomicU64::new);
        let (hand, is_counted) = (AtomicUsize::new(0), AtomicBool::new(false));
        Shards { root, budget, shards, bytes, entries, evictions, hand, is_counted }
    }

    /// Counts every folder, removes files that were being written when a process ended, and makes room if there is now less.
    pub fn count(&self) {
        let is_counted = (0..SHARDS).filter(|index| !self.count_folder(*index)).count() == 0;
        self.is_counted.store(is_counted, Ordering::Relaxed);
        self.shrink();
    }

    /// Counts a folder, unless it is counted already. Returns whether it is: one that cannot be listed is tried again.
    fn count_folder(&self, index: usize) -> bool {
        let mut shard = self.lock(index);
        if shard.is_counted {
            return true;
        }
        let Ok(found) = self.entries_of(index) else { return false };
        shard.is_counted = true;
        let (mut entries, mut bytes) = (0, 0);
        for entry in found {
            if entry.is_whole {
                entries += 1;
                bytes += entry.bytes;
            } else {
                let _ = calls::remove_file(&entry.path);
            }
        }
        self.set(&mut shard, entries, bytes);
        true
    }

    /// Takes no more than the device has room for, and gives room back if that is less than before.
    pub fn fit(&self) {
        if !self.is_counted.load(Ordering::Relaxed) {
            self.count();
        }
        // The folder itself may not be made yet.
        self.budget.look(self.root.parent().unwrap_or(&self.root), self.bytes());
        self.shrink();
    }

    /// Makes room until the files are within the budget.
    fn shrink(&self) {
        if self.has_room(0) {
            return;
        }
        let make_room = || while !self.has_room(0) && self.evict(0) {};
        thread::scope(|scope| {
            for _ in 1..SHRINKERS {
                // The others do the work of a thread that cannot be started.
                let _ = thread::Builder::new().name("tier-shrink".to_owned()).spawn_scoped(scope, make_room);
            }
            make_room();
        });
    }

    /// Whether the tier surely has nothing of `source`; found without the file system and without a wait.
    pub fn surely_lacks(&self, source: &Digest) -> bool {
        let shard = self.shards[index(source)].try_lock();
        shard.is_some_and(|shard| shard.is_counted && shard.entries == 0)
    }

    /// Opens the rendition of `source` by key, if there is a file of its name.
    pub fn open(&self, source: &Digest, key: &Digest) -> Option<Opened> {
        // A link in the place of a file is not followed, and a pipe is not waited for.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let options = OpenOptions::new().read(true).custom_flags(flags).clone();
        let file = calls::open(&options, &self.path(source, key)).ok()?;
        let found = calls::metadata(&file).ok().filter(Metadata::is_file)?;
        let age = found.modified().ok().and_then(|used| used.elapsed().ok());
        if age.is_some_and(|age| age > TOUCH_AFTER) {
            let _ = calls::set_modified(&file, SystemTime::now());
        }
        Some(Opened { file, source: *source, key: *key, len: found.len() })
    }

    /// Reads an opened rendition. A file that is not a rendition is removed.
    pub fn read(&self, opened: &Opened) -> Option<Rendition> {
        let Opened { file, source, key, len } = opened;
        match file::read(file, *len, source, key) {
            Ok(Some(rendition)) => return Some(rendition),
            Ok(None) => {
                tracing::warn!(%source, "a file of the rendition tier is damaged or of another version: removed");
                self.remove_rendition(source, key);
            }
            Err(error) => tracing::warn!(%source, %error, "a file of the rendition tier cannot be read now"),
        }
        None
    }

    /// Keeps a rendition that was made in a lineage, if that is not over and room can be made. All folders must be counted.
    pub fn insert(&self, lineage: impl Into<Lineage>, key: &Digest, rendition: &Rendition) -> io::Result<()> {
        let lineage = lineage.into();
        let (source, bytes) = (lineage.source().source(), blocks(file::len(rendition)));
        let path = self.path(source, key);
        if calls::exists(&path)? {
            return Ok(());
        }
        // The notes come first: a rendition without them would not be found by a delete.
        for other in lineage.others() {
            self.note(other, key, source)?;
        }
        if !self.reserve(bytes) {
            return Ok(());
        }
        let mut shard = self.lock(index(source));
        // Checked under the lock: `forget` comes after the end, and takes the lock, too.
        let is_over = lineage.is_over() || calls::exists(&path).unwrap_or(false);
        let written = if is_over { Ok(()) } else { self.write(&path, source, key, rendition) };
        if is_over || written.is_err() {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
        } else {
            shard.entries += 1;
            shard.bytes += bytes;
            self.entries.fetch_add(1, Ordering::Relaxed);
        }
        written
    }

    /// Notes that the rendition of `source` by key shows `other`, so that it goes with it.
    fn note(&self, other: &Generation, key: &Digest, source: &Digest) -> io::Result<()> {
        let name = Name { image: *other.source(), key: *key, source: Some(*source) };
        let mut shard = self.lock(index(&name.image));
        let path = self.file(&name);
        if other.is_over() || calls::exists(&path)? {
            return Ok(());
        }
        self.make_folder(&name.image)?;
        // It has a byte, since what has none would take no room, and there could be any number.
        let new = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).clone();
        let written = calls::write_all(&calls::open(&new, &path)?, b"\n");
        if written.is_err() {
            let _ = calls::remove_file(&path);
            return written;
        }
        let (entries, bytes) = (shard.entries + 1, shard.bytes + BLOCK_BYTES);
        self.set(&mut shard, entries, bytes);
        Ok(())
    }

    /// Removes everything that shows `image`. Returns the keys of the renditions of other sources.
    pub fn forget(&self, image: &Digest) -> Vec<Digest> {
        let index = index(image);
        let mut shard = self.lock(index);
        let entries = self.entries_of(index).unwrap_or_else(|error| {
            // What shows the image is not served without it. It goes when room is made.
            tracing::warn!(%image, %error, "renditions of a deleted image stay in the tier: its folder cannot be listed");
            Vec::new()
        });
        let entries = entries.into_iter().filter(|entry| entry.name.image == *image);
        let mut noted = Vec::new();
        for entry in entries {
            self.remove(&mut shard, &entry.path);
            noted.extend(entry.name.shown());
        }
        // Two folders are never locked at once.
        drop(shard);
        noted.retain(|(source, key)| self.remove_rendition(source, key));
        noted.into_iter().map(|(_, key)| key).collect()
    }

    fn remove_rendition(&self, source: &Digest, key: &Digest) -> bool {
        self.remove(&mut self.lock(index(source)), &self.path(source, key))
    }

    /// Bytes of counted files and of reservations.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Number of counted files.
    pub fn entries(&self) -> u64 {
        self.entries.load(Ordering::Relaxed)
    }

    /// Number of files that were removed to make room.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Ordering::Relaxed)
    }

    /// Takes `bytes` of the budget, and makes room if necessary. Returns whether that was possible.
    fn reserve(&self, bytes: u64) -> bool {
        let bytes_max = self.budget.bytes();
        let fits = |held: u64| held.checked_add(bytes).filter(|sum| *sum <= bytes_max);
        let room = bytes.max(bytes_max / SPARE_PART);
        bytes <= bytes_max
            && (0..=ROUNDS_MAX).any(|round| {
                let reserved = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
                if reserved.is_err() && round < ROUNDS_MAX {
                    self.evict(room);
                }
                reserved.is_ok()
            })
    }

    /// Whether `bytes` more are within the budget.
    fn has_room(&self, bytes: u64) -> bool {
        self.bytes().saturating_add(bytes) <= self.budget.bytes()
    }

    /// Removes the least recently used files of a sample until there is `room`. Returns whether it removed any.
    fn evict(&self, room: u64) -> bool {
        let mut sample = self.sample();
        sample.sort_by_key(|entry| entry.used);
        let half = sample.len().div_ceil(2);
        let mut removed = 0;
        for entry in sample.into_iter().take(half) {
            if self.has_room(room) {
                break;
            }
            // A note goes after its rendition, which would not be found by a delete without it.
            if let Some((source, key)) = entry.name.shown() {
                removed += u64::from(self.remove_rendition(&source, &key));
            }
            removed += u64::from(self.remove(&mut self.lock(entry.shard), &entry.path));
        }
        self.evictions.fetch_add(removed, Ordering::Relaxed);
        removed > 0
    }

    /// The files of the next folders that are not empty.
    fn sample(&self) -> Vec<Entry> {
        let mut sample = Vec::new();
        let mut folders = 0;
        for _ in 0..SHARDS {
            let index = self.hand.fetch_add(1, Ordering::Relaxed) % SHARDS;
            let mut shard = self.lock(index);
            if shard.entries == 0 {
                continue;
            }
            let Ok(entries) = self.entries_of(index) else { continue };
            let before = sample.len();
            sample.extend(entries.into_iter().filter(|entry| entry.is_whole).take(SAMPLE_FILES_MAX));
            let found = &sample[before..];
            if found.len() < SAMPLE_FILES_MAX {
                // Others may have removed files: the present ones count.
                self.set(&mut shard, found.len() as u64, found.iter().map(|entry| entry.bytes).sum());
            }
            folders += 1;
            if folders == SAMPLE_SHARDS || sample.len() >= SAMPLE_FILES_MAX {
                break;
            }
        }
        sample
    }

    /// Our files in a folder, which may not exist; all of them or an error.
    fn entries_of(&self, index: usize) -> io::Result<Vec<Entry>> {
        let found = match calls::read_dir(&self.folder(index)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            found => found?,
        };
        found.iter().filter_map(|found| Entry::of(found, index).transpose()).collect()
    }

    /// Sets the counts of a folder.
    fn set(&self, shard: &mut Shard, entries: u64, bytes: u64) {
        // In one step, by a difference that wraps: other threads make room by these counts.
        self.bytes.fetch_add(bytes.wrapping_sub(shard.bytes), Ordering::Relaxed);
        self.entries.fetch_add(entries.wrapping_sub(shard.entries), Ordering::Relaxed);
        (shard.bytes, shard.entries) = (bytes, entries);
    }

    /// Removes a file of a folder whose lock is held. Returns whether there was a file.
    fn remove(&self, shard: &mut Shard, path: &Path) -> bool {
        let Ok(metadata) = calls::symlink_metadata(path) else { return false };
        let removed = calls::remove_file(path).is_ok();
        if removed && shard.is_counted {
            // A file that another program put there was never counted.
            let bytes = shard.bytes.saturating_sub(blocks(metadata.len()));
            self.set(shard, shard.entries.saturating_sub(1), bytes);
        }
        removed
    }

    /// Writes a file under another name first, so that a reader never sees a part. Nothing is synced: a file is checked when
    /// it is read after a power cut.
    fn write(&self, path: &Path, source: &Digest, key: &Digest, rendition: &Rendition) -> io::Result<()> {
        self.make_folder(source)?;
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(UNFINISHED);
        let unfinished = PathBuf::from(unfinished);
        let new = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).clone();
        let written = calls::open(&new, &unfinished)
            .and_then(|file| file::write(&file, source, key, rendition))
            .and_then(|()| calls::rename(&unfinished, path));
        if written.is_err() {
            let _ = calls::remove_file(&unfinished);
        }
        written
    }

    fn make_folder(&self, image: &Digest) -> io::Result<()> {
        calls::make_folder(DirBuilder::new().recursive(true).mode(FOLDER_MODE), &self.folder(index(image)))
    }

    fn lock(&self, index: usize) -> MutexGuard<'_, Shard> {
        self.shards[index].lock()
    }

    fn folder(&self, index: usize) -> PathBuf {
        self.root.join(format!("{index:03x}"))
    }

    fn path(&self, source: &Digest, key: &Digest) -> PathBuf {
        self.file(&Name { image: *source, key: *key, source: None })
    }

    fn file(&self, name: &Name) -> PathBuf {
        self.folder(index(&name.image)).join(name.to_string())
    }
}

impl Entry {
    /// The file of an entry of a folder; `None` if it is not ours.
    fn of(found: &DirEntry, shard: usize) -> io::Result<Option<Entry>> {
        let file_name = found.file_name();
        let file_name = file_name.to_str().unwrap_or_default();
        let finished = file_name.strip_suffix(UNFINISHED);
        let name = Name::read(finished.unwrap_or(file_name)).filter(|name| index(&name.image) == shard);
        let Some(name) = name else { return Ok(None) };
        let metadata = calls::entry_metadata(found)?.filter(Metadata::is_file);
        Ok(metadata.map(|metadata| Entry {
            path: found.path(),
            name,
            shard,
            bytes: blocks(metadata.len()),
            used: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            is_whole: finished.is_none(),
        }))
    }
}

/// The place of a source's folder.
fn index(source: &Digest) -> usize {
    let bytes = source.as_bytes();
    usize::from(bytes[0]) << 4 | usize::from(bytes[1] >> 4)
}

fn blocks(len: u64) -> u64 {
    len.div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::*;

    #[test]
    fn one_folder_that_is_slow_does_not_keep_a_start_from_its_budget() {
        const FOLDERS: usize = 64;
        let folder = tempfile::TempDir::new().expect("a folder");
        for source in (0..FOLDERS).map(|index| format!("{index:03x}{:061x}", 0)) {
            fs::create_dir(folder.path().join(&source[..3])).expect("made");
            fs::write(folder.path().join(&source[..3]).join(format!("{source}.{source}")), "x").expect("written");
        }
        let mut shards = Shards::new(folder.path().to_owned(), Budget::new(1 << 20, 0));
        shards.count();
        assert_eq!(shards.entries(), FOLDERS as u64);
        shards.budget = Budget::new(60 * BLOCK_BYTES, 0);
        thread::scope(|scope| {
            // A caller that looks into it or removes something there waits.
            let slow = shards.lock(0);
            scope.spawn(|| shards.shrink());
            let end = Instant::now() + Duration::from_secs(60);
            while !shards.has_room(0) && Instant::now() < end {
                thread::sleep(Duration::from_millis(1));
            }
            let is_done = shards.has_room(0);
            drop(slow);
            assert!(is_done);
        });
    }
}
