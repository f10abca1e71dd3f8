//! [`Call`] and [`Reply`]: a request on its way through a handler, and the answer.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use hyper::http::request::Parts;

use super::app::App;
use super::error::Error;
use super::message::body::RequestBody;
use super::message::response_body::Response;
use super::protocol::auth::Grant;

/// One request on its way through a handler.
pub(super) struct Call {
    pub(super) app: Arc<App>,
    pub(super) parts: Parts,
    pub(super) body: RequestBody,
    /// Whether anybody, or only the holder of a key, could have asked this: decides `public` or `private`.
    pub(super) grant: Grant,
}

/// What a handler has to say: at once, or later. At once is the path of cached hits: nothing is boxed.
pub(super) enum Reply {
    Now(Result<Response, Error>),
    Later(Pin<Box<dyn Future<Output = Result<Response, Error>> + Send>>),
}

impl Reply {
    pub(super) fn later(future: impl Future<Output = Result<Response, Error>> + Send + 'static) -> Reply {
        Reply::Later(Box::pin(future))
    }
}
