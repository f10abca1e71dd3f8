//! Routes for those who run the server: health, readiness, metrics. The first two take any query: no probe fails for one that only
//! keeps a cache away.

use hyper::StatusCode;

use super::error::Error;
use super::{Call, Reply, respond};

/// `GET /healthz`: the process answers.
pub(super) fn healthz(_call: Call) -> Reply {
    Reply::Now(Ok(respond::text(StatusCode::OK, "text/plain", "ok\n".to_owned())))
}

/// `GET /readyz`: requests should be sent here; not while the store takes no uploads or the server is on its way out.
pub(super) fn readyz(call: Call) -> Reply {
    let ready = if call.app.draining() { Err(Error::Draining) } else { call.app.store.writable().map_err(Error::from) };
    Reply::Now(ready.map(|()| respond::text(StatusCode::OK, "text/plain", "ready\n".to_owned())))
}

/// `GET /metrics`: the OpenMetrics text that Prometheus reads. Like the probes it takes no notice of parameters: monitoring must not
/// fail for one.
pub(super) fn metrics(call: Call) -> Reply {
    const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Reply::later(async move {
        let text = call.app.metrics.text(&call.app).await.map_err(|_| Error::Internal)?;
        Ok(respond::text(StatusCode::OK, MEDIA_TYPE, text))
    })
}
