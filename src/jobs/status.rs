//! [`Status`]: the state and progress of a job, and its [`Page`]s of results: queries of the database.

use bytes::Bytes;
use rusqlite::{Connection, Row, params};
use serde_json::{Value, json};

use super::database::now_ms;
use super::{Error, WaitReason};
use crate::digest::Digest;

/// Calls of a webhook that are made before it is given up.
pub(super) const WEBHOOK_CALLS_MAX: u32 = 8;

/// The state of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its lines arrive; it has no id yet.
    Receiving = 0,
    /// It is accepted; no item has run.
    Queued = 1,
    /// Some item has run.
    Running = 2,
    /// Every item has ended.
    Done = 3,
    /// It was ended by a request.
    Cancelled = 4,
    /// It has no id any more; its rows are being removed.
    Forgotten = 5,
    /// Queued or running, but the store takes nothing of it now. Never in the database.
    Waiting = 6,
}

impl State {
    const ALL: [State; 6] =
        [State::Receiving, State::Queued, State::Running, State::Done, State::Cancelled, State::Forgotten];

    pub(super) fn of(number: i64) -> State {
        usize::try_from(number).ok().and_then(|at| State::ALL.get(at)).copied().unwrap_or(State::Forgotten)
    }

    /// The name in JSON, such as "running".
    pub fn name(self) -> &'static str {
        match self {
            State::Receiving => "receiving",
            State::Queued => "queued",
            State::Running => "running",
            State::Done => "done",
            State::Cancelled => "cancelled",
            State::Forgotten => "forgotten",
            State::Waiting => "waiting",
        }
    }

    /// Whether there will be no further results.
    pub fn has_ended(self) -> bool {
        matches!(self, State::Done | State::Cancelled | State::Forgotten)
    }
}

/// The state of a job's webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebhookStatus {
    /// Whether it is still to be called.
    pub is_due: bool,
    /// Calls that failed.
    pub failed_calls: u32,
}

impl WebhookStatus {
    fn json(self, has_ended: bool) -> Value {
        let state = match self {
            _ if !has_ended => "waiting",
            WebhookStatus { is_due: true, .. } => "due",
            WebhookStatus { failed_calls: WEBHOOK_CALLS_MAX.., .. } => "given-up",
            _ => "delivered",
        };
        json!({ "state": state, "failed_calls": self.failed_calls })
    }
}

/// The state and progress of a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub(super) number: i64,
    /// The id of the job.
    pub id: Digest,
    /// The state of the job.
    pub state: State,
    /// The time when the job was accepted, in milliseconds since 1970.
    pub created_ms: i64,
    /// The time when its first item began to run.
    pub started_ms: Option<i64>,
    /// The time when it ended.
    pub ended_ms: Option<i64>,
    /// Items known so far.
    pub items: u64,
    /// Items that succeeded.
    pub done: u64,
    /// Items that failed.
    pub failed: u64,
    /// Items of the chunks that run now.
    pub running: u64,
    /// Whether selections will still bring more items.
    pub selecting: bool,
    /// The state of its webhook, if it has one.
    pub webhook: Option<WebhookStatus>,
    pub(super) owner: Option<String>,
    /// Why it waits, if its state is [`State::Waiting`].
    pub waits_for: Option<WaitReason>,
}

impl Status {
    /// Items that have not ended.
    pub(super) fn unfinished(&self) -> u64 {
        if self.state.has_ended() { 0 } else { self.items.saturating_sub(self.done + self.failed) }
    }

    /// Whether it is a job of the client whose API key has this name; empty: of one without a key. A job without an owner
    /// is one of everybody.
    pub fn is_of(&self, owner: &str) -> bool {
        self.owner.as_deref().is_none_or(|own| own.is_empty() || own == owner)
    }

    /// Items that are not taken yet.
    pub fn queued(&self) -> u64 {
        self.unfinished().saturating_sub(self.running)
    }

    /// Items a second, from the first start to the end or to now.
    pub fn rate(&self) -> Option<f64> {
        let until = self.ended_ms.unwrap_or_else(now_ms);
        let seconds = (until - self.started_ms?).max(1) as f64 / 1e3;
        Some((self.done + self.failed) as f64 / seconds)
    }

