//! What a query says beside the pipeline: how the answer is delivered, and presets, which stand for other parameters. Part of no
//! cache key: a preset is put in full before the pipeline is read. And the refusal of what no route knows.

use hyper::http::request::Parts;

use super::auth::Grant;
use crate::http::error::Error;
use crate::pipeline::param::invalid;
use crate::pipeline::query;
pub(in crate::http) use crate::pipeline::query::{Pairs, once};
use crate::pipeline::{PRESET, Presets};

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
        return Err(invalid(DOWNLOAD, name, format!("1 to {DOWNLOAD_BYTES_MAX} bytes")).into());
    }
    let free = pairs.iter().find(|(name, _)| name != PRESET);
    if let (true, Some((name, value))) = (presets.only, free) {
        return Err(invalid(name, value, format!("{PRESET}, {DOWNLOAD}; presets: {}", presets.names())).into());
    }
    let preset = presets.expand(&mut pairs)?;
    Ok((pairs, ResponseOptions { download, preset }))
}

/// Refuses what nobody took out of the pairs: a parameter that is misspelt would be one that is ignored. `allowed` names the others.
pub(in crate::http) fn nothing_else(pairs: &Pairs, allowed: &str) -> Result<(), Error> {
    let Some((name, value)) = pairs.first() else { return Ok(()) };
    Err(invalid(name, value, allowed).into())
}

/// The same for routes that know no parameters.
pub(in crate::http) fn no_parameters(parts: &Parts) -> Result<(), Error> {
    nothing_else(&query::pairs(parts.uri.query())?, "no parameters")
}
