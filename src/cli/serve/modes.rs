//! Modes of files in the data folder and its backups: for this user and its group alone. The store and the rendition tier make theirs so;
//! this is for those of SQLite, which hold addresses and images of clients.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rustix::fs::Mode;

use crate::store::Folder;

/// What a new file is never open to: writing by the group, and all others.
const MASK: u32 = 0o027;

/// Ends of the names of SQLite's files.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

/// Makes all files of this process private from now on.
pub fn keep_new_private() {
    rustix::process::umask(Mode::from_raw_mode(MASK));
}

/// Makes all files of this process from now on, and the database that may be in the folder `data`, private.
pub fn keep_private(data: &str) {
    keep_new_private();
    let Some(jobs) = Folder::of(data).map(|folder| folder.jobs()) else { return };
    for suffix in SUFFIXES {
        let mut path = jobs.clone().into_os_string();
        path.push(suffix);
        if let Err(error) = narrow(path.as_ref()) {
            tracing::warn!(path = %path.display(), %error, "a file of the jobs database keeps its mode");
        }
    }
}

/// Takes the bits of [`MASK`] from the mode of a file, if there is one.
fn narrow(path: &Path) -> io::Result<()> {
    let mode = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?.permissions().mode(),
    };
    if mode & MASK == 0 { Ok(()) } else { fs::set_permissions(path, Permissions::from_mode(mode & !MASK)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_closed_to_others_and_one_that_is_missing_is_no_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("jobs.sqlite");
        assert!(narrow(&path).is_ok());
        for (mode, expected) in [(0o644, 0o640), (0o600, 0o600), (0o666, 0o640)] {
            fs::write(&path, "").expect("written");
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("its own");
            narrow(&path).expect("its own");
            let found = fs::metadata(&path).expect("a file").permissions().mode();
            assert_eq!(found & 0o777, expected);
        }
    }
}
