//! [`Queue`]: bytes between the writer of a response and its sender, in memory and past that in a file. It never waits;
//! the two ends do.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::Waker;

use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::activity::Activity;
use super::spool::{Spool, SpoolWrite, SpoolWritten};

/// Bytes that wait in memory before they go to a file, and bytes of a frame that is made of short lines.
pub(in crate::http) const MEMORY_BYTES_MAX: usize = 32 << 10;

/// The state that the two ends share.
pub(in crate::http) struct StreamQueue {
    queue: Mutex<Queue>,
    /// Notified when the client took something, or left.
    pub(in crate::http) room: Notify,
}

/// Bytes on their way: first the ones in the file, then the ones in memory.
pub(in crate::http) struct Queue {
    pub(in crate::http) spool: Spool,
    /// The file has failed and is not tried again.
    broken: bool,
    pub(in crate::http) memory: VecDeque<Bytes>,
    pub(in crate::http) memory_bytes: usize,
    pub(in crate::http) state: StreamState,
    pub(in crate::http) waker: Option<Waker>,
    /// The connection, which counts as busy until the response has ended.
    pub(in crate::http) activity: Option<Arc<Activity>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum StreamState {
    Open,
    /// The response is complete.
    Ended,
    /// The response was cut off.
    Cut,
    /// The client has left.
    Gone,
}

/// What to do with a line that is offered.
pub(in crate::http) enum Offer {
    Taken,
    Gone,
    /// The bytes in memory go to the file first.
    Spool(SpoolWrite, Vec<Bytes>),
    /// The client must take something first.
    Wait,
}

impl StreamQueue {
    /// Makes an empty queue.
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

    /// Locks the queue. The guard is never held across an await.
    pub(in crate::http) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock()
    }

    /// Writes `parts`, which were taken from memory, to the file, or returns them to memory if that fails. The write
    /// goes on if the caller stops waiting.
    pub(in crate::http) async fn spool(self: &Arc<StreamQueue>, write: SpoolWrite, parts: Vec<Bytes>) {
        let shared = Arc::clone(self);
        let spooled = tokio::task::spawn_blocking(move || {
            let written = write.run();
            shared.lock().spooled(written, parts);
            shared.room.notify_one();
        });
        // The task is lost only when the runtime stops, together with every client.
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
            tracing::warn!(%error, "cannot write a response to a temporary file; it waits for its client");
            self.broken = true;
            for part in parts.into_iter().rev() {
                self.memory_bytes += part.len();
                self.memory.push_front(part);
            }
        }
        self.wake();
    }

    /// Whether memory has room. A text longer than the bound is taken when memory is empty.
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

    /// The next frame from memory: one long part, or several short ones together.
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
