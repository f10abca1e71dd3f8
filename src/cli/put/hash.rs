//! The stages between a path and its id: recall, hash. A file that [`Memory`] knows is not opened; the others are read and hashed.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::SystemTime;

use futures_util::future::try_join_all;
use rustix::fs::StatFs;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinHandle;

use super::memory::{Memory, Stamp};
use super::walk::Found;
use super::{Named, Outcome};
use crate::cli::ending::{Exit, Failure};
use crate::digest::{Digest, Hasher};

/// Read, and hashed, at once: what stays in a processor's own cache between the two.
const READ_BYTES: usize = 128 << 10;
/// Of each of the two stages: those that read must not take every thread of the runtime from those that send.
const THREADS_MAX: usize = 64;
/// Files that are looked up in one question.
const RECALLED_MAX: usize = 64;
/// Files that are not known and not hashed yet.
const UNKNOWN_MAX: usize = 1_024;

/// Gives files their ids, on as many threads as there are processors. With `checksum` each is hashed, known or not.
pub async fn name(
    memory: &Arc<Memory>,
    checksum: bool,
    files: Receiver<Found>,
    named: Sender<Named>,
    outcomes: Sender<Outcome>,
) -> Result<(), Failure> {
    let (unknown, unread) = mpsc::channel(UNKNOWN_MAX);
    let (files, unread) = (Arc::new(Mutex::new(files)), Arc::new(Mutex::new(unread)));
    let given = || Given { named: named.clone(), outcomes: outcomes.clone() };
    let count = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let recalling = (0..count).map(|_| {
        let (memory, files, unknown, given) = (Arc::clone(memory), Arc::clone(&files), unknown.clone(), given());
        tokio::task::spawn_blocking(move || _ = recall_each(&memory, checksum, &files, &unknown, &given))
    });
    let hashing = (0..count).map(|_| {
        let (memory, unread, given) = (Arc::clone(memory), Arc::clone(&unread), given());
        tokio::task::spawn_blocking(move || _ = hash_each(&memory, &unread, &given))
    });
    let threads: Vec<JoinHandle<()>> = recalling.chain(hashing).collect();
    // Only they have it: it ends when they do.
    drop((unknown, named, outcomes));
    // A thread that panicked has lost a file: then not all is well.
    try_join_all(threads).await.map(drop).map_err(|panic| Failure::new(Exit::Failed, panic))
}

/// Where files go from here.
struct Given {
    named: Sender<Named>,
    outcomes: Sender<Outcome>,
}

/// Nobody takes anything any more: the command is ending.
struct InVain;

impl Given {
    fn is_in_vain(&self) -> bool {
        self.named.is_closed()
    }

    fn named(&self, file: Named) -> Result<(), InVain> {
        self.named.blocking_send(file).map_err(|_| InVain)
    }

    fn failed(&self, outcome: Outcome) -> Result<(), InVain> {
        self.outcomes.blocking_send(outcome).map_err(|_| InVain)
    }
}

fn recall_each(
    memory: &Memory,
    checksum: bool,
    files: &Mutex<Receiver<Found>>,
    unknown: &Sender<PathBuf>,
    given: &Given,
) -> Result<(), InVain> {
    let mut batch = Vec::new();
    loop {
        let count = files.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv_many(&mut batch, RECALLED_MAX);
        if count == 0 || given.is_in_vain() {
            return Ok(());
        }
        let mut stamped = Vec::new();
        for found in batch.drain(..) {
            match found {
                Err(outcome) => given.failed(outcome)?,
                Ok(path) if checksum => unknown.blocking_send(path).map_err(|_| InVain)?,
                Ok(path) => match stamp(memory, &path) {
                    Some(stamp) => stamped.push((stamp, path)),
                    None => unknown.blocking_send(path).map_err(|_| InVain)?,
                },
            }
        }
        let stamps: Vec<Stamp> = stamped.iter().map(|(stamp, _)| *stamp).collect();
        for ((stamp, path), id) in stamped.into_iter().zip(memory.recall(&stamps)) {
            match id {
                Some(id) => given.named(Named { path, id, bytes: stamp.bytes(), stamp, recalled: true })?,
                None => unknown.blocking_send(path).map_err(|_| InVain)?,
            }
        }
    }
}

