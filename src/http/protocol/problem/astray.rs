//! What a client is told of a path that names nothing.

use super::body::{Problem, absent};
use crate::http::error::Astray;

pub(super) fn of_astray(astray: &Astray) -> Problem {
    match astray {
        Astray::LowerCase { hint } => below_image("An id is written in lower case", hint.as_deref()),
        Astray::OperationsInPath { hint } => {
            below_image("Operations go in the query, after an extension", hint.as_deref())
        }
        Astray::Info { hint } => below_image("What is known of an image is at", hint.as_deref()),
        Astray::BelowImage => {
            let detail =
                "An image has nothing at this path; it has /images/{id}, /images/{id}.{ext} and /images/{id}/info";
            below_image(detail, None)
        }
        Astray::Extension { hint } => elsewhere("The format is the extension of this path", hint.as_deref()),
        Astray::OutsideImages { hint } => elsewhere("Images are below /images", hint.as_deref()),
        Astray::Nearest { hint } => elsewhere("There is nothing at this path; the nearest is", Some(hint)),
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
