//! The queue: chunks of items and selections, taken and ended, as statements of the database. Which of them run now is
//! known to the scheduler alone, so a process that died has taken nothing.

pub mod retry;

use std::collections::HashSet;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use tokio::time::Instant;

use super::chunk::{Chunk, Item, pack, unpack};
use super::database::{bytes, now_ms};
use super::selection::{Selecting, Selection};
use super::status::{State, status};
use super::{AHEAD_MS_MAX, Error, Options, Outcome, Place, Verdict};
use crate::digest::Digest;

/// The next thing to do.
pub enum Task {
    /// Run a chunk.
    Run(Chunk),
    /// Take the next images of a selection, by its number and that of its job.
    Select { number: i64, job: i64 },
    /// Wait until this time, in milliseconds since 1970; `None`: until a job comes.
    Wait(Option<i64>),
}

/// The numbers of what is not to be taken now.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Chunks that run.
    pub chunks: HashSet<i64>,
    /// Selections that run.
    pub selections: HashSet<i64>,
    /// Jobs that wait for the store.
    pub waiting: HashSet<i64>,
    /// The time when the first of them may try again.
    pub until: Option<Instant>,
}

/// An item that has ended, and its outcomes.
#[derive(Clone)]
pub struct Ended {
    pub place: Place,
    pub outcomes: Vec<Outcome>,
    /// Its line, if it failed and may be run once more.
    pub failed: Option<Bytes>,
}

impl Ended {
    /// Whether every output succeeded.
    pub fn is_well(&self) -> bool {
        self.outcomes.iter().all(|outcome| outcome.verdict == Verdict::Done)
    }
}

/// The part of a chunk that is left for later.
#[derive(Default)]
pub struct Rest {
    /// Items that are tried again at `run_at_ms`.
    pub again: Vec<Item>,
    pub run_at_ms: i64,
    /// Lines that name a part of the store.
    pub selections: Vec<(Item, Selection)>,
}

/// Finds something to do, taking the jobs in turn so that a large one does not hold up a small one. A chunk that is
/// found is begun. `now_ms` is one moment: with two, a chunk due between them would be neither ready nor waited for.
pub fn take(database: &Transaction, taken: &Taken, after_job: i64, now_ms: i64) -> Result<Task, Error> {
    let jobs = unfinished(database)?;
    let turn = jobs.partition_point(|job| *job <= after_job);
    for &job in jobs[turn..].iter().chain(&jobs[..turn]).filter(|job| !taken.waiting.contains(job)) {
        if let Some(number) = whole_selection(database, job)? {
            if taken.selections.contains(&number) {
                continue;
            }
            return Ok(Task::Select { number, job });
        }
        if let Some(number) = ready_chunk(database, job, &taken.chunks, now_ms)? {
            return Ok(Task::Run(begin(database, number)?));
        }
        if let Some(number) = selection(database, job, &taken.selections)? {
            return Ok(Task::Select { number, job });
        }
    }
    let waits = "SELECT min(run_at_ms) FROM chunk WHERE job = ?1 AND run_at_ms > ?2";
    let mut waits = database.prepare_cached(waits)?;
    let mut next = None;
    for job in jobs {
        let at: Option<i64> = waits.query_row([job, now_ms], |row| row.get(0))?;
        next = [next, at].into_iter().flatten().min();
    }
    Ok(Task::Wait(next))
}

