//! [`Body`]: the body of a request: none, text, or a file that is read as it is sent. A file is never held as a whole.

use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, TryStreamExt};
use http_body_util::StreamBody;
use hyper::body::Frame;
use parking_lot::Mutex;

/// Bytes that are read and sent at a time.
const FRAME_BYTES: usize = 256 << 10;

/// A body that can be sent once.
pub struct Body {
    /// The length, if it is known.
    pub(super) len: Option<u64>,
    pub(super) media_type: Option<&'static str>,
    pub(super) field: Option<(&'static str, String)>,
    pub(super) inner: reqwest::Body,
    pub(super) sent: Arc<Sent>,
}

impl Body {
    /// No body.
    pub fn none() -> Body {
        let inner = reqwest::Body::from(Bytes::new());
        Body { len: None, media_type: None, field: None, inner, sent: Arc::default() }
    }

    /// A body of bytes in memory.
    pub fn bytes(media_type: &'static str, bytes: impl Into<Bytes>) -> Body {
        Body { media_type: Some(media_type), inner: reqwest::Body::from(bytes.into()), ..Body::none() }
    }

    /// A body of the first `len` bytes of `file`. If it has fewer, the request fails with [`super::Error::Body`].
    pub fn file(file: File, len: u64) -> Body {
        let body = Body::stream("application/octet-stream", file.take(len), Some(len));
        Body { len: Some(len), ..body }
    }

    /// A body of all bytes of `source`, as they come.
    pub fn reader(media_type: &'static str, source: impl Read + Send + Sync + 'static) -> Body {
        Body::stream(media_type, source, None)
    }

    fn stream(media_type: &'static str, source: impl Read + Send + Sync + 'static, len: Option<u64>) -> Body {
        let sent = Arc::<Sent>::default();
        let frame_bytes = len.and_then(|len| usize::try_from(len).ok()).unwrap_or(FRAME_BYTES).min(FRAME_BYTES);
        let frames = stream::try_unfold((source, Arc::clone(&sent)), move |(mut source, sent)| async move {
            if len == Some(sent.bytes()) {
                return Ok(None);
            }
            // On a blocking thread, since a read may wait for a device or a terminal.
            let read = tokio::task::spawn_blocking(move || {
                let mut frame = vec![0; frame_bytes];
                source.read(&mut frame).map(|count| {
                    frame.truncate(count);
                    (Bytes::from(frame), source)
                })
            });
            match read.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
                Ok((frame, source)) if !frame.is_empty() => {
                    sent.count(frame.len());
                    Ok(Some((frame, (source, sent))))
                }
                Ok(_) if len.is_none() => Ok(None),
                Ok(_) => Err(sent.fail(io::ErrorKind::UnexpectedEof.into())),
                Err(error) => Err(sent.fail(error)),
            }
        });
        let inner = reqwest::Body::wrap(StreamBody::new(frames.map_ok(Frame::data)));
        Body { media_type: Some(media_type), inner, sent, ..Body::none() }
    }

    /// The body with a further header field.
    pub fn with(self, name: &'static str, value: String) -> Body {
        Body { field: Some((name, value)), ..self }
    }
}

/// The progress of a body that is being sent.
#[derive(Default)]
pub(super) struct Sent {
    bytes: AtomicU64,
    failure: Mutex<Option<io::Error>>,
}

impl Sent {
    fn count(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Keeps `error` for the caller, and returns one that ends the connection.
    fn fail(&self, error: io::Error) -> io::Error {
        let kind = error.kind();
        *self.failure.lock() = Some(error);
        kind.into()
    }

    /// The error of reading the body, if there was one.
    pub(super) fn failure(&self) -> Option<io::Error> {
        self.failure.lock().take()
    }

    /// Returns once no byte was sent for the time `stall`.
    pub(super) async fn stalled(&self, stall: Duration) {
        loop {
            let before = self.bytes();
            tokio::time::sleep(stall).await;
            if self.bytes() == before {
                return;
            }
        }
    }
}
