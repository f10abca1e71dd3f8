//! The edge: routes and handlers. The only module that names server HTTP types.
//!
//! [`ROUTES`] is the table from which dispatch, 404, 405 with `Allow`, scopes and metric labels follow; [`server::serve`] runs it
//! over sockets. Not a place for pixels, blobs or caches: handlers are short paragraphs over the layers below.

mod array;
mod asked;
pub mod auth;
mod body;
mod bulk;
mod conditional;
mod connection;
mod delivery;
mod dispatch;
mod error;
mod fields;
mod ids;
mod images;
mod info;
mod jobs;
mod lists;
mod metrics;
mod negotiate;
mod options;
mod permits;
mod prerender;
mod problem;
mod process;
mod remote;
mod respond;
mod said;
pub mod server;
mod service;
pub mod sign;
mod stream;
mod system;
mod upload;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use hyper::Method;
use hyper::http::request::Parts;
use tokio::sync::{Semaphore, watch};

use crate::digest::Digest;
use crate::fetch::{self, Sources, WebhookClient};
use crate::items::{self, Items};
use crate::jobs::{Database, Jobs, Options as JobOptions};
pub use crate::pipeline::Presets;
use crate::pipeline::{Limits, query};
use crate::renditions::{self, Renditions};
use crate::store::{self, Store, Uploads};
use auth::{Access, Grant, Scope};
use body::{Body, RequestBody};
use error::Error;
use ids::Lists;
use jobs::work::ItemWork;
use metrics::Metrics;
pub use options::Options;
use stream::Spools;

/// The decoded pairs of a query, as every route reads them.
///
/// Errors: text that is not UTF-8.
pub fn decode_query(query: &str) -> Result<Vec<(String, String)>, &'static str> {
    query::pairs(Some(query)).map_err(|_| "the query must be UTF-8, percent-encoded")
}

/// A response of ours.
type Response = hyper::Response<Body>;

/// Everything that a request can need; one per process.
pub struct App {
    store: Arc<dyn Store>,
    uploads: Uploads,
    lists: Lists,
    /// Arrays and forms of items, which are held until the last one has begun: apart, so that they shut out no list of ids.
    batches: Lists,
    spools: Spools,
    renditions: Arc<Renditions>,
    sources: Arc<Sources>,
    items: Arc<Items>,
    /// Places for bulk requests.
    bulks: Arc<Semaphore>,
    limits: Limits,
    access: Access,
    options: Options,
    jobs: Jobs,
    metrics: Arc<Metrics>,
    draining: watch::Sender<bool>,
}

/// The settings of every layer below an [`App`], and its own.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Of uploads.
    pub store: store::Options,
    /// Of renders.
    pub limits: Limits,
    /// Of remote sources.
    pub fetch: fetch::Options,
    /// Of the cache and the render pool.
    pub renditions: renditions::Options,
    /// Of the queue of jobs.
    pub jobs: JobOptions,
    /// Of connections and requests.
    pub http: Options,
    /// Who may do what.
    pub access: Access,
}

impl App {
    /// Sets the layers above `store` up, with jobs that end with the process. Must be called on a tokio runtime.
    pub fn new(store: Arc<dyn Store>, settings: Settings) -> Arc<App> {
        App::with_database(store, Database::in_memory().expect("a database in memory opens"), settings)
    }

    /// Sets the layers above `store` up, and takes up the jobs of `database`. Must be called on a tokio runtime.
    pub fn with_database(store: Arc<dyn Store>, database: Database, settings: Settings) -> Arc<App> {
        let Settings { store: store_options, limits, mut fetch, renditions, jobs, http, access } = settings;
        fetch.bytes_max = fetch.bytes_max.min(limits.bytes_max);
        let items_options = items::Options {
            presets: http.presets.clone(),
            convert_renders: http.convert_renders || access.originals_need_key,
            bytes_max: limits.bytes_max.min(store_options.blob_bytes_max),
            url_bytes_max: http.url_bytes_max,
            busy_wait_ms: http.body_stall_ms,
        };
        let uploads = Uploads::new(store.clone(), store_options);
        let renditions = Renditions::new(store.clone(), limits.clone(), renditions);
        let sources = Arc::new(Sources::new(&fetch));
        let items = Items::new(&uploads, renditions.clone(), sources.clone(), items_options);
        let metrics = Arc::new(Metrics::new());
        let line_bytes_max = http.line_bytes_max;
        let hooks = WebhookClient::new(&fetch::Options { allow: jobs.webhook_allow.clone(), ..fetch.clone() });
        let work = Arc::new(ItemWork { items: items.clone(), metrics: metrics.clone(), line_bytes_max });
        Arc::new(App {
            jobs: Jobs::start(database, work, store.clone(), hooks, jobs),
            items,
            uploads,
            renditions,
            bulks: Arc::new(Semaphore::new(http.bulk_requests_max.min(Semaphore::MAX_PERMITS))),
            lists: Lists::new(http.lists_bytes_max),
            batches: Lists::new(http.lists_bytes_max),
            sources,
            spools: Spools::new(http.spool_bytes_max, http.spools_bytes_max),
            store,
            limits,
            access,
            options: http,
            metrics,
            draining: watch::Sender::new(false),
        })
    }

    /// Whether the server is on its way out: `/readyz` says so to load balancers.
    fn draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Ready once it is.
    async fn drains(&self) {
        // The sender lives as long as the app.
        _ = self.draining.subscribe().wait_for(|draining| *draining).await;
    }
}

/// One request on its way through a handler.
struct Call {
    app: Arc<App>,
    parts: Parts,
    body: RequestBody,
    /// Whether anybody, or only the holder of a key, could have asked this: decides `public` or `private`.
    grant: Grant,
}

