//! What a query says beside the pipeline: how the answer is delivered, and presets, which stand for other parameters. Part of no
//! cache key: a preset is put in full before the pipeline is read. And the refusal of what no route knows.

use hyper::http::request::Parts;

use super::auth::Grant;
use super::hint;
use crate::digest::Digest;
use crate::http::error::Error;
use crate::pipeline::invalid::{Help, incomplete, invalid, unknown_of};
use crate::pipeline::query;
pub(in crate::http) use crate::pipeline::query::{Pairs, once};
use crate::pipeline::{self, PRESET, Presets};

/// Changes a header field and not the bytes.
const DOWNLOAD: &str = "download";
/// Of a signed URL; they are verified before anything is read.
const SIGNED: [&str; 3] = ["expires", "key_id", "sig"];
const DOWNLOAD_BYTES_MAX: usize = 255;

/// How an answer is delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::http) struct ResponseOptions {
    /// A file name to save as.
    pub(in crate::http) download: Option<String>,
    /// A preset was named, whose meaning may change.
    pub(in crate::http) preset: bool,
}

/// The query of a request: the parameters of the pipeline, and the response options.
pub(in crate::http) fn of(
    query: Option<&str>,
    presets: &Presets,
    grant: Grant,
) -> Result<(Pairs, ResponseOptions), Error> {
    match query {
        None => Ok(Default::default()),
        query => split(query::pairs(query)?, presets, grant),
    }
}

/// The same of pairs of which a route took its own.
pub(in crate::http) fn split(
    mut pairs: Pairs,
    presets: &Presets,
    grant: Grant,
) -> Result<(Pairs, ResponseOptions), Error> {
    if matches!(grant, Grant::Signed { .. }) {
        pairs.retain(|(name, _)| !SIGNED.contains(&name.as_str()));
    }
    let download = once(&mut pairs, DOWNLOAD)?;
    if let Some(name) = download.as_ref().filter(|name| !(1..=DOWNLOAD_BYTES_MAX).contains(&name.len())) {
        let allowed = format!("1..{DOWNLOAD_BYTES_MAX} bytes");
        let words = format!("a file name of 1 to {DOWNLOAD_BYTES_MAX} bytes");
        return Err(invalid(DOWNLOAD, name, allowed).must_be(words).into());
    }
    let free = pairs.iter().find(|(name, _)| name != PRESET);
    if let (true, Some((name, value))) = (presets.only, free) {
        return Err(presets.alone(name, value).into());
    }
    let preset = presets.expand(&mut pairs)?;
    Ok((pairs, ResponseOptions { download, preset }))
}

/// A parameter of the pipeline where a path has no extension, or one that is not known at all.
pub(in crate::http) fn needs_extension(name: &str, value: &str, id: &Digest, query: Option<&str>) -> pipeline::Error {
    if !pipeline::is_known(name, value) {
        return hint::by_extension(pipeline::unknown_of_query(name, value), &format!("/images/{id}"), query);
    }
    let path = hint::path(format!("/images/{id}.auto"), query);
    let error = incomplete(name, &["ext"]).must_be("an extension");
    error.helped(path.map_or(Help::None, |path| Help::Write(path, None)))
}

/// Refuses parameters that a route does not take: a misspelt one would be ignored. `known` names those that it takes.
pub(in crate::http) fn nothing_else(pairs: &Pairs, known: &[&'static str]) -> Result<(), Error> {
    let Some((name, value)) = pairs.first() else { return Ok(()) };
    Err(unknown_of(name, value, known).into())
}

/// Refuses any parameter, for routes that take none.
pub(in crate::http) fn no_parameters(parts: &Parts) -> Result<(), Error> {
    nothing_else(&query::pairs(parts.uri.query())?, &[])
}
