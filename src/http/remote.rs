//! Images of other servers: `GET /remote.{ext}` renders one, `POST /images` with a URL as JSON stores one.

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, HeaderName};
use serde::Deserialize;

use super::asked::Asked;
use super::auth::{Kind, Scope};
use super::delivery::{Pairs, once};
use super::error::Error;
use super::respond::{self, ETag, Image};
use super::upload;
use super::{App, Call, Reply, Response};
use crate::fetch::RemoteSource;
use crate::pipeline::Pipeline;
use crate::pipeline::param::{invalid, missing};
use crate::renditions::{Origin, Rendition, inspect};

/// Bytes of a JSON body that names a URL: twice as much as the longest URL, for what JSON escapes.
const JSON_BYTES_MAX: usize = 16 << 10;

/// `GET /remote.{ext}?url=...`
pub(super) fn remote(call: Call, extension: &str) -> Reply {
    let mut own = Own::default();
    let asked =
        match Asked::of(&call, extension, |pairs| own.take(pairs)).and_then(|asked| permitted(&call, &own, asked)) {
            Ok(asked) => asked,
            Err(error) => return Reply::Now(Err(error)),
        };
    Reply::later(async move {
        let app = &call.app;
        let source = app.sources.get(&own.url).await?;
        let known = if asked.is_negotiated() { Some(inspect(&source.bytes).await?) } else { None };
        let pipeline = asked.pipeline(app, known, &[])?;
        if own.store {
            store(app, source.bytes.clone()).await?;
        }
        let key = pipeline.key(&source.digest);
        let image = Image {
            parts: &call.parts,
            etag: ETag::of_key(&key),
            media_type: pipeline.codec().media_type,
            grant: call.grant,
            delivery: &asked.delivery,
        };
        let mut response = match image.condition()? {
            Some(answer) => answer,
            None => {
                let (rendition, origin) = render(app, &source, &pipeline, own.store).await?;
                let mut response = image.bytes(&rendition.bytes)?;
                respond::came_from(&mut response, origin);
                response
            }
        };
        respond::aged(&mut response, call.grant, source.max_age);
        if own.store {
            // What it was made of: RFC 4287 calls it "via".
            let link = respond::value(format!("</images/{}>; rel=\"via\"", source.digest));
            response.headers_mut().insert(HeaderName::from_static("link"), link);
        }
        Ok(response)
    })
}

/// The names of a query that only this route understands.
#[derive(Default)]
struct Own {
    url: String,
    store: bool,
}

impl Own {
    fn take(&mut self, pairs: &mut Pairs) -> Result<(), Error> {
        self.url = once(pairs, "url")?.ok_or_else(|| missing("url", "the URL of an image, once"))?;
        self.store = match once(pairs, "store")?.as_deref() {
            Some("" | "true") => true,
            None | Some("false") => false,
            Some(other) => return Err(invalid("store", other, "true, false").into()),
        };
        Ok(())
    }
}

/// Everything that can be refused before anything is fetched.
fn permitted(call: &Call, own: &Own, asked: Asked) -> Result<Asked, Error> {
    if own.store {
        call.app.access.check(Scope::Write, Kind::Other, "", call.parts.headers.get_all(AUTHORIZATION))?;
    }
    call.app.sources.check(&own.url)?;
    asked.check(&call.app)?;
    Ok(asked)
}

async fn render(
    app: &App,
    source: &RemoteSource,
    pipeline: &Pipeline,
    stored: bool,
) -> Result<(Rendition, Origin), Error> {
    if stored {
        return Ok(app.renditions.get(&source.digest, pipeline).await?);
    }
    if let Some(hit) = app.renditions.cached_unstored(&source.digest, &pipeline.key(&source.digest)) {
        return Ok((hit, Origin::Hit));
    }
    // While it waits for its render it is a body in flight like any other.
    let _reserved = app.uploads.try_acquire(source.bytes.len() as u64)?;
    Ok(app.renditions.get_unstored(&source.digest, source.bytes.clone(), pipeline).await?)
}

/// Stores fetched bytes as an upload would be.
async fn store(app: &App, bytes: Bytes) -> Result<Response, Error> {
    let mut upload = app.uploads.begin(Some(bytes.len() as u64)).await?;
    upload.write(bytes).await?;
    upload::store(app, upload.seal(None).await?).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    url: String,
}

/// `POST /images` of `{"url": ...}`
pub(super) async fn upload(call: Call) -> Result<Response, Error> {
    const MALFORMED: Error = Error::Malformed { what: "the body must be {\"url\": \"https://...\"}" };
    let Call { app, body, .. } = call;
    if app.sources.are_off() {
        return Err(crate::fetch::Error::Off.into());
    }
    let too_large = || Error::TooLarge { name: "json_bytes_max", max: JSON_BYTES_MAX as u64 };
    if body.declared().is_some_and(|declared| declared > JSON_BYTES_MAX as u64) {
        return Err(too_large());
    }
    let (mut reader, mut body) = (body.read(&app.options), Vec::new());
    while let Some(chunk) = reader.next().await? {
        body.extend_from_slice(&chunk);
        if body.len() > JSON_BYTES_MAX {
            return Err(too_large());
        }
    }
    let Wanted { url } = serde_json::from_slice(&body).map_err(|_| MALFORMED)?;
    let source = app.sources.get(&url).await?;
    store(&app, source.bytes).await
}
