//! `POST /images` with a URL as JSON: an image of another server, stored like an uploaded one.

use bytes::Bytes;
use serde_json::Value;

use super::Known;
use crate::http::app::App;
use crate::http::call::Call;
use crate::http::error::Error;
use crate::http::message::body::RequestBody;
use crate::http::message::response_body::Response;
use crate::http::routes::prerender::Prerender;
use crate::pipeline::codec::sniff;
use crate::pipeline::invalid::{Help, invalid, missing, repeated, unknown_part};
use crate::pipeline::json::Object;
use crate::store::Receipt;

/// Bytes of a JSON body with a URL: twice the longest URL, for what JSON escapes.
const JSON_BYTES_MAX: usize = 16 << 10;

/// Stores fetched bytes like an upload.
pub(in crate::http::routes) async fn store(app: &App, bytes: Bytes) -> Result<(Receipt, Known), Error> {
    let mut upload = app.uploads.begin(Some(bytes.len() as u64)).await?;
    upload.write(bytes).await?;
    super::commit(app, upload.seal(None).await?).await
}

/// `POST /images` of `{"url": ...}`
pub(super) async fn upload(call: Call, prerender: &Prerender) -> Result<Response, Error> {
    let Call { app, body, .. } = call;
    let url = url(&read(&app, body).await?)?;
    if app.sources.are_off() {
        return Err(crate::fetch::Error::Off.into());
    }
    let source = app.sources.get(&url).await?;
    let (receipt, known) = store(&app, source.bytes).await?;
    Ok(super::accepted(&receipt, Some(known), prerender).await)
}

/// Reads the body. A client that sends an image under the name of JSON is told so, however large it is.
async fn read(app: &App, body: RequestBody) -> Result<Vec<u8>, Error> {
    const IMAGE: Error = Error::Malformed { what: "the body is an image, and its Content-Type says application/json" };
    let too_large = Error::TooLarge { name: "json_bytes_max", max: JSON_BYTES_MAX as u64 };
    let declared = body.declared();
    let (mut reader, mut body) = (body.read(&app.options), Vec::new());
    while let Some(chunk) = reader.next().await? {
        if body.is_empty() && sniff(&chunk).is_ok() {
            return Err(IMAGE);
        }
        body.extend_from_slice(&chunk);
        if declared.is_some_and(|declared| declared > JSON_BYTES_MAX as u64) || body.len() > JSON_BYTES_MAX {
            return Err(too_large);
        }
    }
    Ok(body)
}

/// The one member of the body.
fn url(body: &[u8]) -> Result<String, Error> {
    const MALFORMED: Error = Error::Malformed { what: "the body must be {\"url\": \"https://...\"}" };
    let Object(members): Object<Value> = serde_json::from_slice(body).map_err(|_| MALFORMED)?;
    // The value of another member is not shown: it may be a URL with a password.
    if let Some((name, _)) = members.iter().find(|(name, _)| name != "url") {
        return Err(unknown_part(name, &["url"], Help::None).into());
    }
    match members.as_slice() {
        [(_, Value::String(url))] => Ok(url.clone()),
        [(_, other)] => Err(invalid("url", &other.to_string(), "the URL of an image").into()),
        [] => Err(missing("url", "the URL of an image").into()),
        _ => Err(repeated("url").into()),
    }
}
