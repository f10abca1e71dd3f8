//! [`Opened`]: reads of a blob's open file. Cached bytes are read on the caller's thread, others on the read threads.

use std::ops::Range;
use std::sync::Arc;

use bytes::BytesMut;

use super::fs::{Errno, FileStatus, Fs, Wait};
use super::pool::Pool;
use super::{Inner, layout};
use crate::digest::Digest;
use crate::store::{Error, Future, Read};

/// A blob's open file.
pub struct Opened<F: Fs> {
    inner: Arc<Inner<F>>,
    file: Arc<F::File>,
    digest: Digest,
    status: FileStatus,
    way: Way,
}

/// How a file is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// On the caller's thread if the bytes are cached, else on the read threads.
    CachedFirst,
    /// On the scrub's thread, and no page stays in the cache for it.
    Scrub,
}

impl<F: Fs> Opened<F> {
    /// A blob over its open `file`.
    pub fn new(inner: Arc<Inner<F>>, file: F::File, digest: Digest, status: FileStatus, way: Way) -> Opened<F> {
        Opened { inner, file: Arc::new(file), digest, status, way }
    }
}

impl<F: Fs> Opened<F> {
    fn pool(&self) -> &Pool {
        match self.way {
            Way::CachedFirst => &self.inner.readers,
            Way::Scrub => &self.inner.scrubber,
        }
    }

    /// After the scrub the memory is for the pages of others.
    async fn leave_no_pages(&self) {
        if self.way == Way::Scrub {
            let (core, file) = (Arc::clone(&self.inner.core), Arc::clone(&self.file));
            // The pages stay if it fails, and the system drops them when it needs the memory.
            let _ = self.pool().run(move || core.fs.forget_pages(&file)).await;
        }
    }
}

impl<F: Fs> Read for Opened<F> {
    fn read(&self, range: Range<u64>) -> Future<'_, bytes::Bytes> {
        Box::pin(async move {
            let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            let mut buffer = BytesMut::zeroed(len);
            let cached = match self.way {
                Way::CachedFirst => self.inner.core.fs.pread(&self.file, &mut buffer, range.start, Wait::Cached),
                Way::Scrub => Ok(0),
            };
            let cached = cached.unwrap_or(0);
            if cached == len {
                return Ok(buffer.freeze());
            }
            let (core, file, digest) = (Arc::clone(&self.inner.core), Arc::clone(&self.file), self.digest);
            let rest =
                move || match layout::read_full(&core.fs, &file, &mut buffer[cached..], range.start + cached as u64) {
                    Ok(read) if cached + read == len => Ok(buffer.freeze()),
                    Ok(_) => Err(Error::Corrupt(digest)),
                    Err(errno) => Err(core.error("read", errno)),
                };
            self.pool().call(rest).await
        })
    }

    fn verified(&self) -> bool {
        self.inner.core.is_verified(&self.digest, self.status.inode)
    }

    fn verdict(&self, good: bool) -> Future<'_, bool> {
        Box::pin(async move {
            let (core, digest, status) = (Arc::clone(&self.inner.core), self.digest, self.status);
            if good {
                core.set_verified(&digest, status.inode);
                self.leave_no_pages().await;
                return Ok(true);
            }
            let file = Arc::clone(&self.file);
            let lock = core.locks.acquire(digest).await;
            let judged = self.inner.syncers.call(move || {
                let _lock = lock;
                let is_good = core.is_good_on_device(&digest, &file, status.len);
                let is_good = is_good.map_err(|errno| core.error("read", errno))?;
                if is_good {
                    core.set_verified(&digest, status.inode);
                } else if let Err(error) = core.condemn(&digest, status.inode) {
                    // In a read-only store the file stays. The reader gets an error either way.
                    tracing::error!(%digest, %error, "a corrupt blob could not be quarantined");
                }
                Ok(is_good)
            });
            judged.await
        })
    }
}

/// Tries a call on this thread, without waiting for the device.
pub fn cached<T>(call: impl FnOnce(Wait) -> Result<T, Errno>) -> Option<T> {
    call(Wait::Cached).ok()
}
