//! From the head of a request to its handler: the checks for every request, the path parser, the route table, the key.

use std::sync::Arc;

use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, EXPECT, HeaderMap, HeaderValue, ORIGIN};
use hyper::http::request::Parts;
use hyper::{Method, Uri};

use super::host::check_host;
use super::path_hints::with_hint;
use super::places::Place;
use crate::digest::Digest;
use crate::http::app::App;
use crate::http::call::{Call, Reply};
use crate::http::error::Error;
use crate::http::message::body::RequestBody;
use crate::http::message::response_body::Body;
use crate::http::protocol::auth::{Caller, Grant, Key, Kind, Scope, Work};
use crate::http::protocol::response;
use crate::http::table::{PathPattern, ROUTES, Route};

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resource<'a> {
    Fixed(&'a str),
    /// The path of the route, and the extension.
    Extension(&'static str, &'a str),
    Image(Digest),
    Rendition(Digest, &'a str),
    Info(Digest),
    /// The path of the route, and the job.
    Job(&'static str, Digest),
}

/// A request that was dispatched.
pub(super) struct Dispatched {
    /// The index in [`ROUTES`] and the grant, if there is a route and the request may use it.
    pub(super) route: Option<(usize, Grant)>,
    /// Whether the request asks for an image, with which every web page may do so.
    pub(super) is_image: bool,
    pub(super) reply: Reply,
}

/// Finds the route of a request, checks access, and runs the handler.
pub(super) fn dispatch(app: &Arc<App>, place: &Place, parts: Parts, body: RequestBody) -> Dispatched {
    // This clone is a reference count. The resource borrows from it while `parts` moves into the call.
    let uri = parts.uri.clone();
    match find(app, place, &parts, uri.path()) {
        Ok(Found::Route { index, grant, key, resource }) => {
            let route = &ROUTES[index];
            let caller = match route.scope {
                Scope::Open => Ok(None),
                _ => app.callers.count(&app.access, key, &parts.headers),
            };
            let reply = match caller {
                Ok(caller) => {
                    let call = Call { app: app.clone(), parts, body, grant, caller: caller.clone() };
                    within_limits(caller.as_deref(), route.works(uri.query()), run(route, resource, call))
                }
                Err(error) => Reply::Now(Err(error)),
            };
            Dispatched { route: Some((index, grant)), is_image: route.is_image(), reply }
        }
        Ok(Found::Options { allow, is_image }) => {
            let mut response = response::options(&allow);
            app.access.share_methods(is_image, &allow, parts.headers.get(ORIGIN), response.headers_mut());
            Dispatched { route: None, is_image, reply: Reply::Now(Ok(response)) }
        }
        Err(error) => {
            let is_image = known(&parts.method) == Ok(Method::GET) && resource(uri.path()).is_ok_and(is_image);
            Dispatched { route: None, is_image, reply: Reply::Now(Err(error)) }
        }
    }
}

fn is_image(resource: Resource) -> bool {
    matches!(resource, Resource::Image(_) | Resource::Rendition(..))
}

fn run(route: &Route, resource: Resource, call: Call) -> Reply {
    match (&route.pattern, resource) {
        (PathPattern::Fixed(_, handler), _) => handler(call),
        (PathPattern::Extension(_, handler), Resource::Extension(_, extension)) => handler(call, extension),
        (PathPattern::Image(handler), Resource::Image(id)) => handler(call, id),
        (PathPattern::Rendition(handler), Resource::Rendition(id, extension)) => handler(call, id, extension),
        (PathPattern::Info(handler), Resource::Info(id)) => handler(call, id),
        (PathPattern::Job(_, handler), Resource::Job(_, id)) => handler(call, id),
        _ => Reply::Now(Err(Error::NoRoute)),
    }
}

/// The reply, if its caller may ask for these works. A place for each is kept until the response has ended.
fn within_limits(caller: Option<&Caller>, works: &[Work], reply: Reply) -> Reply {
    let Some(caller) = caller.filter(|_| !works.is_empty()) else { return reply };
    let response = match reply {
        Reply::Later(response) => response,
        at_once => return at_once,
    };
    let places: Vec<_> = match works.iter().filter_map(|work| caller.begin(*work).transpose()).collect() {
        Ok(places) => places,
        Err(error) => return Reply::Now(Err(error)),
    };
    Reply::later(async move {
        let mut response = response.await?;
        if let Body::Stream(stream) = response.body_mut() {
            stream.places = places;
        }
        Ok(response)
    })
}

enum Found<'a> {
    Route {
        index: usize,
        grant: Grant,
        /// The key that the grant needed.
        key: Option<&'a Key>,
        resource: Resource<'a>,
    },
    /// The methods of a path, and whether it is that of an image.
    Options { allow: String, is_image: bool },
}

fn find<'a>(app: &'a App, place: &Place, parts: &Parts, path: &'a str) -> Result<Found<'a>, Error> {
    check_head(parts, app)?;
    let method = known(&parts.method)?;
    if parts.method == Method::OPTIONS && path == "*" {
        return Ok(Found::Options { allow: "GET, HEAD, POST, PUT, DELETE, OPTIONS".to_owned(), is_image: false });
    }
    let resource = resource(path).map_err(|error| with_hint(error, &parts.uri))?;
    let Some((index, route)) =
        ROUTES.iter().enumerate().find(|(_, route)| route.method == method && matches(route, resource))
    else {
        let allow = allow(resource).ok_or_else(|| with_hint(Error::NoRoute, &parts.uri))?;
        if method == Method::OPTIONS {
            return Ok(Found::Options { allow, is_image: is_image(resource) });
        }
        return Err(Error::MethodNotAllowed { allow });
    };
    let asked = parts.uri.path_and_query().map_or("", |target| target.as_str());
    let authorization = parts.headers.get_all(AUTHORIZATION);
    let (grant, key) = app.access.admit(route.scope, kind(route), asked, authorization)?;
    if route.scope != Scope::Open {
        place.serve()?;
    }
    if !method.is_safe() {
        app.access.check_page(grant, &parts.headers)?;
    }
    check_expect(&parts.headers)?;
    if matches!(route.method, Method::POST | Method::PUT) {
        check_coding(&parts.headers)?;
    }
    Ok(Found::Route { index, grant, key, resource })
}

fn kind(route: &Route) -> Kind {
    match route.pattern {
        PathPattern::Image(_) if route.method == Method::GET => Kind::Original,
        PathPattern::Rendition(_) | PathPattern::Extension(..) => Kind::Rendition,
        _ if route.scope == Scope::Process => Kind::Bulk,
        _ => Kind::Other,
    }
}

/// The method to look up: HEAD runs as GET.
fn known(method: &Method) -> Result<Method, Error> {
    match *method {
        Method::HEAD | Method::GET => Ok(Method::GET),
        Method::POST | Method::PUT | Method::DELETE | Method::OPTIONS | Method::PATCH | Method::TRACE => {
            Ok(method.clone())
        }
        _ => Err(Error::NotImplemented),
    }
}

fn matches(route: &Route, resource: Resource) -> bool {
    match (&route.pattern, resource) {
        (PathPattern::Fixed(path, _), Resource::Fixed(asked)) => *path == asked,
        (PathPattern::Extension(path, _), Resource::Extension(asked, _)) => *path == asked,
        (PathPattern::Job(path, _), Resource::Job(asked, _)) => *path == asked,
        (PathPattern::Image(_), Resource::Image(_))
        | (PathPattern::Rendition(_), Resource::Rendition(..))
        | (PathPattern::Info(_), Resource::Info(_)) => true,
        _ => false,
    }
}

/// The methods of a path, for `Allow`; `None` if there is no such path.
fn allow(resource: Resource) -> Option<String> {
    let mut methods: Vec<&str> = Vec::new();
    for route in ROUTES.iter().filter(|route| matches(route, resource)) {
        methods.push(route.method.as_str());
        if route.method == Method::GET {
            methods.push("HEAD");
        }
    }
    if methods.is_empty() {
        return None;
    }
    methods.push("OPTIONS");
    Some(methods.join(", "))
}

/// Reads a path. A path that cannot name an image is [`Error::NoSuchId`].
fn resource(path: &str) -> Result<Resource<'_>, Error> {
    if let Some(rest) = path.strip_prefix("/jobs/") {
        return job(rest).ok_or(Error::NoSuchJob);
    }
    let Some(rest) = path.strip_prefix("/images/") else { return Ok(bare(path).unwrap_or(Resource::Fixed(path))) };
    if ROUTES.iter().any(|route| matches(route, Resource::Fixed(path))) {
        return Ok(Resource::Fixed(path));
    }
    let bytes = rest.as_bytes();
    let (id, tail) = bytes.split_at_checked(64).ok_or(Error::NoSuchId)?;
    let id = Digest::from_hex(id).map_err(|_| Error::NoSuchId)?;
    match tail {
        [] => Ok(Resource::Image(id)),
        b"/info" => Ok(Resource::Info(id)),
        // The id is ASCII, so 65 is a character boundary.
        [b'.', extension @ ..] if !extension.contains(&b'/') => Ok(Resource::Rendition(id, &rest[65..])),
        _ => Err(Error::NoSuchId),
    }
}

