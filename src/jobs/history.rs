//! What is asked about jobs, how they are cancelled, and how they are forgotten: statements over the ledger.

use bytes::Bytes;
use rusqlite::{Connection, Row, ToSql, Transaction, params};
use serde_json::{Value, json};

use super::ledger::{bytes, now_ms};
use super::receiving::Receiving;
use super::webhook::CALLS_MAX;
use super::{Error, Options, RETRY_MS_MAX};
use crate::digest::Digest;

/// Rows that one step of the sweeper removes: others wait for the ledger meanwhile.
const SWEEP_ROWS: i64 = 1_000;
/// Chunks of them: they are larger.
const SWEEP_CHUNKS: i64 = 16;
/// Pages that one step gives back to the file system.
const VACUUM_PAGES: i64 = 1_000;
/// How much longer than others an ended job is remembered at most while its webhook is due: longer than all calls take.
pub(super) const DUE_MS_MAX: i64 = (CALLS_MAX as u64 * RETRY_MS_MAX * 2) as i64;

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Its lines arrive; nobody knows it yet.
    Receiving = 0,
    /// Accepted; nothing of it has run.
    Queued = 1,
    /// Something of it has run.
    Running = 2,
    /// Every item has ended.
    Done = 3,
    /// Ended before its time.
    Cancelled = 4,
    /// Nobody knows it any more; its rows are being removed.
    Forgotten = 5,
}

impl State {
    const ALL: [State; 6] =
        [State::Receiving, State::Queued, State::Running, State::Done, State::Cancelled, State::Forgotten];

    pub(super) fn of(number: i64) -> State {
        usize::try_from(number).ok().and_then(|at| State::ALL.get(at)).copied().unwrap_or(State::Forgotten)
    }

    /// "running".
    pub fn name(self) -> &'static str {
        match self {
            State::Receiving => "receiving",
            State::Queued => "queued",
            State::Running => "running",
            State::Done => "done",
            State::Cancelled => "cancelled",
            State::Forgotten => "forgotten",
        }
    }

    /// Whether nothing more will come of it.
    pub fn has_ended(self) -> bool {
        matches!(self, State::Done | State::Cancelled | State::Forgotten)
    }
}

/// Whether the URL that a job was sent with was told of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Whether it will be called.
    pub is_due: bool,
    /// Calls that were not answered well.
    pub failed_calls: u32,
}

impl Delivery {
    fn json(self, has_ended: bool) -> Value {
        let state = match self {
            _ if !has_ended => "waiting",
            Delivery { is_due: true, .. } => "due",
            Delivery { failed_calls: CALLS_MAX.., .. } => "given-up",
            _ => "delivered",
        };
        json!({ "state": state, "failed_calls": self.failed_calls })
    }
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub(super) number: i64,
    /// Its id.
    pub id: Digest,
    /// Where it stands.
    pub state: State,
    /// When it was accepted, in milliseconds since 1970.
    pub created_ms: i64,
    /// When the first of it began to run.
    pub started_ms: Option<i64>,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// Items known so far.
    pub items: u64,
    /// Items that ended well.
    pub done: u64,
    /// Items that did not.
    pub failed: u64,
    /// Items that run now, or wait for one that does.
    pub running: u64,
    /// Whether selections will still bring more items.
    pub selecting: bool,
    /// Of its webhook, if it has one.
    pub webhook: Option<Delivery>,
}

impl Status {
    /// Items that have not ended.
    pub(super) fn waiting(&self) -> u64 {
        if self.state.has_ended() { 0 } else { self.items.saturating_sub(self.done + self.failed) }
    }

    /// Items that wait.
    pub fn queued(&self) -> u64 {
        self.waiting().saturating_sub(self.running)
    }

    /// Items a second, from the first start to the end or to now.
    pub fn rate(&self) -> Option<f64> {
        let until = self.ended_ms.unwrap_or_else(now_ms);
        let seconds = (until - self.started_ms?).max(1) as f64 / 1e3;
        Some((self.done + self.failed) as f64 / seconds)
    }

