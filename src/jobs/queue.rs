//! What is to be run: chunks of items and selections, taken and ended. Statements over the ledger; what is taken at this moment is
//! known to the scheduler alone, so that a process which died has taken nothing.

use std::collections::HashSet;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::history::State;
use super::ledger::{bytes, now_ms};
use super::selection::Selection;
use super::{Error, Options, Outcome, Place, Verdict};
use crate::digest::Digest;

/// Items of one chunk.
pub const CHUNK_ITEMS_MAX: usize = 256;
/// A chunk with as many bytes takes no further line.
pub const CHUNK_BYTES: usize = 1 << 20;

/// One item that is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub place: Place,
    pub line: Bytes,
}

/// Items that are run together.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub number: i64,
    pub job: i64,
    /// What its sender may do, as [`super::Work`] understands it.
    pub rights: u32,
    /// How often its items were tried.
    pub attempts: u32,
    /// How often it was begun since anything of it ended, this time included.
    pub starts: u32,
    /// Those that have no result yet.
    pub items: Vec<Item>,
}

/// What there is to do.
pub enum Task {
    Run(Chunk),
    /// A selection, by its number and its job's.
    Select {
        number: i64,
        job: i64,
    },
    /// Nothing until then, in milliseconds since 1970; `None`: until a job comes.
    Wait(Option<i64>),
}

/// What is being run, by number.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    pub chunks: HashSet<i64>,
    pub selections: HashSet<i64>,
}

/// An item that is not to be run again, and what came of it.
#[derive(Clone)]
pub struct Ended {
    pub place: Place,
    pub outcomes: Vec<Outcome>,
}

/// What is to be done later with the rest of a chunk.
#[derive(Default)]
pub struct Rest {
    /// Items that are tried again.
    pub again: Vec<Item>,
    pub run_at_ms: i64,
    /// Lines that turned out to name a part of the store.
    pub selections: Vec<(Item, Selection)>,
}

/// Finds something to do, of the jobs in turn: a large one does not hold up a small one. What is found is begun.
/// `now_ms` is one moment: what were to be run between two would be neither ready nor waited for.
pub fn take(ledger: &Transaction, taken: &Taken, after_job: i64, now_ms: i64) -> Result<Task, Error> {
    let jobs = unfinished(ledger)?;
    let turn = jobs.partition_point(|job| *job <= after_job);
    for &job in jobs[turn..].iter().chain(&jobs[..turn]) {
        if let Some(number) = whole_selection(ledger, job)? {
            if taken.selections.contains(&number) {
                continue;
            }
            return Ok(Task::Select { number, job });
        }
        if let Some(number) = ready_chunk(ledger, job, &taken.chunks, now_ms)? {
            return Ok(Task::Run(begin(ledger, number)?));
        }
        if let Some(number) = selection(ledger, job, &taken.selections)? {
            return Ok(Task::Select { number, job });
        }
    }
    let waits = "SELECT min(run_at_ms) FROM chunk WHERE job = ?1 AND run_at_ms > ?2";
    let mut waits = ledger.prepare_cached(waits)?;
    let mut next = None;
    for job in jobs {
        let at: Option<i64> = waits.query_row([job, now_ms], |row| row.get(0))?;
        next = [next, at].into_iter().flatten().min();
    }
    Ok(Task::Wait(next))
}

