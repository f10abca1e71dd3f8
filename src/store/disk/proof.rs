//! Proofs that a file's bytes hash to its name. Shared by uploads of what is stored already, by reads that went wrong, and by
//! `verify`.

use super::core::Core;
use super::fs::{Errno, Fs, Wait};
use super::layout;
use crate::digest::{Digest, Hasher};
use crate::store::Error;

/// Bytes that are read and hashed at a time.
pub const READ_BYTES: usize = 1 << 20;

/// Hashes all of `file`. Calls `pace` after each read, with the number of its bytes. Returns the digest and the length.
pub fn hash<F: Fs>(fs: &F, file: &F::File, pace: impl Fn(u64)) -> Result<(Digest, u64), Errno> {
    let (mut hasher, mut buffer, mut bytes) = (Hasher::default(), vec![0; READ_BYTES], 0);
    loop {
        let count = layout::read_full(fs, file, &mut buffer, bytes)?;
        if count == 0 {
            return Ok((hasher.digest(), bytes));
        }
        hasher.update(&buffer[..count]);
        bytes += count as u64;
        pace(count as u64);
    }
}

/// What is stored under the name of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The blob.
    Good,
    /// The file of this inode, which has other bytes or cannot be read. It may go once the upload's own bytes are durable.
    Bad(u64),
    /// Nothing.
    Absent,
}

impl<F: Fs> Core<F> {
    /// Reads the stored file for an upload of its blob, and changes nothing. The caller holds the digest's lock.
    pub fn prove(&self, digest: &Digest) -> Result<Proof, Error> {
        let opened = self.open(digest, Wait::Block).map_err(|errno| self.error("open", errno))?;
        let Some((file, status)) = opened else { return Ok(Proof::Absent) };
        let read = match hash(&self.fs, &file, |_| {}) {
            Ok((actual, _)) if actual == *digest => Ok(true),
            Ok(_) | Err(Errno::IO) => self.is_good_on_device(digest, &file, status.len),
            Err(errno) => Err(errno),
        };
        match read {
            Ok(true) => {
                self.set_verified(digest, status.inode);
                Ok(Proof::Good)
            }
            Ok(false) | Err(Errno::IO) => Ok(Proof::Bad(status.inode)),
            Err(errno) => Err(self.error("read", errno)),
        }
    }

    /// Whether the device has the blob's bytes in `file`, though a read returned others: a bit may have flipped in memory,
    /// and a good blob must not go for that. `EIO` proves nothing: the device may read them another time.
    pub fn is_good_on_device(&self, digest: &Digest, file: &F::File, len: u64) -> Result<bool, Errno> {
        // Pages that stay are read again, which is no worse than before.
        if self.fs.drop_pages(file, len) != Ok(true) {
            tracing::warn!(%digest, "a blob stays in the page cache; it is read again from there");
        }
        match hash(&self.fs, file, |_| {}) {
            Ok((actual, _)) if actual == *digest => {
                tracing::error!(%digest, "a read returned other bytes than the device has; check the memory");
                Ok(true)
            }
            Ok(_) => Ok(false),
            Err(errno) => Err(errno),
        }
    }
}
