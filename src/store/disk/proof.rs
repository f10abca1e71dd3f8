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

impl<F: Fs> Core<F> {
    /// Whether the stored file is the blob. If not, it is out of service afterwards. The caller holds its digest's lock.
    pub fn prove(&self, digest: &Digest) -> Result<bool, Error> {
        let opened = self.open(digest, Wait::Block).map_err(|errno| self.error("open", errno))?;
        let Some((file, status)) = opened else { return Ok(false) };
        let is_good = match hash(&self.fs, &file, |_| {}) {
            Ok((actual, _)) if actual == *digest => true,
            Ok(_) | Err(Errno::IO) => self.is_good_on_device(digest, &file, status.len)?,
            Err(errno) => return Err(self.error("read", errno)),
        };
        if is_good {
            self.set_verified(digest, status.inode);
        } else {
            self.condemn(digest, status.inode)?;
        }
        Ok(is_good)
    }

    /// Whether the device has the blob's bytes in `file`, though a read returned others: a bit may have flipped in memory,
    /// and a good blob must not go for that. A device that cannot read them does not have them.
    pub fn is_good_on_device(&self, digest: &Digest, file: &F::File, len: u64) -> Result<bool, Error> {
        // Pages that stay are read again, which is no worse than before.
        if self.fs.drop_pages(file, len) != Ok(true) {
            tracing::warn!(%digest, "a blob stays in the page cache; it is read again from there");
        }
        match hash(&self.fs, file, |_| {}) {
            Ok((actual, _)) if actual == *digest => {
                tracing::error!(%digest, "a read returned other bytes than the device has; check the memory");
                Ok(true)
            }
            Ok(_) | Err(Errno::IO) => Ok(false),
            Err(errno) => Err(self.error("read", errno)),
        }
    }
}