/// None where the file must be read. Where it cannot be, whoever reads it will say why not.
fn stamp(memory: &Memory, path: &Path) -> Option<Stamp> {
    let stamp = Stamp::of(path, &fs::metadata(path).ok()?);
    memory.covers(&stamp, || kind(rustix::fs::statfs(path))).then_some(stamp)
}

/// The number of a file system's kind.
fn kind(answer: rustix::io::Result<StatFs>) -> Option<u64> {
    u64::try_from(answer.ok()?.f_type).ok()
}

fn hash_each(memory: &Memory, unread: &Mutex<Receiver<PathBuf>>, given: &Given) -> Result<(), InVain> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let path = unread.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(path) = path else { return Ok(()) };
        match hash(memory, &path, &mut buffer, || given.is_in_vain()) {
            Ok((id, bytes, stamp)) => given.named(Named { path, id, bytes, stamp, recalled: false })?,
            // It may be well, and have been left off.
            Err(_) if given.is_in_vain() => return Err(InVain),
            Err(error) => given.failed(Outcome::Failed { path, problem: error.to_string() })?,
        }
    }
}

/// A file whose remembered id was wrong, hashed now.
pub async fn again(memory: &Arc<Memory>, file: Named) -> Result<Named, Outcome> {
    let (memory, path) = (Arc::clone(memory), file.path.clone());
    let hashed = tokio::task::spawn_blocking(move || {
        memory.forget(file.stamp);
        hash(&memory, &file.path, &mut vec![0; READ_BYTES], || false)
    });
    match hashed.await.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
        Ok((id, bytes, stamp)) => Ok(Named { path, id, bytes, stamp, recalled: false }),
        Err(error) => Err(Outcome::Failed { path, problem: error.to_string() }),
    }
}

/// Forgets a file's id; not on the threads that wait for the server, because it may itself wait for another process.
pub async fn forget(memory: &Arc<Memory>, file: Stamp) {
    let memory = Arc::clone(memory);
    // As all of it, this cannot fail.
    let _ = tokio::task::spawn_blocking(move || memory.forget(file)).await;
}

/// Hashes a file, and remembers it where a later change would show.
fn hash(
    memory: &Memory,
    path: &Path,
    buffer: &mut [u8],
    is_in_vain: impl Fn() -> bool,
) -> io::Result<(Digest, u64, Stamp)> {
    let mut file = File::open(path)?;
    let (began, before) = (SystemTime::now(), Stamp::of(path, &file.metadata()?));
    let (id, bytes) = digest(&mut file, buffer, is_in_vain)?;
    let is_certain = is_certain(&before, began, bytes, &Stamp::of(path, &file.metadata()?));
    if is_certain && memory.covers(&before, || kind(rustix::fs::fstatfs(&file))) {
        memory.remember(before, id);
    }
    Ok((id, bytes, before))
}

/// Whether the `bytes` that were read since `began` are all of the file as it was `before`, and any later change will show.
fn is_certain(before: &Stamp, began: SystemTime, bytes: u64, after: &Stamp) -> bool {
    bytes == before.bytes() && before == after && before.is_settled(began)
}

fn digest(file: &mut File, buffer: &mut [u8], is_in_vain: impl Fn() -> bool) -> io::Result<(Digest, u64)> {
    let (mut hasher, mut bytes) = (Hasher::default(), 0);
    loop {
        match file.read(buffer) {
            Ok(0) => return Ok((hasher.digest(), bytes)),
            Ok(_) if is_in_vain() => return Err(io::Error::other("it was not asked for any more")),
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
    use crate::cli::put::memory;

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
            let memory = Memory::open(Some(place.path().join("digests")), memory::BYTES_MAX);
            let file = Stamp::of(&path, &fs::metadata(&path).expect("there"));
            assert_eq!(memory.covers(&file, || Some(kind)), is_local);
            assert_eq!(stamp(&memory, &path), is_local.then_some(file));
            assert_eq!(hash(&memory, &path, &mut [0; 99], || false).expect("read"), (id, file.bytes(), file));
            memory.close();
            assert_eq!(memory.recall(&[file]), [is_local.then_some(id)]);
            memory.forget(file);
            memory.close();
        }
    }
}
