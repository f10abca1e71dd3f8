//! [`RequestBody`]: the body of a request, read under bounds on pauses, rate and time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap};
use tokio::time::Instant;

use super::activity::Activity;
use super::options::{Options, ms};
use crate::http::error::Error;

/// `Content-Type` as written, or an empty text, and its media type in lower case without parameters.
pub(in crate::http) fn content_type(headers: &HeaderMap) -> (&str, String) {
    let written = headers.get(CONTENT_TYPE).map_or("", |value| value.to_str().unwrap_or("?"));
    (written, written.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// The body of a request. If it is dropped before its end, it tells the connection, which then drains what the client
/// still sends and closes.
pub(in crate::http) struct RequestBody {
    incoming: Incoming,
    activity: Arc<Activity>,
    ended: bool,
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.ended {
            self.activity.leave_unread();
        }
    }
}

impl RequestBody {
    pub(in crate::http) fn new(incoming: Incoming, activity: Arc<Activity>) -> RequestBody {
        let ended = hyper::body::Body::is_end_stream(&incoming);
        RequestBody { incoming, activity, ended }
    }

    /// The declared length, if any.
    pub(in crate::http) fn declared(&self) -> Option<u64> {
        hyper::body::Body::size_hint(&self.incoming).exact()
    }

    /// Reads under the bounds for the body of one image.
    pub(in crate::http) fn read(self, options: &Options) -> BodyReader {
        let pace = Pace::Whole { started: Instant::now() };
        BodyReader { body: self, options: options.clone(), pace, bytes: 0, late: None }
    }

    /// Reads a body without a bound on size or time. The body ends when the client pauses too long or is too slow while
    /// the server waits for it. Time in which the server does not call [`BodyReader::next`] does not count.
    pub(in crate::http) fn stream(self, options: &Options) -> BodyReader {
        let pace = Pace::Stream { waited: Duration::ZERO };
        BodyReader { body: self, options: options.clone(), pace, bytes: 0, late: None }
    }
}

/// Reads the body of a request chunk by chunk.
pub(in crate::http) struct BodyReader {
    body: RequestBody,
    options: Options,
    pace: Pace,
    /// Bytes since `pace` began.
    bytes: u64,
    /// The chunk that came too late. The next call returns it.
    late: Option<Bytes>,
}

/// The time over which the least rate is checked.
enum Pace {
    /// The whole body, whose total time is bounded too.
    Whole { started: Instant },
    /// A stretch of `body_grace_ms` of waiting; then the next one begins, so that early haste does not excuse a later
    /// crawl.
    Stream { waited: Duration },
}

impl BodyReader {
    /// Returns the next chunk; `None` at the end. After [`Error::BodyTimeout`] a stream may be read on: no byte is
    /// lost, and a new stretch begins.
    pub(in crate::http) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
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
            // Trailers are ignored.
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
    pub(in crate::http) fn patience(&self) -> Duration {
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
