//! Finds the files to upload: arguments, and files in folders. Opens no file.

use std::fs;
use std::path::PathBuf;

use tokio::sync::mpsc::Sender;
use walkdir::WalkDir;

use super::FileOutcome;
use crate::cli::progress::Progress;

/// Paths of the command line, and how to walk them.
#[derive(Clone)]
pub struct Arguments {
    pub paths: Vec<PathBuf>,
    pub recursive: bool,
    pub follow: bool,
}

/// The path of a file, or the failure of an argument.
pub type FoundFile = Result<PathBuf, FileOutcome>;

/// Sends each file that is found, on a thread of its own, as fast as the receiver takes them.
pub fn walk(arguments: Arguments, found: Sender<FoundFile>) {
    tokio::task::spawn_blocking(move || {
        // The channel is closed when the command ends early.
        arguments.each(|file| found.blocking_send(file).is_ok());
    });
}

/// Adds the size of all files to `progress`, while the upload goes on. It reads no file, so it is soon ahead.
pub fn measure(arguments: Arguments, progress: Progress) {
    tokio::task::spawn_blocking(move || {
        arguments.each(|file| {
            if let Some(file) = file.ok().and_then(|path| fs::metadata(path).ok()) {
                progress.expect(file.len());
            }
            true
        });
    });
}

impl Arguments {
    /// Passes every file to `take`, until that returns false.
    fn each(&self, mut take: impl FnMut(FoundFile) -> bool) {
        for path in &self.paths {
            let goes_on = match fs::metadata(path) {
                Err(error) => take(failed(path.clone(), error)),
                Ok(file) if file.is_file() => take(Ok(path.clone())),
                Ok(file) if !file.is_dir() => take(failed(path.clone(), "not a file")),
                Ok(_) if !self.recursive => take(failed(path.clone(), "a folder; --recursive uploads its files")),
                Ok(_) => self.inside(path, &mut take),
            };
            if !goes_on {
                return;
            }
        }
    }

    fn inside(&self, folder: &PathBuf, take: &mut impl FnMut(FoundFile) -> bool) -> bool {
        for entry in WalkDir::new(folder).follow_links(self.follow) {
            let goes_on = match entry {
                Ok(entry) if entry.file_type().is_file() => take(Ok(entry.into_path())),
                // Skips folders, whose files come by themselves, and sockets, devices and links that are not followed.
                Ok(_) => true,
                Err(error) => {
                    let path = error.path().unwrap_or(folder).to_owned();
                    take(failed(path, error.io_error().map_or_else(|| error.to_string(), ToString::to_string)))
                }
            };
            if !goes_on {
                return false;
            }
        }
        true
    }
}

fn failed(path: PathBuf, problem: impl std::fmt::Display) -> FoundFile {
    Err(FileOutcome::Failed { path, problem: problem.to_string() })
}
