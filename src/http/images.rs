//! Stored images: the original, its other forms, what is known of it, lists, delete. Uploads are in [`super::upload`].

use std::borrow::Cow;
use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::CONTENT_TYPE;
use serde_json::json;

use super::body::Body;
use super::conditional::{self, Condition};
use super::error::Error;
use super::negotiate::{self, Bucket};
use super::respond::{self, ETag, Image};
use super::{App, Call, Reply, Response, asked, query};
use crate::digest::Digest;
use crate::pipeline::codec::Codec;
use crate::pipeline::{Channels, Pipeline};
use crate::renditions::Origin;
use crate::store;

/// The one delivery name: it changes a header field and not the bytes.
const DOWNLOAD: &str = "download";
const PAGE_IDS_DEFAULT: usize = 1_000;

pub(super) type Pairs = Vec<(String, String)>;

/// `GET /images/{id}`
pub(super) fn original(call: Call, id: Digest) -> Reply {
    Reply::later(async move {
        let (pairs, download) = delivery(query::pairs(call.parts.uri.query())?)?;
        if let Some((parameter, _)) = pairs.into_iter().next() {
            let allowed = format!("{DOWNLOAD}; operations need an extension, such as .auto: /images/{{id}}.auto?...");
            return Err(Error::Parameter { parameter, allowed });
        }
        let blob = call.app.store.open(&id).await?;
        let media_type = match call.app.renditions.header(&id).await {
            Ok((codec, _)) => codec.media_type,
            // The gate let it in once; that a later release no longer reads it keeps nobody from their bytes.
            Err(crate::renditions::Error::Pipeline(_)) => "application/octet-stream",
            Err(error) => return Err(error.into()),
        };
        let image = Image {
            parts: &call.parts,
            etag: ETag::of_original(&id),
            media_type,
            grant: call.grant,
            negotiated: false,
            download: download.as_deref(),
        };
        match image.condition()? {
            Some(answer) => Ok(answer),
            None => image.blob(blob).await,
        }
    })
}

/// `GET /images/{id}.{ext}`. A hit is answered at once; everything that may wait comes later.
pub(super) fn form(call: Call, id: Digest, extension: &str) -> Reply {
    let wanted = match wanted(&call, extension) {
        Ok(wanted) => wanted,
        Err(error) => return Reply::Now(Err(error)),
    };
    match wanted {
        Wanted::Codec(pipeline, download) => {
            let key = pipeline.key(&id);
            match call.app.renditions.cached(&id, &key) {
                Some(rendition) => Reply::Now(hit(&call, &key, &rendition, download.as_deref())),
                None => Reply::later(async move {
                    let etag = ETag::of_key(&key);
                    render(&call, id, etag, &pipeline, download.as_deref(), false).await
                }),
            }
        }
        Wanted::Bucket(bucket, pairs, download) => {
            Reply::later(async move { negotiated(&call, id, bucket, &pairs, download.as_deref()).await })
        }
    }
}

enum Wanted {
    Codec(Pipeline, Option<String>),
    Bucket(Bucket, Pairs, Option<String>),
}

fn wanted(call: &Call, extension: &str) -> Result<Wanted, Error> {
    let pairs = match call.parts.uri.query() {
        None => Pairs::new(),
        query => query::pairs(query)?,
    };
    let (pairs, download) = delivery(pairs)?;
    if extension == "auto" {
        return Ok(Wanted::Bucket(negotiate::bucket(&call.parts.headers)?, pairs, download));
    }
    let codec = asked::writable(extension)?;
    Ok(Wanted::Codec(pipeline(&call.app, codec, &pairs)?, download))
}

/// The pipeline of a query.
fn pipeline(app: &App, codec: &'static Codec, pairs: &[(String, String)]) -> Result<Pipeline, Error> {
    Ok(asked::unless_converts(app, Pipeline::from_query(codec, pairs)?))
}

/// Takes the delivery name out of a query.
pub(super) fn delivery(mut pairs: Pairs) -> Result<(Pairs, Option<String>), Error> {
    let names: Vec<String> = pairs.extract_if(.., |(name, _)| name == DOWNLOAD).map(|(_, value)| value).collect();
    match <[String; 1]>::try_from(names) {
        Ok([name]) if (1..=255).contains(&name.len()) => Ok((pairs, Some(name))),
        Err(none) if none.is_empty() => Ok((pairs, None)),
        _ => Err(Error::Parameter { parameter: DOWNLOAD.to_owned(), allowed: "once, 1 to 255 bytes".to_owned() }),
    }
}

