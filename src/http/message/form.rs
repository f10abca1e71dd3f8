//! [`Chunks`]: the bytes of `multipart/form-data` on their way to the parser, and the bound on what the parser holds.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt};
use hyper::header::CONTENT_DISPOSITION;
use parking_lot::{Mutex, MutexGuard};

use super::body::BodyReader;
use crate::http::error::Error;
use crate::pipeline::codec;

/// Bytes before, between and after the parts of a form.
pub(in crate::http) const FORM_BYTES_MAX: u64 = 256 << 10;

/// The bytes of a form on their way to the parser. The parser holds the heads of parts in memory, so each stretch has a
/// bound. Clones share one stream, so that the handler can set the bound and read what the parser leaves.
pub(in crate::http) struct Chunks<T>(Arc<Mutex<Source<T>>>);

/// An observer of the bytes of a form as they pass.
pub(in crate::http) trait Tap: Default + Send + 'static {
    /// Observes the next bytes.
    fn see(&mut self, bytes: &[u8]);
}

/// Observes nothing, for a form of which only the parts are read.
impl Tap for () {
    fn see(&mut self, _: &[u8]) {}
}

struct Source<T> {
    stream: BoxStream<'static, Result<Bytes, Error>>,
    tap: T,
    bytes: u64,
    max: u64,
    /// The error for more than `max` bytes.
    over: Error,
    /// A chunk was handed out. The parser looks at it before it gets the next one.
    given: bool,
}

/// The error for heads of parts, and for text around them, that are too long.
const FORM_TOO_LARGE: Error = Error::TooLarge { name: "form_bytes_max", max: FORM_BYTES_MAX };

impl<T> Clone for Chunks<T> {
    fn clone(&self) -> Chunks<T> {
        Chunks(Arc::clone(&self.0))
    }
}

impl<T: Tap> Chunks<T> {
    pub(in crate::http) fn new(reader: BodyReader, tap: T) -> Chunks<T> {
        // The stream is fused: the parser may have seen the end already when the rest is read.
        let stream = futures_util::stream::unfold(reader, |mut reader| async {
            reader.next().await.transpose().map(|chunk| (chunk, reader))
        });
        let stream = stream.fuse().boxed();
        let (max, over) = (FORM_BYTES_MAX, FORM_TOO_LARGE);
        Chunks(Arc::new(Mutex::new(Source { stream, tap, bytes: 0, max, over, given: false })))
    }

    /// Locks the state. The guard is never held across an await, only while the stream is polled.
    fn lock(&self) -> MutexGuard<'_, Source<T>> {
        self.0.lock()
    }

    /// Allows an image of `bytes_max` bytes, and what the parser reads ahead.
    pub(in crate::http) fn allow_image(&self, bytes_max: u64) {
        self.allow_more(bytes_max.saturating_add(FORM_BYTES_MAX));
        self.lock().over = Error::BodyTooLarge { max: bytes_max };
    }

    /// Allows a part of any length, for a caller that bounds it.
    pub(in crate::http) fn allow_any(&self) {
        self.allow_more(u64::MAX);
    }

    pub(in crate::http) fn allow_more(&self, more: u64) {
        let mut source = self.lock();
        source.max = source.bytes.saturating_add(more);
        source.over = FORM_TOO_LARGE;
    }

    /// Takes the observer of all bytes so far. Later bytes are not observed.
    pub(in crate::http) fn tap(&self) -> T {
        std::mem::take(&mut self.lock().tap)
    }
}

impl<T: Tap> Stream for Chunks<T> {
    type Item = Result<Bytes, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut source = self.lock();
        // The parser takes all that is ready before it looks at any of it, and holds it in memory. So only one chunk is
        // ready at a time.
        if std::mem::take(&mut source.given) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let chunk = ready!(source.stream.as_mut().poll_next(context));
        source.given = chunk.is_some();
        Poll::Ready(chunk.map(|chunk| chunk.and_then(|chunk| source.take(chunk))))
    }
}

impl<T: Tap> Source<T> {
    fn take(&mut self, chunk: Bytes) -> Result<Bytes, Error> {
        self.bytes += chunk.len() as u64;
        if self.bytes > self.max {
            return Err(self.over.clone());
        }
        self.tap.see(&chunk);
        Ok(chunk)
    }
}

/// Bytes of a part that show whether it is an image.
const BEGINNING_BYTES: usize = 64;

/// Reads the beginning of a part. `None`: the part is no entry of the form, but a text field beside the images or a file
/// input that was left empty, which browsers send too.
///
/// A part without a file name is an entry if it is an image, by its bytes or by its own word. What is read may be more than
/// the beginning, since a chunk is not divided; nothing is read of a part with a file name.
pub(in crate::http) async fn beginning(part: &mut multer::Field<'static>) -> Result<Option<Bytes>, Error> {
    let (is_file, was_left) = (has_file_name(part), part.file_name() == Some(""));
    if is_file && !was_left {
        return Ok(Some(Bytes::new()));
    }
    let mut bytes = Vec::new();
    while bytes.len() < BEGINNING_BYTES
        && let Some(chunk) = part.chunk().await.map_err(of_form)?
    {
        bytes.extend_from_slice(&chunk);
    }
    let says_image = part.content_type().is_some_and(|of| of.type_() == "image");
    let is_entry = if was_left { !bytes.is_empty() } else { says_image || codec::sniff(&bytes).is_ok() };
    Ok(is_entry.then(|| bytes.into()))
}

/// Whether a part has a file name, although it may not be readable.
fn has_file_name(part: &multer::Field<'static>) -> bool {
    let disposition = part.headers().get(CONTENT_DISPOSITION).map_or(&b""[..], |field| field.as_bytes());
    let is_parameter = |at: usize| at > 0 && matches!(disposition[at - 1], b' ' | b'\t' | b';');
    memchr::memmem::find_iter(disposition, b"filename").any(is_parameter)
}

/// The boundary of a form, from its `Content-Type`.
pub(in crate::http) fn boundary(content_type: &str) -> Result<String, Error> {
    multer::parse_boundary(content_type).map_err(|_| Error::Malformed { what: "multipart/form-data needs a boundary" })
}

/// The error of a form that the parser refuses.
pub(in crate::http) fn of_form(error: multer::Error) -> Error {
    match error {
        multer::Error::StreamReadFailed(cause) => cause.downcast::<Error>().map_or(Error::Internal, |error| *error),
        multer::Error::IncompleteFieldData { .. }
        | multer::Error::IncompleteHeaders
        | multer::Error::IncompleteStream => Error::Malformed { what: "the form ends before its last boundary" },
        _ => Error::Malformed { what: "the body is not multipart/form-data" },
    }
}
