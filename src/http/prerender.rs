//! `prerender=thumb.webp,hero`: presets that are rendered once an image is stored, by a job of its own, so that the first who asks
//! for them need not wait. A preset without an extension is rendered in the image's own format.

use std::sync::Arc;

use hyper::header::LOCATION;
use serde_json::{Value, json};

use super::error::Error;
use super::permits::Permits;
use super::query::pairs;
use super::{App, Body, Call, Response, delivery};
use crate::items::OUTPUTS_MAX;
use crate::jobs::{self, Sender};
use crate::pipeline::codec::{Codec, by_extension};
use crate::pipeline::param::invalid;

const NAME: &str = "prerender";

/// What is rendered of an image that is stored.
pub(super) struct Prerender {
    app: Arc<App>,
    rights: u32,
    /// As it was asked for.
    list: String,
    presets: Vec<(String, Option<&'static Codec>)>,
}

impl Prerender {
    /// What an upload asks for: often nothing.
    pub(super) fn of(call: &Call) -> Result<Prerender, Error> {
        let app = call.app.clone();
        let mut pairs = pairs(call.parts.uri.query())?;
        let list = delivery::once(&mut pairs, NAME)?;
        if let Some((name, value)) = pairs.first() {
            return Err(invalid(name, value, NAME).into());
        }
        let Some(list) = list else {
            return Ok(Prerender { app, rights: 0, list: String::new(), presets: Vec::new() });
        };
        let presets: Vec<_> = list.split(',').map(|word| read(&app, word)).collect::<Option<_>>().ok_or_else(|| {
            let allowed = format!(
                "names, each with or without an extension, separated by commas; presets: {}",
                app.options.presets.names()
            );
            invalid(NAME, &list, allowed)
        })?;
        if presets.len() > OUTPUTS_MAX {
            let allowed = format!("at most {OUTPUTS_MAX} presets");
            return Err(invalid(NAME, &list, allowed).into());
        }
        Ok(Prerender { rights: Permits::of(&app.access, &call.parts).bits(), app, list, presets })
    }

    /// Whether nothing is asked for.
    pub(super) fn is_none(&self) -> bool {
        self.presets.is_empty()
    }

    /// Refuses an upload of many images that asks for anything: what it comes to is told line by line, when nothing can be refused
    /// any more.
    pub(super) fn of_many(&self) -> Result<(), Error> {
        if self.is_none() {
            return Ok(());
        }
        Err(invalid(NAME, &self.list, "for one image; for those of many, once they are stored: POST /jobs").into())
    }

    /// Begins the job of an image that was stored and names it in the answer. An upload never fails for it: what is not rendered
    /// beforehand is rendered when it is asked for.
    pub(super) async fn begin(self, mut response: Response) -> Response {
        let one = response.headers().contains_key(LOCATION);
        if self.is_none() || !one {
            return response;
        }
        let Body::Full(body) = response.body() else { return response };
        let Ok(mut told) = serde_json::from_slice::<Value>(body) else { return response };
        match self.submit(&told).await {
            Ok(job) => {
                told["job"] = job.into();
                *response.body_mut() = Body::Full(told.to_string().into());
            }
            Err(error) => tracing::debug!(%error, "presets are not rendered beforehand"),
        }
        response
    }

    async fn submit(&self, told: &Value) -> Result<String, jobs::Error> {
        let own = told["format"].as_str().and_then(by_extension).filter(|codec| codec.encoder.is_some());
        let format = |codec: Option<&Codec>| codec.or(own).map_or("png", |codec| codec.extensions[0]);
        let output =
            |(name, codec): &(String, Option<&'static Codec>)| json!({ "preset": name, "format": format(*codec) });
        let outputs: Vec<Value> = self.presets.iter().map(output).collect();
        let line = json!({ "source": { "id": told["id"] }, "outputs": outputs });
        let mut intake = self.app.jobs.receive(Sender { rights: self.rights, beside: true, ..Sender::default() })?;
        intake.line(line.to_string().into()).await?;
        Ok(format!("/jobs/{}", intake.accept().await?.id))
    }
}

/// A preset and the format it is rendered in.
fn read(app: &App, word: &str) -> Option<(String, Option<&'static Codec>)> {
    let (name, codec) = match word.rsplit_once('.') {
        Some((name, extension)) => (name, Some(by_extension(extension).filter(|codec| codec.encoder.is_some())?)),
        None => (word, None),
    };
    app.options.presets.get(name)?;
    Some((name.to_owned(), codec))
}
