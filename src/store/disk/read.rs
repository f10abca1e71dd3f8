//! [`Opened`]: reads of a blob's open file. Cached bytes are read on the caller's thread, others on the read threads.

use std::ops::Range;
use std::sync::Arc;

use bytes::BytesMut;

use super::fs::{Errno, Fs, Wait};
use super::{Inner, layout};
use crate::digest::Digest;
use crate::store::{Error, Future, Read};

/// A blob's open file.
pub struct Opened<F: Fs> {
    inner: Arc<Inner<F>>,
    file: Arc<F::File>,
    digest: Digest,
    inode: u64,
}

impl<F: Fs> Opened<F> {
    /// A blob over its open `file`.
    pub fn new(inner: Arc<Inner<F>>, file: F::File, digest: Digest, inode: u64) -> Opened<F> {
        Opened { inner, file: Arc::new(file), digest, inode }
    }
}

impl<F: Fs> Read for Opened<F> {
    fn read(&self, range: Range<u64>) -> Future<'_, bytes::Bytes> {
        Box::pin(async move {
            let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            let mut buffer = BytesMut::zeroed(len);
            let cached = self.inner.core.fs.pread(&self.file, &mut buffer, range.start, Wait::Cached).unwrap_or(0);
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
            self.inner.readers.call(rest).await
        })
    }

    fn verified(&self) -> bool {
        self.inner.core.is_verified(&self.digest, self.inode)
    }

    fn verdict(&self, good: bool) -> Future<'_, ()> {
        Box::pin(async move {
            let (digest, inode) = (self.digest, self.inode);
            if good {
                self.inner.core.set_verified(&digest, inode);
                return Ok(());
            }
            let core = Arc::clone(&self.inner.core);
            let lock = core.locks.acquire(digest).await;
            let condemned = self.inner.syncers.call(move || {
                let _lock = lock;
                core.condemn(&digest, inode)
            });
            // On a read-only device the file stays. The reader gets the error either way.
            if let Err(error) = condemned.await {
                tracing::error!(%digest, %error, "a corrupt blob could not be quarantined");
            }
            Ok(())
        })
    }
}

/// Tries a call on this thread, without waiting for the device.
pub fn cached<T>(call: impl FnOnce(Wait) -> Result<T, Errno>) -> Option<T> {
    call(Wait::Cached).ok()
}
