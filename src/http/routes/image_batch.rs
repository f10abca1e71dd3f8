//! Routes for many ids at once, one a line or as a JSON array: `/images/missing`, `/images/info`, `/images/delete`. How
//! such lists are read is in [`crate::http::message::id_list`].

use std::future::Future;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use hyper::StatusCode;
use serde_json::{Map, Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::images;
use super::info::InfoRequest;
use crate::digest::Digest;
use crate::http::app::App;
use crate::http::call::{Call, Reply};
use crate::http::error::Error;
use crate::http::message::line_reader::NDJSON;
use crate::http::message::response_body::Response;
use crate::http::message::{id_list, text_budget};
use crate::http::protocol::response;
use crate::http::protocol::response_options::no_parameters;
use crate::http::protocol::result_line::{self, Counts};
use crate::http::protocol::stream_writer::StreamWriter;
use crate::store::{Stat, Store};

/// Images of one request whose information is read at once.
const INFOS_AT_ONCE: usize = 8;
/// Images of one request that are deleted at once; each waits for the disk.
const DELETES_AT_ONCE: usize = 64;

/// The field that names folders of the store which cannot be read.
const UNREADABLE: &str = "progimage-unreadable";
/// The most folders in it.
const UNREADABLE_MAX: usize = 32;
/// Lookups that may fail before the store counts as away.
const FAILURES_MAX: usize = 64;

/// `POST /images/missing`: the ids that are not stored, in the format of the request.
pub(in crate::http) fn missing(call: Call) -> Reply {
    Reply::later(async move {
        no_parameters(&call.parts)?;
        let format = id_list::ListFormat::of(&call.parts.headers)?;
        let Call { app, body, .. } = call;
        let (ids, held) = id_list::read(&app.list_budget, body, format, &app.options).await?;
        let stats = stats(&*app.store, &ids).await?;
        let missing: Vec<Digest> =
            ids.into_iter().zip(stats).filter(|(_, stat)| stat.is_none()).map(|(id, _)| id).collect();
        let text = text_budget::held(format.write(&missing), held);
        let mut response = response::text(StatusCode::OK, format.media_type(), text);
        if let Some(folders) = unreadable(&*app.store) {
            response.headers_mut().insert(UNREADABLE, response::value(folders));
        }
        Ok(response)
    })
}

/// Looks ids up. If that fails for all of them together, it is done one by one: an id whose folder cannot be read counts
/// as missing, since its image could not be served. An error if none can be looked up.
async fn stats(store: &dyn Store, ids: &[Digest]) -> Result<Vec<Option<Stat>>, Error> {
    let error = match store.stat(ids).await {
        Ok(stats) => return Ok(stats),
        Err(error) => error,
    };
    let (mut stats, mut known) = (Vec::with_capacity(ids.len()), false);
    for id in ids {
        let stat = store.stat(std::slice::from_ref(id)).await;
        known |= stat.is_ok();
        stats.push(stat.ok().and_then(|stats| stats.first().copied().flatten()));
        if !known && stats.len() >= FAILURES_MAX {
            break;
        }
    }
    if known { Ok(stats) } else { Err(error.into()) }
}

/// The folders that cannot be read, for a field; `None` if all can. The first ones are named.
fn unreadable(store: &dyn Store) -> Option<String> {
    let folders = store.unreadable();
    (!folders.is_empty()).then(|| folders[..folders.len().min(UNREADABLE_MAX)].join(", "))
}

/// `POST /images/info`: a line for each id, with what `GET /images/{id}/info` returns.
pub(in crate::http) fn info(call: Call) -> Reply {
    Reply::later(async move {
        let request = Arc::new(InfoRequest::of(&call.app, &call.parts)?);
        each(call, INFOS_AT_ONCE, move |app, id| {
            let request = request.clone();
            // The request as a whole counts as one render.
            async move { request.answer(&app, &id, None).await.map(|known| (StatusCode::OK, known)) }
        })
        .await
    })
}

/// `POST /images/delete`: a line for each id, also if it is not stored.
pub(in crate::http) fn delete(call: Call) -> Reply {
    let delete = |app: Arc<App>, id| async move {
        let others = images::remove(&app, id).await?;
        let rest = if others > 0 { json!({ "also_removed": others }) } else { json!({}) };
        Ok((StatusCode::NO_CONTENT, rest))
    };
    Reply::later(async move {
        no_parameters(&call.parts)?;
        each(call, DELETES_AT_ONCE, delete).await
    })
}

/// Answers with a line for each id when its `work` ends; `at_once` of them run at once.
async fn each<F>(
    call: Call,
    at_once: usize,
    work: impl Fn(Arc<App>, Digest) -> F + Send + Sync + 'static,
) -> Result<Response, Error>
where
    F: Future<Output = Result<(StatusCode, Value), Error>> + Send + 'static,
{
    let format = id_list::ListFormat::of(&call.parts.headers)?;
    let Call { app, body, .. } = call;
    let (ids, held) = id_list::read(&app.list_budget, body, format, &app.options).await?;
    let shared = app.clone();
    Ok(app.stream(NDJSON, move |answer| run(shared, (ids, held), at_once, work, answer)))
}

async fn run<F>(
    app: Arc<App>,
    (ids, _held): (Vec<Digest>, OwnedSemaphorePermit),
    at_once: usize,
    work: impl Fn(Arc<App>, Digest) -> F + Send + Sync,
    mut answer: StreamWriter,
) where
    F: Future<Output = Result<(StatusCode, Value), Error>> + Send,
{
    let outcomes = ids.into_iter().enumerate().map(|(index, id)| {
        let outcome = work(app.clone(), id);
        async move { (index, id, outcome.await) }
    });
    let mut outcomes = stream::iter(outcomes).buffer_unordered(at_once);
    let mut counts = Counts::default();
    while let Some((index, id, outcome)) = outcomes.next().await {
        counts.add(outcome.is_ok());
        let mut line = match outcome {
            Ok((status, mut known)) => {
                known["status"] = status.as_u16().into();
                known
            }
            Err(error) => result_line::failed(Map::new(), &error).into(),
        };
        line["index"] = index.into();
        line["id"] = json!(id);
        if answer.line(line.to_string().into()).await.is_err() {
            return;
        }
    }
    // If this fails, the client has left.
    _ = answer.end(counts.last(Ok(())).to_string().into()).await;
}