/// What a handler has to say: at once, or later. At once is the path of cached hits: nothing is boxed.
enum Reply {
    Now(Result<Response, Error>),
    Later(Pin<Box<dyn Future<Output = Result<Response, Error>> + Send>>),
}

impl Reply {
    fn later(future: impl Future<Output = Result<Response, Error>> + Send + 'static) -> Reply {
        Reply::Later(Box::pin(future))
    }
}

/// Where a route stands, with the handler that takes what its path says.
enum At {
    /// A path without parameters.
    Fixed(&'static str, fn(Call) -> Reply),
    /// A path that ends in `.{ext}` and names no image: `/process.{ext}`.
    Bare(&'static str, fn(Call, &str) -> Reply),
    /// `/images/{id}`
    Image(fn(Call, Digest) -> Reply),
    /// `/images/{id}.{ext}`
    Form(fn(Call, Digest, &str) -> Reply),
    /// `/images/{id}/info`
    Info(fn(Call, Digest) -> Reply),
    /// A path below `/jobs/{id}`, or that.
    Job(&'static str, fn(Call, Digest) -> Reply),
}

impl At {
    /// The path as people write it; the metric label.
    const fn path(&self) -> &'static str {
        match self {
            At::Fixed(path, _) | At::Bare(path, _) | At::Job(path, _) => path,
            At::Image(_) => "/images/{id}",
            At::Form(_) => "/images/{id}.{ext}",
            At::Info(_) => "/images/{id}/info",
        }
    }
}

/// One method on one path.
pub struct Route {
    method: Method,
    at: At,
    scope: Scope,
    doc: &'static str,
}

impl Route {
    /// "GET"; a GET route answers HEAD too.
    pub fn method(&self) -> &str {
        self.method.as_str()
    }

    /// The path with its parameters in braces.
    pub fn path(&self) -> &'static str {
        self.at.path()
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

const fn route(method: Method, at: At, scope: Scope, doc: &'static str) -> Route {
    Route { method, at, scope, doc }
}

/// Every route; the ones that are asked most come first. Static names win over `{id}`.
pub static ROUTES: &[Route] = &[
    route(Method::GET, At::Form(images::form), Scope::Read, "The image in another format, or rendered by the query."),
    route(Method::GET, At::Image(images::original), Scope::Read, "The original bytes; ranges."),
    route(Method::PUT, At::Image(upload::put), Scope::Write, "Store the image of this id; idempotent."),
    route(Method::DELETE, At::Image(images::delete), Scope::Admin, "Remove the image and its renditions."),
    route(
        Method::GET,
        At::Info(info::info),
        Scope::Read,
        "Format, size, frames, orientation, profile, a part of EXIF; placeholders, colours and a hash by `include=`.",
    ),
    route(
        Method::POST,
        At::Fixed("/images", upload::post),
        Scope::Write,
        "Store an image: raw body, multipart, or `{\"url\": ...}` as JSON; or many: parts of a form, or a tar, a line each. `prerender=` names presets to render at once.",
    ),
    route(Method::GET, At::Fixed("/images", images::list), Scope::Admin, "Images in digest order, page by page."),
    route(Method::POST, At::Fixed("/images/missing", lists::missing), Scope::Read, "Which of many ids are not stored."),
    route(
        Method::POST,
        At::Fixed("/images/info", lists::info),
        Scope::Read,
        "What is known of many ids, a line each; `include=` as for one.",
    ),
    route(
        Method::POST,
        At::Fixed("/images/delete", lists::delete),
        Scope::Admin,
        "Remove many images and their renditions, a line each.",
    ),
    route(
        Method::POST,
        At::Bare("/process.{ext}", process::process),
        Scope::Process,
        "The body of the request, rendered by the query; nothing is stored.",
    ),
    route(
        Method::GET,
        At::Bare("/remote.{ext}", remote::remote),
        Scope::Process,
        "The image at `url=`, rendered by the rest of the query; `store=true` stores it (needs `write` too).",
    ),
    route(
        Method::POST,
        At::Fixed("/bulk", bulk::bulk),
        Scope::Process,
        "Many items, one JSON object a line, each with its outputs; results as they come (needs `read` for stored sources, `write` for `\"to\": \"blob\"`).",
    ),
    route(
        Method::POST,
        At::Fixed("/jobs", jobs::submit),
        Scope::Process,
        "Many items as a job that outlives its request: NDJSON, or an array as JSON, as for `/bulk`; outputs to the store.",
    ),
    route(Method::GET, At::Fixed("/jobs", jobs::list), Scope::Admin, "Jobs, youngest first."),
    route(Method::GET, At::Job("/jobs/{id}", jobs::status), Scope::Process, "How far a job is."),
    route(
        Method::DELETE,
        At::Job("/jobs/{id}", jobs::cancel),
        Scope::Process,
        "End a job; its results so far stay. 204 also when it had ended before.",
    ),
    route(
        Method::GET,
        At::Job("/jobs/{id}/events", jobs::events),
        Scope::Process,
        "How far a job is, as server-sent events, until it ends.",
    ),
    route(
        Method::GET,
        At::Job("/jobs/{id}/results", jobs::results),
        Scope::Process,
        "The results so far, NDJSON; `after=` goes on where an answer ended.",
    ),
    route(Method::GET, At::Fixed("/healthz", system::healthz), Scope::Open, "The process answers."),
    route(Method::GET, At::Fixed("/readyz", system::readyz), Scope::Open, "Uploads would be accepted now."),
    route(Method::GET, At::Fixed("/metrics", system::metrics), Scope::Admin, "Prometheus text."),
];