/// The jobs that have not ended, in the order of their acceptance.
pub fn unfinished(database: &Connection) -> Result<Vec<i64>, Error> {
    let query = "SELECT number FROM job WHERE state IN (?1, ?2) ORDER BY number";
    let mut statement = database.prepare_cached(query)?;
    let rows = statement.query_map([State::Queued as i64, State::Running as i64], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn ready_chunk(database: &Connection, job: i64, taken: &HashSet<i64>, now_ms: i64) -> Result<Option<i64>, Error> {
    let query = "SELECT number FROM chunk WHERE job = ?1 AND run_at_ms <= ?2 ORDER BY run_at_ms, number LIMIT ?3";
    let ready = first_free(database, query, params![job, now_ms, taken.len() as i64 + 1], taken)?;
    if ready.is_some() {
        return Ok(ready);
    }
    // No chunk is put off for so long: when this one was, the clock was ahead of what it is now.
    let query = "SELECT number FROM chunk WHERE job = ?1 AND run_at_ms > ?2 ORDER BY run_at_ms, number LIMIT ?3";
    first_free(database, query, params![job, now_ms + AHEAD_MS_MAX, taken.len() as i64 + 1], taken)
}

fn selection(database: &Connection, job: i64, taken: &HashSet<i64>) -> Result<Option<i64>, Error> {
    let query = "SELECT number FROM selection WHERE job = ?1 AND whole = 0 ORDER BY number LIMIT ?2";
    first_free(database, query, params![job, taken.len() as i64 + 1], taken)
}

/// A selection that must be listed in full before anything else of its job runs.
fn whole_selection(database: &Connection, job: i64) -> Result<Option<i64>, Error> {
    let query = "SELECT number FROM selection WHERE job = ?1 AND whole = 1 ORDER BY number LIMIT 1";
    first_free(database, query, params![job], &HashSet::new())
}

fn first_free(
    database: &Connection,
    query: &str,
    parameters: impl rusqlite::Params,
    taken: &HashSet<i64>,
) -> Result<Option<i64>, Error> {
    let mut statement = database.prepare_cached(query)?;
    let mut rows = statement.query(parameters)?;
    while let Some(row) = rows.next()? {
        let number = row.get(0)?;
        if !taken.contains(&number) {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// Counts a start of the chunk before it runs: an item that ends the process each time must not do so for ever.
fn begin(database: &Transaction, number: i64) -> Result<Chunk, Error> {
    database.prepare_cached("UPDATE chunk SET starts = starts + 1 WHERE number = ?1")?.execute([number])?;
    let query =
        "SELECT job, rights, attempts, starts, chunk.items, retried FROM chunk JOIN job ON job.number = chunk.job
        WHERE chunk.number = ?1";
    let (mut chunk, is_retried) = database.prepare_cached(query)?.query_row([number], |row| {
        let items = unpack(&row.get::<_, Vec<u8>>(4)?.into());
        let (job, rights) = (row.get(0)?, row.get(1)?);
        Ok((Chunk { number, job, rights, attempts: row.get(2)?, starts: row.get(3)?, items }, row.get::<_, bool>(5)?))
    })?;
    if is_retried {
        retry::clear(database, &chunk)?;
    }
    let state = "UPDATE job SET state = ?2, started_ms = coalesce(started_ms, ?3) WHERE number = ?1 AND state = ?4";
    database.prepare_cached(state)?.execute(params![
        chunk.job,
        State::Running as i64,
        now_ms(),
        State::Queued as i64
    ])?;
    let ended = ended_places(database, &chunk)?;
    chunk.items.retain(|item| !ended.contains(&item.place));
    Ok(chunk)
}

/// The items of a chunk that have results already: an earlier process died while the chunk ran.
fn ended_places(database: &Connection, chunk: &Chunk) -> Result<HashSet<Place>, Error> {
    // Items of a chunk are not always neighbours, so each is looked up; the index alone answers it.
    let mut statement =
        database.prepare_cached("SELECT EXISTS (SELECT 1 FROM result WHERE job = ?1 AND item = ?2 AND part = ?3)")?;
    let mut ended = HashSet::new();
    for Item { place, .. } in &chunk.items {
        if statement.query_row([chunk.job, place.item as i64, place.part as i64], |row| row.get(0))? {
            ended.insert(*place);
        }
    }
    Ok(ended)
}

/// Writes a new chunk.
pub fn insert(database: &Transaction, job: i64, items: &[Item], run_at_ms: i64, attempts: u32) -> Result<(), Error> {
    let insert = "INSERT INTO chunk (job, run_at_ms, attempts, items) VALUES (?1, ?2, ?3, ?4)";
    database.prepare_cached(insert)?.execute(params![job, run_at_ms, attempts, pack(items)])?;
    Ok(())
}

/// Writes the results of some items of a chunk, and clears it of suspicion.
pub fn record(database: &Transaction, chunk: i64, job: i64, ended: &[Ended]) -> Result<(), Error> {
    write_results(database, job, ended)?;
    if ended.is_empty() { Ok(()) } else { trust(database, chunk) }
}

/// Writes results, and returns the number of items that had none before.
fn write_results(database: &Transaction, job: i64, ended: &[Ended]) -> Result<i64, Error> {
    let state: i64 = database.query_row("SELECT state FROM job WHERE number = ?1", [job], |row| row.get(0))?;
    if state != State::Running as i64 {
        return Err(Error::Ended);
    }
    let (mut done, mut failed) = (0, 0);
    let insert = "INSERT OR IGNORE INTO result (job, item, part, output, line) VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut insert = database.prepare_cached(insert)?;
    let mut failures = Vec::new();
    for item in ended {
        let Ended { place, outcomes, .. } = item;
        let mut new = false;
        for Outcome { output, line, .. } in outcomes {
            new |= insert.execute(params![job, place.item as i64, place.part as i64, output, &line[..]])? > 0;
        }
        // Not new: an earlier process wrote them and died before it ended the chunk.
        done += i64::from(new && item.is_well());
        failed += i64::from(new && !item.is_well());
        let again = item.failed.clone().filter(|_| new);
        failures.extend(again.map(|line| Item { place: *place, line }));
    }
    retry::keep(database, job, &failures)?;
    let counts = "UPDATE job SET done = done + ?2, failed = failed + ?3 WHERE number = ?1";
    database.prepare_cached(counts)?.execute([job, done, failed])?;
    Ok(done + failed)
}

/// Moves items that are tried again into a chunk of their own. In this chunk they would be suspected of ending the
/// process.
pub fn put_off(database: &Transaction, chunk: i64, job: i64, attempts: u32, rest: &Rest) -> Result<(), Error> {
    let items: Vec<u8> = database.query_row("SELECT items FROM chunk WHERE number = ?1", [chunk], |row| row.get(0))?;
    let is_again = |item: &Item| rest.again.iter().any(|again| again.place == item.place);
    // Those that are gone were moved before, by a call whose commit succeeded and yet was answered with an error.
    let (moved, left): (Vec<_>, Vec<_>) = unpack(&items.into()).into_iter().partition(is_again);
    if !moved.is_empty() {
        database.execute("UPDATE chunk SET items = ?2 WHERE number = ?1", params![chunk, pack(&left)])?;
        insert(database, job, &moved, rest.run_at_ms, attempts + 1)?;
    }
    trust(database, chunk)
}

/// Leaves the items of a chunk that wait for the store in it: writes the results of the others, and clears it of
/// suspicion.
pub fn hold(database: &Transaction, chunk: &Chunk, ended: &[Ended], rest: &Rest) -> Result<(), Error> {
    write_results(database, chunk.job, ended)?;
    if rest.again.is_empty() {
        return trust(database, chunk.number);
    }
    put_off(database, chunk.number, chunk.job, chunk.attempts, rest)
}

/// Takes back one start of each chunk: the process ends for another reason.
pub fn leave(database: &Transaction, chunks: &HashSet<i64>) -> Result<(), Error> {
    let mut update = database.prepare_cached("UPDATE chunk SET starts = max(starts - 1, 0) WHERE number = ?1")?;
    chunks.iter().try_for_each(|chunk| update.execute([chunk]).map(drop))?;
    Ok(())
}

/// Clears a chunk of suspicion: something of it has ended and the process lives.
pub fn trust(database: &Transaction, chunk: i64) -> Result<(), Error> {
    database.prepare_cached("UPDATE chunk SET starts = 0 WHERE number = ?1")?.execute([chunk])?;
    Ok(())
}

/// Ends a chunk: writes its last results and what is left for later. Returns the job if that ended it.
pub fn finish(database: &Transaction, chunk: &Chunk, ended: &[Ended], rest: &Rest) -> Result<Option<i64>, Error> {
    record(database, chunk.number, chunk.job, ended)?;
    if database.execute("DELETE FROM chunk WHERE number = ?1", [chunk.number])? == 0 {
        return Err(Error::Ended);
    }
    if !rest.again.is_empty() {
        insert(database, chunk.job, &rest.again, rest.run_at_ms, chunk.attempts + 1)?;
    }
    for (item, selection) in &rest.selections {
        let insert = "INSERT INTO selection (job, item, whole, after, left_over, line, parts)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let (after, left) = (selection.after.map(|after| after.as_bytes().to_vec()), selection.limit);
        // Its images are numbered from its own place on.
        let Place { item: number, part } = item.place;
        let (number, left) = (number as i64, left.map(clamped));
        let parameters = params![chunk.job, number, selection.whole, after, left, &item.line[..], part as i64];
        database.prepare_cached(insert)?.execute(parameters)?;
    }
    let fewer = "UPDATE job SET items = items - ?2 WHERE number = ?1";
    database.prepare_cached(fewer)?.execute([chunk.job, rest.selections.len() as i64])?;
    end_if_over(database, chunk.job)
}

/// The state of a selection.
pub fn selecting(database: &Connection, number: i64) -> Result<Selecting, Error> {
    let query = "SELECT item, after, left_over, parts, line FROM selection WHERE number = ?1";
    Ok(database.query_row(query, [number], |row| {
        Ok(Selecting {
            item: row.get::<_, i64>(0)?.max(0) as u64,
            after: row.get::<_, Option<[u8; 32]>>(1)?.map(Digest::from_bytes),
            left: row.get::<_, Option<i64>>(2)?.map(|left| left.max(0) as u64),
            parts: row.get::<_, i64>(3)?.max(0) as u64,
            line: row.get::<_, Vec<u8>>(4)?.into(),
        })
    })?)
}

/// Writes the next images of a selection as a chunk, and its progress `(upto, last)`; `last`: there are no more. `left_out`
/// are results for what could not be listed. Writes nothing if the images exceed the bounds of a job or of the database.
/// Returns the job if that ended it.
pub fn select(
    database: &Transaction,
    number: i64,
    items: &[Item],
    left_out: &[Ended],
    (upto, last): (Option<Digest>, bool),
    options: &Options,
) -> Result<Option<i64>, Error> {
    let query = "SELECT job.number, items FROM selection JOIN job ON job.number = job WHERE selection.number = ?1";
    let (job, known): (i64, i64) = database.query_row(query, [number], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let count = items.len() as i64;
    if !items.is_empty() {
        let &Options { items_max, bytes_max, .. } = options;
        if known + count > clamped(items_max) {
            return Err(Error::TooManyItems { max: items_max });
        }
        if bytes(database)? >= bytes_max {
            return Err(Error::Full { max: bytes_max });
        }
        insert(database, job, items, 0, 0)?;
        database.execute("UPDATE job SET items = items + ?2 WHERE number = ?1", [job, count])?;
    }
    let failed = write_results(database, job, left_out)?;
    database.execute("UPDATE job SET items = items + ?2 WHERE number = ?1", [job, failed])?;
    if last {
        database.execute("DELETE FROM selection WHERE number = ?1", [number])?;
        return end_if_over(database, job);
    }
    let update = "UPDATE selection SET after = ?2, parts = parts + ?3, left_over = left_over - ?3 WHERE number = ?1";
    database.execute(update, params![number, upto.map(|upto| upto.as_bytes().to_vec()), count])?;
    Ok(None)
}

/// Ends a selection that names more than fits, with a result that says so. Its earlier images stay. Returns the job if
/// that ended it.
pub fn refuse(database: &Transaction, number: i64, ended: &Ended) -> Result<Option<i64>, Error> {
    let job: i64 = database.query_row("SELECT job FROM selection WHERE number = ?1", [number], |row| row.get(0))?;
    write_results(database, job, std::slice::from_ref(ended))?;
    database.execute("UPDATE job SET items = items + 1 WHERE number = ?1", [job])?;
    database.execute("DELETE FROM selection WHERE number = ?1", [number])?;
    end_if_over(database, job)
}

/// Ends a job that has nothing left to do. Returns the job if that ended it.
pub fn end_if_over(database: &Transaction, job: i64) -> Result<Option<i64>, Error> {
    let left = "SELECT EXISTS (SELECT 1 FROM chunk WHERE job = ?1) OR EXISTS (SELECT 1 FROM selection WHERE job = ?1)";
    let left: Option<bool> = database.prepare_cached(left)?.query_row([job], |row| row.get(0)).optional()?;
    let mut ended = 0;
    if left == Some(false) {
        let update = "UPDATE job SET state = ?2, ended_ms = ?3, webhook_at_ms = iif(webhook IS NULL, NULL, ?3)
            WHERE number = ?1 AND state IN (?4, ?5)";
        let (queued, running) = (State::Queued as i64, State::Running as i64);
        ended = database.execute(update, params![job, State::Done as i64, now_ms(), queued, running])?;
    }
    Ok((ended > 0).then_some(job))
}

/// Ends a job. Returns its number, and whether it had not ended before.
pub fn cancel(database: &Transaction, id: &Digest) -> Result<(i64, bool), Error> {
    let status = status(database, id)?;
    if status.state.has_ended() {
        return Ok((status.number, false));
    }
    let update = "UPDATE job SET state = ?2, ended_ms = ?3, webhook_at_ms = iif(webhook IS NULL, NULL, ?3)
        WHERE number = ?1";
    database.execute(update, params![status.number, State::Cancelled as i64, now_ms()])?;
    Ok((status.number, true))
}

fn clamped(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::Database;

    #[tokio::test]
    async fn a_chunk_is_run_or_waited_for_at_every_moment() {
        let database = Database::in_memory().unwrap();
        let rows = |database: &Transaction| {
            database.execute("INSERT INTO job (number, state, created_ms) VALUES (1, 2, 0)", [])?;
            insert(database, 1, &[], 100, 1)
        };
        database.write(rows).await.unwrap();
        let found = async |now_ms: i64| match database
            .write(move |database| take(database, &Taken::default(), 0, now_ms))
            .await
            .unwrap()
        {
            Task::Run(_) => "run".to_owned(),
            Task::Wait(until) => format!("wait {until:?}"),
            Task::Select { .. } => "select".to_owned(),
        };
        assert_eq!(found(99).await, "wait Some(100)");
        assert_eq!(found(100).await, "run");
        assert_eq!(found(101).await, "run");
        // Put off by a clock that was days ahead.
        assert_eq!(found(100 - AHEAD_MS_MAX).await, "wait Some(100)");
        assert_eq!(found(99 - AHEAD_MS_MAX).await, "run");
    }

    #[tokio::test]
    async fn items_that_are_put_off_twice_are_in_one_chunk() {
        let database = Database::in_memory().unwrap();
        let item = |item| Item { place: Place { item, part: 0 }, line: Bytes::from_static(b"x") };
        let rest = move || Rest { again: vec![item(1)], run_at_ms: 100, selections: Vec::new() };
        let rows = move |database: &Transaction| {
            database.execute("INSERT INTO job (number, state, created_ms) VALUES (1, 2, 0)", [])?;
            insert(database, 1, &[item(0), item(1)], 0, 0)
        };
        database.write(rows).await.unwrap();
        for _ in 0..2 {
            database.write(move |database| put_off(database, 1, 1, 0, &rest())).await.unwrap();
        }
        let query = "SELECT group_concat(CAST(items AS TEXT), '') FROM (SELECT items FROM chunk ORDER BY number)";
        let all = database.read(|database| Ok(database.query_row(query, [], |row| row.get::<_, String>(0))?)).await;
        assert_eq!(all.as_deref(), Ok("0 0 x\n1 0 x\n"));
    }
}
