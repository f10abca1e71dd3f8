//! Routes for operators: health, readiness, metrics. They accept any query, since a probe must not fail for a parameter
//! that only keeps caches away.

use std::time::Duration;

use hyper::StatusCode;

use crate::http::app::App;
use crate::http::call::{Call, Reply};
use crate::http::error::Error;
use crate::http::protocol::metrics::Figures;
use crate::http::protocol::response;

/// How long the page of metrics waits for the queue of jobs.
const JOBS_PATIENCE: Duration = Duration::from_secs(1);

/// `GET /healthz`: the process responds.
pub(in crate::http) fn healthz(_call: Call) -> Reply {
    Reply::Now(Ok(response::text(StatusCode::OK, "text/plain", "ok\n".to_owned())))
}

/// `GET /readyz`: the server accepts requests. It is not ready while the store takes no uploads or the server shuts
/// down. A part that fails and takes only itself has a line of its own.
pub(in crate::http) fn readyz(call: Call) -> Reply {
    let app = &call.app;
    let ready = if app.draining() { Err(Error::Draining) } else { app.store.writable().map_err(Error::from) };
    let lines = || {
        let jobs = app.jobs.fault().map(|fault| format!("jobs cannot be used: {fault}\n"));
        let folders = app.store.unreadable().into_iter().map(|folder| format!("{folder} cannot be read\n"));
        format!("ready\n{}{}", jobs.unwrap_or_default(), folders.collect::<String>())
    };
    Reply::Now(ready.map(|()| response::text(StatusCode::OK, "text/plain", lines())))
}

/// `GET /metrics`: the OpenMetrics text that Prometheus reads. Like the probes it ignores parameters: monitoring must
/// not fail for one.
pub(in crate::http) fn metrics(call: Call) -> Reply {
    const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Reply::later(async move {
        let text = call.app.metrics.text(&figures(&call.app).await).map_err(|_| Error::Internal)?;
        Ok(response::text(StatusCode::OK, MEDIA_TYPE, text))
    })
}

/// The counters of all layers, as they are now.
async fn figures(app: &App) -> Figures {
    // The page is needed most when a part of the server does not respond.
    let jobs = tokio::time::timeout(JOBS_PATIENCE, app.jobs.counters()).await;
    let jobs = jobs.ok().and_then(Result::ok);
    Figures {
        accepted: app.metrics.accepted(),
        draining: app.draining(),
        writable: app.store.writable().is_ok(),
        renditions: app.renditions.counters(),
        store: app.store.counters(),
        scrub: app.scrub.counters(),
        unreadable: app.store.unreadable().len() as u64,
        jobs_answer: jobs.is_some(),
        jobs: jobs.unwrap_or_default(),
    }
}