fn hit(
    call: &Call,
    key: &Digest,
    rendition: &crate::renditions::Rendition,
    download: Option<&str>,
) -> Result<Response, Error> {
    let image = Image {
        parts: &call.parts,
        etag: ETag::of_key(key),
        media_type: rendition.codec.media_type,
        grant: call.grant,
        negotiated: false,
        download,
    };
    call.app.metrics.rendition(Origin::Hit);
    let mut response = match image.condition()? {
        Some(answer) => answer,
        None => image.bytes(&rendition.bytes)?,
    };
    respond::came_from(&mut response, Origin::Hit);
    Ok(response)
}

async fn render(
    call: &Call,
    id: Digest,
    etag: ETag,
    pipeline: &Pipeline,
    download: Option<&str>,
    negotiated: bool,
) -> Result<Response, Error> {
    let media_type = pipeline.codec().media_type;
    let image = Image { parts: &call.parts, etag, media_type, grant: call.grant, negotiated, download };
    // The tag is known without a render: it is enough that the source exists.
    if conditional::is_conditional(&call.parts.headers) {
        exists(&call.app, &id).await?;
        if let Some(answer) = image.condition()? {
            return Ok(answer);
        }
    }
    let (rendition, origin) = call.app.renditions.get(&id, pipeline).await?;
    call.app.metrics.rendition(origin);
    let mut response = image.bytes(&rendition.bytes)?;
    respond::came_from(&mut response, origin);
    Ok(response)
}

/// `.auto`: its tag is over the bucket's name and every format that the bucket may come to, so that it, too, is known without
/// opening the source.
async fn negotiated(
    call: &Call,
    id: Digest,
    bucket: Bucket,
    pairs: &[(String, String)],
    download: Option<&str>,
) -> Result<Response, Error> {
    let mut name = bucket.name().as_bytes().to_vec();
    for codec in bucket.codecs() {
        name.extend_from_slice(pipeline(&call.app, codec, pairs)?.key(&id).as_bytes());
    }
    let etag = ETag::of_key(&Digest::of(&name));
    let (source, header) = match call.app.renditions.header(&id).await {
        Ok(known) => known,
        Err(error) => return Err(error.into()),
    };
    let codec = bucket.codec(source, &header).ok_or(Error::NotAcceptable)?;
    render(call, id, etag, &pipeline(&call.app, codec, pairs)?, download, true).await
}

async fn exists(app: &App, id: &Digest) -> Result<u64, Error> {
    let stats = app.store.stat(std::slice::from_ref(id)).await?;
    Ok(stats.first().copied().flatten().ok_or(store::Error::NotFound)?.len)
}

/// `GET /images/{id}/info`
pub(super) fn info(call: Call, id: Digest) -> Reply {
    Reply::later(async move {
        let bytes = exists(&call.app, &id).await?;
        let (codec, header) = call.app.renditions.header(&id).await?;
        let size = header.size.oriented(header.orientation);
        let channels = match header.channels {
            Channels::Gray => "gray",
            Channels::GrayAlpha => "gray+alpha",
            Channels::Rgb => "rgb",
            Channels::Rgba => "rgb+alpha",
            Channels::Cmyk => "cmyk",
        };
        let known = json!({
            "id": id,
            "bytes": bytes,
            "format": codec.name,
            "media_type": codec.media_type,
            "width": size.w,
            "height": size.h,
            "frames": header.frames,
            "orientation": header.orientation.to_exif(),
            "channels": channels,
            "bits": header.bits,
            "icc": header.icc,
        });
        respond::revalidated(&call.parts, &known)
    })
}

/// `DELETE /images/{id}`: 204, also when it is not there.
pub(super) fn delete(call: Call, id: Digest) -> Reply {
    Reply::later(async move {
        if conditional::is_conditional(&call.parts.headers) {
            let there = exists(&call.app, &id).await.is_ok();
            let etag = there.then(|| ETag::of_original(&id));
            let etag = etag.as_ref().map(ETag::as_str);
            if conditional::condition(&call.parts.method, &call.parts.headers, etag) != Condition::Proceed {
                return Err(Error::Precondition);
            }
        }
        let app = Arc::clone(&call.app);
        // On a task of its own: a client that leaves in between must not leave renditions of a deleted image behind.
        let deleted = tokio::spawn(async move {
            let deleted = app.store.delete(&id).await;
            if deleted.is_ok() {
                app.renditions.forget(&id);
            }
            deleted
        });
        deleted.await.map_err(|_| Error::Internal)??;
        Ok(respond::with(StatusCode::NO_CONTENT, Body::Empty))
    })
}