    /// The JSON that clients get.
    pub fn json(&self) -> Value {
        let mut json = json!({
            "id": self.id,
            "url": format!("/jobs/{}", self.id),
            "state": self.state.name(),
            "items": self.items,
            "queued": self.queued(),
            "running": self.running,
            "done": self.done,
            "failed": self.failed,
            "selecting": self.selecting,
            "created_ms": self.created_ms,
        });
        let mut set = |name: &str, value: Option<Value>| value.map(|value| json[name] = value);
        set("reason", self.waits_for.map(|reason| reason.name().into()));
        set("started_ms", self.started_ms.map(Value::from));
        set("ended_ms", self.ended_ms.map(Value::from));
        set("items_per_second", self.rate().map(|rate| ((rate * 10.0).round() / 10.0).into()));
        set("estimated_end_ms", self.estimated_end_ms().map(Value::from));
        set("webhook", self.webhook.map(|webhook| webhook.json(self.state.has_ended())));
        json
    }

    /// The time when it would end at this rate, in milliseconds since 1970; `None` while selections may bring more
    /// items.
    pub fn estimated_end_ms(&self) -> Option<i64> {
        let rate = self.rate().filter(|rate| *rate > 0.0 && !self.selecting && !self.state.has_ended())?;
        Some(now_ms().saturating_add((self.unfinished() as f64 / rate * 1e3) as i64))
    }
}

const STATUS: &str = "SELECT number, id, state, created_ms, started_ms, ended_ms, items, done, failed,
    EXISTS (SELECT 1 FROM selection WHERE selection.job = job.number),
    webhook IS NOT NULL, webhook_at_ms IS NOT NULL, webhook_attempts, owner FROM job";

fn read_status(row: &Row) -> rusqlite::Result<Status> {
    let count = |index| row.get::<_, i64>(index).map(|value| value.max(0) as u64);
    Ok(Status {
        number: row.get(0)?,
        id: Digest::from_bytes(row.get(1)?),
        state: State::of(row.get(2)?),
        created_ms: row.get(3)?,
        started_ms: row.get(4)?,
        ended_ms: row.get(5)?,
        items: count(6)?,
        done: count(7)?,
        failed: count(8)?,
        running: 0,
        selecting: row.get(9)?,
        webhook: if row.get(10)? {
            Some(WebhookStatus { is_due: row.get(11)?, failed_calls: row.get(12)? })
        } else {
            None
        },
        owner: row.get(13)?,
        waits_for: None,
    })
}

/// The status of the job with this id.
pub fn status(database: &Connection, id: &Digest) -> Result<Status, Error> {
    let query = format!("{STATUS} WHERE id = ?1");
    Ok(database.prepare_cached(&query)?.query_row([id.as_bytes()], read_status)?)
}

/// The youngest jobs, at most `limit`.
pub fn list(database: &Connection, limit: usize) -> Result<Vec<Status>, Error> {
    let query = format!("{STATUS} WHERE id IS NOT NULL ORDER BY number DESC LIMIT ?1");
    let mut statement = database.prepare_cached(&query)?;
    let rows = statement.query_map([limit as i64], read_status)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Consecutive results of a job.
#[derive(Clone, Debug)]
pub struct Page {
    /// Lines, without their ends.
    pub lines: Vec<Bytes>,
    /// The cursor of the last line, from which to continue.
    pub after: u64,
    /// Whether there are no further lines at this moment.
    pub last: bool,
    /// The status of the job when the lines were read.
    pub status: Status,
}

/// The results after the cursor `after`, at most `limit`.
pub fn results(database: &Connection, id: &Digest, after: u64, limit: usize) -> Result<Page, Error> {
    let status = status(database, id)?;
    let query = "SELECT number, line FROM result WHERE job = ?1 AND number > ?2 ORDER BY number LIMIT ?3";
    let mut statement = database.prepare_cached(query)?;
    let mut rows = statement.query(params![status.number, i64::try_from(after).unwrap_or(i64::MAX), limit as i64])?;
    let (mut lines, mut last_number) = (Vec::new(), after);
    while let Some(row) = rows.next()? {
        last_number = row.get::<_, i64>(0)?.max(0) as u64;
        lines.push(row.get::<_, Vec<u8>>(1)?.into());
    }
    Ok(Page { last: lines.len() < limit, lines, after: last_number, status })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_given_up_with_its_last_call_and_not_before() {
        let check = |is_due, failed_calls, has_ended, state: &str| {
            let told = WebhookStatus { is_due, failed_calls }.json(has_ended);
            assert_eq!(told, json!({ "state": state, "failed_calls": failed_calls }));
        };
        check(false, 0, false, "waiting");
        check(true, 0, true, "due");
        check(true, WEBHOOK_CALLS_MAX - 1, true, "due");
        check(false, WEBHOOK_CALLS_MAX - 1, true, "delivered");
        check(false, WEBHOOK_CALLS_MAX, true, "given-up");
    }
}
