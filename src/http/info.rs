//! What is known of a stored image: its header, and what is asked for with `include=`.

use serde_json::{Map, Value, json};

use super::error::Error;
use super::{Call, Reply, auth, images, query, respond};
use crate::digest::Digest;
use crate::pipeline::codec::Codec;
use crate::pipeline::summary::{self, ENTRIES};
use crate::pipeline::{Channels, Pipeline};

/// `GET /images/{id}/info`
pub(super) fn info(call: Call, id: Digest) -> Reply {
    Reply::later(async move {
        let entries = included(call.parts.uri.query())?;
        let bytes = images::exists(&call.app, &id).await?;
        let (codec, header) = call.app.renditions.header(&id).await?;
        let size = header.size.oriented(header.orientation);
        let channels = match header.channels {
            Channels::Gray => "gray",
            Channels::GrayAlpha => "gray+alpha",
            Channels::Rgb => "rgb",
            Channels::Rgba => "rgb+alpha",
            Channels::Cmyk => "cmyk",
        };
        let mut known = json!({
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
        exif(&call, &id, codec, &mut known).await?;
        include(&call, &id, &entries, &mut known).await?;
        respond::revalidated(&call.parts, &known)
    })
}

/// Adds what the camera says; where, only for those who may read the original, which says it too.
async fn exif(call: &Call, id: &Digest, codec: &Codec, known: &mut Value) -> Result<(), Error> {
    if codec.metadata.is_none() {
        return Ok(());
    }
    let Some(camera) = call.app.renditions.camera(id).await? else { return Ok(()) };
    let mut exif = serde_json::to_value(&*camera).map_err(|_| Error::Internal)?;
    if let (Some(object), Err(_)) = (exif.as_object_mut(), auth::of_original(&call.app.access, &call.parts)) {
        object.remove("gps");
    }
    if exif.as_object().is_some_and(|object| !object.is_empty()) {
        known["exif"] = exif;
    }
    Ok(())
}

/// The entries of a summary that `include=` names, each once.
fn included(query: Option<&str>) -> Result<Vec<&'static summary::Entry>, Error> {
    let mut entries: Vec<&summary::Entry> = Vec::new();
    let allowed = || ENTRIES.iter().map(|entry| entry.name).collect::<Vec<_>>().join(", ");
    let refused = |name: &str, allowed| Error::Parameter { parameter: name.chars().take(64).collect(), allowed };
    let pairs = query::pairs(query)?;
    for (place, (name, value)) in pairs.iter().enumerate() {
        if name != "include" || place > 0 {
            return Err(refused(name, "include, once".to_owned()));
        }
        for word in value.split(',') {
            let entry = ENTRIES.iter().find(|entry| entry.name == word).ok_or_else(|| refused("include", allowed()))?;
            if entries.iter().any(|other| other.name == entry.name) {
                return Err(refused("include", format!("each once of {}", allowed())));
            }
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// Adds the entries. All of them are made at once and kept as a rendition: the next request finds them there.
async fn include(call: &Call, id: &Digest, entries: &[&summary::Entry], known: &mut Value) -> Result<(), Error> {
    if entries.is_empty() {
        return Ok(());
    }
    let (rendition, _) = call.app.renditions.get(id, &Pipeline::summary()).await?;
    let mut summary: Map<String, Value> = serde_json::from_slice(&rendition.bytes).map_err(|_| Error::Internal)?;
    for entry in entries {
        known[entry.name] = summary.remove(entry.name).unwrap_or_default();
    }
    Ok(())
}
