//! Routes for operators: health, readiness, metrics. They accept any query, since a probe must not fail for a parameter
//! that only keeps caches away.

use std::time::Duration;

use hyper::StatusCode;

use crate::http::app::App;
use crate::http::call::{Call, Reply};
use crate::http::error::Error;
use crate::http::protocol::metrics::Figures;
use crate::http::protocol::response;
use crate::store::{self, FreeSpace};

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
    let uploads =
        if app.draining() { Err(Error::Draining) } else { uploads(app.store.writable(), app.store.free_space()) };
    let lines = |uploads| {
        let jobs = app.jobs.fault().map(|fault| format!("jobs cannot be used: {fault}\n"));
        let lost = app.jobs.lost().into_iter();
        let lost = lost.map(|name| format!("jobs were lost: their queue was malformed and is now {name}\n"));
        let folders = app.store.unreadable().into_iter().map(|folder| format!("{folder} cannot be read\n"));
        let (jobs, lost, folders) = (jobs.unwrap_or_default(), lost.collect::<String>(), folders.collect::<String>());
        format!("ready\n{uploads}{jobs}{lost}{folders}")
    };
    Reply::Now(uploads.map(|uploads| response::text(StatusCode::OK, "text/plain", lines(uploads))))
}

/// The line about uploads. An error: reads fail, too.
fn uploads(writable: Result<(), store::Error>, space: Option<FreeSpace>) -> Result<String, Error> {
    match (writable, space) {
        (Ok(()), _) => Ok(String::new()),
        (Err(store::Error::Full), Some(FreeSpace { bytes, reserve_bytes })) => {
            Ok(format!("uploads: no room: {bytes} bytes are free, and space_reserve_bytes keeps {reserve_bytes}\n"))
        }
        (Err(store::Error::Full), None) => Ok("uploads: no room\n".to_owned()),
        (Err(store::Error::ReadOnly), _) => Ok("uploads: the store is read-only\n".to_owned()),
        (Err(error), _) => Err(error.into()),
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
        space: app.store.free_space(),
        scrub: app.scrub.counters(),
        unreadable: app.store.unreadable().len() as u64,
        jobs_answer: jobs.is_some(),
        jobs: jobs.unwrap_or_default(),
        jobs_lost: app.jobs.lost().len() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_only_takes_no_uploads_is_ready_and_says_so() {
        let away = Err(store::Error::Unavailable("the start-up sync failed".into()));
        let space = Some(FreeSpace { bytes: 12, reserve_bytes: 34 });
        for (writable, space, expected) in [
            (Ok(()), space, Some("")),
            (
                Err(store::Error::Full),
                space,
                Some("uploads: no room: 12 bytes are free, and space_reserve_bytes keeps 34\n"),
            ),
            (Err(store::Error::Full), None, Some("uploads: no room\n")),
            (Err(store::Error::ReadOnly), space, Some("uploads: the store is read-only\n")),
            (away, space, None),
        ] {
            assert_eq!(uploads(writable, space).ok().as_deref(), expected);
        }
    }
}
