//! Stored images: the original, its other forms, what is known of it, lists, delete. Uploads are in [`super::upload`].

use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::HeaderMap;
use serde_json::json;

use super::body::Body;
use super::conditional::{self, Condition};
use super::delivery::{self, Delivery, Pairs};
use super::error::Error;
use super::negotiate::{self, Bucket};
use super::respond::{self, ETag, Image};
use super::{App, Call, Reply, Response, asked, auth, fields, ids, query};
use crate::digest::Digest;
use crate::pipeline::Pipeline;
use crate::pipeline::codec::{self, Codec};
use crate::pipeline::invalid::{invalid, not_within, repeated, unknown_of};
use crate::renditions::{Origin, Rendition};
use crate::store;

/// Longer originals are not taken into memory to tell their digest.
const DIGEST_BYTES_MAX: u64 = 1 << 20;
/// Of an original that no codec knows any more.
const UNKNOWN_MEDIA_TYPE: &str = "application/octet-stream";
const PAGE_IDS_DEFAULT: usize = 1_000;

/// `GET /images/{id}`
pub(super) fn original(call: Call, id: Digest) -> Reply {
    Reply::later(async move {
        let (pairs, delivery) = delivery::of(&call)?;
        if let Some((name, value)) = pairs.first() {
            return Err(delivery::needs_extension(name, value, &id).into());
        }
        let blob = call.app.store.open(&id).await?;
        let mut image = Image {
            parts: &call.parts,
            etag: ETag::of_original(&id),
            media_type: UNKNOWN_MEDIA_TYPE,
            grant: call.grant,
            delivery: &delivery,
        };
        if let Some(answer) = image.condition()? {
            return Ok(answer);
        }
        image.media_type = media_type(&call.app, &blob).await?;
        let headers = &call.parts.headers;
        if !fields::wants_repr_digest(headers) || blob.len > DIGEST_BYTES_MAX {
            return image.blob(blob).await;
        }
        let bytes = blob.bytes().await?;
        Ok(digested(image.bytes(&bytes)?, headers, &bytes).await)
    })
}

/// By what is known of the blob, or its first frame: nobody waits until all of it is read only to be told its format.
async fn media_type(app: &App, blob: &store::Blob) -> Result<&'static str, Error> {
    if let Some((codec, _)) = app.renditions.known(&blob.digest) {
        return Ok(codec.media_type);
    }
    let first = blob.frame(0..blob.len).await?;
    // The gate let it in once; that a later release no longer reads it keeps nobody from their bytes.
    Ok(codec::sniff(&first).map_or(UNKNOWN_MEDIA_TYPE, |codec| codec.media_type))
}

/// `GET /images/{id}.{ext}`. A hit is answered at once; everything that may wait comes later.
pub(super) fn form(mut call: Call, id: Digest, extension: &str) -> Reply {
    let wanted = match wanted(&mut call, extension) {
        Ok(wanted) => wanted,
        Err(error) => return Reply::Now(Err(error)),
    };
    match wanted {
        Wanted::Codec(pipeline, delivery) => {
            let key = pipeline.key(&id);
            // A digest may take longer than an answer at once may.
            let at_once = !fields::wants_repr_digest(&call.parts.headers);
            match at_once.then(|| call.app.renditions.cached(&id, &key)).flatten() {
                Some(rendition) => Reply::Now(hit(&call, &id, &key, &rendition, &delivery)),
                None => Reply::later(async move {
                    let etag = ETag::of_key(&key);
                    render(&call, id, etag, &pipeline, &delivery).await
                }),
            }
        }
        Wanted::Bucket(bucket, pairs, delivery) => {
            Reply::later(async move { negotiated(&call, id, bucket, &pairs, &delivery).await })
        }
    }
}

/// Whether a rendition has all of the original's metadata: then it is for those who may have the original.
pub(super) fn has_all_metadata(pairs: &Pairs) -> bool {
    pairs.iter().any(|(name, value)| name == "metadata" && value == "all")
}

enum Wanted {
    Codec(Pipeline, Delivery),
    Bucket(Bucket, Pairs, Delivery),
}

fn wanted(call: &mut Call, extension: &str) -> Result<Wanted, Error> {
    let (pairs, delivery) = delivery::of(call)?;
    if has_all_metadata(&pairs) {
        call.grant = auth::of_original(&call.app.access, &call.parts)?;
    }
    if asked::is_auto(extension) {
        return Ok(Wanted::Bucket(negotiate::bucket(&call.parts.headers)?, pairs, delivery));
    }
    let codec = asked::writable(extension)?;
    Ok(Wanted::Codec(pipeline(&call.app, codec, &pairs)?, delivery))
}

/// The pipeline of a query.
fn pipeline(app: &App, codec: &'static Codec, pairs: &[(String, String)]) -> Result<Pipeline, Error> {
    Ok(asked::unless_converts(app, Pipeline::from_query(codec, pairs)?))
}

fn hit(call: &Call, id: &Digest, key: &Digest, rendition: &Rendition, delivery: &Delivery) -> Result<Response, Error> {
    let image = Image {
        parts: &call.parts,
        etag: ETag::of_key(key),
        media_type: rendition.codec.media_type,
        grant: call.grant,
        delivery,
    };
    let mut response = match image.condition()? {
        Some(answer) => answer,
        None => whole_or_part(&image, id, rendition, &call.app)?,
    };
    respond::came_from(&mut response, Origin::Hit);
    Ok(response)
}

