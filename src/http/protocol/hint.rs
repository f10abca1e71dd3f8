//! Paths that a client may ask for instead, with what may be repeated of its query: parameters of the pipeline with short values.
//! Anything else may be a secret (a URL with a password, a signature), and hints are kept in logs.

use crate::pipeline::invalid::Help;
use crate::pipeline::{self, foreign};

/// The longest path that is given as a hint, its query included.
const HINT_BYTES_MAX: usize = 256;
/// The longest value that is repeated: an id.
const VALUE_BYTES_MAX: usize = 64;

/// The path with what may be repeated of `query`; `None`: the path is too long.
pub(in crate::http) fn path(path: String, query: Option<&str>) -> Option<String> {
    let pairs: Vec<&str> = pairs(query).filter(|pair| may_be_repeated(pair)).collect();
    let whole = if pairs.is_empty() { path.clone() } else { format!("{path}?{}", pairs.join("&")) };
    Some(if whole.len() > HINT_BYTES_MAX { path } else { whole }).filter(|hint| hint.len() <= HINT_BYTES_MAX)
}

/// The extension that a query asks for, as other services have it: `format=webp`.
pub(in crate::http) fn extension(query: Option<&str>) -> Option<String> {
    pairs(query).map(split).find_map(|(name, value)| foreign::format(name, value))
}

/// Gives the path under another extension to an error of a parameter that asks for a format.
pub(in crate::http) fn by_extension(error: pipeline::Error, stem: &str, query: Option<&str>) -> pipeline::Error {
    const WHY: &str = "the format is the extension of the path";
    error.by_extension(|extension| match path(format!("{stem}.{extension}"), query) {
        Some(path) => Help::Write(path, Some(WHY)),
        None => Help::Words(WHY.into()),
    })
}

/// The pairs of a query that is short enough to be looked through.
fn pairs(query: Option<&str>) -> impl Iterator<Item = &str> {
    let query = query.filter(|query| query.len() <= HINT_BYTES_MAX).unwrap_or_default();
    query.split('&').filter(|pair| !pair.is_empty())
}

fn split(pair: &str) -> (&str, &str) {
    pair.split_once('=').unwrap_or((pair, ""))
}

fn may_be_repeated(pair: &str) -> bool {
    let (name, value) = split(pair);
    value.len() <= VALUE_BYTES_MAX && pipeline::is_known(name, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_parameters_of_the_pipeline_are_repeated() {
        let check = |query: &str, expected: &str| {
            assert_eq!(path("/a.webp".to_owned(), Some(query)).as_deref(), Some(expected), "{query}");
        };
        check("w=3&h=4", "/a.webp?w=3&h=4");
        check("greyscale&w=3", "/a.webp?greyscale&w=3");
        check("url=https://user:password@host/&w=3&sig=0123&download=x&zzz=1&format=png", "/a.webp?w=3");
        check(&format!("w={}", "3".repeat(65)), "/a.webp");
        check(&"w=3&".repeat(65), "/a.webp");
        assert_eq!(path("/".repeat(257), None), None);
    }
}