    /// As its client sees it.
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
        let mut say = |name: &str, value: Option<Value>| value.map(|value| json[name] = value);
        say("started_ms", self.started_ms.map(Value::from));
        say("ended_ms", self.ended_ms.map(Value::from));
        say("items_per_second", self.rate().map(|rate| ((rate * 10.0).round() / 10.0).into()));
        say("estimated_end_ms", self.estimated_end_ms().map(Value::from));
        say("webhook", self.webhook.map(|delivery| delivery.json(self.state.has_ended())));
        json
    }

    /// When it would end at this rate, in milliseconds since 1970; nobody knows while selections go on.
    pub fn estimated_end_ms(&self) -> Option<i64> {
        let rate = self.rate().filter(|rate| *rate > 0.0 && !self.selecting && !self.state.has_ended())?;
        Some(now_ms().saturating_add((self.waiting() as f64 / rate * 1e3) as i64))
    }
}

const STATUS: &str = "SELECT number, id, state, created_ms, started_ms, ended_ms, items, done, failed,
    EXISTS (SELECT 1 FROM selection WHERE selection.job = job.number),
    webhook IS NOT NULL, webhook_at_ms IS NOT NULL, webhook_attempts FROM job";

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
        webhook: if row.get(10)? { Some(Delivery { is_due: row.get(11)?, failed_calls: row.get(12)? }) } else { None },
    })
}

pub fn status(ledger: &Connection, id: &Digest) -> Result<Status, Error> {
    let query = format!("{STATUS} WHERE id = ?1");
    Ok(ledger.prepare_cached(&query)?.query_row([id.as_bytes()], read_status)?)
}

