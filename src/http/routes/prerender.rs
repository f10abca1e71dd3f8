//! `prerender=thumb.webp,hero`: presets that are rendered right after an upload of one or many images, by a job of its
//! own, so that the first request for them need not wait. A preset without an extension is rendered in the image's own
//! format.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use super::images::has_all_metadata;
use crate::digest::Digest;
use crate::http::app::App;
use crate::http::call::Call;
use crate::http::error::Error;
use crate::http::protocol::response_options;
use crate::http::protocol::rights::Rights;
use crate::items::{Needs, OUTPUTS_MAX};
use crate::jobs::{self, JobKind, Sender, Submission};
use crate::pipeline::codec::{Codec, by_extension};
use crate::pipeline::invalid::{invalid, unknown_of};
use crate::pipeline::query::pairs;

const NAME: &str = "prerender";

/// The presets that are rendered of an uploaded image.
#[derive(Clone)]
pub(in crate::http) struct Prerender {
    app: Arc<App>,
    /// The name of the uploader's key.
    owner: String,
    rights: u32,
    presets: Vec<(String, Option<&'static Codec>)>,
}

impl Prerender {
    /// Reads what an upload asks for, which is often nothing.
    pub(in crate::http) fn of(call: &Call) -> Result<Prerender, Error> {
        let app = call.app.clone();
        let mut pairs = pairs(call.parts.uri.query())?;
        let list = response_options::once(&mut pairs, NAME)?;
        if let Some((name, value)) = pairs.first() {
            return Err(unknown_of(name, value, &[NAME]).into());
        }
        let Some(list) = list else { return Ok(Prerender::none(app)) };
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
        let rights = Rights::of(&app.access, &call.parts);
        // Without this check each image would fail later, when its sender has left.
        rights.check(needs(&app, &presets))?;
        let owner = app.access.key_name(&call.parts).to_owned();
        Ok(Prerender { rights: rights.bits(), owner, app, presets })
    }

    fn none(app: Arc<App>) -> Prerender {
        Prerender { app, owner: String::new(), rights: 0, presets: Vec::new() }
    }

    /// Starts the job for a stored image of this format. Returns the path of the job, if there is something to render
    /// and room for it.
    pub(in crate::http) async fn begin(&self, id: &Digest, codec: Option<&'static Codec>) -> Option<String> {
        let mut job = self.job();
        job.add(id, codec).await;
        job.submit().await
    }

    /// Begins a job for images that are still to be stored.
    pub(in crate::http) fn job(&self) -> PrerenderJob<'_> {
        PrerenderJob { prerender: self, submission: None, ended: self.presets.is_empty() }
    }

    fn line(&self, id: &Digest, codec: Option<&'static Codec>) -> Bytes {
        let own = codec.filter(|codec| codec.encoder.is_some());
        let format = |codec: Option<&Codec>| codec.or(own).map_or("png", |codec| codec.extensions[0]);
        let output =
            |(name, codec): &(String, Option<&'static Codec>)| json!({ "preset": name, "format": format(*codec) });
        let outputs: Vec<Value> = self.presets.iter().map(output).collect();
        json!({ "source": { "id": id }, "outputs": outputs }).to_string().into()
    }
}

/// The job of one upload. The upload never fails because of it: what is not rendered now is rendered on request.
pub(in crate::http) struct PrerenderJob<'a> {
    prerender: &'a Prerender,
    /// The submission; `None` until there is an image, and again once the job is given up.
    submission: Option<Submission>,
    /// Whether the job takes no further image.
    ended: bool,
}

impl PrerenderJob<'_> {
    /// Adds a stored image of this format.
    pub(in crate::http) async fn add(&mut self, id: &Digest, codec: Option<&'static Codec>) {
        if self.ended {
            return;
        }
        if let Err(error) = self.take(id, codec).await {
            log(&error);
            self.ended = true;
            // If there are too many images, the ones before are a job.
            self.submission = self.submission.take().filter(|_| matches!(error, jobs::Error::TooManyItems { .. }));
        }
    }

    async fn take(&mut self, id: &Digest, codec: Option<&'static Codec>) -> Result<(), jobs::Error> {
        let Prerender { app, owner, rights, .. } = self.prerender;
        let submission = match &mut self.submission {
            Some(submission) => submission,
            none => none.insert(app.jobs.receive(Sender {
                owner,
                rights: *rights,
                kind: JobKind::Prerender,
                ..Sender::default()
            })?),
        };
        submission.line(self.prerender.line(id, codec)).await
    }

    /// Submits the job and returns its path; `None` if there is nothing to render, or no room for it.
    pub(in crate::http) async fn submit(self) -> Option<String> {
        let accepted = self.submission?.accept().await.inspect_err(log).ok()?;
        Some(format!("/jobs/{}", accepted.id))
    }
}

/// Logs why images are not rendered in advance; the client does not learn of it. A bound that was reached is no warning.
fn log(error: &jobs::Error) {
    const MESSAGE: &str = "presets are not rendered in advance";
    match error {
        jobs::Error::Database(_) => tracing::warn!(%error, "{MESSAGE}"),
        _ => tracing::debug!(%error, "{MESSAGE}"),
    }
}

/// The rights that rendering these presets of a stored image needs.
fn needs(app: &App, presets: &[(String, Option<&'static Codec>)]) -> Needs {
    let mut pairs = presets.iter().filter_map(|(name, _)| app.options.presets.get(name));
    let original = pairs.any(has_all_metadata);
    Needs { read: true, write: false, original }
}

/// Reads a preset and the format it is rendered in.
fn read(app: &App, word: &str) -> Option<(String, Option<&'static Codec>)> {
    let (name, codec) = match word.rsplit_once('.') {
        Some((name, extension)) => (name, Some(by_extension(extension).filter(|codec| codec.encoder.is_some())?)),
        None => (word, None),
    };
    app.options.presets.get(name)?;
    Some((name.to_owned(), codec))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, pipe};
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn a_database_that_fails_is_logged_and_a_full_one_is_not() {
        let check = |error: &jobs::Error, expected: bool| {
            let (mut logged, writer) = pipe().expect("a pipe");
            let subscriber =
                tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_writer(Mutex::new(writer));
            tracing::subscriber::with_default(subscriber.finish(), || log(error));
            let mut text = String::new();
            logged.read_to_string(&mut text).expect("text");
            assert_eq!(text.contains("presets are not rendered in advance"), expected, "{error}: {text}");
        };
        check(&jobs::Error::Database("disk I/O error".to_owned()), true);
        check(&jobs::Error::Full { max: 1 }, false);
        check(&jobs::Error::Busy, false);
    }
}
