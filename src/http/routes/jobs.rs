//! `/jobs`: bulk work that outlives its request. The queue is in [`crate::jobs`], and [`executor`] runs the items.

pub(in crate::http) mod executor;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderMap, LOCATION};
use serde_json::json;
use tokio::time::{Instant, timeout};

use crate::digest::Digest;
use crate::http::app::App;
use crate::http::call::{Call, Reply};
use crate::http::error::Error;
use crate::http::message::body::{RequestBody, content_type};
use crate::http::message::json_array::Array;
use crate::http::message::line_reader::{Line, LineReader, NDJSON, is_lines};
use crate::http::message::response_body::Body;
use crate::http::protocol::rights::Rights;
use crate::http::protocol::stream_writer::{Gone, StreamWriter};
use crate::http::protocol::{response, response_options};
use crate::jobs::{self, JobKind, Page, Sender, Status, Submission};
use crate::pipeline::invalid::not_within;
use crate::pipeline::query::{Pairs, pairs};
use crate::store;

const MEDIA_TYPES: &str = "application/x-ndjson or application/json";
const EVENTS: &str = "text/event-stream";
const KEY_BYTES_MAX: usize = 256;
/// Jobs of one list.
const LIST_MAX: usize = 1_000;
/// Results that are read and sent together.
const PAGE: usize = 256;
/// The time between two looks at a running job, and the least time between two events.
const EVENT_EVERY: Duration = Duration::from_secs(1);
/// The time between two comments while nothing happens; proxies wait longer than this.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// `POST /jobs`
pub(in crate::http) fn submit(call: Call) -> Reply {
    Reply::later(async move {
        let Call { app, parts, body, .. } = call;
        let mut pairs = pairs(parts.uri.query())?;
        let webhook = response_options::once(&mut pairs, "webhook")?;
        response_options::nothing_else(&pairs, &["webhook"])?;
        let format = ItemsFormat::of(&parts.headers)?;
        let rights = Rights::of(&app.access, &parts).bits();
        let (key, owner) = (key(&parts.headers)?, app.access.key_name(&parts));
        let mut submission = app.jobs.receive(Sender { key, owner, rights, webhook, kind: JobKind::Submitted })?;
        let _array = match format {
            ItemsFormat::Lines => {
                take_lines(&app, body, &mut submission).await?;
                None
            }
            ItemsFormat::Array => Some(take_array(&app, body, &mut submission).await?),
        };
        let accepted = submission.accept().await?;
        let status = if accepted.new { StatusCode::ACCEPTED } else { StatusCode::OK };
        let mut response = response::json(status, &app.jobs.status(&accepted.id).await?.json());
        response.headers_mut().insert(LOCATION, response::value(path(&accepted.id)));
        Ok(response)
    })
}

/// The format of the items in a body.
enum ItemsFormat {
    Lines,
    Array,
}

impl ItemsFormat {
    fn of(headers: &HeaderMap) -> Result<ItemsFormat, Error> {
        match content_type(headers).1.as_str() {
            lines if is_lines(lines) => Ok(ItemsFormat::Lines),
            "application/json" => Ok(ItemsFormat::Array),
            _ => Err(Error::MediaType { allowed: MEDIA_TYPES }),
        }
    }
}

async fn take_lines(app: &App, body: RequestBody, submission: &mut Submission) -> Result<(), Error> {
    let mut lines = LineReader::new(body.stream(&app.options), app.options.line_bytes_max, &app.uploads);
    while let Some(line) = lines.next().await? {
        match line {
            Line::Text(text) => submission.line(text).await?,
            Line::TooLong { .. } => submission.line(Bytes::new()).await?,
            // A job is accepted as a whole or not at all.
            Line::NoRoom => return Err(store::Error::Busy.into()),
        }
    }
    Ok(())
}

/// Submits each element as a line, as it is written, so that an array and the equivalent lines are the same job. The
/// array keeps the bytes of the last lines until the job is accepted.
async fn take_array(app: &App, body: RequestBody, submission: &mut Submission) -> Result<Array, Error> {
    let mut array = Array::read(&app.batch_budget, body, &app.options).await?;
    for text in &mut array {
        let fits = text.len() <= app.options.line_bytes_max;
        submission.line(if fits { text } else { Bytes::new() }).await?;
    }
    Ok(array)
}

/// `GET /jobs`
pub(in crate::http) fn list(call: Call) -> Reply {
    Reply::later(async move {
        let mut pairs = pairs(call.parts.uri.query())?;
        let limit = number(&mut pairs, "limit", 1..=LIST_MAX as u64)?.unwrap_or(100);
        response_options::nothing_else(&pairs, &["limit"])?;
        let jobs = call.app.jobs.list(limit as usize).await?;
        Ok(response::json(StatusCode::OK, &json!({ "jobs": jobs.iter().map(Status::json).collect::<Vec<_>>() })))
    })
}

/// `GET /jobs/{id}`
pub(in crate::http) fn status(call: Call, id: Digest) -> Reply {
    Reply::later(async move {
        response_options::no_parameters(&call.parts)?;
        Ok(response::json(StatusCode::OK, &seen(&call, &id).await?.json()))
    })
}

/// The status of a job, if the client may see it: its own key sent it, or it has `admin`.
async fn seen(call: &Call, id: &Digest) -> Result<Status, Error> {
    let access = &call.app.access;
    let status = call.app.jobs.status(id).await?;
    let may_see = access.is_admin(&call.parts) || status.is_of(access.key_name(&call.parts));
    if may_see { Ok(status) } else { Err(jobs::Error::NotFound.into()) }
}

