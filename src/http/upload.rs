//! Uploads: a body or one part of a form, through the store's digest and the gate of the codecs, to an acknowledged id.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, TryStreamExt};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, ETAG, EXPECT, LOCATION};
use serde_json::json;

use super::body::Reader;
use super::conditional::{self, Condition};
use super::error::Error;
use super::fields::Claims;
use super::respond::{self, ETag};
use super::{App, Call, Reply, Response, remote};
use crate::digest::{Digest, Hasher};
use crate::pipeline::codec::{Codec, Header};
use crate::renditions;
use crate::store::{self, Receipt, Sealed};

/// Bytes before, and bytes after, the one part of a form.
pub(super) const FORM_BYTES_MAX: u64 = 256 << 10;

/// `POST /images`
pub(super) fn post(call: Call) -> Reply {
    Reply::later(async move {
        let content_type =
            call.parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "multipart/form-data" => {
                let boundary = multer::parse_boundary(content_type)
                    .map_err(|_| Error::Malformed { what: "multipart/form-data needs a boundary" })?;
                form(call, boundary).await
            }
            "application/json" => remote::upload(call).await,
            "application/x-tar" => {
                Err(Error::NotImplemented { what: "uploads of many images (application/x-tar) yet" })
            }
            _ => raw(call, None).await,
        }
    })
}

/// `PUT /images/{id}`
pub(super) fn put(call: Call, id: Digest) -> Reply {
    Reply::later(async move {
        let present = call.app.store.stat(&[id]).await?.first().copied().flatten();
        let etag = present.map(|_| ETag::of_original(&id));
        let etag = etag.as_ref().map(ETag::as_str);
        if conditional::condition(&call.parts.method, &call.parts.headers, etag) != Condition::Proceed {
            return Err(Error::Precondition);
        }
        let Some(stat) = present else { return raw(call, Some(id)).await };
        let app = call.app.clone();
        // With `Expect` the answer says that the id is stored and nothing of the bytes, which are never sent.
        if !call.parts.headers.contains_key(EXPECT) {
            verify(call, id).await?;
        }
        let receipt = Receipt { digest: id, bytes: stat.len, created: false };
        Ok(accepted(&receipt, known(&app, &id).await?))
    })
}

