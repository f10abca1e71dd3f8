//! [`Call`] and [`Reply`]: a request on its way through a handler, and the response.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use hyper::http::request::Parts;
use tokio::sync::OwnedSemaphorePermit;

use super::app::App;
use super::error::Error;
use super::message::body::RequestBody;
use super::message::response_body::Response;
use super::protocol::auth::{Caller, Grant, Work};

/// One request on its way through a handler.
pub(super) struct Call {
    pub(super) app: Arc<App>,
    pub(super) parts: Parts,
    pub(super) body: RequestBody,
    /// Why the request was let through: decides between `public` and `private` in `Cache-Control`.
    pub(super) grant: Grant,
    /// Who asks; `None` if no caller has a limit.
    pub(super) caller: Option<Arc<Caller>>,
}

impl Call {
    /// Takes a place for a render that no cache answers, if the caller has a limit for it.
    pub(super) fn begin_render(&self) -> Result<Option<OwnedSemaphorePermit>, Error> {
        self.caller.as_ref().map_or(Ok(None), |caller| caller.begin(Work::Render))
    }
}

/// The reply of a handler, at once or later. Cached hits are answered at once, so that nothing is boxed for them.
pub(super) enum Reply {
    Now(Result<Response, Error>),
    Later(Pin<Box<dyn Future<Output = Result<Response, Error>> + Send>>),
}

impl Reply {
    pub(super) fn later(future: impl Future<Output = Result<Response, Error>> + Send + 'static) -> Reply {
        Reply::Later(Box::pin(future))
    }
}
