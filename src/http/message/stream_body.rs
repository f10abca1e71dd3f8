//! [`Lines`]: the end of an answer that hyper sends.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::Frame;
use tokio::task::{AbortHandle, JoinHandle};

use super::activity::Watch;
use super::queue::{MEMORY_BYTES_MAX, Shared, State};
use super::spool::{Read, lost};
use crate::store;

/// The end that hyper sends.
pub(in crate::http) struct Lines {
    shared: Arc<Shared>,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
    /// What makes the answer; it is over when nobody takes it.
    pub(in crate::http) work: Option<AbortHandle>,
}

/// What the sending end does next.
enum Step {
    Frame(Bytes),
    Read(Read),
    End,
    Cut,
    Wait,
}

impl Lines {
    pub(in crate::http) fn new(shared: Arc<Shared>) -> Lines {
        Lines { shared, reading: None, work: None }
    }

    /// The answer's head is known: until its end the connection is at work.
    pub(in crate::http) fn watched(&mut self, watch: Arc<Watch>) {
        self.shared.lock().watch = Some(watch);
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
                Step::Cut => return Poll::Ready(Some(Err(cut("the answer was not ended")))),
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
                (None, State::Ended) => return Step::End,
                (None, State::Cut | State::Gone) => return Step::Cut,
                (None, State::Open) => {}
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

/// hyper only needs to know that the body is not whole.
fn cut(why: &str) -> store::Error {
    store::Error::Unavailable(why.to_owned())
}

impl Drop for Lines {
    fn drop(&mut self) {
        let watch = {
            let mut queue = self.shared.lock();
            queue.close(State::Gone);
            queue.memory.clear();
            queue.memory_bytes = 0;
            queue.watch.take()
        };
        self.shared.room.notify_one();
        if let Some(work) = &self.work {
            work.abort();
        }
        if let Some(watch) = watch {
            watch.end();
        }
    }
}
