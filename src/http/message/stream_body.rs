//! [`StreamBody`]: the sending end of a streamed response.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::Frame;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{AbortHandle, JoinHandle};

use super::activity::Activity;
use super::queue::{MEMORY_BYTES_MAX, StreamQueue, StreamState};
use super::spool::{SpoolRead, lost};
use crate::store;

/// The end that hyper sends.
pub(in crate::http) struct StreamBody {
    shared: Arc<StreamQueue>,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
    /// The task that writes the response; it is aborted when the client leaves.
    pub(in crate::http) work: Option<AbortHandle>,
    /// Places that the request takes until its response has ended.
    pub(in crate::http) places: Vec<OwnedSemaphorePermit>,
}

/// The next step of the sending end.
enum Step {
    Frame(Bytes),
    Read(SpoolRead),
    End,
    Cut,
    Wait,
}

impl StreamBody {
    pub(in crate::http) fn new(shared: Arc<StreamQueue>) -> StreamBody {
        StreamBody { shared, reading: None, work: None, places: Vec::new() }
    }

    /// Marks the connection as busy until the end of the response.
    pub(in crate::http) fn tracked(&mut self, activity: Arc<Activity>) {
        self.shared.lock().activity = Some(activity);
    }

    pub(in crate::http) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, store::Error>>> {
        loop {
            if let Some(reading) = &mut self.reading {
                let read = ready!(Pin::new(reading).poll(context)).unwrap_or_else(|_| Err(lost()));
                self.reading = None;
                return Poll::Ready(Some(self.took_from_file(read)));
            }
            match self.step(context) {
                Step::Frame(bytes) => {
                    self.shared.room.notify_one();
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Step::Read(read) => self.reading = Some(tokio::task::spawn_blocking(move || read.run())),
                Step::End => return Poll::Ready(None),
                Step::Cut => return Poll::Ready(Some(Err(cut("the response was not ended")))),
                Step::Wait => return Poll::Pending,
            }
        }
    }

    fn step(&mut self, context: &Context<'_>) -> Step {
        let mut queue = self.shared.lock();
        if let Some(read) = queue.spool.next(MEMORY_BYTES_MAX as u64) {
            return Step::Read(read);
        }
        if !queue.spool.is_writing() {
            match (queue.frame(), queue.state) {
                (Some(frame), _) => return Step::Frame(frame),
                (None, StreamState::Ended) => return Step::End,
                (None, StreamState::Cut | StreamState::Gone) => return Step::Cut,
                (None, StreamState::Open) => {}
            }
        }
        queue.waker = Some(context.waker().clone());
        Step::Wait
    }

    fn took_from_file(&self, read: io::Result<Bytes>) -> Result<Frame<Bytes>, store::Error> {
        let bytes = read.map_err(|error| cut(&error.to_string()))?;
        self.shared.lock().spool.advance(bytes.len() as u64);
        self.shared.room.notify_one();
        Ok(Frame::data(bytes))
    }
}

/// The error that cuts a body off. hyper only needs to know that the body is not whole.
fn cut(why: &str) -> store::Error {
    store::Error::Unavailable(why.to_owned())
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        let activity = {
            let mut queue = self.shared.lock();
            queue.close(StreamState::Gone);
            queue.memory.clear();
            queue.memory_bytes = 0;
            queue.activity.take()
        };
        self.shared.room.notify_one();
        if let Some(work) = &self.work {
            work.abort();
        }
        if let Some(activity) = activity {
            activity.end();
        }
    }
}
