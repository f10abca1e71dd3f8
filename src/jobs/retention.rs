//! Retention: forgets jobs by age, number and bytes, and removes the rows of forgotten jobs a little at a time.

use rusqlite::{Connection, ToSql, Transaction, params};

use super::database::bytes;
use super::status::{State, WEBHOOK_CALLS_MAX};
use super::submission_slots::SubmissionSlots;
use super::{Error, Options, RETRY_MS_MAX};

/// Rows that one step of the sweeper removes. Other calls of the database wait for a step to end.
const SWEEP_ROWS: i64 = 1_000;
/// Chunks that one step removes; they are larger than other rows.
const SWEEP_CHUNKS: i64 = 16;
/// Pages that one step gives back to the file system.
const VACUUM_PAGES: i64 = 1_000;
/// How much longer an ended job is remembered while its webhook is due: longer than all calls take.
pub(super) const DUE_MS_MAX: i64 = (WEBHOOK_CALLS_MAX as u64 * RETRY_MS_MAX * 2) as i64;

/// Forgets jobs that were never accepted and are not being received any more: the client left, or the process that
/// received them died. A row left by an earlier process may bear the mark of a live slot; it goes when that slot is
/// free.
pub fn forget_unaccepted(database: &Transaction, slots: &SubmissionSlots) -> Result<(), Error> {
    let mut unaccepted = database.prepare_cached("SELECT number, body FROM job WHERE state = ?1")?;
    let mut rows = unaccepted.query([State::Receiving as i64])?;
    let mut left_over = Vec::new();
    while let Some(row) = rows.next()? {
        if !slots.is_received(row.get(1)?) {
            left_over.push(row.get::<_, i64>(0)?);
        }
    }
    left_over.iter().try_for_each(|number| forget(database, "?1", params![number]))
}

/// Forgets the oldest ended jobs past the bounds of number, age and bytes. Three kinds are counted apart, up to the
/// number each: submitted jobs, submitted jobs whose webhook is still due, and prerender jobs, which have no `body`.
pub fn forget_old(database: &Transaction, options: &Options, now_ms: i64) -> Result<(), Error> {
    let (done, cancelled) = (State::Done as i64, State::Cancelled as i64);
    let by_number =
        "SELECT number FROM job WHERE state IN (?1, ?2) AND (body IS NULL) = ?4 AND (webhook_at_ms IS NULL) = ?5
        ORDER BY ended_ms DESC, number DESC LIMIT -1 OFFSET ?3";
    for (is_prerender, no_call_is_due) in [(false, true), (false, false), (true, true)] {
        forget(database, by_number, params![done, cancelled, options.ended_max as i64, is_prerender, no_call_is_due])?;
    }
    let by_age = "SELECT number FROM job WHERE state IN (?1, ?2) AND ended_ms < iif(webhook_at_ms IS NULL, ?3, ?4)";
    let oldest_ms = now_ms.saturating_sub_unsigned(options.keep_s.saturating_mul(1_000));
    forget(database, by_age, params![done, cancelled, oldest_ms, oldest_ms.saturating_sub(DUE_MS_MAX)])?;
    if bytes(database)? > options.bytes_max / 4 * 3 && !has_forgotten(database)? {
        let by_bytes = "SELECT number FROM job WHERE state IN (?1, ?2)
            ORDER BY body IS NOT NULL, webhook_at_ms IS NOT NULL, ended_ms, number LIMIT 1";
        forget(database, by_bytes, params![done, cancelled])?;
    }
    Ok(())
}

/// Forgets the jobs whose numbers a query gives. [`sweep`] removes their rows.
pub fn forget(database: &Transaction, numbers: &str, parameters: &[&dyn ToSql]) -> Result<(), Error> {
    let forgotten = State::Forgotten as i64;
    let update = format!(
        "UPDATE job SET state = {forgotten}, id = NULL WHERE number IN ({numbers}) RETURNING webhook_at_ms IS NOT NULL"
    );
    let mut update = database.prepare_cached(&update)?;
    let due = update.query_map(parameters, |row| row.get::<_, bool>(0))?.collect::<Result<Vec<_>, _>>()?;
    let uncalled = due.into_iter().filter(|due| *due).count();
    if uncalled > 0 {
        tracing::warn!(jobs = uncalled, "forgot jobs whose webhooks were still to be called");
    }
    Ok(())
}

fn has_forgotten(database: &Connection) -> Result<bool, Error> {
    let query = "SELECT EXISTS (SELECT 1 FROM job WHERE state = ?1)";
    Ok(database.query_row(query, [State::Forgotten as i64], |row| row.get(0))?)
}

/// Removes some rows of forgotten jobs, and some items of cancelled ones. Returns whether there may be more.
pub fn sweep(database: &Transaction) -> Result<bool, Error> {
    let over = [State::Cancelled as i64, State::Forgotten as i64];
    for (table, rows) in [("chunk", SWEEP_CHUNKS), ("failure", SWEEP_CHUNKS), ("selection", SWEEP_ROWS)] {
        let delete = format!(
            "DELETE FROM {table} WHERE number IN (SELECT {table}.number FROM job JOIN {table} ON {table}.job = job.number
             WHERE job.state IN (?1, ?2) LIMIT {rows})"
        );
        if database.execute(&delete, over)? > 0 {
            return Ok(true);
        }
    }
    let delete = format!(
        "DELETE FROM result WHERE number IN (SELECT result.number FROM job JOIN result ON result.job = job.number
         WHERE job.state = ?1 LIMIT {SWEEP_ROWS})"
    );
    if database.execute(&delete, [over[1]])? > 0 {
        return Ok(true);
    }
    Ok(database.execute("DELETE FROM job WHERE state = ?1", [over[1]])? > 0)
}

/// Gives some free pages back to the file system. Returns whether there may be more.
pub fn shrink(database: &Connection) -> Result<bool, Error> {
    let free: i64 = database.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    // Fewer are soon used again.
    if free <= VACUUM_PAGES {
        return Ok(false);
    }
    database.execute_batch(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
    Ok(true)
}
