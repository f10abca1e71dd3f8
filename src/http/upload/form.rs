//! `multipart/form-data`: one part is the same as a raw body, two or more are [`super::many`]. [`Chunks`] bounds what the parser
//! holds; `/process` reads its forms through it too.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, TryStreamExt};
use parking_lot::{Mutex, MutexGuard};

use super::many::{self, Entries, Entry};
use crate::http::body::Reader;
use crate::http::error::Error;
use crate::http::fields::Claims;
use crate::http::options::ms;
use crate::http::prerender::Prerender;
use crate::http::{Call, Response};

/// Bytes before, between and after the parts of a form.
pub(in crate::http) const FORM_BYTES_MAX: u64 = 256 << 10;

/// A form of any number of parts, whatever their names.
pub(super) async fn upload(call: Call, boundary: String, prerender: &Prerender) -> Result<Response, Error> {
    let Call { app, parts, body, .. } = call;
    // A digest in the head is over the whole form; it is held against a form that is one image.
    let claims = Claims::of(&parts.headers)?;
    // Said before anything is read, since afterwards it would be said of one part of many.
    app.uploads.admits()?;
    drop(app.uploads.try_acquire(0)?);
    let chunks = Chunks::new(body.stream(&app.options), claims);
    let mut form = Form::new(chunks.clone(), boundary);
    let first = async {
        let entry = form.next().await?.ok_or(Error::Parts)?;
        let taken = many::take(&app.uploads, &mut form, &entry).await?;
        Ok::<_, Error>((entry, taken, form.next().await?))
    };
    let first = tokio::time::timeout(ms(app.options.body_timeout_ms), first);
    let (entry, taken, second) = first.await.map_err(|_| Error::BodyTimeout)??;
    if second.is_some() {
        form.peeked = second;
        return Ok(many::answer(&app, form, Some((entry, taken)), prerender));
    }
    let sealed = taken?;
    chunks.claims().check()?;
    super::store(&app, sealed).await
}

/// The parts of a form.
struct Form {
    chunks: Chunks,
    parser: multer::Multipart<'static>,
    part: Option<multer::Field<'static>>,
    /// A part whose head was read, and given back.
    peeked: Option<Entry>,
}

impl Form {
    fn new(chunks: Chunks, boundary: String) -> Form {
        let parser = multer::Multipart::new(chunks.clone(), boundary);
        Form { chunks, parser, part: None, peeked: None }
    }
}

impl Entries for Form {
    async fn next(&mut self) -> Result<Option<Entry>, Error> {
        if let Some(entry) = self.peeked.take() {
            return Ok(Some(entry));
        }
        // The parser gives the next part only once the last one is dropped.
        self.part = None;
        self.chunks.allow_more(FORM_BYTES_MAX);
        self.part = self.parser.next_field().await.map_err(of_form)?;
        let Some(part) = &self.part else {
            // What follows the last boundary belongs to the body, and to its digest.
            while self.chunks.try_next().await?.is_some() {}
            return Ok(None);
        };
        self.chunks.allow_any();
        let name = part.file_name().or(part.name()).unwrap_or_default();
        Ok(Some(Entry::new(name.as_bytes())))
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        match &mut self.part {
            Some(part) => part.chunk().await.map_err(of_form),
            None => Ok(None),
        }
    }

    async fn drain(mut self, bytes_max: u64) {
        self.chunks.allow_more(bytes_max);
        while let Ok(Some(_)) = self.chunks.try_next().await {}
    }
}

/// The bytes of a form on their way to the parser, which holds part heads in memory: hence a bound for each stretch. Clones are the
/// same stream, so that the handler can set the bound and read what the parser leaves.
#[derive(Clone)]
pub(in crate::http) struct Chunks(Arc<Mutex<Source>>);

struct Source {
    stream: BoxStream<'static, Result<Bytes, Error>>,
    claims: Claims,
    bytes: u64,
    max: u64,
    /// What is said of more.
    over: Error,
    /// A chunk was given; the parser looks at it before it gets the next one.
    given: bool,
}

/// Of the heads of parts, and what stands around them.
const FORM_TOO_LARGE: Error = Error::TooLarge { name: "form_bytes_max", max: FORM_BYTES_MAX };

impl Chunks {
    pub(in crate::http) fn new(reader: Reader, claims: Claims) -> Chunks {
        // Fused: the parser may have seen the end already when the rest is read.
        let stream = futures_util::stream::unfold(reader, |mut reader| async {
            reader.next().await.transpose().map(|chunk| (chunk, reader))
        });
        let stream = stream.fuse().boxed();
        let (max, over) = (FORM_BYTES_MAX, FORM_TOO_LARGE);
        Chunks(Arc::new(Mutex::new(Source { stream, claims, bytes: 0, max, over, given: false })))
    }

    /// Never held across an await: only while the stream is polled.
    fn lock(&self) -> MutexGuard<'_, Source> {
        self.0.lock()
    }

    /// An image comes, of which the parser reads ahead.
    pub(in crate::http) fn allow_image(&self, bytes_max: u64) {
        self.allow_more(bytes_max.saturating_add(FORM_BYTES_MAX));
        self.lock().over = Error::BodyTooLarge { max: bytes_max };
    }

    /// A part comes that is bounded where it goes.
    fn allow_any(&self) {
        self.allow_more(u64::MAX);
    }

    pub(in crate::http) fn allow_more(&self, more: u64) {
        let mut source = self.lock();
        source.max = source.bytes.saturating_add(more);
        source.over = FORM_TOO_LARGE;
    }

    pub(in crate::http) fn claims(&self) -> Claims {
        std::mem::take(&mut self.lock().claims)
    }
}

impl Stream for Chunks {
    type Item = Result<Bytes, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut source = self.lock();
        // The parser takes all that is ready before it looks at any of it, and holds it in memory: so that is one chunk.
        if std::mem::take(&mut source.given) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let chunk = ready!(source.stream.as_mut().poll_next(context));
        source.given = chunk.is_some();
        Poll::Ready(chunk.map(|chunk| chunk.and_then(|chunk| source.take(chunk))))
    }
}

impl Source {
    fn take(&mut self, chunk: Bytes) -> Result<Bytes, Error> {
        self.bytes += chunk.len() as u64;
        if self.bytes > self.max {
            return Err(self.over.clone());
        }
        self.claims.update(&chunk);
        Ok(chunk)
    }
}

pub(in crate::http) fn of_form(error: multer::Error) -> Error {
    match error {
        multer::Error::StreamReadFailed(cause) => cause.downcast::<Error>().map_or(Error::Internal, |error| *error),
        multer::Error::IncompleteFieldData { .. }
        | multer::Error::IncompleteHeaders
        | multer::Error::IncompleteStream => Error::Malformed { what: "the form ends before its last boundary" },
        _ => Error::Malformed { what: "the body is not multipart/form-data" },
    }
}