fn unfinished(ledger: &Connection) -> Result<Vec<i64>, Error> {
    let query = "SELECT number FROM job WHERE state IN (?1, ?2) ORDER BY number";
    let mut statement = ledger.prepare_cached(query)?;
    let rows = statement.query_map([State::Queued as i64, State::Running as i64], |row| row.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn ready_chunk(ledger: &Connection, job: i64, taken: &HashSet<i64>, now_ms: i64) -> Result<Option<i64>, Error> {
    let query = "SELECT number FROM chunk WHERE job = ?1 AND run_at_ms <= ?2 ORDER BY run_at_ms, number LIMIT ?3";
    first_free(ledger, query, params![job, now_ms, taken.len() as i64 + 1], taken)
}

fn selection(ledger: &Connection, job: i64, taken: &HashSet<i64>) -> Result<Option<i64>, Error> {
    let query = "SELECT number FROM selection WHERE job = ?1 AND whole = 0 ORDER BY number LIMIT ?2";
    first_free(ledger, query, params![job, taken.len() as i64 + 1], taken)
}

/// A selection that must be known in full before anything else of its job is run.
fn whole_selection(ledger: &Connection, job: i64) -> Result<Option<i64>, Error> {
    let query = "SELECT number FROM selection WHERE job = ?1 AND whole = 1 ORDER BY number LIMIT 1";
    first_free(ledger, query, params![job], &HashSet::new())
}

fn first_free(
    ledger: &Connection,
    query: &str,
    parameters: impl rusqlite::Params,
    taken: &HashSet<i64>,
) -> Result<Option<i64>, Error> {
    let mut statement = ledger.prepare_cached(query)?;
    let mut rows = statement.query(parameters)?;
    while let Some(row) = rows.next()? {
        let number = row.get(0)?;
        if !taken.contains(&number) {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// Notes that a chunk is run, before it is: what ends the process each time must not do so for ever.
fn begin(ledger: &Transaction, number: i64) -> Result<Chunk, Error> {
    ledger.prepare_cached("UPDATE chunk SET starts = starts + 1 WHERE number = ?1")?.execute([number])?;
    let query = "SELECT job, rights, attempts, starts, chunk.items FROM chunk JOIN job ON job.number = chunk.job
        WHERE chunk.number = ?1";
    let mut chunk = ledger.prepare_cached(query)?.query_row([number], |row| {
        let items = unpack(&row.get::<_, Vec<u8>>(4)?.into());
        let (job, rights) = (row.get(0)?, row.get(1)?);
        Ok(Chunk { number, job, rights, attempts: row.get(2)?, starts: row.get(3)?, items })
    })?;
    let state = "UPDATE job SET state = ?2, started_ms = coalesce(started_ms, ?3) WHERE number = ?1 AND state = ?4";
    ledger.prepare_cached(state)?.execute(params![chunk.job, State::Running as i64, now_ms(), State::Queued as i64])?;
    let ended = ended_places(ledger, &chunk)?;
    chunk.items.retain(|item| !ended.contains(&item.place));
    Ok(chunk)
}

/// The items of a chunk that have results: the process that ran it before died within.
fn ended_places(ledger: &Connection, chunk: &Chunk) -> Result<HashSet<Place>, Error> {
    // Items of a chunk are not always neighbours, so each is asked for; the index holds all that it takes.
    let mut statement =
        ledger.prepare_cached("SELECT EXISTS (SELECT 1 FROM result WHERE job = ?1 AND item = ?2 AND part = ?3)")?;
    let mut ended = HashSet::new();
    for Item { place, .. } in &chunk.items {
        if statement.query_row([chunk.job, place.item as i64, place.part as i64], |row| row.get(0))? {
            ended.insert(*place);
        }
    }
    Ok(ended)
}

/// Writes a chunk down.
pub fn insert(ledger: &Transaction, job: i64, items: &[Item], run_at_ms: i64, attempts: u32) -> Result<(), Error> {
    let insert = "INSERT INTO chunk (job, run_at_ms, attempts, items) VALUES (?1, ?2, ?3, ?4)";
    ledger.prepare_cached(insert)?.execute(params![job, run_at_ms, attempts, pack(items)])?;
    Ok(())
}

/// Writes down what came of some items of a chunk.
pub fn record(ledger: &Transaction, chunk: i64, job: i64, ended: &[Ended]) -> Result<(), Error> {
    tell(ledger, job, ended)?;
    if ended.is_empty() { Ok(()) } else { trust(ledger, chunk) }
}

fn tell(ledger: &Transaction, job: i64, ended: &[Ended]) -> Result<(), Error> {
    let state: i64 = ledger.query_row("SELECT state FROM job WHERE number = ?1", [job], |row| row.get(0))?;
    if state != State::Running as i64 {
        return Err(Error::Ended);
    }
    let (mut done, mut failed) = (0, 0);
    let insert = "INSERT OR IGNORE INTO result (job, item, part, output, line) VALUES (?1, ?2, ?3, ?4, ?5)";
    let mut insert = ledger.prepare_cached(insert)?;
    for Ended { place, outcomes } in ended {
        let mut new = false;
        for Outcome { output, line, .. } in outcomes {
            new |= insert.execute(params![job, place.item as i64, place.part as i64, output, &line[..]])? > 0;
        }
        // Told before, by a process that could not say that the chunk is over.
        let well = outcomes.iter().all(|outcome| outcome.verdict == Verdict::Done);
        done += i64::from(new && well);
        failed += i64::from(new && !well);
    }
    let counts = "UPDATE job SET done = done + ?2, failed = failed + ?3 WHERE number = ?1";
    ledger.prepare_cached(counts)?.execute([job, done, failed])?;
    Ok(())
}

/// Moves items out of a chunk, to be tried again later: where they stay, they would be taken for what ends the process.
pub fn put_off(ledger: &Transaction, chunk: i64, job: i64, attempts: u32, rest: &Rest) -> Result<(), Error> {
    let items: Vec<u8> = ledger.query_row("SELECT items FROM chunk WHERE number = ?1", [chunk], |row| row.get(0))?;
    let mut items = unpack(&items.into());
    items.retain(|item| rest.again.iter().all(|again| again.place != item.place));
    ledger.execute("UPDATE chunk SET items = ?2 WHERE number = ?1", params![chunk, pack(&items)])?;
    insert(ledger, job, &rest.again, rest.run_at_ms, attempts + 1)?;
    trust(ledger, chunk)
}

/// Takes back that chunks were begun: the process ends, and not by them.
pub fn leave(ledger: &Transaction, chunks: &HashSet<i64>) -> Result<(), Error> {
    let mut update = ledger.prepare_cached("UPDATE chunk SET starts = max(starts - 1, 0) WHERE number = ?1")?;
    chunks.iter().try_for_each(|chunk| update.execute([chunk]).map(drop))?;
    Ok(())
}

/// Notes that a chunk does not end the process, or not at once.
pub fn trust(ledger: &Transaction, chunk: i64) -> Result<(), Error> {
    ledger.prepare_cached("UPDATE chunk SET starts = 0 WHERE number = ?1")?.execute([chunk])?;
    Ok(())
}

/// Ends a chunk with the last of its results, and writes down what is left to do; the job, if that ended it.
pub fn finish(ledger: &Transaction, chunk: &Chunk, ended: &[Ended], rest: &Rest) -> Result<Option<i64>, Error> {
    record(ledger, chunk.number, chunk.job, ended)?;
    if ledger.execute("DELETE FROM chunk WHERE number = ?1", [chunk.number])? == 0 {
        return Err(Error::Ended);
    }
    if !rest.again.is_empty() {
        insert(ledger, chunk.job, &rest.again, rest.run_at_ms, chunk.attempts + 1)?;
    }
    for (item, selection) in &rest.selections {
        let insert = "INSERT INTO selection (job, item, whole, after, left_over, line) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let (after, left) = (selection.after.map(|after| after.as_bytes().to_vec()), selection.limit);
        let item_number = item.place.item as i64;
        let parameters = params![chunk.job, item_number, selection.whole, after, left.map(clamped), &item.line[..]];
        ledger.prepare_cached(insert)?.execute(parameters)?;
    }
    let fewer = "UPDATE job SET items = items - ?2 WHERE number = ?1";
    ledger.prepare_cached(fewer)?.execute([chunk.job, rest.selections.len() as i64])?;
    end_if_over(ledger, chunk.job)
}

/// A selection as far as it has come.
pub struct Selecting {
    pub item: u64,
    pub after: Option<Digest>,
    pub left: Option<u64>,
    /// Images so far.
    pub parts: u64,
    pub line: Bytes,
}

pub fn selecting(ledger: &Connection, number: i64) -> Result<Selecting, Error> {
    let query = "SELECT item, after, left_over, parts, line FROM selection WHERE number = ?1";
    Ok(ledger.query_row(query, [number], |row| {
        Ok(Selecting {
            item: row.get::<_, i64>(0)?.max(0) as u64,
            after: row.get::<_, Option<[u8; 32]>>(1)?.map(Digest::from_bytes),
            left: row.get::<_, Option<i64>>(2)?.map(|left| left.max(0) as u64),
            parts: row.get::<_, i64>(3)?.max(0) as u64,
            line: row.get::<_, Vec<u8>>(4)?.into(),
        })
    })?)
}

/// Writes down the next images of a selection as a chunk, and how far it has come; `last`: there are no more. Nothing, where they do
/// not fit the bounds of a job and of the ledger. The job, if that ended it.
pub fn select(
    ledger: &Transaction,
    number: i64,
    items: &[Item],
    upto: Option<Digest>,
    last: bool,
    options: &Options,
) -> Result<Option<i64>, Error> {
    let query = "SELECT job.number, items FROM selection JOIN job ON job.number = job WHERE selection.number = ?1";
    let (job, known): (i64, i64) = ledger.query_row(query, [number], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let count = items.len() as i64;
    if !items.is_empty() {
        let &Options { items_max, bytes_max, .. } = options;
        if known + count > clamped(items_max) {
            return Err(Error::TooManyItems { max: items_max });
        }
        if bytes(ledger)? >= bytes_max {
            return Err(Error::Full { max: bytes_max });
        }
        insert(ledger, job, items, 0, 0)?;
        ledger.execute("UPDATE job SET items = items + ?2 WHERE number = ?1", [job, count])?;
    }
    if last {
        ledger.execute("DELETE FROM selection WHERE number = ?1", [number])?;
        return end_if_over(ledger, job);
    }
    let update = "UPDATE selection SET after = ?2, parts = parts + ?3, left_over = left_over - ?3 WHERE number = ?1";
    ledger.execute(update, params![number, upto.map(|upto| upto.as_bytes().to_vec()), count])?;
    Ok(None)
}

/// Ends a selection that names more than fits; its result says so. What was named before stays. The job, if that ended it.
pub fn refuse(ledger: &Transaction, number: i64, ended: &Ended) -> Result<Option<i64>, Error> {
    let job: i64 = ledger.query_row("SELECT job FROM selection WHERE number = ?1", [number], |row| row.get(0))?;
    tell(ledger, job, std::slice::from_ref(ended))?;
    ledger.execute("UPDATE job SET items = items + 1 WHERE number = ?1", [job])?;
    ledger.execute("DELETE FROM selection WHERE number = ?1", [number])?;
    end_if_over(ledger, job)
}

/// Ends a job of which nothing is left to do; the job, if so.
pub fn end_if_over(ledger: &Transaction, job: i64) -> Result<Option<i64>, Error> {
    let left = "SELECT EXISTS (SELECT 1 FROM chunk WHERE job = ?1) OR EXISTS (SELECT 1 FROM selection WHERE job = ?1)";
    let left: Option<bool> = ledger.prepare_cached(left)?.query_row([job], |row| row.get(0)).optional()?;
    let mut ended = 0;
    if left == Some(false) {
        let update = "UPDATE job SET state = ?2, ended_ms = ?3, webhook_at_ms = iif(webhook IS NULL, NULL, ?3)
            WHERE number = ?1 AND state IN (?4, ?5)";
        let (queued, running) = (State::Queued as i64, State::Running as i64);
        ended = ledger.execute(update, params![job, State::Done as i64, now_ms(), queued, running])?;
    }
    Ok((ended > 0).then_some(job))
}

fn clamped(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// `item part line` for each item, a line each: a line of NDJSON holds no line feed.
fn pack(items: &[Item]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(items.iter().map(|item| item.line.len() + 16).sum());
    for Item { place, line } in items {
        bytes.extend_from_slice(format!("{} {} ", place.item, place.part).as_bytes());
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
    }
    bytes
}

/// What [`pack`] wrote; lines are slices of `bytes`. What is not of its form is left out: only a damaged file holds it.
fn unpack(bytes: &Bytes) -> Vec<Item> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let read = |text: &[u8]| str::from_utf8(text).ok()?.parse().ok();
    lines
        .filter_map(|packed| {
            let mut parts = packed.splitn(3, |byte| *byte == b' ');
            let place = Place { item: read(parts.next()?)?, part: read(parts.next()?)? };
            Some(Item { place, line: bytes.slice_ref(parts.next()?) })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::Ledger;

    #[tokio::test]
    async fn a_chunk_is_run_or_waited_for_at_every_moment() {
        let ledger = Ledger::in_memory().unwrap();
        let rows = |ledger: &Transaction| {
            ledger.execute("INSERT INTO job (number, state, created_ms) VALUES (1, 2, 0)", [])?;
            insert(ledger, 1, &[], 100, 1)
        };
        ledger.write(rows).await.unwrap();
        let found = async |now_ms: i64| match ledger
            .write(move |ledger| take(ledger, &Taken::default(), 0, now_ms))
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
    }

    #[test]
    fn a_chunk_is_read_as_it_was_written() {
        let item = |item, part, line: &'static str| Item {
            place: Place { item, part },
            line: Bytes::from_static(line.as_bytes()),
        };
        let items = [item(0, 0, r#"{"a": " b  "}"#), item(u64::MAX, 7, ""), item(2, 0, " 1 2 3")];
        assert_eq!(unpack(&pack(&items).into()), items);
        assert_eq!(unpack(&Bytes::from_static(b"1 x {}\n3\n4 0 {}\n")), [item(4, 0, "{}")]);
    }
}
