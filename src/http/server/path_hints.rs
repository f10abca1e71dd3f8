//! Hints for paths that name nothing: the path that the client probably meant. A good id in a wrong path is never
//! called bad.

use hyper::Uri;

use crate::digest::Digest;
use crate::http::error::Error;
use crate::http::table::{PathPattern, ROUTES};
use crate::pipeline::foreign;
use crate::pipeline::invalid::nearest;

/// Longer queries are left out of the hint.
const QUERY_BYTES_MAX: usize = 256;
/// Names that other services have for the information about an image.
const INFOS: [&str; 7] = ["info", "metadata", "exif", "info.json", "meta", "json", "details"];

/// Adds a hint to the error of a path that names nothing, where one is known.
pub(in crate::http) fn with_hint(error: Error, uri: &Uri) -> Error {
    let found = match error {
        Error::NoSuchId => uri.path().strip_prefix("/images/").and_then(|rest| below_image(rest, uri)),
        Error::NoRoute => elsewhere(uri),
        _ => None,
    };
    let of_image = matches!(error, Error::NoSuchId);
    found.map_or(error, |(detail, hint)| Error::NoSuchPath { of_image, detail, hint })
}

/// What is wrong with a path, and the path that was probably meant.
type Hint = (String, Option<String>);

/// The hint for a path below `/images/`.
fn below_image(rest: &str, uri: &Uri) -> Option<Hint> {
    let (id, tail) = rest.split_at_checked(64)?;
    if id.parse::<Digest>().is_err() {
        let lower = id.to_ascii_lowercase();
        lower.parse::<Digest>().ok()?;
        let hint = format!("/images/{lower}{tail}{}", query(uri));
        return Some(("An id is written in lower case".to_owned(), Some(hint)));
    }
    let asked = tail.trim_matches('/');
    if let Some((operations, extension)) = foreign::of_path(asked) {
        let hint = format!("/images/{id}.{extension}?{operations}");
        return Some(("Operations go into the query, after an extension".to_owned(), Some(hint)));
    }
    if INFOS.contains(&asked) {
        return Some(("Information about an image is at".to_owned(), Some(format!("/images/{id}/info"))));
    }
    let detail = "There is nothing at this path; an image has /images/{id}, /images/{id}.{ext} and /images/{id}/info";
    Some((detail.to_owned(), None))
}

/// The hint for any other path.
fn elsewhere(uri: &Uri) -> Option<Hint> {
    let path = uri.path();
    let bare = ROUTES.iter().filter_map(|route| {
        if let PathPattern::Extension(written, _) = &route.pattern { Some(*written) } else { None }
    });
    for written in bare {
        let stem = written.trim_end_matches(".{ext}");
        if path == stem || path.strip_prefix(stem).is_some_and(|rest| rest.starts_with('/')) {
            let detail = "The format is the extension of this path".to_owned();
            return Some((detail, Some(format!("{stem}.webp{}", query(uri)))));
        }
    }
    if path.get(1..65).is_some_and(|id| id.parse::<Digest>().is_ok()) {
        let hint = format!("/images{path}{}", query(uri));
        return Some(("Images are below /images".to_owned(), Some(hint)));
    }
    let fixed = ROUTES
        .iter()
        .filter_map(|route| if let PathPattern::Fixed(path, _) = &route.pattern { Some(*path) } else { None });
    let near = nearest(path, fixed)?;
    Some(("There is nothing at this path; the nearest is".to_owned(), Some(near.to_owned())))
}

fn query(uri: &Uri) -> String {
    let query = uri.query().filter(|query| query.len() <= QUERY_BYTES_MAX);
    query.map(|query| format!("?{query}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_names_nothing_leads_to_one_that_does() {
        let id = Digest::of(b"x").to_string();
        let check = |error: Error, path: &str, expected: Option<&str>| {
            let uri: Uri = path.replace("{id}", &id).parse().expect(path);
            let hint = match with_hint(error, &uri) {
                Error::NoSuchPath { hint, .. } => hint,
                _ => None,
            };
            assert_eq!(hint, expected.map(|hint| hint.replace("{id}", &id)), "{path}");
        };
        check(Error::NoRoute, "/process?w=3", Some("/process.webp?w=3"));
        check(Error::NoRoute, "/remote?url=http://a/", Some("/remote.webp?url=http://a/"));
        check(Error::NoRoute, "/process/png", Some("/process.webp"));
        check(Error::NoRoute, "/health", Some("/healthz"));
        check(Error::NoRoute, "/image", Some("/images"));
        check(Error::NoRoute, "/{id}.webp?w=3", Some("/images/{id}.webp?w=3"));
        check(Error::NoRoute, "/nothing-like-it", None);
        check(Error::NoSuchId, "/images/{id}/w_300,c_fill", Some("/images/{id}.auto?w=300&fit=cover"));
        check(
            Error::NoSuchId,
            "/images/{id}/rs:fill:300:200/q:80/f:webp",
            Some("/images/{id}.webp?w=300&h=200&fit=cover&q=80"),
        );
        check(Error::NoSuchId, "/images/{id}/300x200", Some("/images/{id}.auto?w=300&h=200"));
        check(Error::NoSuchId, "/images/{id}/metadata", Some("/images/{id}/info"));
        check(Error::NoSuchId, "/images/{id}/info/", Some("/images/{id}/info"));
        check(Error::NoSuchId, "/images/{id}/nonsense", None);
        check(Error::NoSuchId, "/images/abc", None);
        check(Error::NoSuchId, &format!("/images/{}.png?w=3", id.to_uppercase()), Some("/images/{id}.png?w=3"));
    }
}
