//! The parameters of a query that are not of the pipeline: response options, and presets, which are replaced by their
//! queries. They are part of no cache key, since a preset is replaced before the pipeline is read. Also refuses
//! parameters that no route knows.

use hyper::http::request::Parts;

use super::auth::Grant;
use super::hint;
use crate::digest::Digest;
use crate::http::error::Error;
use crate::pipeline::invalid::{Help, incomplete, invalid, unknown_of};
use crate::pipeline::query;
pub(in crate::http) use crate::pipeline::query::{Pairs, once};
use crate::pipeline::{self, PRESET, Presets};

/// The parameter that changes a header field and not the bytes.
const DOWNLOAD: &str = "download";
/// The parameter that is bounded for clients without a key or a signature.
pub(in crate::http) const EFFORT: &str = "effort";
/// The parameters of a signed URL. They are verified before anything is read.
const SIGNED: [&str; 3] = ["expires", "key_id", "sig"];
const DOWNLOAD_BYTES_MAX: usize = 255;

/// How a response is delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::http) struct ResponseOptions {
    /// The file name to save as.
    pub(in crate::http) download: Option<String>,
    /// Whether a preset was named, whose meaning may change.
    pub(in crate::http) preset: bool,
    /// Whether a client without a key or a signature has chosen the effort.
    pub(in crate::http) free_effort: bool,
}

/// Splits the query of a request into parameters of the pipeline and response options.
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

/// Splits pairs, after the route has removed its own, into parameters of the pipeline and response options.
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
    let free_effort = grant == Grant::Public && pairs.iter().any(|(name, _)| name == EFFORT);
    let preset = presets.expand(&mut pairs)?;
    Ok((pairs, ResponseOptions { download, preset, free_effort }))
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

/// Refuses parameters that a route does not take, since a misspelt one would be ignored. `known` names the ones it
/// takes.
pub(in crate::http) fn nothing_else(pairs: &Pairs, known: &[&'static str]) -> Result<(), Error> {
    let Some((name, value)) = pairs.first() else { return Ok(()) };
    Err(unknown_of(name, value, known).into())
}

/// Refuses any parameter, for routes that take none.
pub(in crate::http) fn no_parameters(parts: &Parts) -> Result<(), Error> {
    nothing_else(&query::pairs(parts.uri.query())?, &[])
}
