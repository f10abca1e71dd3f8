//! [`Staged`]: the bytes of an upload before they have a name. Few bytes stay in memory; more go to a file in `tmp/`.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::commit::Body;
use super::core::Core;
use super::fs::{Errno, Fs, Open, Wait};
use super::{Inner, layout};
use crate::digest::Digest;
use crate::store::{Commit, Error, FRAME_BYTES_MAX, Future, Stage};

/// A file in `tmp/`. Its name there is removed when it is dropped; after a commit the file has a second name.
pub struct Temporary<F: Fs> {
    core: Arc<Core<F>>,
    /// The path in the store's folder.
    pub path: String,
    /// The open file.
    pub file: F::File,
}

impl<F: Fs> Temporary<F> {
    /// Makes an empty file.
    pub fn create(core: &Arc<Core<F>>) -> Result<Temporary<F>, Error> {
        loop {
            let path = core.temporary_path();
            match core.fs.openat(&path, Open::CreateNew, Wait::Block) {
                Ok(file) => return Ok(Temporary { core: Arc::clone(core), path, file }),
                // A file that could not be removed at start. The next number is tried.
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(core.error("create", errno)),
            }
        }
    }

    /// Writes all of `bytes` at `offset`.
    pub fn write(&self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        layout::write_all(&self.core.fs, &self.file, bytes, offset).map_err(|errno| self.core.error("write", errno))
    }

    fn read(&self, len: u64) -> Result<Bytes, Error> {
        let mut buffer = BytesMut::zeroed(usize::try_from(len).unwrap_or(usize::MAX));
        match layout::read_full(&self.core.fs, &self.file, &mut buffer, 0) {
            Ok(read) if read as u64 == len => Ok(buffer.freeze()),
            Ok(read) => Err(Error::Unavailable(format!("{} of {len} staged bytes could be read", read))),
            Err(errno) => Err(self.core.error("read", errno)),
        }
    }
}

impl<F: Fs> Drop for Temporary<F> {
    fn drop(&mut self) {
        if let Err(errno) = self.core.fs.unlinkat(&self.path) {
            tracing::warn!(path = self.path, %errno, "cannot remove a temporary file; it stays until the next start");
        }
    }
}

/// The bytes of an upload so far.
pub struct Staged<F: Fs> {
    inner: Arc<Inner<F>>,
    /// All bytes, or the bytes after the spilled ones.
    buffer: BytesMut,
    /// All bytes, after the caller has asked for them: shared with the caller, not copied.
    whole: Option<Bytes>,
    spilled: Option<Spilled<F>>,
    /// Whether a write to the file failed, or its caller left before it ended. The content of the file is unknown then.
    broken: bool,
}

struct Spilled<F: Fs> {
    file: Arc<Temporary<F>>,
    len: u64,
}

impl<F: Fs> Staged<F> {
    /// An empty upload, with memory for `size_hint` bytes.
    pub fn new(inner: Arc<Inner<F>>, size_hint: Option<u64>) -> Staged<F> {
        let memory_max = inner.core.options.memory_bytes_max;
        let capacity = size_hint.and_then(|hint| usize::try_from(hint).ok()).filter(|&hint| hint <= memory_max);
        Staged {
            inner,
            buffer: BytesMut::with_capacity(capacity.unwrap_or(0)),
            whole: None,
            spilled: None,
            broken: false,
        }
    }

    fn len(&self) -> u64 {
        let whole = self.whole.as_ref().map_or(0, Bytes::len);
        (whole + self.buffer.len()) as u64 + self.spilled.as_ref().map_or(0, |spilled| spilled.len)
    }

    async fn spill(&mut self) -> Result<(), Error> {
        self.intact()?;
        self.broken = true;
        let (file, offset) = match &self.spilled {
            Some(spilled) => (Arc::clone(&spilled.file), spilled.len),
            None => {
                let core = Arc::clone(&self.inner.core);
                (Arc::new(self.inner.syncers.call(move || Temporary::create(&core)).await?), 0)
            }
        };
        let bytes = std::mem::take(&mut self.buffer).freeze();
        let spilled = Spilled { file: Arc::clone(&file), len: offset + bytes.len() as u64 };
        self.spilled = Some(spilled);
        // Not on the runtime: with many dirty pages the kernel makes a write wait for the device.
        let write = move || {
            file.core.has_room()?;
            file.write(&bytes, offset)
        };
        self.inner.syncers.call(write).await?;
        self.broken = false;
        Ok(())
    }

    fn intact(&self) -> Result<(), Error> {
        if self.broken { Err(Error::Unavailable("an earlier write of this upload failed".into())) } else { Ok(()) }
    }
}

impl<F: Fs> Stage for Staged<F> {
    fn write(&mut self, bytes: Bytes) -> Future<'_, ()> {
        Box::pin(async move {
            if let Some(whole) = self.whole.take() {
                self.buffer = BytesMut::from(whole);
            }
            let spills =
                self.spilled.is_some() || self.buffer.len() + bytes.len() > self.inner.core.options.memory_bytes_max;
            // Copied, since each small chunk would keep its connection's buffer alive.
            self.buffer.extend_from_slice(&bytes);
            if spills && (self.spilled.is_none() || self.buffer.len() as u64 >= FRAME_BYTES_MAX) {
                self.spill().await?;
            }
            Ok(())
        })
    }

    fn bytes(&mut self) -> Future<'_, Bytes> {
        Box::pin(async move {
            if self.spilled.is_none() {
                let buffer = &mut self.buffer;
                return Ok(self.whole.get_or_insert_with(|| std::mem::take(buffer).freeze()).clone());
            }
            if !self.buffer.is_empty() {
                self.spill().await?;
            }
            let len = self.len();
            match &self.spilled {
                Some(spilled) => {
                    let file = Arc::clone(&spilled.file);
                    self.inner.syncers.call(move || file.read(len)).await
                }
                None => Ok(Bytes::new()),
            }
        })
    }

    fn commit(mut self: Box<Self>, digest: Digest) -> Future<'static, Commit> {
        Box::pin(async move {
            if self.spilled.is_some() && !self.buffer.is_empty() {
                self.spill().await?;
            }
            self.intact()?;
            let len = self.len();
            let body = match self.spilled.take() {
                Some(spilled) => Body::File(spilled.file),
                None => Body::Memory(self.whole.take().unwrap_or_else(|| std::mem::take(&mut self.buffer).freeze())),
            };
            self.inner.commit(digest, len, body).await
        })
    }
}

impl<F: Fs> Drop for Staged<F> {
    fn drop(&mut self) {
        if let Some(spilled) = self.spilled.take() {
            // Unlinking a large file takes a while.
            drop(self.inner.syncers.run(move || drop(spilled)));
        }
    }
}