/// `POST /jobs/{id}/retry`: 202 if failed items run again, 200 if there are none, or the job has not ended.
pub(in crate::http) fn retry(call: Call, id: Digest) -> Reply {
    Reply::later(async move {
        response_options::no_parameters(&call.parts)?;
        seen(&call, &id).await?;
        let runs = call.app.jobs.retry(&id).await?;
        let status = if runs { StatusCode::ACCEPTED } else { StatusCode::OK };
        Ok(response::json(status, &call.app.jobs.status(&id).await?.json()))
    })
}

/// `DELETE /jobs/{id}`: 204 when the job has ended, now or before.
pub(in crate::http) fn cancel(call: Call, id: Digest) -> Reply {
    Reply::later(async move {
        response_options::no_parameters(&call.parts)?;
        seen(&call, &id).await?;
        call.app.jobs.cancel(&id).await?;
        Ok(response::with(StatusCode::NO_CONTENT, Body::Empty))
    })
}

/// `GET /jobs/{id}/results`
pub(in crate::http) fn results(call: Call, id: Digest) -> Reply {
    Reply::later(async move {
        let mut pairs = pairs(call.parts.uri.query())?;
        let after = number(&mut pairs, "after", 0..=i64::MAX as u64)?.unwrap_or(0);
        response_options::nothing_else(&pairs, &["after"])?;
        seen(&call, &id).await?;
        // The first page is read here, so that an unknown job is an error response and not a broken body.
        let first = call.app.jobs.results(&id, after, PAGE).await?;
        let app = call.app.clone();
        Ok(call.app.stream(NDJSON, async move |answer| _ = send_results(&app, first, answer).await))
    })
}

async fn send_results(app: &App, mut page: Page, mut answer: StreamWriter) -> Result<(), Gone> {
    loop {
        if !page.lines.is_empty() {
            answer.send(joined(&page.lines)).await?;
        }
        if page.last {
            let Status { state, waits_for, .. } = page.status;
            let mut last = json!({ "done": state.has_ended(), "state": state.name(), "after": page.after });
            if let Some(reason) = waits_for {
                last["reason"] = reason.name().into();
            }
            return answer.end(last.to_string().into()).await;
        }
        // The job was forgotten or submitted again, or the database does not respond. A response without its last line
        // was cut.
        page = app.jobs.page_after(&page, PAGE).await.map_err(|_| Gone)?;
    }
}

fn joined(lines: &[Bytes]) -> Bytes {
    let mut text = Vec::with_capacity(lines.iter().map(|line| line.len() + 1).sum());
    for line in lines {
        text.extend_from_slice(line);
        text.push(b'\n');
    }
    text.into()
}

/// `GET /jobs/{id}/events`
pub(in crate::http) fn events(call: Call, id: Digest) -> Reply {
    Reply::later(async move {
        response_options::no_parameters(&call.parts)?;
        let first = seen(&call, &id).await?;
        let app = call.app.clone();
        Ok(call.app.stream(EVENTS, async move |answer| _ = send_events(app, first, answer).await))
    })
}

/// Sends `progress` after a change, at most once a second, and `end` at once when the job ends. When the server stops
/// it sends the current state and no more; the client asks again.
async fn send_events(app: Arc<App>, first: Status, mut answer: StreamWriter) -> Result<(), Gone> {
    let mut ends = app.jobs.ends();
    let (mut said, mut at) = (None, Instant::now());
    loop {
        let status = app.jobs.status_now(&first).await.map_err(|_| Gone)?;
        if status.state.has_ended() {
            answer.send(event("end", &status)).await?;
            break;
        }
        if said.as_ref() != Some(&status) {
            answer.send(event("progress", &status)).await?;
            (said, at) = (Some(status.clone()), Instant::now());
        } else if at.elapsed() >= HEARTBEAT {
            answer.send(Bytes::from_static(b":\n\n")).await?;
            at = Instant::now();
        }
        if app.draining() {
            break;
        }
        // Not every change is sent, since every look takes a turn of the one database.
        _ = timeout(EVENT_EVERY, ends.wait(&status)).await;
    }
    answer.finish();
    Ok(())
}

fn event(name: &str, status: &Status) -> Bytes {
    format!("event: {name}\ndata: {}\n\n", status.json()).into()
}

fn path(id: &Digest) -> String {
    format!("/jobs/{id}")
}

/// The client's own name for a job.
fn key(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    const MALFORMED: Error =
        Error::Malformed { what: "Idempotency-Key must be 1 to 256 visible ASCII characters, once" };
    let mut values = headers.get_all("idempotency-key").iter();
    let (value, None) = (values.next(), values.next()) else { return Err(MALFORMED) };
    let Some(value) = value else { return Ok(None) };
    let fits = (1..=KEY_BYTES_MAX).contains(&value.len());
    value.to_str().ok().filter(|_| fits).map(Some).ok_or(MALFORMED)
}

fn number(pairs: &mut Pairs, name: &str, bounds: std::ops::RangeInclusive<u64>) -> Result<Option<u64>, Error> {
    let Some(text) = response_options::once(pairs, name)? else { return Ok(None) };
    let number = text.parse().ok().filter(|number| bounds.contains(number));
    Ok(Some(number.ok_or_else(|| not_within(name, &text, *bounds.start(), *bounds.end()))?))
}

impl From<jobs::Error> for Error {
    fn from(error: jobs::Error) -> Error {
        Error::Jobs(error)
    }
}
