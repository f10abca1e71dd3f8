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

/// Images of one request whose information is read at once.
const INFOS_AT_ONCE: usize = 8;
/// Images of one request that are deleted at once; each waits for the disk.
const DELETES_AT_ONCE: usize = 64;

/// `POST /images/missing`: the ids that are not stored, in the format of the request.
pub(in crate::http) fn missing(call: Call) -> Reply {
    Reply::later(async move {
        no_parameters(&call.parts)?;
        let format = id_list::ListFormat::of(&call.parts.headers)?;
        let Call { app, body, .. } = call;
        let (ids, held) = id_list::read(&app.list_budget, body, format, &app.options).await?;
        let stats = app.store.stat(&ids).await?;
        let missing: Vec<Digest> =
            ids.into_iter().zip(stats).filter(|(_, stat)| stat.is_none()).map(|(id, _)| id).collect();
        Ok(response::text(StatusCode::OK, format.media_type(), text_budget::held(format.write(&missing), held)))
    })
}

/// `POST /images/info`: a line for each id, with what `GET /images/{id}/info` returns.
pub(in crate::http) fn info(call: Call) -> Reply {
    Reply::later(async move {
        let request = Arc::new(InfoRequest::of(&call.app, &call.parts)?);
        each(call, INFOS_AT_ONCE, move |app, id| {
            let request = request.clone();
            async move { request.answer(&app, &id).await.map(|known| (StatusCode::OK, known)) }
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