pub fn list(ledger: &Connection, limit: usize) -> Result<Vec<Status>, Error> {
    let query = format!("{STATUS} WHERE id IS NOT NULL ORDER BY number DESC LIMIT ?1");
    let mut statement = ledger.prepare_cached(&query)?;
    let rows = statement.query_map([limit as i64], read_status)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Some results of a job.
#[derive(Clone, Debug)]
pub struct Page {
    /// Lines, without their ends.
    pub lines: Vec<Bytes>,
    /// Where to go on: the cursor of the last line.
    pub after: u64,
    /// Whether there are no further lines now.
    pub last: bool,
    /// Where the job stood when these were read.
    pub status: Status,
}

pub fn results(ledger: &Connection, id: &Digest, after: u64, limit: usize) -> Result<Page, Error> {
    let status = status(ledger, id)?;
    let query = "SELECT number, line FROM result WHERE job = ?1 AND number > ?2 ORDER BY number LIMIT ?3";
    let mut statement = ledger.prepare_cached(query)?;
    let mut rows = statement.query(params![status.number, i64::try_from(after).unwrap_or(i64::MAX), limit as i64])?;
    let (mut lines, mut last_number) = (Vec::new(), after);
    while let Some(row) = rows.next()? {
        last_number = row.get::<_, i64>(0)?.max(0) as u64;
        lines.push(row.get::<_, Vec<u8>>(1)?.into());
    }
    Ok(Page { last: lines.len() < limit, lines, after: last_number, status })
}

/// Ends a job; its number, and whether it had not ended before.
pub fn cancel(ledger: &Transaction, id: &Digest) -> Result<(i64, bool), Error> {
    let status = status(ledger, id)?;
    if status.state.has_ended() {
        return Ok((status.number, false));
    }
    let update = "UPDATE job SET state = ?2, ended_ms = ?3, webhook_at_ms = iif(webhook IS NULL, NULL, ?3)
        WHERE number = ?1";
    ledger.execute(update, params![status.number, State::Cancelled as i64, now_ms()])?;
    Ok((status.number, true))
}

/// Forgets what was never accepted and is not received any more: it was cut, or the process that received it died. Where that used a
/// mark of this one, it goes with that.
pub fn forget_unaccepted(ledger: &Transaction, receiving: &Receiving) -> Result<(), Error> {
    let mut unaccepted = ledger.prepare_cached("SELECT number, body FROM job WHERE state = ?1")?;
    let mut rows = unaccepted.query([State::Receiving as i64])?;
    let mut cut = Vec::new();
    while let Some(row) = rows.next()? {
        if !receiving.is_received(row.get(1)?) {
            cut.push(row.get::<_, i64>(0)?);
        }
    }
    cut.iter().try_for_each(|number| forget(ledger, "?1", params![number]))
}

/// Forgets the oldest ended jobs past the bounds of number, age and bytes. Of number, those beside something are counted apart, and
/// those whose webhook is due, so that it is called before they go.
pub fn forget_old(ledger: &Transaction, options: &Options) -> Result<(), Error> {
    let (done, cancelled) = (State::Done as i64, State::Cancelled as i64);
    let by_number =
        "SELECT number FROM job WHERE state IN (?1, ?2) AND (body IS NULL) = ?4 AND (webhook_at_ms IS NULL) = ?5
        ORDER BY ended_ms DESC, number DESC LIMIT -1 OFFSET ?3";
    for (beside, told) in [(false, true), (false, false), (true, true)] {
        forget(ledger, by_number, params![done, cancelled, options.ended_max as i64, beside, told])?;
    }
    let by_age = "SELECT number FROM job WHERE state IN (?1, ?2) AND ended_ms < iif(webhook_at_ms IS NULL, ?3, ?4)";
    let oldest_ms = now_ms().saturating_sub_unsigned(options.keep_s.saturating_mul(1_000));
    forget(ledger, by_age, params![done, cancelled, oldest_ms, oldest_ms.saturating_sub(DUE_MS_MAX)])?;
    if bytes(ledger)? > options.bytes_max / 4 * 3 && !has_forgotten(ledger)? {
        let by_bytes = "SELECT number FROM job WHERE state IN (?1, ?2)
            ORDER BY body IS NOT NULL, webhook_at_ms IS NOT NULL, ended_ms, number LIMIT 1";
        forget(ledger, by_bytes, params![done, cancelled])?;
    }
    Ok(())
}

/// Forgets the jobs that a query names. They are removed by [`sweep`].
pub fn forget(ledger: &Transaction, numbers: &str, parameters: &[&dyn ToSql]) -> Result<(), Error> {
    let forgotten = State::Forgotten as i64;
    let update = format!(
        "UPDATE job SET state = {forgotten}, id = NULL WHERE number IN ({numbers}) RETURNING webhook_at_ms IS NOT NULL"
    );
    let mut update = ledger.prepare_cached(&update)?;
    let due = update.query_map(parameters, |row| row.get::<_, bool>(0))?.collect::<Result<Vec<_>, _>>()?;
    let untold = due.into_iter().filter(|due| *due).count();
    if untold > 0 {
        tracing::warn!(jobs = untold, "jobs are forgotten whose webhooks were still to be called");
    }
    Ok(())
}

fn has_forgotten(ledger: &Connection) -> Result<bool, Error> {
    let query = "SELECT EXISTS (SELECT 1 FROM job WHERE state = ?1)";
    Ok(ledger.query_row(query, [State::Forgotten as i64], |row| row.get(0))?)
}

/// Removes some rows of jobs that are forgotten, and what cancelled ones will not run; whether there may be more.
pub fn sweep(ledger: &Transaction) -> Result<bool, Error> {
    let over = [State::Cancelled as i64, State::Forgotten as i64];
    for (table, rows) in [("chunk", SWEEP_CHUNKS), ("selection", SWEEP_ROWS)] {
        let delete = format!(
            "DELETE FROM {table} WHERE number IN (SELECT {table}.number FROM job JOIN {table} ON {table}.job = job.number
             WHERE job.state IN (?1, ?2) LIMIT {rows})"
        );
        if ledger.execute(&delete, over)? > 0 {
            return Ok(true);
        }
    }
    let delete = format!(
        "DELETE FROM result WHERE number IN (SELECT result.number FROM job JOIN result ON result.job = job.number
         WHERE job.state = ?1 LIMIT {SWEEP_ROWS})"
    );
    if ledger.execute(&delete, [over[1]])? > 0 {
        return Ok(true);
    }
    Ok(ledger.execute("DELETE FROM job WHERE state = ?1", [over[1]])? > 0)
}

/// Gives some of what was freed back to the file system; whether there may be more.
pub fn shrink(ledger: &Connection) -> Result<bool, Error> {
    let free: i64 = ledger.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    // Less is soon used again.
    if free <= VACUUM_PAGES {
        return Ok(false);
    }
    ledger.execute_batch(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_webhook_is_given_up_with_its_last_call_and_not_before() {
        let check = |is_due, failed_calls, has_ended, state: &str| {
            let told = Delivery { is_due, failed_calls }.json(has_ended);
            assert_eq!(told, json!({ "state": state, "failed_calls": failed_calls }));
        };
        check(false, 0, false, "waiting");
        check(true, 0, true, "due");
        check(true, CALLS_MAX - 1, true, "due");
        check(false, CALLS_MAX - 1, true, "delivered");
        check(false, CALLS_MAX, true, "given-up");
    }
}