/// `GET /images?after=&limit=`
pub(super) fn list(call: Call) -> Reply {
    Reply::later(async move {
        let (mut after, mut limit) = (None, PAGE_IDS_DEFAULT.min(call.app.options.ids_max));
        for (name, value) in query::pairs(call.parts.uri.query())? {
            match name.as_str() {
                "after" => after = Some(value.parse().map_err(|_| parameter("after", "an id"))?),
                "limit" => limit = count(&value, call.app.options.ids_max)?,
                _ => return Err(parameter(&name, "after, limit")),
            }
        }
        let page = call.app.store.list(after, limit).await?;
        // A full page may have a next one; an empty one ends the walk.
        let next = page.last().filter(|_| page.len() == limit).map(|(id, _)| id);
        let images: Vec<_> = page.iter().map(|(id, stat)| json!({ "id": id, "bytes": stat.len })).collect();
        Ok(respond::json(StatusCode::OK, &json!({ "images": images, "next": next })))
    })
}

fn parameter(name: &str, allowed: &str) -> Error {
    Error::Parameter { parameter: name.chars().take(64).collect(), allowed: allowed.to_owned() }
}

fn count(text: &str, max: usize) -> Result<usize, Error> {
    let count = text.parse().ok().filter(|count| (1..=max).contains(count));
    count.ok_or_else(|| parameter("limit", &format!("1 to {max}")))
}

/// `POST /images/missing`: of many ids, one a line or a JSON array, those that are not stored, in the same form.
pub(super) fn missing(call: Call) -> Reply {
    Reply::later(async move {
        let form = Form::of(&call)?;
        let Call { app, body, .. } = call;
        let max = app.options.list_bytes_max;
        if body.declared().is_some_and(|declared| declared > max as u64) {
            return Err(Error::BodyTooLarge { max: max as u64 });
        }
        let ids = form.read(&body.read(&app.options).all(max).await?)?;
        let ids_max = app.options.ids_max;
        if ids.len() > ids_max {
            return Err(Error::Ids { value: ids.len() as u64, max: ids_max as u64 });
        }
        let stats = app.store.stat(&ids).await?;
        let missing: Vec<Digest> =
            ids.into_iter().zip(stats).filter(|(_, stat)| stat.is_none()).map(|(id, _)| id).collect();
        Ok(form.write(&missing))
    })
}

/// How a list of ids is written.
enum Form {
    Json,
    Lines,
}

impl Form {
    fn of(call: &Call) -> Result<Form, Error> {
        let media_type = call.parts.headers.get(CONTENT_TYPE).map_or(Cow::Borrowed(""), |value| {
            let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
            Cow::Owned(text.split(';').next().unwrap_or_default().trim().to_owned())
        });
        match media_type.as_ref() {
            "application/json" => Ok(Form::Json),
            // What curl's --data-binary says unasked is taken for a list, too.
            "" | "text/plain" | "application/x-www-form-urlencoded" => Ok(Form::Lines),
            _ => Err(Error::MediaType { allowed: "text/plain with one id a line, or application/json" }),
        }
    }

    fn read(&self, body: &[u8]) -> Result<Vec<Digest>, Error> {
        const MALFORMED: Error = Error::Malformed { what: "the body must be ids of 64 lower-case hexadecimal digits" };
        match self {
            Form::Json => {
                let ids: Vec<Cow<'_, str>> = serde_json::from_slice(body).map_err(|_| MALFORMED)?;
                ids.iter().map(|id| id.parse().map_err(|_| MALFORMED)).collect()
            }
            Form::Lines => {
                let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
                lines.map(|line| Digest::from_hex(line).map_err(|_| MALFORMED)).collect()
            }
        }
    }

    fn write(&self, ids: &[Digest]) -> Response {
        match self {
            Form::Json => respond::json(StatusCode::OK, &json!(ids)),
            Form::Lines => {
                let mut lines = String::with_capacity(ids.len() * 65);
                for id in ids {
                    lines.push_str(id.hex().as_str());
                    lines.push('\n');
                }
                respond::text(StatusCode::OK, "text/plain", lines)
            }
        }
    }
}
