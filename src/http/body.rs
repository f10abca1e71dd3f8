//! Bodies: [`Body`] is what the server sends, [`RequestBody`] what it reads, under stall, rate and time bounds.
//! What is sent line by line is made in [`super::stream`].

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderMap};
use tokio::time::Instant;

use super::connection::Watch;
use super::error::Error;
use super::options::{Options, ms};
use super::stream::Lines;
use crate::store::{self, Blob};

/// `Content-Type` as it is written, empty where it is not there, and its media type in lower case and without parameters.
pub(super) fn content_type(headers: &HeaderMap) -> (&str, String) {
    let written = headers.get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
    (written, written.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// A response body: a concrete type, so that hyper needs no boxing and a hit is one reference count.
pub(super) enum Body {
    Empty,
    Full(Bytes),
    /// Sent one after the other: slices of one buffer need no copy.
    Parts(VecDeque<Bytes>),
    Pieces(Box<Pieces>),
    /// Made while it is sent.
    Lines(Box<Lines>),
}

/// Bytes and ranges of a blob, sent one after the other, one frame in memory at a time.
pub(super) struct Pieces {
    /// One for all frames: it proves the whole as they pass, in order.
    blob: Arc<Blob>,
    queue: VecDeque<Piece>,
    left: u64,
    reading: Option<store::Future<'static, Bytes>>,
}

/// A part of a streamed body.
pub(super) enum Piece {
    Bytes(Bytes),
    Range(Range<u64>),
}

impl Piece {
    fn len(&self) -> u64 {
        match self {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::Range(range) => range.end - range.start,
        }
    }
}

impl Body {
    /// The pieces of `blob`. The first frame is read before this returns, so that a blob which cannot be read is an error answer
    /// and not a broken one; a body of one frame is sent whole.
    pub(super) async fn of_blob(blob: Blob, pieces: impl IntoIterator<Item = Piece>) -> Result<Body, store::Error> {
        let mut queue: VecDeque<Piece> = pieces.into_iter().filter(|piece| piece.len() > 0).collect();
        let left = queue.iter().map(Piece::len).sum();
        if let Some(Piece::Range(range)) = queue.front().filter(|piece| matches!(piece, Piece::Range(_))) {
            let range = range.clone();
            let first = blob.frame(range.clone()).await?;
            let end = range.start + first.len() as u64;
            queue.pop_front();
            if end < range.end {
                queue.push_front(Piece::Range(end..range.end));
            } else if queue.is_empty() {
                return Ok(Body::Full(first));
            }
            queue.push_front(Piece::Bytes(first));
        }
        Ok(Body::Pieces(Box::new(Pieces { blob: Arc::new(blob), queue, left, reading: None })))
    }

    /// Bytes of the whole body, where they are known.
    pub(super) fn len(&self) -> Option<u64> {
        match self {
            Body::Empty => Some(0),
            Body::Full(bytes) => Some(bytes.len() as u64),
            Body::Parts(parts) => Some(parts.iter().map(|part| part.len() as u64).sum()),
            Body::Pieces(pieces) => Some(pieces.left),
            Body::Lines(_) => None,
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = store::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, store::Error>>> {
        match &mut *self {
            Body::Empty => Poll::Ready(None),
            Body::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Body::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Body::Parts(parts) => Poll::Ready(parts.pop_front().map(|part| Ok(Frame::data(part)))),
            Body::Pieces(pieces) => pieces.poll_frame(context),
            Body::Lines(lines) => lines.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.len() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.len().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Pieces {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, store::Error>>> {
        if self.reading.is_none() {
            match self.queue.pop_front() {
                None => return Poll::Ready(None),
                Some(Piece::Bytes(bytes)) => return Poll::Ready(Some(Ok(self.frame(bytes)))),
                Some(Piece::Range(range)) => {
                    let (blob, asked) = (Arc::clone(&self.blob), range.clone());
                    self.reading = Some(Box::pin(async move { blob.frame(asked).await }));
                    self.queue.push_front(Piece::Range(range));
                }
            }
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let result = ready!(reading.as_mut().poll(context));
        self.reading = None;
        Poll::Ready(Some(result.map(|bytes| {
            self.advance(bytes.len() as u64);
            self.frame(bytes)
        })))
    }

    /// Takes `count` bytes off the range in front.
    fn advance(&mut self, count: u64) {
        if let Some(Piece::Range(range)) = self.queue.front_mut() {
            range.start = (range.start + count).min(range.end);
            if range.start == range.end {
                self.queue.pop_front();
            }
        }
    }

    fn frame(&mut self, bytes: Bytes) -> Frame<Bytes> {
        self.left = self.left.saturating_sub(bytes.len() as u64);
        Frame::data(bytes)
    }
}

/// A request's body. Dropped before its end, it tells the connection, which then drains what the client still sends and closes.
pub(super) struct RequestBody {
    incoming: Incoming,
    watch: Arc<Watch>,
    ended: bool,
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.ended {
            self.watch.leave_unread();
        }
    }
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, watch: Arc<Watch>) -> RequestBody {
        let ended = hyper::body::Body::is_end_stream(&incoming);
        RequestBody { incoming, watch, ended }
    }

    /// The declared length, if any.
    pub(super) fn declared(&self) -> Option<u64> {
        hyper::body::Body::size_hint(&self.incoming).exact()
    }

    /// Reads under the bounds that hold for the body of one image.
    pub(super) fn read(self, options: &Options) -> Reader {
        let pace = Pace::Whole { started: Instant::now() };
        Reader { body: self, options: options.clone(), pace, bytes: 0, late: None }
    }

    /// Reads a body without an end in size or time. A pause ends it, and so does a client that is too slow, for as long as it is
    /// waited for: time in which nobody calls [`Reader::next`] is not the client's.
    pub(super) fn stream(self, options: &Options) -> Reader {
        let pace = Pace::Stream { waited: Duration::ZERO };
        Reader { body: self, options: options.clone(), pace, bytes: 0, late: None }
    }
}

/// Reads a request's body chunk by chunk.
pub(super) struct Reader {
    body: RequestBody,
    options: Options,
    pace: Pace,
    /// Since `pace` began.
    bytes: u64,
    /// What came when too little had: for whoever reads on.
    late: Option<Bytes>,
}

/// What the least rate is held against.
enum Pace {
    /// The whole body, which has an end in time too.
    Whole { started: Instant },
    /// A stretch of `body_grace_ms` of waiting; then the next one begins, so that no haste at first buys a crawl later.
    Stream { waited: Duration },
}

impl Reader {
    /// The next chunk; `None` at the end. After [`Error::BodyTimeout`] a stream may be read on: nothing of it is lost, and a new
    /// stretch begins.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if let Some(late) = self.late.take() {
            return Ok(Some(late));
        }
        if self.body.ended {
            return Ok(None);
        }
        loop {
            let Some(frame) = self.frame().await? else {
                self.body.ended = true;
                return Ok(None);
            };
            // Trailers say nothing that is asked here.
            let Ok(bytes) = frame.into_data() else { continue };
            self.bytes += bytes.len() as u64;
            if let Err(slow) = self.keeps_rate() {
                self.late = Some(bytes);
                return Err(slow);
            }
            return Ok(Some(bytes));
        }
    }

    /// How long a client may pause, and how long it may be made to wait for room.
    pub(super) fn patience(&self) -> Duration {
        ms(self.options.body_stall_ms)
    }

    async fn frame(&mut self) -> Result<Option<Frame<Bytes>>, Error> {
        let stall = ms(self.options.body_stall_ms);
        let wait = match &self.pace {
            Pace::Whole { started } => ms(self.options.body_timeout_ms).saturating_sub(started.elapsed()).min(stall),
            Pace::Stream { .. } => stall,
        };
        let asked = Instant::now();
        let frame = tokio::time::timeout(wait, self.body.incoming.frame()).await.map_err(|_| Error::BodyTimeout)?;
        if let Pace::Stream { waited } = &mut self.pace {
            *waited += asked.elapsed();
        }
        frame.transpose().map_err(|_| Error::BodyBroken)
    }

    fn keeps_rate(&mut self) -> Result<(), Error> {
        let elapsed = match &self.pace {
            Pace::Whole { started } => started.elapsed(),
            Pace::Stream { waited } => *waited,
        };
        if elapsed <= ms(self.options.body_grace_ms) {
            return Ok(());
        }
        let due = elapsed.as_micros() * u128::from(self.options.body_rate_min) / 1_000_000;
        let keeps = u128::from(self.bytes) >= due;
        if let Pace::Stream { waited } = &mut self.pace {
            (*waited, self.bytes) = (Duration::ZERO, 0);
        }
        if keeps { Ok(()) } else { Err(Error::BodyTimeout) }
    }
}
