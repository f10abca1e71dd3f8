//! The stages from a path to its id: recall and hash. A file that the [`HashCache`] knows is not opened; others are
//! read and hashed.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

use futures_util::future::try_join_all;
use parking_lot::Mutex;
use rustix::fs::StatFs;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinHandle;

use super::hash_cache::{HashCache, Stamp};
use super::walk::FoundFile;
use super::{FileOutcome, HashedFile};
use crate::cli::exit::{Exit, Failure};
use crate::digest::{Digest, Hasher};

/// Bytes that are read and hashed at a time: they fit into a processor's own cache.
const READ_BYTES: usize = 128 << 10;
/// The most threads of each stage. Stages that read must leave threads of the runtime to those that send.
const THREADS_MAX: usize = 64;
/// Files that are looked up in one call.
const RECALLED_MAX: usize = 64;
/// Unknown files that wait to be hashed.
const UNKNOWN_MAX: usize = 1_024;

/// Finds the ids of files, on as many threads as there are processors. With `checksum` every file is hashed, known or
/// not.
pub async fn name(
    cache: &Arc<HashCache>,
    checksum: bool,
    files: Receiver<FoundFile>,
    named: Sender<HashedFile>,
    outcomes: Sender<FileOutcome>,
) -> Result<(), Failure> {
    let (unknown, unread) = mpsc::channel(UNKNOWN_MAX);
    let (files, unread) = (Arc::new(Mutex::new(files)), Arc::new(Mutex::new(unread)));
    let outputs = || Outputs { named: named.clone(), outcomes: outcomes.clone() };
    let count = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let recalling = (0..count).map(|_| {
        let (cache, files, unknown, outputs) = (Arc::clone(cache), Arc::clone(&files), unknown.clone(), outputs());
        tokio::task::spawn_blocking(move || _ = recall_each(&cache, checksum, &files, &unknown, &outputs))
    });
    let hashing = (0..count).map(|_| {
        let (cache, unread, outputs) = (Arc::clone(cache), Arc::clone(&unread), outputs());
        tokio::task::spawn_blocking(move || _ = hash_each(&cache, &unread, &outputs))
    });
    let threads: Vec<JoinHandle<()>> = recalling.chain(hashing).collect();
    // Only the threads keep senders, so the channels close when the threads end.
    drop((unknown, named, outcomes));
    // A thread that panicked has lost a file, so the command fails.
    try_join_all(threads).await.map(drop).map_err(|panic| Failure::new(Exit::Failed, panic))
}

/// The outputs of these stages.
struct Outputs {
    named: Sender<HashedFile>,
    outcomes: Sender<FileOutcome>,
}

/// The receivers are gone: the command is ending.
struct Ending;

impl Outputs {
    fn is_ending(&self) -> bool {
        self.named.is_closed()
    }

    fn named(&self, file: HashedFile) -> Result<(), Ending> {
        self.named.blocking_send(file).map_err(|_| Ending)
    }

    fn failed(&self, outcome: FileOutcome) -> Result<(), Ending> {
        self.outcomes.blocking_send(outcome).map_err(|_| Ending)
    }
}

fn recall_each(
    cache: &HashCache,
    checksum: bool,
    files: &Mutex<Receiver<FoundFile>>,
    unknown: &Sender<PathBuf>,
    outputs: &Outputs,
) -> Result<(), Ending> {
    let mut batch = Vec::new();
    loop {
        let count = files.lock().blocking_recv_many(&mut batch, RECALLED_MAX);
        if count == 0 || outputs.is_ending() {
            return Ok(());
        }
        let mut stamped = Vec::new();
        for found in batch.drain(..) {
            match found {
                Err(outcome) => outputs.failed(outcome)?,
                Ok(path) if checksum => unknown.blocking_send(path).map_err(|_| Ending)?,
                Ok(path) => match stamp(cache, &path) {
                    Some(stamp) => stamped.push((stamp, path)),
                    None => unknown.blocking_send(path).map_err(|_| Ending)?,
                },
            }
        }
        let stamps: Vec<Stamp> = stamped.iter().map(|(stamp, _)| *stamp).collect();
        for ((stamp, path), id) in stamped.into_iter().zip(cache.recall(&stamps)) {
            match id {
                Some(id) => outputs.named(HashedFile { path, id, bytes: stamp.bytes(), stamp, recalled: true })?,
                None => unknown.blocking_send(path).map_err(|_| Ending)?,
            }
        }
    }
}

/// The stamp of a file that the cache covers; `None`: the file must be read, which also finds any error.
fn stamp(cache: &HashCache, path: &Path) -> Option<Stamp> {
    let stamp = Stamp::of(path, &fs::metadata(path).ok()?);
    cache.covers(&stamp, || kind(rustix::fs::statfs(path))).then_some(stamp)
}

/// The number of a file system's kind.
fn kind(answer: rustix::io::Result<StatFs>) -> Option<u64> {
    u64::try_from(answer.ok()?.f_type).ok()
}

