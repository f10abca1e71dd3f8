//! [`Body`]: the body of a response. Bodies that are written line by line are made in [`super::stream_body`].

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::body::{Frame, SizeHint};

use super::activity::Activity;
use super::large_body::{LargeBody, SMALL_BYTES_MAX};
use super::slices::Slices;
use super::spool::{PIECE_BYTES, Spools};
use super::stream_body::StreamBody;
use crate::store::{self, Blob};

/// A response of this server.
pub(in crate::http) type Response = hyper::Response<Body>;

/// The body of a response. It is a concrete type, so that hyper needs no boxing and a hit is one reference count.
pub(in crate::http) enum Body {
    Empty,
    Full(Bytes),
    /// Bytes that are sent in turn without a copy.
    Parts(Slices),
    Pieces(Box<Pieces>),
    /// A large result that no cache holds, or ranges of it. It is to become [`Body::Large`].
    Unkept(Slices),
    /// A result that leaves memory if its client is slow.
    Large(Box<LargeBody>),
    /// A body that is written while it is sent.
    Stream(Box<StreamBody>),
}

/// Bytes and ranges of a blob, sent in turn, with one frame in memory at a time.
pub(in crate::http) struct Pieces {
    /// One blob for all frames: it checks the whole as they pass, in order.
    blob: Arc<Blob>,
    queue: VecDeque<Piece>,
    left: u64,
    reading: Option<store::Future<'static, Bytes>>,
    /// The connection, which counts as busy until the body has ended.
    activity: Option<Arc<Activity>>,
}

/// A part of a streamed body.
pub(in crate::http) enum Piece {
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
    /// A body of the pieces of `blob`. The first frame is read before this returns, so that an unreadable blob is an
    /// error response and not a broken body. A body of one frame is sent whole.
    pub(in crate::http) async fn of_blob(
        blob: Blob,
        pieces: impl IntoIterator<Item = Piece>,
    ) -> Result<Body, store::Error> {
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
        Ok(Body::Pieces(Box::new(Pieces { blob: Arc::new(blob), queue, left, reading: None, activity: None })))
    }

    /// A body of slices of a result of `whole` bytes that no cache holds.
    pub(in crate::http) fn unkept(whole: usize, slices: Slices) -> Body {
        if whole > SMALL_BYTES_MAX { Body::Unkept(slices) } else { Body::Parts(slices) }
    }

    /// Lets a large result that no cache holds leave memory when its client has not taken it after `wait`.
    pub(in crate::http) fn leave_memory(&mut self, spools: &Spools, wait: Duration) {
        let Body::Unkept(slices) = self else { return };
        let mut slices = std::mem::take(slices);
        *self = match slices.remaining() <= PIECE_BYTES {
            true => Body::Full(slices.copied(PIECE_BYTES)),
            false => Body::Large(Box::new(LargeBody::new(slices, spools, wait))),
        };
    }

    /// Tells the connection when the response has ended: at once, unless the body is made while it is sent.
    pub(in crate::http) fn track(&mut self, activity: &Arc<Activity>) {
        match self {
            Body::Stream(stream) => stream.tracked(activity.clone()),
            Body::Pieces(pieces) => pieces.activity = Some(activity.clone()),
            Body::Large(large) => large.tracked(activity.clone()),
            Body::Empty | Body::Full(_) | Body::Parts(_) | Body::Unkept(_) => activity.end(),
        }
    }

    /// The length of the whole body, where it is known.
    pub(in crate::http) fn len(&self) -> Option<u64> {
        match self {
            Body::Empty => Some(0),
            Body::Full(bytes) => Some(bytes.len() as u64),
            Body::Parts(parts) | Body::Unkept(parts) => Some(parts.remaining() as u64),
            Body::Pieces(pieces) => Some(pieces.left),
            Body::Large(large) => Some(large.left()),
            Body::Stream(_) => None,
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
            Body::Parts(parts) | Body::Unkept(parts) => Poll::Ready(parts.pop().map(|part| Ok(Frame::data(part)))),
            Body::Pieces(pieces) => pieces.poll_frame(context),
            Body::Large(large) => large.poll_piece(context).map(|piece| piece.map(|piece| piece.map(Frame::data))),
            Body::Stream(stream) => stream.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.len() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.len().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if let Some(activity) = &self.activity {
            activity.end();
        }
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

    /// Removes `count` bytes from the range in front.
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
