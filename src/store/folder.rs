//! [`Folder`]: the names in a data folder. The store keeps most of them; the rendition tier and the jobs keep theirs
//! next to it. All are listed here, so that none can take another's, and `verify` knows which names are strange.
//!
//! ```text
//! PROGIMAGE                 version + uuid of the store, locked by its owner
//! blobs/000 .. blobs/fff/   <64 hex>
//! tmp/                      emptied at start
//! quarantine/               <64 hex>.<nanos>
//! state/                    small checksummed files: digest, line feed, payload
//! renditions/               the rendition tier
//! jobs.sqlite*              the jobs database, with its log
//! backup.json               in a backup: what it holds
//! ```

use std::path::{Path, PathBuf};

/// The file that marks the folder as a store. Its owner locks it.
pub const MARKER: &str = "PROGIMAGE";
/// Blobs, in shards.
pub const BLOBS: &str = "blobs";
/// Uploads before they have a name.
pub const TEMPORARY: &str = "tmp";
/// Files that were taken out of service.
pub const QUARANTINE: &str = "quarantine";
/// Small files about the store itself.
pub const STATE: &str = "state";
/// The folder of the rendition tier.
const RENDITIONS: &str = "renditions";
/// The jobs database. SQLite adds further files whose names begin with this one.
const JOBS: &str = "jobs.sqlite";
/// What a backup says of itself.
const BACKUP: &str = "backup.json";
/// What a file system keeps in its root.
const LOST_AND_FOUND: &str = "lost+found";

/// A data folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Folder<'a> {
    path: &'a Path,
}

impl<'a> Folder<'a> {
    /// The folder of the store that `url` names; `None`: that store has none.
    pub fn of(url: &'a str) -> Option<Folder<'a>> {
        let is_path = url.split_once(':').is_none_or(|(scheme, rest)| scheme != "memory" && !rest.starts_with("//"));
        is_path.then(|| Folder { path: Path::new(url) })
    }

    /// The folder of the rendition tier.
    pub fn renditions(&self) -> PathBuf {
        self.path.join(RENDITIONS)
    }

    /// The folder of files that were taken out of service.
    pub fn quarantine(&self) -> PathBuf {
        self.path.join(QUARANTINE)
    }

    /// The file in which a backup says what it holds.
    pub fn backup(&self) -> PathBuf {
        self.path.join(BACKUP)
    }

    /// The file of the jobs database.
    pub fn jobs(&self) -> PathBuf {
        self.path.join(JOBS)
    }
}

/// Whether the program, or a file system, gives this name in a data folder.
pub fn is_known(name: &str) -> bool {
    [MARKER, BLOBS, TEMPORARY, QUARANTINE, STATE, RENDITIONS, BACKUP, LOST_AND_FOUND].contains(&name)
        || name.starts_with(JOBS)
}
