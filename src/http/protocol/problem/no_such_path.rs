//! What a client is told of a path that names nothing.

use super::body::{Problem, absent};
use crate::http::error::NoSuchPath;

pub(super) fn no_such_path(astray: &NoSuchPath) -> Problem {
    match astray {
        NoSuchPath::LowerCase { hint } => below_image("An id is written in lower case", hint.as_deref()),
        NoSuchPath::OperationsInPath { hint } => {
            below_image("Operations go in the query, after an extension", hint.as_deref())
        }
        NoSuchPath::Info { hint } => below_image("What is known of an image is at", hint.as_deref()),
        NoSuchPath::BelowImage => {
            let detail =
                "An image has nothing at this path; it has /images/{id}, /images/{id}.{ext} and /images/{id}/info";
            below_image(detail, None)
        }
        NoSuchPath::Extension { hint } => elsewhere("The format is the extension of this path", hint.as_deref()),
        NoSuchPath::OutsideImages { hint } => elsewhere("Images are below /images", hint.as_deref()),
        NoSuchPath::Nearest { hint } => elsewhere("There is nothing at this path; the nearest is", Some(hint)),
    }
}

fn below_image(detail: &str, hint: Option<&str>) -> Problem {
    hinted("unknown-id", detail, hint)
}

fn elsewhere(detail: &str, hint: Option<&str>) -> Problem {
    hinted("not-found", detail, hint)
}

fn hinted(kind: &'static str, detail: &str, hint: Option<&str>) -> Problem {
    match hint {
        Some(hint) => absent(kind, &format!("{detail}: {hint}")).member("hint", hint),
        None => absent(kind, &format!("{detail}.")),
    }
}
