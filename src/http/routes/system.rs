//! Routes for operators: health, readiness, metrics. They accept any query, since a probe must not fail for a parameter
//! that only keeps caches away.

use std::time::Duration;

use hyper::StatusCode;

use crate::http::app::App;
use crate::http::call::{Call, Reply};
use crate::http::error::Error;
use crate::http::protocol::metrics::Figures;
use crate::http::protocol::response;
use crate::store;

/// How long the page of metrics waits for the queue of jobs.
const JOBS_PATIENCE: Duration = Duration::from_secs(1);

/// `GET /healthz`: the process responds.
pub(in crate::http) fn healthz(_call: Call) -> Reply {
    Reply::Now(Ok(response::text(StatusCode::OK, "text/plain", "ok\n".to_owned())))
}

/// `GET /readyz`: the server accepts requests. It is not ready before the start-up sync has ended, nor while it shuts down.
/// A part that fails and takes only itself has a line of its own: images are served while none can be stored.
pub(in crate::http) fn readyz(call: Call) -> Reply {
    let app = &call.app;
    let uploads = if app.draining() { Err(Error::Draining) } else { uploads(app.store.writable()) };
    let lines = |uploads| {
        let jobs = app.jobs.fault().map(|fault| format!("jobs cannot be used: {fault}\n"));
        let folders = app.store.unreadable().into_iter().map(|folder| format!("{folder} cannot be read\n"));
        format!("ready\n{uploads}{}{}", jobs.unwrap_or_default(), folders.collect::<String>())
    };
    Reply::Now(uploads.map(|uploads| response::text(StatusCode::OK, "text/plain", lines(uploads))))
}

/// The line about uploads. An error: reads fail, too.
fn uploads(writable: Result<(), store::Error>) -> Result<&'static str, Error> {
    match writable {
        Ok(()) => Ok(""),
        Err(store::Error::Full) => Ok("uploads: no room\n"),
        Err(store::Error::ReadOnly) => Ok("uploads: the store is read-only\n"),
        Err(error) => Err(error.into()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_only_takes_no_uploads_is_ready_and_says_so() {
        let away = Err(store::Error::Unavailable("the start-up sync failed".into()));
        for (writable, expected) in [
            (Ok(()), Some("")),
            (Err(store::Error::Full), Some("uploads: no room\n")),
            (Err(store::Error::ReadOnly), Some("uploads: the store is read-only\n")),
            (away, None),
        ] {
            assert_eq!(uploads(writable).ok(), expected);
        }
    }
}
