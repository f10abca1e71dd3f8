//! [`ROUTES`]: the table from which dispatch, 404, 405 with `Allow`, scopes and metric labels follow.

use hyper::Method;

use super::call::{Call, Reply};
use super::protocol::auth::{Scope, Work};
use super::routes::{bulk, image_batch, images, info, jobs, process, remote, system, upload};
use crate::digest::Digest;

/// The path of a route, and the handler that takes its parameters.
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
    /// `/jobs/{id}`, or a path below it.
    Job(&'static str, fn(Call, Digest) -> Reply),
}

impl PathPattern {
    /// The path with its parameters in braces; also the metric label.
    pub(super) const fn path(&self) -> &'static str {
        match self {
            PathPattern::Fixed(path, _) | PathPattern::Extension(path, _) | PathPattern::Job(path, _) => path,
            PathPattern::Image(_) => "/images/{id}",
            PathPattern::Rendition(_) => "/images/{id}.{ext}",
            PathPattern::Info(_) => "/images/{id}/info",
        }
    }
}

/// The works of a request as a whole that a caller may have limits for. A render that the cache may answer is counted
/// where it begins ([`Call::begin_render`]).
pub(super) struct Works {
    plain: &'static [Work],
    /// The works of a request with a query, which asks for renders on some routes.
    with_query: &'static [Work],
}

impl Works {
    const NONE: Works = Works { plain: &[], with_query: &[] };
    const RENDER: Works = Works { plain: &[Work::Render], with_query: &[Work::Render] };
    const RENDER_BY_QUERY: Works = Works { plain: &[], with_query: &[Work::Render] };
    const UPLOAD: Works = Works { plain: &[Work::Upload], with_query: &[Work::Upload, Work::Render] };
}

/// One method on one path.
pub struct Route {
    pub(super) method: Method,
    pub(super) pattern: PathPattern,
    pub(super) scope: Scope,
    works: Works,
    pub(super) doc: &'static str,
}

impl Route {
    /// The method, such as "GET"; a GET route answers HEAD too.
    pub fn method(&self) -> &str {
        self.method.as_str()
    }

    /// The path with its parameters in braces.
    pub fn path(&self) -> &'static str {
        self.pattern.path()
    }

    /// The scope that a key needs.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// Whether it reads an image: a stored one, or a rendition of it.
    pub(super) fn is_image(&self) -> bool {
        self.method == Method::GET && matches!(self.pattern, PathPattern::Image(_) | PathPattern::Rendition(_))
    }

    /// The works of a request with this query.
    pub(super) fn works(&self, query: Option<&str>) -> &'static [Work] {
        if query.is_none_or(str::is_empty) { self.works.plain } else { self.works.with_query }
    }

    /// One sentence of documentation.
    pub fn doc(&self) -> &'static str {
        self.doc
    }
}

const fn route(method: Method, pattern: PathPattern, scope: Scope, works: Works, doc: &'static str) -> Route {
    Route { method, pattern, scope, works, doc }
}