/// Reads what follows `/jobs/`: an id, and the rest of a route's path.
fn job(rest: &str) -> Option<Resource<'_>> {
    const JOB: &str = "/jobs/{id}";
    let (id, tail) = rest.as_bytes().split_at_checked(64)?;
    let id = Digest::from_hex(id).ok()?;
    ROUTES.iter().find_map(|route| {
        let PathPattern::Job(written, _) = &route.pattern else { return None };
        (written.strip_prefix(JOB)?.as_bytes() == tail).then_some(Resource::Job(written, id))
    })
}

/// Reads a path such as `/process.png`.
fn bare(path: &str) -> Option<Resource<'_>> {
    ROUTES.iter().find_map(|route| {
        let PathPattern::Extension(written, _) = &route.pattern else { return None };
        let extension = path.strip_prefix(written.strip_suffix("{ext}")?)?;
        (!extension.contains('/')).then_some(Resource::Extension(written, extension))
    })
}

/// Checks what hyper lets pass: the length of the target, the number and size of the fields, and `Host`.
fn check_head(parts: &Parts, app: &App) -> Result<(), Error> {
    let options = &app.options;
    if url_bytes(&parts.uri) > options.url_bytes_max {
        return Err(Error::UrlTooLong { max: options.url_bytes_max });
    }
    let (count, max) = (parts.headers.len(), options.headers_max);
    if count > max {
        return Err(Error::HeadTooLarge { name: "headers_max", value: count as u64, max: max as u64 });
    }
    let bytes: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let max = options.head_bytes_max;
    if bytes > max {
        return Err(Error::HeadTooLarge { name: "head_bytes_max", value: bytes as u64, max: max as u64 });
    }
    check_host(parts, &app.access)
}

