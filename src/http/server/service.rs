//! The service that hyper calls: one request in, one response out. It adds what every response shares: the request id,
//! HEAD, `Vary`, metrics, the log line, and `Connection: close` after an unread body or where there is no place.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, ORIGIN, VARY};
use hyper::{Method, Request, StatusCode};

use super::dispatch::{Dispatched, dispatch};
use super::places::Place;
use crate::http::app::App;
use crate::http::call::Reply;
use crate::http::error::Error;
use crate::http::message::body::RequestBody;
use crate::http::message::options::ms;
use crate::http::message::response_body::{Body, Response};
use crate::http::protocol::auth::{Grant, embed};
use crate::http::protocol::negotiate::is_auto;
use crate::http::protocol::problem::report::report;
use crate::http::table::ROUTES;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The service of one connection.
pub(in crate::http) struct Service {
    app: Arc<App>,
    place: Arc<Place>,
}

impl Service {
    pub(in crate::http) fn new(app: Arc<App>, place: Arc<Place>) -> Service {
        Service { app, place }
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn call(&self, request: Request<Incoming>) -> ResponseFuture {
        let activity = self.place.activity();
        activity.begin(!hyper::body::Body::is_end_stream(request.body()));
        let (parts, incoming) = request.into_parts();
        let finish = Finish {
            app: self.app.clone(),
            place: self.place.clone(),
            started: Instant::now(),
            head: parts.method == Method::HEAD,
            safe: parts.method.is_safe(),
            negotiates: parts.uri.path().rsplit_once('.').is_some_and(|(_, extension)| is_auto(extension)),
            request_id: request_id(&parts.headers),
            origin: parts.headers.get(ORIGIN).cloned(),
            is_image: false,
            route: None,
            grant: Grant::Public,
        };
        let body = RequestBody::new(incoming, activity.clone());
        let Dispatched { route, is_image, reply } = dispatch(&self.app, &self.place, parts, body);
        let finish = Finish { is_image, ..finish };
        let finish = match route {
            Some((index, grant)) => Finish { route: Some(index), grant, ..finish },
            None => finish,
        };
        match reply {
            Reply::Now(result) => ResponseFuture::Ready(Some(finish.response(result))),
            Reply::Later(future) => ResponseFuture::Later(future, finish),
        }
    }
}

/// A response, at once or later.
pub(in crate::http) enum ResponseFuture {
    Ready(Option<Response>),
    Later(Pin<Box<dyn Future<Output = Result<Response, Error>> + Send>>, Finish),
}

impl Future for ResponseFuture {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            ResponseFuture::Ready(response) => {
                Poll::Ready(Ok(response.take().expect("polled once after it was ready")))
            }
            ResponseFuture::Later(future, finish) => {
                future.as_mut().poll(context).map(|result| Ok(finish.response(result)))
            }
        }
    }
}

/// What is known of a request when its response is made.
pub(in crate::http) struct Finish {
    app: Arc<App>,
    place: Arc<Place>,
    started: Instant,
    head: bool,
    safe: bool,
    /// The response depends on `Accept`. So does an error: another client may be served.
    negotiates: bool,
    request_id: Option<HeaderValue>,
    /// The origin of the web page that asks.
    origin: Option<HeaderValue>,
    /// Whether an image was asked for, which every page may read.
    is_image: bool,
    /// The index in `ROUTES`.
    route: Option<usize>,
    /// Why the request was let through. Without a route every client may see the response.
    grant: Grant,
}

impl Finish {
    fn response(&self, result: Result<Response, Error>) -> Response {
        let mut response = result.unwrap_or_else(|error| self.problem(error));
        if self.head {
            let length = response.body().len().map(HeaderValue::from);
            if let Some(length) = length.filter(|_| carries_length(response.status())) {
                response.headers_mut().insert(CONTENT_LENGTH, length);
            }
            *response.body_mut() = Body::Empty;
        }
        if self.negotiates {
            response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
        }
        // Errors, too: without these fields a page cannot tell a refusal from a server that is away.
        self.app.access.share(self.is_image, self.origin.as_ref(), response.headers_mut());
        if self.is_image {
            embed(self.grant, response.headers_mut());
        }
        if let Some(id) = &self.request_id {
            response.headers_mut().insert(X_REQUEST_ID, id.clone());
        }
        if self.place.activity().unread() || !self.place.is_served() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let elapsed = self.started.elapsed();
        self.app.metrics.answered(self.route, response.status(), elapsed);
        tracing::debug!(
            route = self.route.map(|index| ROUTES[index].path()),
            status = response.status().as_u16(),
            elapsed_us = elapsed.as_micros() as u64,
            request_id = self.request_id.as_ref().and_then(|id| id.to_str().ok()),
            "answered"
        );
        response.body_mut().leave_memory(&self.app.spools, ms(self.app.options.result_wait_ms));
        response.body_mut().track(self.place.activity());
        response
    }

    fn problem(&self, error: Error) -> Response {
        let request_id = self.request_id.as_ref().and_then(|id| id.to_str().ok());
        let mut problem = report(&error, request_id);
        if error.is_full()
            && let Some(space) = self.app.free_space()
        {
            problem = problem.short_of_space(space);
        }
        problem.respond(self.safe, self.grant == Grant::Private)
    }
}

/// Whether a HEAD response of this status has the length that GET would send.
fn carries_length(status: StatusCode) -> bool {
    status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

/// The client's request id, if it is short and printable: it is returned in a header field and written to logs.
fn request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(X_REQUEST_ID)?;
    let printable = id.as_bytes().iter().all(u8::is_ascii_graphic);
    (printable && (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())).then(|| id.clone())
}
