//! [`Queue`]: bytes on their way from the making of an answer to its sending, in memory and past that in a file. Waits for nobody:
//! the ends do.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::Waker;

use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::activity::Activity;
use super::spool::{Spool, SpoolWrite, SpoolWritten};

/// Bytes that wait for the client in memory before they go to a file, and bytes of a frame that is made of small lines.
pub(in crate::http) const MEMORY_BYTES_MAX: usize = 32 << 10;

/// What the two ends share.
pub(in crate::http) struct StreamQueue {
    queue: Mutex<Queue>,
    /// The client took something, or left.
    pub(in crate::http) room: Notify,
}

/// Bytes on their way: first those in the file, then those in memory.
pub(in crate::http) struct Queue {
    pub(in crate::http) spool: Spool,
    /// The file failed: it is not tried again.
    broken: bool,
    pub(in crate::http) memory: VecDeque<Bytes>,
    pub(in crate::http) memory_bytes: usize,
    pub(in crate::http) state: StreamState,
    pub(in crate::http) waker: Option<Waker>,
    /// The connection counts as at work until the answer has ended.
    pub(in crate::http) activity: Option<Arc<Activity>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum StreamState {
    Open,
    /// Nothing more comes.
    Ended,
    /// Nothing more comes, although something should.
    Cut,
    /// Nobody takes it any more.
    Gone,
}

/// What is to be done with a line that is offered.
pub(in crate::http) enum Offer {
    Taken,
    Gone,
    /// First what is in memory goes to the file.
    Spool(SpoolWrite, Vec<Bytes>),
    /// First the client takes something.
    Wait,
}

impl StreamQueue {
    /// Nothing is on its way yet.
    pub(in crate::http) fn new(spool: Spool) -> Arc<StreamQueue> {
        let queue = Queue {
            spool,
            broken: false,
            memory: VecDeque::new(),
            memory_bytes: 0,
            state: StreamState::Open,
            waker: None,
            activity: None,
        };
        Arc::new(StreamQueue { queue: Mutex::new(queue), room: Notify::new() })
    }

    /// Never held across an await.
    pub(in crate::http) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }

    /// Writes `parts`, which were taken from memory, to the file; back to memory with them if that fails. Goes on when it is no
    /// longer waited for.
    pub(in crate::http) async fn spool(self: &Arc<StreamQueue>, write: SpoolWrite, parts: Vec<Bytes>) {
        let shared = Arc::clone(self);
        let spooled = tokio::task::spawn_blocking(move || {
            let written = write.run();
            shared.lock().spooled(written, parts);
            shared.room.notify_one();
        });
        // Lost only when the runtime is stopping, and every client with it.
        let _ = spooled.await;
    }
}

impl Queue {
    pub(in crate::http) fn offer(&mut self, line: &Bytes) -> Offer {
        if self.state != StreamState::Open {
            return Offer::Gone;
        }
        if self.has_memory_for(line.len() + 1) {
            self.push(line.clone());
            self.push(Bytes::from_static(b"\n"));
            return Offer::Taken;
        }
        if self.broken || self.spool.is_writing() {
            return Offer::Wait;
        }
        let parts: Vec<Bytes> = self.memory.iter().cloned().collect();
        let Some(write) = self.spool.write(parts.clone()) else { return Offer::Wait };
        self.memory.clear();
        self.memory_bytes = 0;
        Offer::Spool(write, parts)
    }

    pub(in crate::http) fn spooled(&mut self, written: io::Result<SpoolWritten>, parts: Vec<Bytes>) {
        if let Err(error) = self.spool.wrote(written) {
            tracing::warn!(%error, "an answer cannot be kept in a temporary file: it waits for its client");
            self.broken = true;
            for part in parts.into_iter().rev() {
                self.memory_bytes += part.len();
                self.memory.push_front(part);
            }
        }
        self.wake();
    }

    /// What is longer than all of it is taken when it is empty.
    pub(in crate::http) fn has_memory_for(&self, bytes: usize) -> bool {
        self.memory.is_empty() || self.memory_bytes + bytes <= MEMORY_BYTES_MAX
    }

    pub(in crate::http) fn push(&mut self, bytes: Bytes) {
        self.memory_bytes += bytes.len();
        self.memory.push_back(bytes);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub(in crate::http) fn close(&mut self, state: StreamState) {
        if self.state == StreamState::Open {
            self.state = state;
            self.wake();
        }
    }

    /// The next frame from memory: a long part alone, or small ones together.
    pub(in crate::http) fn frame(&mut self) -> Option<Bytes> {
        let first = self.memory.pop_front()?;
        let mut len = first.len();
        let fits = |next: &Bytes, len: usize| next.len() + len <= MEMORY_BYTES_MAX;
        let frame = if self.memory.front().is_none_or(|next| !fits(next, len)) {
            first
        } else {
            let mut frame = BytesMut::from(first);
            while let Some(next) = self.memory.pop_front_if(|next| fits(next, len)) {
                len += next.len();
                frame.extend_from_slice(&next);
            }
            frame.freeze()
        };
        self.memory_bytes -= frame.len();
        Some(frame)
    }
}
