//! Uploads: the store hashes the bytes, a codec checks them, and the id is acknowledged. This file takes a body that is
//! one image. [`form`] and [`tar`] take bodies that may be many, which [`many`] stores.

mod form;
mod many;
pub(super) mod remote;
mod tar;

use hyper::StatusCode;
use hyper::header::{ETAG, EXPECT, LOCATION};
use serde_json::{Value, json};

use super::prerender::Prerender;
use crate::digest::{Digest, Hasher};
use crate::http::app::App;
use crate::http::call::{Call, Reply};
use crate::http::error::Error;
use crate::http::message::body::content_type;
use crate::http::message::form::boundary;
use crate::http::message::response_body::Response;
use crate::http::protocol::conditional::{self, Condition, ETag};
use crate::http::protocol::digest_fields::Claims;
use crate::http::protocol::response;
use crate::pipeline::codec::{Codec, Header};
use crate::renditions;
use crate::store::{self, Receipt, Sealed};

/// `POST /images`
pub(in crate::http) fn post(call: Call) -> Reply {
    Reply::later(async move {
        let prerender = Prerender::of(&call)?;
        let (content_type, media_type) = content_type(&call.parts.headers);
        match media_type.as_str() {
            "multipart/form-data" => {
                let boundary = boundary(content_type)?;
                form::upload(call, boundary, &prerender).await
            }
            "application/json" => remote::upload(call, &prerender).await,
            "application/x-tar" => tar::upload(call, &prerender).await,
            _ => raw(call, None, &prerender).await,
        }
    })
}

/// `PUT /images/{id}`
pub(in crate::http) fn put(call: Call, id: Digest) -> Reply {
    Reply::later(async move {
        let prerender = Prerender::of(&call)?;
        put_image(call, id, &prerender).await
    })
}

async fn put_image(call: Call, id: Digest, prerender: &Prerender) -> Result<Response, Error> {
    let present = call.app.store.stat(&[id]).await?.first().copied().flatten();
    let etag = present.map(|_| ETag::of_original(&id));
    let etag = etag.as_ref().map(ETag::as_str);
    if conditional::condition(&call.parts.method, &call.parts.headers, etag) != Condition::Proceed {
        return Err(Error::Precondition);
    }
    let Some(stat) = present else { return raw(call, Some(id), prerender).await };
    let app = call.app.clone();
    // The client may drop its own copy after this. What cannot be proven is stored anew from the body.
    if let Err(error) = prove(&app, &id).await {
        tracing::warn!(%id, %error, "an image that is sent again cannot be proven, so its bytes are taken");
        return raw(call, Some(id), prerender).await;
    }
    // With `Expect` the response says that the id is stored. It says nothing about the bytes, which are never sent.
    if !call.parts.headers.contains_key(EXPECT) {
        verify(call, id).await?;
    }
    let receipt = Receipt { digest: id, bytes: stat.len, created: false };
    let known = known(&app, &id).await?;
    Ok(accepted(&receipt, known, prerender).await)
}

async fn prove(app: &App, id: &Digest) -> Result<(), store::Error> {
    app.store.open(id).await?.prove().await
}

/// The format and the header of an image.
type Known = (&'static Codec, Header);

/// The header of an image that was stored before the request; `None` if this release cannot read what another accepted.
async fn known(app: &App, id: &Digest) -> Result<Option<Known>, Error> {
    match app.renditions.header(id).await {
        Ok(known) => Ok(Some(known)),
        Err(renditions::Error::Pipeline(_)) => Ok(None),
        Err(renditions::Error::Store(store::Error::NotFound)) => Err(Error::DeletedMeanwhile),
        Err(error) => Err(error.into()),
    }
}

/// Reads a body that is stored already: it is hashed and compared with its id, and not written.
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

async fn raw(call: Call, expected: Option<Digest>, prerender: &Prerender) -> Result<Response, Error> {
    let Call { app, parts, body, .. } = call;
    let mut claims = Claims::of(&parts.headers)?;
    if expected.is_some() {
        // It is not stored, or is no longer what it was.
        app.uploads.admits()?;
    }
    let mut upload = app.uploads.begin(body.declared()).await?;
    let mut reader = body.read(&app.options);
    while let Some(chunk) = reader.next().await? {
        claims.update(&chunk);
        upload.write(chunk).await?;
    }
    claims.check()?;
    store(&app, upload.seal(expected).await?, prerender).await
}

/// Checks and commits an upload, and answers.
async fn store(app: &App, sealed: Sealed, prerender: &Prerender) -> Result<Response, Error> {
    let (receipt, known) = commit(app, sealed).await?;
    Ok(accepted(&receipt, Some(known), prerender).await)
}

/// Checks an upload with its codec, then commits it.
async fn commit(app: &App, mut sealed: Sealed) -> Result<(Receipt, Known), Error> {
    let bytes = sealed.bytes().await?;
    let known = renditions::inspect(&bytes).await?;
    drop(bytes);
    let receipt = sealed.commit().await?;
    app.metrics.uploaded(&receipt);
    Ok((receipt, known))
}

/// The response for a stored image, with the job that renders it in advance.
async fn accepted(receipt: &Receipt, known: Option<Known>, prerender: &Prerender) -> Response {
    let codec = known.as_ref().map(|(codec, _)| *codec);
    let mut body = describe(receipt, known);
    if let Some(job) = prerender.begin(&receipt.digest, codec).await {
        body["job"] = job.into();
    }
    let mut response = response::json(status(receipt), &body);
    let headers = response.headers_mut();
    headers.insert(ETAG, ETag::of_original(&receipt.digest).value());
    headers.insert(LOCATION, response::value(format!("/images/{}", receipt.digest)));
    response
}

fn status(receipt: &Receipt) -> StatusCode {
    if receipt.created { StatusCode::CREATED } else { StatusCode::OK }
}

fn describe(receipt: &Receipt, known: Option<Known>) -> Value {
    let (codec, header) = known.unzip();
    let size = header.map(|header| header.size.oriented(header.orientation));
    json!({
        "id": receipt.digest,
        "bytes": receipt.bytes,
        "format": codec.map(|codec| codec.name),
        "width": size.map(|size| size.w),
        "height": size.map(|size| size.h),
        "created": receipt.created,
    })
}
