//! What hyper calls: one request in, one response out, with everything that every answer shares: the request id, HEAD, `Vary`,
//! metrics, the log line and the end of a connection whose body was left unread.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, VARY};
use hyper::{Method, Request, StatusCode};

use super::auth::Grant;
use super::body::{Body, RequestBody};
use super::connection::Watch;
use super::dispatch::dispatch;
use super::problem::Problem;
use super::{App, Error, Reply, Response, problem};
use crate::{jobs, store};

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_BYTES_MAX: usize = 128;

/// The service of one connection.
pub(super) struct Service {
    app: Arc<App>,
    watch: Arc<Watch>,
}

impl Service {
    pub(super) fn new(app: Arc<App>, watch: Arc<Watch>) -> Service {
        Service { app, watch }
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        self.watch.begin();
        let (parts, incoming) = request.into_parts();
        let finish = Finish {
            app: self.app.clone(),
            watch: self.watch.clone(),
            started: Instant::now(),
            head: parts.method == Method::HEAD,
            safe: parts.method.is_safe(),
            negotiates: parts.uri.path().ends_with(".auto"),
            request_id: request_id(&parts.headers),
            route: None,
            grant: Grant::Public,
        };
        let body = RequestBody::new(incoming, self.watch.clone());
        let (route, reply) = dispatch(&self.app, parts, body);
        let finish = match route {
            Some((index, grant)) => Finish { route: Some(index), grant, ..finish },
            None => finish,
        };
        match reply {
            Reply::Now(result) => Answering::Ready(Some(finish.response(result))),
            Reply::Later(future) => Answering::Later(future, finish),
        }
    }
}

/// An answer, at once or later.
pub(super) enum Answering {
    Ready(Option<Response>),
    Later(Pin<Box<dyn Future<Output = Result<Response, Error>> + Send>>, Finish),
}

impl Future for Answering {
    type Output = Result<Response, Infallible>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Answering::Ready(response) => Poll::Ready(Ok(response.take().expect("polled once after it was ready"))),
            Answering::Later(future, finish) => future.as_mut().poll(context).map(|result| Ok(finish.response(result))),
        }
    }
}

/// What is known of a request when its answer is made.
pub(super) struct Finish {
    app: Arc<App>,
    watch: Arc<Watch>,
    started: Instant,
    head: bool,
    safe: bool,
    /// The answer depends on `Accept`, an error too: another client may be answered well.
    negotiates: bool,
    request_id: Option<HeaderValue>,
    /// Index in `ROUTES`.
    route: Option<usize>,
    /// Who may keep the answer; without a route it is anybody's.
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
        if let Some(id) = &self.request_id {
            response.headers_mut().insert(X_REQUEST_ID, id.clone());
        }
        if self.watch.unread() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let elapsed = self.started.elapsed();
        self.app.metrics.answered(self.route, response.status(), elapsed);
        tracing::debug!(
            route = self.route.map(|index| super::ROUTES[index].path()),
            status = response.status().as_u16(),
            elapsed_us = elapsed.as_micros() as u64,
            request_id = self.request_id.as_ref().and_then(|id| id.to_str().ok()),
            "answered"
        );
        match response.body_mut() {
            Body::Lines(lines) => lines.watched(self.watch.clone()),
            _ => self.watch.end(),
        }
        response
    }

    fn problem(&self, error: Error) -> Response {
        let request_id = self.request_id.as_ref().and_then(|id| id.to_str().ok());
        told(&error, request_id).respond(self.safe, self.grant == Grant::Private)
    }
}

/// What the client is told of an error; what somebody must know of it is logged.
pub(super) fn told(error: &Error, request_id: Option<&str>) -> Problem {
    let problem = problem::of(error);
    match weight(error, problem.status()) {
        Weight::Fault => tracing::error!(%error, request_id, "a request failed"),
        Weight::Trouble => tracing::warn!(%error, request_id, "a request failed"),
        Weight::Refusal => tracing::debug!(%error, request_id, "a request was refused"),
    }
    problem
}

/// How much of a log line an error is worth.
#[derive(Debug, PartialEq, Eq)]
enum Weight {
    /// Somebody must look: our bug, or lost bytes.
    Fault,
    /// The store is not as it should be, for every request alike.
    Trouble,
    /// The client's doing, or a bound that was reached: counted at `/metrics`, and under load far too often for a log.
    Refusal,
}

fn weight(error: &Error, status: StatusCode) -> Weight {
    match error {
        Error::Store(store::Error::Corrupt(_)) => Weight::Fault,
        Error::Store(store::Error::Full | store::Error::ReadOnly | store::Error::Unavailable(_)) => Weight::Trouble,
        Error::Jobs(jobs::Error::Database(_)) => Weight::Trouble,
        _ if status == StatusCode::INTERNAL_SERVER_ERROR => Weight::Fault,
        _ => Weight::Refusal,
    }
}

/// Whether a HEAD answer of this status tells the length that GET would send.
fn carries_length(status: StatusCode) -> bool {
    status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

/// The client's request id, if it is short and printable: it comes back in a header field and stands in logs.
fn request_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let id = headers.get(X_REQUEST_ID)?;
    let printable = id.as_bytes().iter().all(u8::is_ascii_graphic);
    (printable && (1..=REQUEST_ID_BYTES_MAX).contains(&id.len())).then(|| id.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::pipeline;

    #[test]
    fn only_what_somebody_must_look_at_is_an_error_in_the_log() {
        let check =
            |error: Error, expected| assert_eq!(weight(&error, problem::of(&error).status()), expected, "{error}");
        check(Error::Internal, Weight::Fault);
        check(pipeline::Error::Encode { format: "png", reason: String::new() }.into(), Weight::Fault);
        check(store::Error::Corrupt(Digest::of(b"")).into(), Weight::Fault);
        check(store::Error::Full.into(), Weight::Trouble);
        check(store::Error::Unavailable(String::new()).into(), Weight::Trouble);
        check(jobs::Error::Database(String::new()).into(), Weight::Trouble);
        for refusal in [Error::Busy { retry_after_s: 1 }, Error::Lists, Error::Draining, Error::NoRoute] {
            check(refusal, Weight::Refusal);
        }
        check(store::Error::Busy.into(), Weight::Refusal);
    }
}