/// Every route. The most frequent ones come first, and a fixed path wins over `{id}`.
///
/// ```
/// for route in progimage::http::ROUTES {
/// println!("{:6} {} ({})", route.method(), route.path(), route.scope().name());
/// }
/// let render = progimage::http::ROUTES.iter().find(|route| route.path() == "/images/{id}.{ext}");
/// assert_eq!(render.map(|route| route.method()), Some("GET"));
/// ```
pub static ROUTES: &[Route] = &[
    route(
        Method::GET,
        PathPattern::Rendition(images::rendition),
        Scope::Read,
        Works::NONE,
        "The image in another format, or rendered by the query.",
    ),
    route(
        Method::GET,
        PathPattern::Image(images::original),
        Scope::Read,
        Works::NONE,
        "The original bytes, or ranges of them.",
    ),
    route(
        Method::PUT,
        PathPattern::Image(upload::put),
        Scope::Write,
        Works::UPLOAD,
        "Stores the image of this id; idempotent.",
    ),
    route(
        Method::DELETE,
        PathPattern::Image(images::delete),
        Scope::Admin,
        Works::NONE,
        "Removes the image and its renditions.",
    ),
    route(
        Method::GET,
        PathPattern::Info(info::info),
        Scope::Read,
        Works::NONE,
        "Format, size, frames, pages, orientation, profile and EXIF; `include=` adds placeholders, colours and a hash.",
    ),
    route(
        Method::POST,
        PathPattern::Fixed("/images", upload::post),
        Scope::Write,
        Works::UPLOAD,
        "Stores one image (a raw body, a form, or `{\"url\": ...}` as JSON) or many (a form or a tar). `prerender=` renders presets.",
    ),
    route(
        Method::GET,
        PathPattern::Fixed("/images", images::list),
        Scope::Admin,
        Works::NONE,
        "Images in the order of their ids, page by page.",
    ),
    route(
        Method::POST,
        PathPattern::Fixed("/images/missing", image_batch::missing),
        Scope::Read,
        Works::NONE,
        "The ids of a list that are not stored.",
    ),
    route(
        Method::POST,
        PathPattern::Fixed("/images/info", image_batch::info),
        Scope::Read,
        Works::RENDER_BY_QUERY,
        "Information about many images, one line each; `include=` as for one.",
    ),
    route(
        Method::POST,
        PathPattern::Fixed("/images/delete", image_batch::delete),
        Scope::Admin,
        Works::NONE,
        "Removes many images and their renditions; one result line each.",
    ),
    route(
        Method::POST,
        PathPattern::Extension("/process.{ext}", process::process),
        Scope::Process,
        Works::RENDER,
        "The body, rendered by the query; nothing is stored.",
    ),
    route(
        Method::GET,
        PathPattern::Extension("/remote.{ext}", remote::remote),
        Scope::Process,
        Works::RENDER,
        "The image at `url=`, rendered by the rest of the query; `store=true` stores it and needs `write` too.",
    ),
    route(
        Method::POST,
        PathPattern::Fixed("/bulk", bulk::bulk),
        Scope::Process,
        Works::RENDER,
        "Many items, one JSON object a line; one result line for each output. Needs `read` for stored sources and `write` for `\"to\": \"blob\"`.",
    ),
    route(
        Method::POST,
        PathPattern::Fixed("/jobs", jobs::submit),
        Scope::Process,
        Works::RENDER,
        "The items of `/bulk` as a background job, as NDJSON or a JSON array; outputs go to the store.",
    ),
    route(Method::GET, PathPattern::Fixed("/jobs", jobs::list), Scope::Admin, Works::NONE, "Jobs, newest first."),
    route(
        Method::GET,
        PathPattern::Job("/jobs/{id}", jobs::status),
        Scope::Process,
        Works::NONE,
        "State and progress of a job.",
    ),
    route(
        Method::DELETE,
        PathPattern::Job("/jobs/{id}", jobs::cancel),
        Scope::Process,
        Works::NONE,
        "Ends a job; its results so far are kept. 204 also if it had ended before.",
    ),
    route(
        Method::POST,
        PathPattern::Job("/jobs/{id}/retry", jobs::retry),
        Scope::Process,
        Works::RENDER,
        "Runs the failed items of a job that is done again.",
    ),
    route(
        Method::GET,
        PathPattern::Job("/jobs/{id}/events", jobs::events),
        Scope::Process,
        Works::NONE,
        "Progress of a job as server-sent events, until it ends.",
    ),
    route(
        Method::GET,
        PathPattern::Job("/jobs/{id}/results", jobs::results),
        Scope::Process,
        Works::NONE,
        "The results so far, as NDJSON; `after=` continues an earlier response.",
    ),
    route(
        Method::GET,
        PathPattern::Fixed("/healthz", system::healthz),
        Scope::Open,
        Works::NONE,
        "Whether the process responds.",
    ),
    route(
        Method::GET,
        PathPattern::Fixed("/readyz", system::readyz),
        Scope::Open,
        Works::NONE,
        "Whether the server serves images, with a line for each part that fails.",
    ),
    route(
        Method::GET,
        PathPattern::Fixed("/metrics", system::metrics),
        Scope::Admin,
        Works::NONE,
        "Metrics in the text format of Prometheus.",
    ),
];
