//! `POST /images` with a URL as JSON: an image of another server, stored like an uploaded one.

use bytes::Bytes;
use serde::Deserialize;

use super::Known;
use crate::http::app::App;
use crate::http::call::Call;
use crate::http::error::Error;
use crate::http::message::response_body::Response;
use crate::http::routes::prerender::Prerender;
use crate::store::Receipt;

/// Bytes of a JSON body with a URL: twice the longest URL, for what JSON escapes.
const JSON_BYTES_MAX: usize = 16 << 10;

/// Stores fetched bytes like an upload.
pub(in crate::http::routes) async fn store(app: &App, bytes: Bytes) -> Result<(Receipt, Known), Error> {
    let mut upload = app.uploads.begin(Some(bytes.len() as u64)).await?;
    upload.write(bytes).await?;
    super::commit(app, upload.seal(None).await?).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UrlBody {
    url: String,
}

/// `POST /images` of `{"url": ...}`
pub(super) async fn upload(call: Call, prerender: &Prerender) -> Result<Response, Error> {
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
    let UrlBody { url } = serde_json::from_slice(&body).map_err(|_| MALFORMED)?;
    let source = app.sources.get(&url).await?;
    let (receipt, known) = store(&app, source.bytes).await?;
    Ok(super::accepted(&receipt, Some(known), prerender).await)
}
