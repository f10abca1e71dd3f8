//! [`ROUTES`]: the table from which dispatch, 404, 405 with `Allow`, scopes and metric labels follow.

use hyper::Method;

use super::call::{Call, Reply};
use super::protocol::auth::Scope;
use super::routes::{bulk, image_batch, images, info, jobs, process, remote, system, upload};
use crate::digest::Digest;

/// Where a route stands, with the handler that takes what its path says.
pub(super) enum PathPattern {
    /// A path without parameters.
    Fixed(&'static str, fn(Call) -> Reply),
    /// A path that ends in `.{ext}` and names no image: `/process.{ext}`.
    Extension(&'static str, fn(Call, &str) -> Reply),
    /// `/images/{id}`
    Image(fn(Call, Digest) -> Reply),
    /// `/images/{id}.{ext}`
    Rendition(fn(Call, Digest, &str) -> Reply),
    /// `/images/{id}/info`
    Info(fn(Call, Digest) -> Reply),
    /// A path below `/jobs/{id}`, or that.
    Job(&'static str, fn(Call, Digest) -> Reply),
}

impl PathPattern {
    /// The path as people write it; the metric label.
    pub(super) const fn path(&self) -> &'static str {
        match self {
            PathPattern::Fixed(path, _) | PathPattern::Extension(path, _) | PathPattern::Job(path, _) => path,
            PathPattern::Image(_) => "/images/{id}",
            PathPattern::Rendition(_) => "/images/{id}.{ext}",
            PathPattern::Info(_) => "/images/{id}/info",
        }
    }
}

/// One method on one path.
pub struct Route {
    pub(super) method: Method,
    pub(super) pattern: PathPattern,
    pub(super) scope: Scope,
    pub(super) doc: &'static str,
}

impl Route {
    /// "GET"; a GET route answers HEAD too.
    pub fn method(&self) -> &str {
        self.method.as_str()
    }

    /// The path with its parameters in braces.
    pub fn path(&self) -> &'static str {
        self.pattern.path()
    }

    /// What a key must be good for.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// One sentence for people.
    pub fn doc(&self) -> &'static str {
        self.doc
    }
}

const fn route(method: Method, pattern: PathPattern, scope: Scope, doc: &'static str) -> Route {
    Route { method, pattern, scope, doc }
}

/// Every route; the ones that are asked most come first. Static names win over `{id}`.
pub static ROUTES: &[Route] = &[
    route(
        Method::GET,
        PathPattern::Rendition(images::rendition),
        Scope::Read,
        "The image in another format, or rendered by the query.",
    ),
    route(Method::GET, PathPattern::Image(images::original), Scope::Read, "The original bytes; ranges."),
    route(Method::PUT, PathPattern::Image(upload::put), Scope::Write, "Store the image of this id; idempotent."),
    route(Method::DELETE, PathPattern::Image(images::delete), Scope::Admin, "Remove the image and its renditions."),
    route(
        Method::GET,
        PathPattern::Info(info::info),
        Scope::Read,
        "Format, size, frames, orientation, profile, a part of EXIF; placeholders, colours and a hash by `include=`.",
    ),
    route(
        Method::POST,
        PathPattern::Fixed("/images", upload::post),
        Scope::Write,
        "Store an image: raw body, multipart, or `{\"url\": ...}` as JSON; or many: parts of a form, or a tar, a line each. `prerender=` names presets to render at once.",
    ),
    route(
        Method::GET,
        PathPattern::Fixed("/images", images::list),
        Scope::Admin,
        "Images in digest order, page by page.",
    ),
    route(
        Method::POST,
        PathPattern::Fixed("/images/missing", image_batch::missing),
        Scope::Read,
        "Which of many ids are not stored.",
    ),
    route(
        Method::POST,
        PathPattern::Fixed("/images/info", image_batch::info),
        Scope::Read,
        "What is known of many ids, a line each; `include=` as for one.",
    ),
    route(
        Method::POST,
        PathPattern::Fixed("/images/delete", image_batch::delete),
        Scope::Admin,
        "Remove many images and their renditions, a line each.",
    ),
    route(
        Method::POST,
        PathPattern::Extension("/process.{ext}", process::process),
        Scope::Process,
        "The body of the request, rendered by the query; nothing is stored.",
    ),
    route(
        Method::GET,
        PathPattern::Extension("/remote.{ext}", remote::remote),
        Scope::Process,
        "The image at `url=`, rendered by the rest of the query; `store=true` stores it (needs `write` too).",
    ),
    route(
        Method::POST,
        PathPattern::Fixed("/bulk", bulk::bulk),
        Scope::Process,
        "Many items, one JSON object a line, each with its outputs; results as they come (needs `read` for stored sources, `write` for `\"to\": \"blob\"`).",
    ),
    route(
        Method::POST,
        PathPattern::Fixed("/jobs", jobs::submit),
        Scope::Process,
        "Many items as a job that outlives its request: NDJSON, or an array as JSON, as for `/bulk`; outputs to the store.",
    ),
    route(Method::GET, PathPattern::Fixed("/jobs", jobs::list), Scope::Admin, "Jobs, youngest first."),
    route(Method::GET, PathPattern::Job("/jobs/{id}", jobs::status), Scope::Process, "How far a job is."),
    route(
        Method::DELETE,
        PathPattern::Job("/jobs/{id}", jobs::cancel),
        Scope::Process,
        "End a job; its results so far stay. 204 also when it had ended before.",
    ),
    route(
        Method::GET,
        PathPattern::Job("/jobs/{id}/events", jobs::events),
        Scope::Process,
        "How far a job is, as server-sent events, until it ends.",
    ),
    route(
        Method::GET,
        PathPattern::Job("/jobs/{id}/results", jobs::results),
        Scope::Process,
        "The results so far, NDJSON; `after=` goes on where an answer ended.",
    ),
    route(Method::GET, PathPattern::Fixed("/healthz", system::healthz), Scope::Open, "The process answers."),
    route(Method::GET, PathPattern::Fixed("/readyz", system::readyz), Scope::Open, "Uploads would be accepted now."),
    route(Method::GET, PathPattern::Fixed("/metrics", system::metrics), Scope::Admin, "Prometheus text."),
];