fn hash_each(cache: &HashCache, unread: &Mutex<Receiver<PathBuf>>, outputs: &Outputs) -> Result<(), Ending> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let path = unread.lock().blocking_recv();
        let Some(path) = path else { return Ok(()) };
        match hash(cache, &path, &mut buffer, || outputs.is_ending()) {
            Ok((id, bytes, stamp)) => outputs.named(HashedFile { path, id, bytes, stamp, recalled: false })?,
            // The read was cut short by the end of the command, so this is no failure of the file.
            Err(_) if outputs.is_ending() => return Err(Ending),
            Err(error) => outputs.failed(FileOutcome::Failed { path, problem: error.to_string() })?,
        }
    }
}

/// Forgets the remembered id of a file, and hashes it.
pub async fn again(cache: &Arc<HashCache>, file: HashedFile) -> Result<HashedFile, FileOutcome> {
    let (cache, path) = (Arc::clone(cache), file.path.clone());
    let hashed = tokio::task::spawn_blocking(move || {
        cache.forget(file.stamp);
        hash(&cache, &file.path, &mut vec![0; READ_BYTES], || false)
    });
    match hashed.await.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
        Ok((id, bytes, stamp)) => Ok(HashedFile { path, id, bytes, stamp, recalled: false }),
        Err(error) => Err(FileOutcome::Failed { path, problem: error.to_string() }),
    }
}

/// Forgets the id of a file. On a blocking thread, because it may wait for another process.
pub async fn forget(cache: &Arc<HashCache>, file: Stamp) {
    let cache = Arc::clone(cache);
    // Only a panic is lost here: the cache itself never fails.
    let _ = tokio::task::spawn_blocking(move || cache.forget(file)).await;
}

/// Hashes a file, and remembers it if a later change would show.
fn hash(
    cache: &HashCache,
    path: &Path,
    buffer: &mut [u8],
    is_ending: impl Fn() -> bool,
) -> io::Result<(Digest, u64, Stamp)> {
    let mut file = File::open(path)?;
    let (began, before) = (SystemTime::now(), Stamp::of(path, &file.metadata()?));
    let (id, bytes) = digest(&mut file, buffer, is_ending)?;
    let is_certain = is_certain(&before, began, bytes, &Stamp::of(path, &file.metadata()?));
    if is_certain && cache.covers(&before, || kind(rustix::fs::fstatfs(&file))) {
        cache.remember(before, id);
    }
    Ok((id, bytes, before))
}

/// Whether the `bytes` that were read since `began` are the whole file as it was `before`, and any later change will
/// show.
fn is_certain(before: &Stamp, began: SystemTime, bytes: u64, after: &Stamp) -> bool {
    bytes == before.bytes() && before == after && before.is_settled(began)
}

fn digest(file: &mut File, buffer: &mut [u8], is_ending: impl Fn() -> bool) -> io::Result<(Digest, u64)> {
    let (mut hasher, mut bytes) = (Hasher::default(), 0);
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok((hasher.digest(), bytes)),
            Ok(_) if is_ending() => return Err(io::Error::other("the command is ending")),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                bytes += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::put::hash_cache;

    #[test]
    fn what_changes_while_it_is_hashed_or_just_before_is_not_certain() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        let stamp = |text: &str| {
            fs::write(&path, text).expect("written");
            Stamp::of(&path, &fs::metadata(&path).expect("there"))
        };
        let (before, after, now) = (stamp("four"), stamp("fours"), SystemTime::now());
        let later = now + Duration::from_secs(60);
        assert!(is_certain(&before, later, 4, &before));
        assert!(!is_certain(&before, later, 4, &after), "it was written meanwhile");
        assert!(!is_certain(&before, later, 5, &before), "more was read than there was");
        assert!(!is_certain(&before, now, 4, &before), "it was written just before");
    }

    #[test]
    fn what_lies_on_another_machine_is_read_each_time() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
        let id = Digest::of(&fs::read(&path).expect("there"));
        let place = tempfile::tempdir().expect("a folder");
        // Whatever file system the sources lie on: here it is local, then NFS, then local.
        for (kind, is_local) in [(0xEF53, true), (0x6969, false), (0xEF53, true)] {
            let cache = HashCache::open(Some(place.path().join("digests")), hash_cache::BYTES_MAX);
            let file = Stamp::of(&path, &fs::metadata(&path).expect("there"));
            assert_eq!(cache.covers(&file, || Some(kind)), is_local);
            assert_eq!(stamp(&cache, &path), is_local.then_some(file));
            assert_eq!(hash(&cache, &path, &mut [0; 99], || false).expect("read"), (id, file.bytes(), file));
            cache.close();
            assert_eq!(cache.recall(&[file]), [is_local.then_some(id)]);
            cache.forget(file);
            cache.close();
        }
    }
}