fn url_bytes(uri: &Uri) -> usize {
    uri.path_and_query().map_or(0, |target| target.as_str().len())
        + uri.authority().map_or(0, |host| host.as_str().len())
}

fn check_expect(headers: &HeaderMap<HeaderValue>) -> Result<(), Error> {
    match headers.get(EXPECT) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Err(Error::Expectation),
        _ => Ok(()),
    }
}

/// Refuses a content coding (RFC 9110, 15.5.16). Bodies are read as they are, so a compressed one would be taken for an
/// image or for lines.
fn check_coding(headers: &HeaderMap<HeaderValue>) -> Result<(), Error> {
    let is_plain = |field: &HeaderValue| {
        field.as_bytes().split(|byte| *byte == b',').all(|coding| is_identity(coding.trim_ascii()))
    };
    if headers.get_all(CONTENT_ENCODING).iter().all(is_plain) { Ok(()) } else { Err(Error::ContentCoding) }
}

fn is_identity(coding: &[u8]) -> bool {
    coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> Digest {
        Digest::of(b"x")
    }

    #[test]
    fn paths_name_what_they_should() {
        let hex = id().to_string();
        let check = |path: &str, expected| assert_eq!(resource(path), expected, "{path}");
        check("/images", Ok(Resource::Fixed("/images")));
        check("/images/missing", Ok(Resource::Fixed("/images/missing")));
        check("/healthz", Ok(Resource::Fixed("/healthz")));
        check("/process.png", Ok(Resource::Extension("/process.{ext}", "png")));
        check("/process.", Ok(Resource::Extension("/process.{ext}", "")));
        for none in ["/process", "/process/png", "/process.png/", "/processpng"] {
            check(none, Ok(Resource::Fixed(none)));
        }
        check(&format!("/images/{hex}"), Ok(Resource::Image(id())));
        check(&format!("/images/{hex}.webp"), Ok(Resource::Rendition(id(), "webp")));
        check(&format!("/images/{hex}."), Ok(Resource::Rendition(id(), "")));
        check(&format!("/images/{hex}.tar.gz"), Ok(Resource::Rendition(id(), "tar.gz")));
        check(&format!("/images/{hex}/info"), Ok(Resource::Info(id())));
        for bad in [
            "/images/".to_owned(),
            "/images/abc".to_owned(),
            format!("/images/{}", hex.to_uppercase()),
            format!("/images/{hex}0"),
            format!("/images/{hex}/"),
            format!("/images/{hex}/info/"),
            format!("/images/{hex}.png/info"),
            format!("/images//{hex}"),
            format!("/images/{}é", &hex[..63]),
        ] {
            check(&bad, Err(Error::NoSuchId));
        }
    }

    #[test]
    fn every_path_allows_the_methods_of_its_routes() {
        let check = |target, expected: Option<&str>| assert_eq!(allow(target).as_deref(), expected);
        check(Resource::Image(id()), Some("GET, HEAD, PUT, DELETE, OPTIONS"));
        check(Resource::Fixed("/images"), Some("POST, GET, HEAD, OPTIONS"));
        check(Resource::Extension("/process.{ext}", "png"), Some("POST, OPTIONS"));
        check(Resource::Fixed("/nothing"), None);
    }

    #[test]
    fn no_two_routes_answer_the_same_request() {
        for (index, route) in ROUTES.iter().enumerate() {
            for other in &ROUTES[index + 1..] {
                assert!(route.method != other.method || route.path() != other.path(), "{}", route.path());
            }
        }
    }
}
