//! The paths of the disk store's files, and how a new folder is made. The names are listed in [`crate::store::folder`].
//! Reads and writes no blob.

use std::time::{SystemTime, UNIX_EPOCH};

use super::fs::{Errno, Fs, Open, Result, Wait};
use crate::digest::Digest;
pub use crate::store::folder::MARKER;
use crate::store::folder::{BLOBS, QUARANTINE, STATE, TEMPORARY};

/// Shards of `blobs/`, named by the first three hex digits of a digest.
pub const SHARDS: u16 = 4096;
/// The place of the scrub.
pub const SCRUB: &str = "state/scrub";
/// The note that a sync failed. While it is there, no upload is accepted.
pub const FAILED_SYNC: &str = "state/failed-sync";

const VERSION_LINE: &str = "progimage store 1";
const FOLDERS: [&str; 4] = [BLOBS, TEMPORARY, QUARANTINE, STATE];
const STATE_BYTES_MAX: usize = 4096;

/// The folder of shard number `index`.
pub fn shard(index: u16) -> String {
    format!("{BLOBS}/{index:03x}")
}

/// The shard of a digest.
pub fn shard_index(digest: &Digest) -> u16 {
    let bytes = digest.as_bytes();
    u16::from(bytes[0]) << 4 | u16::from(bytes[1] >> 4)
}

/// The path of a blob.
pub fn blob(digest: &Digest) -> String {
    let hex = digest.hex();
    format!("{BLOBS}/{}/{}", &hex.as_str()[..3], hex.as_str())
}

/// The path of a blob that is taken out of service.
pub fn quarantine(digest: &Digest) -> String {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    format!("{QUARANTINE}/{digest}.{nanos}")
}

/// Makes the folder a store, unless it is one. Safe to repeat after a crash at any point: the marker is made last, when
/// all folders are durable.
pub fn init(fs: &impl Fs, uuid: u128) -> Result<()> {
    if exists(fs, MARKER)? {
        return Ok(());
    }
    for folder in FOLDERS {
        make(fs, folder)?;
    }
    for index in 0..SHARDS {
        make(fs, &shard(index))?;
    }
    for index in 0..SHARDS {
        sync_folder(fs, &shard(index))?;
    }
    for folder in FOLDERS.into_iter().chain(["."]) {
        sync_folder(fs, folder)?;
    }
    let draft = format!("{TEMPORARY}/marker-{uuid:032x}");
    let file = fs.openat(&draft, Open::CreateNew, Wait::Block)?;
    write_all(fs, &file, format!("{VERSION_LINE}\n{uuid:032x}\n").as_bytes(), 0)?;
    fs.fdatasync(&file)?;
    match fs.linkat(&draft, MARKER) {
        // Another process was first. The lock decides which one owns the folder.
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(error),
    }
    sync_folder(fs, ".")?;
    fs.unlinkat(&draft)
}

/// Whether the marker is of this version.
pub fn marker_is_known(fs: &impl Fs) -> Result<bool> {
    let text = read_small(fs, MARKER)?;
    Ok(text.split(|&byte| byte == b'\n').next() == Some(VERSION_LINE.as_bytes()))
}

/// Writes a small file of `state/`: the digest of the payload, a line feed, and the payload.
pub fn write_state(fs: &impl Fs, path: &str, payload: &str) -> Result<()> {
    let file = write_small(fs, path, payload)?;
    fs.fdatasync(&file)?;
    sync_folder(fs, STATE)
}

fn write_small<F: Fs>(fs: &F, path: &str, payload: &str) -> Result<F::File> {
    let file = fs.openat(path, Open::CreateNew, Wait::Block)?;
    write_all(fs, &file, format!("{}\n{payload}", Digest::of(payload.as_bytes())).as_bytes(), 0)?;
    Ok(file)
}

/// Replaces a small file of `state/`. Nothing is synced: after a power cut it may be lost or damaged.
pub fn replace_state(fs: &impl Fs, path: &str, payload: &str) -> Result<()> {
    let draft = format!("{path}.new");
    match fs.unlinkat(&draft) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error),
    }
    write_small(fs, &draft, payload)?;
    fs.renameat(&draft, path)
}

/// Reads the payload of a small file of `state/`; `None`: there is no such file. A damaged file yields a text that says
/// so.
pub fn read_state(fs: &impl Fs, path: &str) -> Result<Option<String>> {
    if !exists(fs, path)? {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&read_small(fs, path)?).into_owned();
    Ok(Some(match text.split_once('\n') {
        Some((digest, payload)) if Digest::of(payload.as_bytes()).to_string() == digest => payload.to_owned(),
        _ => "the file is damaged".to_owned(),
    }))
}

/// Makes a directory's names durable.
pub fn sync_folder(fs: &impl Fs, path: &str) -> Result<()> {
    fs.fsync(&fs.openat(path, Open::Directory, Wait::Block)?)
}

/// Writes all of `bytes` at `offset`.
pub fn write_all<F: Fs>(fs: &F, file: &F::File, mut bytes: &[u8], mut offset: u64) -> Result<()> {
    while !bytes.is_empty() {
        match fs.pwrite(file, bytes, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Fills `buffer` from `offset` as far as the file goes, and returns the number of bytes.
pub fn read_full<F: Fs>(fs: &F, file: &F::File, buffer: &mut [u8], offset: u64) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match fs.pread(file, &mut buffer[filled..], offset + filled as u64, Wait::Block) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn read_small(fs: &impl Fs, path: &str) -> Result<Vec<u8>> {
    let file = fs.openat(path, Open::Read, Wait::Block)?;
    let mut text = vec![0; STATE_BYTES_MAX];
    let len = read_full(fs, &file, &mut text, 0)?;
    text.truncate(len);
    Ok(text)
}

fn exists(fs: &impl Fs, path: &str) -> Result<bool> {
    match fs.statat(path) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

fn make(fs: &impl Fs, path: &str) -> Result<()> {
    match fs.mkdirat(path) {
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_lies_in_the_shard_of_its_first_three_digits() {
        for text in ["", "a", "b", "c"] {
            let digest = Digest::of(text.as_bytes());
            assert!(blob(&digest).starts_with(&format!("{}/{}", shard(shard_index(&digest)), digest)));
        }
    }
}