/// What the gate knows of an image.
type Known = (&'static Codec, Header);

/// What is known of an image that was there when the request came; `None`: this release cannot read what another took.
async fn known(app: &App, id: &Digest) -> Result<Option<Known>, Error> {
    match app.renditions.header(id).await {
        Ok(known) => Ok(Some(known)),
        Err(renditions::Error::Pipeline(_)) => Ok(None),
        Err(renditions::Error::Store(store::Error::NotFound)) => Err(Error::DeletedMeanwhile),
        Err(error) => Err(error.into()),
    }
}

/// Reads a body that is stored already: hashed, held against its name, written nowhere.
async fn verify(call: Call, id: Digest) -> Result<(), Error> {
    let mut claims = Claims::of(&call.parts.headers)?;
    let max = call.app.limits.bytes_max;
    if call.body.declared().is_some_and(|declared| declared > max) {
        return Err(Error::BodyTooLarge { max });
    }
    let mut reader = call.body.read(&call.app.options);
    let (mut hasher, mut bytes) = (Hasher::default(), 0);
    while let Some(chunk) = reader.next().await? {
        bytes += chunk.len() as u64;
        if bytes > max {
            return Err(Error::BodyTooLarge { max });
        }
        hasher.update(&chunk);
        claims.update(&chunk);
    }
    let actual = hasher.digest();
    if actual != id {
        return Err(Error::mismatch(id, actual));
    }
    claims.check()
}

async fn raw(call: Call, expected: Option<Digest>) -> Result<Response, Error> {
    let Call { app, parts, body, .. } = call;
    let mut claims = Claims::of(&parts.headers)?;
    let mut upload = app.uploads.begin(body.declared()).await?;
    let mut reader = body.read(&app.options);
    while let Some(chunk) = reader.next().await? {
        claims.update(&chunk);
        upload.write(chunk).await?;
    }
    claims.check()?;
    store(&app, upload.seal(expected).await?).await
}

/// Exactly one part, whatever its name: the same as a raw body.
async fn form(call: Call, boundary: String) -> Result<Response, Error> {
    let Call { app, parts, body, .. } = call;
    // A digest in the head is over the whole form.
    let claims = Claims::of(&parts.headers)?;
    let max = app.limits.bytes_max.saturating_add(2 * FORM_BYTES_MAX);
    if body.declared().is_some_and(|declared| declared > max) {
        return Err(Error::BodyTooLarge { max: app.limits.bytes_max });
    }
    let mut upload = app.uploads.begin(None).await?;
    let chunks = Chunks::new(body.read(&app.options), claims);
    let mut form = multer::Multipart::new(chunks.clone(), boundary);
    let mut part = form.next_field().await.map_err(of_form)?.ok_or(Error::Parts)?;
    chunks.allow_image(app.limits.bytes_max);
    while let Some(chunk) = part.chunk().await.map_err(of_form)? {
        upload.write(chunk).await?;
    }
    drop(part);
    chunks.allow_more(FORM_BYTES_MAX);
    if form.next_field().await.map_err(of_form)?.is_some() {
        return Err(Error::Parts);
    }
    // What follows the last boundary belongs to the body, and to its digest.
    let mut rest = chunks.clone();
    while rest.try_next().await?.is_some() {}
    chunks.claims().check()?;
    store(&app, upload.seal(None).await?).await
}

/// The bytes of a form on their way to the parser, which holds part heads in memory: hence a bound for each stretch. Clones are the
/// same stream, so that the handler can set the bound and read what the parser leaves.
#[derive(Clone)]
pub(super) struct Chunks(Arc<Mutex<Source>>);

struct Source {
    stream: BoxStream<'static, Result<Bytes, Error>>,
    claims: Claims,
    bytes: u64,
    max: u64,
    /// What is said of more.
    over: Error,
}

/// Of the heads of parts, and what stands around them.
const FORM_TOO_LARGE: Error = Error::TooLarge { name: "form_bytes_max", max: FORM_BYTES_MAX };

impl Chunks {
    pub(super) fn new(reader: Reader, claims: Claims) -> Chunks {
        // Fused: the parser may have seen the end already when the rest is read.
        let stream = futures_util::stream::unfold(reader, |mut reader| async {
            reader.next().await.transpose().map(|chunk| (chunk, reader))
        });
        let stream = stream.fuse().boxed();
        Chunks(Arc::new(Mutex::new(Source { stream, claims, bytes: 0, max: FORM_BYTES_MAX, over: FORM_TOO_LARGE })))
    }

    /// Never held across an await: only while the stream is polled.
    fn lock(&self) -> MutexGuard<'_, Source> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An image comes, of which the parser reads ahead.
    pub(super) fn allow_image(&self, bytes_max: u64) {
        self.allow_more(bytes_max.saturating_add(FORM_BYTES_MAX));
        self.lock().over = Error::BodyTooLarge { max: bytes_max };
    }

    pub(super) fn allow_more(&self, more: u64) {
        let mut source = self.lock();
        source.max = source.bytes.saturating_add(more);
        source.over = FORM_TOO_LARGE;
    }

    pub(super) fn claims(&self) -> Claims {
        std::mem::take(&mut self.lock().claims)
    }
}

impl Stream for Chunks {
    type Item = Result<Bytes, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut source = self.lock();
        let chunk = ready!(source.stream.as_mut().poll_next(context));
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

pub(super) fn of_form(error: multer::Error) -> Error {
    match error {
        multer::Error::StreamReadFailed(cause) => cause.downcast::<Error>().map_or(Error::Internal, |error| *error),
        _ => Error::Malformed { what: "the body is not multipart/form-data" },
    }
}

/// The gate, then the commit.
pub(super) async fn store(app: &App, mut sealed: Sealed) -> Result<Response, Error> {
    let bytes = sealed.bytes().await?;
    let known = renditions::inspect(&bytes).await?;
    let receipt = sealed.commit().await?;
    app.metrics.uploaded(&receipt);
    Ok(accepted(&receipt, Some(known)))
}

fn accepted(receipt: &Receipt, known: Option<Known>) -> Response {
    let (codec, header) = known.unzip();
    let size = header.map(|header| header.size.oriented(header.orientation));
    let known = json!({
        "id": receipt.digest,
        "bytes": receipt.bytes,
        "format": codec.map(|codec| codec.name),
        "width": size.map(|size| size.w),
        "height": size.map(|size| size.h),
        "created": receipt.created,
    });
    let status = if receipt.created { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = respond::json(status, &known);
    let headers = response.headers_mut();
    headers.insert(ETAG, ETag::of_original(&receipt.digest).value());
    headers.insert(LOCATION, respond::value(format!("/images/{}", receipt.digest)));
    response
}
