//! Which files are meant: arguments, and what lies in folders. Opens no file.

use std::fs;
use std::path::PathBuf;

use tokio::sync::mpsc::Sender;
use walkdir::WalkDir;

use super::Outcome;
use crate::cli::progress::Progress;

/// The arguments.
#[derive(Clone)]
pub struct Wanted {
    pub paths: Vec<PathBuf>,
    pub recursive: bool,
    pub follow: bool,
}

/// A file, or why there is none.
pub type Found = Result<PathBuf, Outcome>;

/// Sends what is found, on a thread of its own, as fast as it is taken.
pub fn walk(wanted: Wanted, found: Sender<Found>) {
    tokio::task::spawn_blocking(move || {
        // Nobody takes it any more when the command ends early.
        wanted.each(|file| found.blocking_send(file).is_ok());
    });
}

/// Tells `progress` how many bytes there are in all, while the work goes on: this looks at names only, so it is soon ahead.
pub fn measure(wanted: Wanted, progress: Progress) {
    tokio::task::spawn_blocking(move || {
        wanted.each(|file| {
            if let Some(file) = file.ok().and_then(|path| fs::metadata(path).ok()) {
                progress.expect(file.len());
            }
            true
        });
    });
}

impl Wanted {
    /// Gives every file to `take`, until that says no.
    fn each(&self, mut take: impl FnMut(Found) -> bool) {
        for path in &self.paths {
            let goes_on = match fs::metadata(path) {
                Err(error) => take(failed(path.clone(), error)),
                Ok(file) if file.is_file() => take(Ok(path.clone())),
                Ok(file) if !file.is_dir() => take(failed(path.clone(), "not a file")),
                Ok(_) if !self.recursive => {
                    take(failed(path.clone(), "a folder: its files are taken with --recursive"))
                }
                Ok(_) => self.inside(path, &mut take),
            };
            if !goes_on {
                return;
            }
        }
    }

    fn inside(&self, folder: &PathBuf, take: &mut impl FnMut(Found) -> bool) -> bool {
        for entry in WalkDir::new(folder).follow_links(self.follow) {
            let goes_on = match entry {
                Ok(entry) if entry.file_type().is_file() => take(Ok(entry.into_path())),
                // Folders come by themselves; sockets, devices and links that are not followed are no images.
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

fn failed(path: PathBuf, problem: impl std::fmt::Display) -> Found {
    Err(Outcome::Failed { path, problem: problem.to_string() })
}
