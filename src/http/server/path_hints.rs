//! Hints for paths that name nothing: the path that the client probably meant. A good id in a wrong path is never
//! called bad.

use hyper::Uri;

use crate::digest::Digest;
use crate::http::error::{Error, NoSuchPath};
use crate::http::protocol::hint;
use crate::http::table::{PathPattern, ROUTES};
use crate::pipeline::codec::by_extension;
use crate::pipeline::invalid::nearest;
use crate::pipeline::of_path;

/// Names that other services have for the information about an image.
const INFOS: [&str; 7] = ["info", "metadata", "exif", "info.json", "meta", "json", "details"];

/// Adds a hint to the error of a path that names nothing, where one is known.
pub(in crate::http) fn with_hint(error: Error, uri: &Uri) -> Error {
    let known = match error {
        Error::NoSuchId => uri.path().strip_prefix("/images/").and_then(|rest| below_image(rest, uri)),
        Error::NoRoute => elsewhere(uri),
        _ => None,
    };
    known.map_or(error, Error::NoSuchPath)
}

/// The hint for a path below `/images/`.
fn below_image(rest: &str, uri: &Uri) -> Option<NoSuchPath> {
    let (id, tail) = rest.split_at_checked(64)?;
    if id.parse::<Digest>().is_err() {
        let lower = id.to_ascii_lowercase();
        lower.parse::<Digest>().ok()?;
        return Some(NoSuchPath::LowerCase { hint: hint::path(format!("/images/{lower}{tail}"), uri.query()) });
    }
    let asked = tail.trim_matches('/');
    if let Some((operations, extension)) = of_path(asked) {
        let hint = hint::path(format!("/images/{id}.{extension}"), Some(&operations));
        return Some(NoSuchPath::OperationsInPath { hint });
    }
    if INFOS.contains(&asked) {
        return Some(NoSuchPath::Info { hint: Some(format!("/images/{id}/info")) });
    }
    Some(NoSuchPath::BelowImage)
}

/// The hint for any other path.
fn elsewhere(uri: &Uri) -> Option<NoSuchPath> {
    let path = uri.path();
    let stems = ROUTES.iter().filter_map(|route| match &route.pattern {
        PathPattern::Extension(written, _) => Some(written.trim_end_matches(".{ext}")),
        _ => None,
    });
    for stem in stems {
        let Some(rest) = path.strip_prefix(stem).filter(|rest| rest.is_empty() || rest.starts_with('/')) else {
            continue;
        };
        let in_path = by_extension(rest.trim_matches('/')).filter(|codec| codec.encoder.is_some());
        let in_path = in_path.map(|codec| codec.extensions[0].to_owned());
        let extension = in_path.or_else(|| hint::extension(uri.query())).unwrap_or_else(|| "webp".to_owned());
        return Some(NoSuchPath::Extension { hint: hint::path(format!("{stem}.{extension}"), uri.query()) });
    }
    if path.get(1..65).is_some_and(|id| id.parse::<Digest>().is_ok()) {
        return Some(NoSuchPath::OutsideImages { hint: hint::path(format!("/images{path}"), uri.query()) });
    }
    let fixed = ROUTES
        .iter()
        .filter_map(|route| if let PathPattern::Fixed(path, _) = &route.pattern { Some(*path) } else { None });
    nearest(path, fixed).map(|hint| NoSuchPath::Nearest { hint })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::protocol::problem;

    #[test]
    fn a_path_that_names_nothing_leads_to_one_that_does() {
        let id = Digest::of(b"x").to_string();
        let check = |error: Error, path: &str, expected: Option<&str>| {
            let uri: Uri = path.replace("{id}", &id).parse().expect(path);
            let hint = problem::of(&with_hint(error, &uri)).json()["hint"].as_str().map(str::to_owned);
            assert_eq!(hint, expected.map(|hint| hint.replace("{id}", &id)), "{path}");
        };
        check(Error::NoRoute, "/process?w=3", Some("/process.webp?w=3"));
        check(Error::NoRoute, "/remote?url=http://a/", Some("/remote.webp"));
        check(Error::NoRoute, "/process/png", Some("/process.png"));
        check(Error::NoRoute, "/process?format=webp", Some("/process.webp"));
        check(Error::NoRoute, "/process?w=3&fm=JPG&zzz=1&h=4", Some("/process.jpg?w=3&h=4"));
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
        check(Error::NoSuchId, &format!("/images/{{id}}/w_3{}", "/w_3".repeat(2_000)), None);
        check(Error::NoSuchId, &format!("/images/{}/{}", id.to_uppercase(), "x".repeat(200)), None);
        check(Error::NoSuchId, &format!("/images/{}.png?w=3", id.to_uppercase()), Some("/images/{id}.png?w=3"));
    }

    #[test]
    fn no_secret_is_repeated() {
        let id = Digest::of(b"x").to_string();
        for path in ["/remote", "/process", &format!("/{id}.webp"), &format!("/images/{}.webp", id.to_uppercase())] {
            let uri: Uri = format!("{path}?w=3&url=https://u:secret@h/&sig=secret").parse().expect(path);
            for error in [Error::NoRoute, Error::NoSuchId] {
                let error = with_hint(error, &uri);
                let told = problem::of(&error).json().to_string();
                assert!(!format!("{error} {told}").contains("secret"), "{told}");
            }
        }
    }
}
