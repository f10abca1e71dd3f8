//! Stored images: originals, renditions, lists, deletion. Uploads are in [`super::upload`].

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use serde_json::json;

use crate::digest::Digest;
use crate::http::app::App;
use crate::http::call::{Call, Reply};
use crate::http::error::Error;
use crate::http::message::response_body::{Body, Response};
use crate::http::message::text_budget;
use crate::http::protocol::conditional::{self, Condition, ETag};
use crate::http::protocol::image_response::{self, Image};
use crate::http::protocol::render_request::{Pipelines, RenderRequest};
use crate::http::protocol::response_options::{self, Pairs, ResponseOptions};
use crate::http::protocol::{auth, digest_fields, response};
use crate::pipeline::invalid::{invalid, not_within, repeated, unknown_of};
use crate::pipeline::query;
use crate::pipeline::{self, Pipeline, codec};
use crate::renditions::{Origin, Rendition};
use crate::store::{self, Listing};

/// The number of renditions of other images that showed a deleted image, and were removed with it.
const ALSO_REMOVED: HeaderName = HeaderName::from_static("progimage-also-removed");
/// Longer originals are not read into memory for their digest.
const DIGEST_BYTES_MAX: u64 = 1 << 20;
/// The media type of an original that no codec knows any more.
const UNKNOWN_MEDIA_TYPE: &str = "application/octet-stream";
const PAGE_IDS_DEFAULT: usize = 1_000;

/// `GET /images/{id}`
pub(in crate::http) fn original(call: Call, id: Digest) -> Reply {
    Reply::later(async move {
        let (pairs, options) = response_options(&call)?;
        if let Some((name, value)) = pairs.first() {
            return Err(response_options::needs_extension(name, value, &id, call.parts.uri.query()).into());
        }
        let blob = call.app.store.open(&id).await?;
        let etag = ETag::of_original(&id);
        let mut image = Image::new(&call.parts, call.grant, &options, etag, UNKNOWN_MEDIA_TYPE);
        if let Some(answer) = image.condition()? {
            return Ok(answer);
        }
        image.media_type = media_type(&call.app, &blob).await?;
        let headers = &call.parts.headers;
        if !digest_fields::wants_repr_digest(headers) || blob.len > DIGEST_BYTES_MAX {
            return image.blob(blob).await;
        }
        let bytes = blob.bytes().await?;
        image.digest = digest_fields::repr_digest(headers, &bytes).await;
        image.bytes(&bytes)
    })
}

fn response_options(call: &Call) -> Result<(Pairs, ResponseOptions), Error> {
    response_options::of(call.parts.uri.query(), &call.app.options.presets, call.grant)
}

/// The media type of a blob, from its known header or from its first frame. The client does not wait until all of the
/// blob is read only for its format.
async fn media_type(app: &App, blob: &store::Blob) -> Result<&'static str, Error> {
    if let Some((codec, _)) = app.renditions.known(&blob.digest) {
        return Ok(codec.media_type);
    }
    let first = blob.frame(0..blob.len).await?;
    // The blob was accepted once. The client gets its bytes even if a later release cannot read them.
    Ok(codec::sniff(&first).map_or(UNKNOWN_MEDIA_TYPE, |codec| codec.media_type))
}

/// `GET /images/{id}.{ext}`. A hit is answered at once; everything that may wait comes later.
pub(in crate::http) fn rendition(mut call: Call, id: Digest, extension: &str) -> Reply {
    let (options, pipelines) = match wanted(&mut call, extension) {
        Ok(wanted) => wanted,
        Err(error) => return Reply::Now(Err(error)),
    };
    // A digest may take longer than an immediate reply may.
    let at_once = !digest_fields::wants_repr_digest(&call.parts.headers);
    if let Some(pipeline) = pipelines.only().filter(|_| at_once) {
        let key = pipeline.key(&id);
        if let Some(rendition) = call.app.renditions.cached(&id, &key) {
            return Reply::Now(hit(&call, &id, &key, &rendition, &options));
        }
    }
    Reply::later(async move { render(&call, &id, pipelines, &options).await })
}

/// Reads what the extension and the query ask for, and checks access to it.
fn wanted(call: &mut Call, extension: &str) -> Result<(ResponseOptions, Pipelines), Error> {
    let (pairs, options) = response_options(call)?;
    if has_all_metadata(&pairs) {
        call.grant = auth::of_original(&call.app.access, &call.parts)?;
    }
    let request = RenderRequest::new(&call.parts, extension, pairs, options)?.of_stored();
    let pipelines = request.pipelines(call.app.render_policy(), &[])?;
    Ok((request.options, pipelines))
}

/// Whether a rendition keeps all metadata. Then it needs the access of the original.
pub(in crate::http) fn has_all_metadata(pairs: &Pairs) -> bool {
    pairs.iter().any(|(name, value)| name == "metadata" && value == "all")
}

