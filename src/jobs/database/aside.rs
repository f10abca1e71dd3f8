//! Malformed files of jobs: they are moved aside by name and kept, and as long as they are there, the server tells of them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::now_ms;

/// What the name of a malformed file has after its own name, before the time.
const MARK: &str = ".malformed-";

/// The files that a database and its log may have beside its own.
const LOGS: [&str; 2] = ["-wal", "-shm"];

/// The malformed files beside a database: jobs that were accepted and do not run.
#[derive(Clone, Default)]
pub struct Lost(Arc<Mutex<Vec<PathBuf>>>);

impl Lost {
    /// The files that are there already. A folder that cannot be listed has none.
    pub fn beside(file: &Path) -> Lost {
        let mark = format!("{}{MARK}", file.file_name().unwrap_or_default().to_string_lossy());
        let is_lost = |name: &str| name.starts_with(&mark) && !LOGS.iter().any(|log| name.ends_with(log));
        let entries = file.parent().and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
        let lost = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_lost));
        let mut lost: Vec<PathBuf> = lost.map(|entry| entry.path()).collect();
        lost.sort_unstable();
        Lost(Arc::new(Mutex::new(lost)))
    }

    /// Adds one.
    pub fn add(&self, file: PathBuf) {
        self.0.lock().push(file);
    }

    /// The names of those that are still there.
    pub fn names(&self) -> Vec<String> {
        let mut lost = self.0.lock();
        lost.retain(|file| file.exists());
        lost.iter().filter_map(|file| Some(file.file_name()?.to_string_lossy().into_owned())).collect()
    }
}

/// Moves a file and its log to another name, and returns that.
pub fn move_aside(file: &Path) -> io::Result<PathBuf> {
    let name = |path: &Path, suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    // A name that is free: two files may be malformed in one moment.
    let aside = (now_ms()..).map(|at| name(file, &format!("{MARK}{at}"))).find(|aside| !aside.exists());
    let aside = aside.ok_or(io::ErrorKind::AlreadyExists)?;
    // The log first: it must never be taken for the log of a new file.
    for suffix in LOGS.into_iter().chain([""]) {
        match fs::rename(name(file, suffix), name(&aside, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(aside)
}