/// The bytes, with the URL that is theirs.
fn whole_or_part(image: &Image, id: &Digest, rendition: &Rendition, app: &App) -> Result<Response, Error> {
    let mut response = image.bytes(&rendition.bytes)?;
    respond::canonical(&mut response, id, rendition, app.options.url_bytes_max);
    Ok(response)
}

/// With the digest of the whole, if that is wished for.
async fn digested(mut response: Response, headers: &HeaderMap, whole: &Bytes) -> Response {
    if let Some(digest) = fields::repr_digest(headers, whole).await {
        response.headers_mut().insert(fields::REPR_DIGEST, digest);
    }
    response
}

async fn render(
    call: &Call,
    id: Digest,
    etag: ETag,
    pipeline: &Pipeline,
    delivery: &Delivery,
) -> Result<Response, Error> {
    let media_type = pipeline.codec().media_type;
    let image = Image { parts: &call.parts, etag, media_type, grant: call.grant, delivery };
    // The tag is known without a render: it is enough that the source exists.
    if conditional::is_conditional(&call.parts.headers) {
        exists(&call.app, &id).await?;
        if let Some(answer) = image.condition()? {
            return Ok(answer);
        }
    }
    let (rendition, origin) = call.app.renditions.get(&id, pipeline).await?;
    let mut response = whole_or_part(&image, &id, &rendition, &call.app)?;
    respond::came_from(&mut response, origin);
    Ok(digested(response, &call.parts.headers, &rendition.bytes).await)
}

/// `.auto`: its tag is over the bucket's name and every format that the bucket may come to, so that it, too, is known without
/// opening the source. A format that cannot take the arguments (JPEG is never lossless) is left out; they are an error when all
/// refuse them.
async fn negotiated(
    call: &Call,
    id: Digest,
    bucket: Bucket,
    pairs: &[(String, String)],
    delivery: &Delivery,
) -> Result<Response, Error> {
    let mut name = bucket.name().as_bytes().to_vec();
    let (mut forms, mut refused) = (Vec::new(), None);
    for codec in bucket.codecs() {
        match pipeline(&call.app, codec, pairs) {
            Ok(form) => {
                name.extend_from_slice(form.key(&id).as_bytes());
                forms.push(form);
            }
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    let Some(first) = forms.first() else { return Err(refused.unwrap_or(Error::NotAcceptable)) };
    let etag = ETag::of_key(&Digest::of(&name));
    let (source, header) = call.app.renditions.header(&id).await?;
    let fitting = bucket.codec(source, &header);
    let form = forms.iter().find(|form| Some(form.codec()) == fitting).unwrap_or(first);
    render(call, id, etag, form, delivery).await
}

pub(super) async fn exists(app: &App, id: &Digest) -> Result<u64, Error> {
    Ok(stat(app, id).await?.ok_or(store::Error::NotFound)?.len)
}

async fn stat(app: &App, id: &Digest) -> Result<Option<store::Stat>, Error> {
    Ok(app.store.stat(std::slice::from_ref(id)).await?.first().copied().flatten())
}

/// `DELETE /images/{id}`: 204, also when it is not there.
pub(super) fn delete(call: Call, id: Digest) -> Reply {
    Reply::later(async move {
        delivery::no_parameters(&call.parts)?;
        if conditional::is_conditional(&call.parts.headers) {
            let etag = stat(&call.app, &id).await?.map(|_| ETag::of_original(&id));
            let etag = etag.as_ref().map(ETag::as_str);
            if conditional::condition(&call.parts.method, &call.parts.headers, etag) != Condition::Proceed {
                return Err(Error::Precondition);
            }
        }
        remove(&call.app, id).await?;
        Ok(respond::with(StatusCode::NO_CONTENT, Body::Empty))
    })
}

/// Deletes an image, on a task of its own: a client that leaves in between must not leave renditions of a deleted image behind.
pub(super) async fn remove(app: &Arc<App>, id: Digest) -> Result<(), Error> {
    let app = Arc::clone(app);
    let deleted = tokio::spawn(async move {
        let deleted = app.store.delete(&id).await;
        if deleted.is_ok() {
            app.renditions.forget(&id).await;
        }
        deleted
    });
    deleted.await.map_err(|_| Error::Internal)??;
    Ok(())
}

/// `GET /images?after=&limit=`
pub(super) fn list(call: Call) -> Reply {
    Reply::later(async move {
        let (mut after, mut limit) = (None, PAGE_IDS_DEFAULT.min(call.app.options.ids_max));
        let pairs = query::pairs(call.parts.uri.query())?;
        for (index, (name, value)) in pairs.iter().enumerate() {
            if pairs[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(repeated(name).into());
            }
            match name.as_str() {
                "after" => after = Some(value.parse().map_err(|_| invalid("after", value, "the id of an image"))?),
                "limit" => limit = count(value, call.app.options.ids_max)?,
                _ => return Err(unknown_of(name, value, &["after", "limit"]).into()),
            }
        }
        let page = call.app.store.list(after, limit).await?;
        // A full page may have a next one; an empty one ends the walk.
        let next = page.last().filter(|_| page.len() == limit).map(|(id, _)| id);
        let images: Vec<_> = page.iter().map(|(id, stat)| json!({ "id": id, "bytes": stat.len })).collect();
        let text = json!({ "images": images, "next": next }).to_string();
        let held = call.app.lists.hold(text.len())?;
        Ok(respond::text(StatusCode::OK, "application/json", ids::held(text, held)))
    })
}

fn count(text: &str, max: usize) -> Result<usize, Error> {
    let count = text.parse().ok().filter(|count| (1..=max).contains(count));
    Ok(count.ok_or_else(|| not_within("limit", text, 1, max as u64))?)
}
