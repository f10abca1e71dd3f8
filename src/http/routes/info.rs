//! Information about a stored image: its header, its EXIF, and what `include=` asks for.

use hyper::http::request::Parts;
use serde_json::{Map, Value, json};

use super::images;
use crate::digest::Digest;
use crate::http::app::App;
use crate::http::call::{Call, Reply};
use crate::http::error::Error;
use crate::http::protocol::auth::{Caller, Work};
use crate::http::protocol::response;
use crate::pipeline::codec::Codec;
use crate::pipeline::invalid::{Help, invalid, nearest, repeated, unknown_of};
use crate::pipeline::query;
use crate::pipeline::summary::{self, ENTRIES};
use crate::pipeline::{self, Channels, Pipeline};

/// `GET /images/{id}/info`
pub(in crate::http) fn info(call: Call, id: Digest) -> Reply {
    Reply::later(async move {
        let request = InfoRequest::of(&call.app, &call.parts)?;
        let answer = request.answer(&call.app, &id, call.caller.as_deref()).await?;
        response::revalidated(&call.parts, &answer)
    })
}

/// The information that a request asks for, about one image or many.
pub(in crate::http) struct InfoRequest {
    entries: Vec<&'static summary::Entry>,
    /// Whether the place is shown.
    place: bool,
}

impl InfoRequest {
    /// Reads the query, and checks the access to the place.
    pub(in crate::http) fn of(app: &App, parts: &Parts) -> Result<InfoRequest, Error> {
        Ok(InfoRequest { entries: included(parts.uri.query())?, place: app.access.shows_place(parts) })
    }

    /// The information about `id`. A render for it counts in the limits of `caller`.
    pub(in crate::http) async fn answer(
        &self,
        app: &App,
        id: &Digest,
        caller: Option<&Caller>,
    ) -> Result<Value, Error> {
        let bytes = images::exists(app, id).await?;
        let (codec, header) = app.renditions.header(id).await?;
        let size = header.size.oriented(header.orientation);
        let channels = match header.channels {
            Channels::Gray => "gray",
            Channels::GrayAlpha => "gray+alpha",
            Channels::Rgb => "rgb",
            Channels::Rgba => "rgb+alpha",
            Channels::Cmyk => "cmyk",
            Channels::Cmyka => "cmyk+alpha",
        };
        let mut known = json!({
            "id": id,
            "bytes": bytes,
            "format": codec.name,
            "media_type": codec.media_type,
            "width": size.w,
            "height": size.h,
            "frames": header.frames,
            "pages": header.page_count(),
            "orientation": header.orientation.to_exif(),
            "channels": channels,
            "bits": header.bits,
            "icc": header.icc,
        });
        if let Some(density) = header.density {
            known["dpi"] = json!(density.dots());
        }
        self.exif(app, id, codec, &mut known).await?;
        if !self.entries.is_empty() {
            self.include(app, id, caller, &mut known).await?;
        }
        Ok(known)
    }

    /// Adds the EXIF of the camera.
    async fn exif(&self, app: &App, id: &Digest, codec: &Codec, known: &mut Value) -> Result<(), Error> {
        if codec.metadata.is_none() {
            return Ok(());
        }
        let Some(camera) = app.renditions.camera(id).await? else { return Ok(()) };
        let mut exif = serde_json::to_value(&*camera).map_err(|_| Error::Internal)?;
        if let Some(object) = exif.as_object_mut().filter(|_| !self.place) {
            object.remove("gps");
        }
        if exif.as_object().is_some_and(|object| !object.is_empty()) {
            known["exif"] = exif;
        }
        Ok(())
    }

    /// Adds the requested entries. All entries are made at once and kept as a rendition, which the next request finds.
    async fn include(&self, app: &App, id: &Digest, caller: Option<&Caller>, known: &mut Value) -> Result<(), Error> {
        let pipeline = Pipeline::summary();
        let key = pipeline.key(id);
        let rendition = match app.renditions.cached(id, &key) {
            Some(hit) => hit,
            None => {
                let _place = caller.map(|caller| caller.begin(Work::Render)).transpose()?;
                app.renditions.missed(id, key, &pipeline).await?.0
            }
        };
        let mut summary: Map<String, Value> = serde_json::from_slice(&rendition.bytes).map_err(|_| Error::Internal)?;
        for entry in &self.entries {
            known[entry.name] = summary.remove(entry.name).unwrap_or_default();
        }
        Ok(())
    }
}

/// Reads the entries that `include=` names, each at most once.
fn included(query: Option<&str>) -> Result<Vec<&'static summary::Entry>, Error> {
    let mut entries: Vec<&summary::Entry> = Vec::new();
    let pairs = query::pairs(query)?;
    for (place, (name, value)) in pairs.iter().enumerate() {
        if name != "include" {
            return Err(unknown_of(name, value, &["include"]).into());
        }
        if place > 0 {
            return Err(repeated(name).into());
        }
        for word in value.split(',') {
            let entry = ENTRIES.iter().find(|entry| entry.name == word).ok_or_else(|| no_entry(word))?;
            if entries.iter().any(|other| other.name == entry.name) {
                return Err(no_entry(value).because(format!("{word} is given twice")).into());
            }
            entries.push(entry);
        }
    }
    Ok(entries)
}

/// Refuses an entry, or a list of entries.
fn no_entry(value: &str) -> pipeline::Error {
    let names: Vec<&str> = ENTRIES.iter().map(|entry| entry.name).collect();
    let near = nearest(value, names.iter().copied()).map(|name| Help::Nearest(name.to_owned()));
    let refused = invalid("include", value, names.join(", ")).must_be(format!("some of {}", names.join(", ")));
    refused.helped(near.filter(|_| !names.contains(&value)).unwrap_or_default())
}