fn hit(
    call: &Call,
    id: &Digest,
    key: &Digest,
    rendition: &Rendition,
    options: &ResponseOptions,
) -> Result<Response, Error> {
    let etag = ETag::of_key(key);
    let mut image = Image::new(&call.parts, call.grant, options, etag, rendition.codec.media_type);
    image.origin = Some(Origin::Hit);
    if let Some(answer) = image.condition()? {
        return Ok(answer);
    }
    image.canonical = image_response::canonical(id, rendition, call.app.options.url_bytes_max);
    image.missing = rendition.missing;
    image.bytes(&rendition.bytes)
}

/// Renders, or answers with what the cache has.
async fn render(call: &Call, id: &Digest, pipelines: Pipelines, options: &ResponseOptions) -> Result<Response, Error> {
    let Call { app, parts, grant, .. } = call;
    let pipeline = pipelines.fitting(app.renditions.header(id)).await?;
    let key = pipeline.key(id);
    let mut image = Image::new(parts, *grant, options, ETag::of_key(&key), pipeline.codec().media_type);
    // The tag is known without a render. It is enough that the source exists, and what else it shows.
    if conditional::is_conditional(&parts.headers) {
        exists(app, id).await?;
        others_exist(app, &pipeline).await?;
        if let Some(answer) = image.condition()? {
            return Ok(answer);
        }
    }
    let (rendition, origin) = match app.renditions.cached(id, &key) {
        Some(hit) => (hit, Origin::Hit),
        None => {
            let _place = call.begin_render()?;
            app.renditions.missed(id, key, &pipeline).await?
        }
    };
    image.origin = Some(origin);
    image.canonical = image_response::canonical(id, &rendition, app.options.url_bytes_max);
    image.missing = rendition.missing;
    image.digest = digest_fields::repr_digest(&parts.headers, &rendition.bytes).await;
    image.bytes(&rendition.bytes)
}

pub(in crate::http) async fn exists(app: &App, id: &Digest) -> Result<u64, Error> {
    Ok(stat(app, id).await?.ok_or(store::Error::NotFound)?.len)
}

/// Checks that the other images that a pipeline names are stored.
pub(in crate::http) async fn others_exist(app: &App, pipeline: &Pipeline) -> Result<(), Error> {
    let ids = pipeline.images();
    let stats = if ids.is_empty() { Vec::new() } else { app.store.stat(&ids).await? };
    match ids.iter().zip(stats).find(|(_, stat)| stat.is_none()) {
        Some((id, _)) => Err(pipeline::Error::MissingImage { id: *id }.into()),
        None => Ok(()),
    }
}

async fn stat(app: &App, id: &Digest) -> Result<Option<store::Stat>, Error> {
    Ok(app.store.stat(std::slice::from_ref(id)).await?.first().copied().flatten())
}

/// `DELETE /images/{id}`: 204, also if the image is not stored.
pub(in crate::http) fn delete(call: Call, id: Digest) -> Reply {
    Reply::later(async move {
        response_options::no_parameters(&call.parts)?;
        if conditional::is_conditional(&call.parts.headers) {
            let etag = stat(&call.app, &id).await?.map(|_| ETag::of_original(&id));
            let etag = etag.as_ref().map(ETag::as_str);
            if conditional::condition(&call.parts.method, &call.parts.headers, etag) != Condition::Proceed {
                return Err(Error::Precondition);
            }
        }
        let others = remove(&call.app, id).await?;
        let mut response = response::with(StatusCode::NO_CONTENT, Body::Empty);
        if others > 0 {
            response.headers_mut().insert(ALSO_REMOVED, HeaderValue::from(others));
        }
        Ok(response)
    })
}

/// Deletes an image on a task of its own, so that no rendition stays behind if the client leaves in between. Returns the
/// number of renditions of other images that showed it, and went with it.
pub(in crate::http) async fn remove(app: &Arc<App>, id: Digest) -> Result<usize, Error> {
    let app = Arc::clone(app);
    let deleted = tokio::spawn(async move {
        app.store.delete(&id).await?;
        Ok(app.renditions.forget(&id).await)
    });
    deleted.await.map_err(|_| Error::Internal)?
}

/// `GET /images?after=&limit=`
pub(in crate::http) fn list(call: Call) -> Reply {
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
        let Listing { blobs: page, unreadable } = call.app.store.list(after, limit).await?;
        // A full page may have a next one; an empty page is the end.
        let next = page.last().filter(|_| page.len() == limit).map(|(id, _)| id);
        let images: Vec<_> = page.iter().map(|(id, stat)| json!({ "id": id, "bytes": stat.len })).collect();
        let mut body = json!({ "images": images, "next": next });
        if !unreadable.is_empty() {
            body["unreadable"] = unreadable.into();
        }
        let text = body.to_string();
        let held = call.app.list_budget.try_acquire(text.len())?;
        Ok(response::text(StatusCode::OK, "application/json", text_budget::held(text, held)))
    })
}

fn count(text: &str, max: usize) -> Result<usize, Error> {
    let count = text.parse().ok().filter(|count| (1..=max).contains(count));
    Ok(count.ok_or_else(|| not_within("limit", text, 1, max as u64))?)
}
