//! Another run of the items that failed. Their lines are kept until their job is forgotten, and become chunks again when a
//! client asks for it. Their results go when they begin, so that each item has one result at any time.

use rusqlite::{Transaction, params};

use super::Item;
use crate::digest::Digest;
use crate::jobs::chunk::{Chunk, pack};
use crate::jobs::status::{State, status};
use crate::jobs::{Error, Options};

/// Keeps items that failed.
pub fn keep(database: &Transaction, job: i64, items: &[Item]) -> Result<(), Error> {
    if !items.is_empty() {
        let insert = "INSERT INTO failure (job, count, items) VALUES (?1, ?2, ?3)";
        database.prepare_cached(insert)?.execute(params![job, items.len() as i64, pack(items)])?;
    }
    Ok(())
}

/// Runs the failed items of a job that is done again. Returns whether there are any. A job that has not ended goes on.
pub fn retry(database: &Transaction, id: &Digest, options: &Options) -> Result<bool, Error> {
    let job = status(database, id)?;
    match job.state {
        State::Done if job.failed > 0 => {}
        State::Cancelled => return Err(Error::NotKept),
        _ => return Ok(false),
    }
    let unfinished = "SELECT count(*) FROM job WHERE state IN (?1, ?2)";
    let parameters = params![State::Queued as i64, State::Running as i64];
    let unfinished: i64 = database.query_row(unfinished, parameters, |row| row.get(0))?;
    if unfinished >= options.unfinished_max as i64 {
        return Err(Error::Busy);
    }
    let count = "SELECT coalesce(sum(count), 0) FROM failure WHERE job = ?1";
    let count: i64 = database.query_row(count, [job.number], |row| row.get(0))?;
    if count == 0 {
        return Err(Error::NotKept);
    }
    let chunks = "INSERT INTO chunk (job, run_at_ms, attempts, items, retried)
        SELECT job, 0, 0, items, 1 FROM failure WHERE job = ?1 ORDER BY number";
    database.execute(chunks, [job.number])?;
    database.execute("DELETE FROM failure WHERE job = ?1", [job.number])?;
    let update = "UPDATE job SET state = ?2, failed = max(failed - ?3, 0), ended_ms = NULL, webhook_at_ms = NULL,
        webhook_attempts = 0 WHERE number = ?1";
    database.execute(update, params![job.number, State::Running as i64, count])?;
    Ok(true)
}

/// Removes the earlier results of a chunk that is run again. From now on it is a chunk like any other.
pub fn clear(database: &Transaction, chunk: &Chunk) -> Result<(), Error> {
    let delete = "DELETE FROM result WHERE job = ?1 AND item = ?2 AND part = ?3";
    let mut delete = database.prepare_cached(delete)?;
    for Item { place, .. } in &chunk.items {
        delete.execute(params![chunk.job, place.item as i64, place.part as i64])?;
    }
    database.execute("UPDATE chunk SET retried = 0 WHERE number = ?1", [chunk.number])?;
    Ok(())
}
