//! The tables of the jobs database, and how a connection is set up for them.

use std::time::Duration;

use rusqlite::{Connection, Result};

/// How long a statement waits for another process that has the file open, say a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// The size to which the write-ahead log is cut back after a checkpoint.
const LOG_BYTES_MAX: i64 = 64 << 20;

/// The version of the tables. A file of a later version is not used.
pub const VERSION: i64 = 2;

/// The tables.
///
/// - `job`: one row for each. `id` is null until the job is accepted. `body` is the digest of its lines, null for a
///   prerender job, and the mark of its slot until the job is accepted. `webhook_attempts` counts calls that failed.
///   `owner` is the name of the API key that sent it, empty without one, and null if version 1 accepted it.
/// - `chunk`: items that are still to be run; `retried`: they failed before, and their results are still there.
/// - `failure`: items that failed, `count` in a row, for another run of them.
/// - `selection`: parts of the store that are still to be listed for a line.
/// - `result`: the line of each output, in the order in which outputs ended.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS job (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id BLOB UNIQUE,
        body BLOB,
        rights INTEGER NOT NULL DEFAULT 0,
        state INTEGER NOT NULL,
        created_ms INTEGER NOT NULL,
        started_ms INTEGER,
        ended_ms INTEGER,
        items INTEGER NOT NULL DEFAULT 0,
        done INTEGER NOT NULL DEFAULT 0,
        failed INTEGER NOT NULL DEFAULT 0,
        webhook TEXT,
        webhook_at_ms INTEGER,
        webhook_attempts INTEGER NOT NULL DEFAULT 0,
        owner TEXT
    );
    CREATE INDEX IF NOT EXISTS job_by_state ON job (state, number);
    CREATE INDEX IF NOT EXISTS job_by_webhook ON job (webhook_at_ms) WHERE webhook_at_ms IS NOT NULL;
    CREATE TABLE IF NOT EXISTS chunk (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        job INTEGER NOT NULL REFERENCES job (number),
        run_at_ms INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        starts INTEGER NOT NULL DEFAULT 0,
        items BLOB NOT NULL,
        retried INTEGER NOT NULL DEFAULT 0
    );
    CREATE INDEX IF NOT EXISTS chunk_by_job ON chunk (job, run_at_ms, number);
    CREATE TABLE IF NOT EXISTS selection (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        job INTEGER NOT NULL REFERENCES job (number),
        item INTEGER NOT NULL,
        whole INTEGER NOT NULL,
        after BLOB,
        left_over INTEGER,
        parts INTEGER NOT NULL DEFAULT 0,
        line BLOB NOT NULL
    );
    CREATE INDEX IF NOT EXISTS selection_by_job ON selection (job, whole, number);
    CREATE TABLE IF NOT EXISTS result (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        job INTEGER NOT NULL REFERENCES job (number),
        item INTEGER NOT NULL,
        part INTEGER NOT NULL,
        output INTEGER NOT NULL,
        line BLOB NOT NULL,
        UNIQUE (job, item, part, output)
    );
    CREATE INDEX IF NOT EXISTS result_by_job ON result (job, number);
    CREATE TABLE IF NOT EXISTS failure (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        job INTEGER NOT NULL REFERENCES job (number),
        count INTEGER NOT NULL,
        items BLOB NOT NULL
    );
    CREATE INDEX IF NOT EXISTS failure_by_job ON failure (job, number);
";

/// Columns that version 2 has and version 1 had not; [`SCHEMA`] makes missing tables.
const FROM_1: [(&str, &str, &str); 2] = [("job", "owner", "TEXT"), ("chunk", "retried", "INTEGER NOT NULL DEFAULT 0")];

/// The statements that add what tables of version 1 lack. The columns are looked at, since version 1 wrote its number after its
/// tables: a process that died in between left tables without a number.
fn changes(connection: &Connection) -> Result<String> {
    let mut changes = String::new();
    for (table, column, kind) in FROM_1 {
        let query = "SELECT count(*), count(*) FILTER (WHERE name = ?2) FROM pragma_table_info(?1)";
        let (all, there): (i64, i64) =
            connection.query_row(query, [table, column], |row| Ok((row.get(0)?, row.get(1)?)))?;
        if all > 0 && there == 0 {
            changes += &format!("ALTER TABLE {table} ADD COLUMN {column} {kind};");
        }
    }
    Ok(changes)
}

/// Sets up a connection, and makes the tables if they are missing. Returns false if they are of a later version.
pub fn set_up(connection: &Connection) -> Result<bool> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version > VERSION {
        return Ok(false);
    }
    // An up-to-date file is not written to, so a start syncs nothing.
    let new = version < VERSION;
    if new {
        // Before the first table is made: it is a property of the file.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES_MAX)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    if new {
        let changes = changes(connection)?;
        // All of it or nothing, or a change would be made twice.
        connection.execute_batch(&format!("BEGIN; {changes} {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;"))?;
    }
    Ok(true)
}

/// Lets the numbers of all rows begin after `number`.
pub fn begin_at(connection: &Connection, number: i64) -> Result<()> {
    let rows =
        ["job", "chunk", "selection", "result", "failure"].map(|table| format!("('{table}', {number})")).join(", ");
    connection.execute_batch(&format!("INSERT INTO sqlite_sequence (name, seq) VALUES {rows}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_that_version_1_did_not_finish_are_brought_up_to_date() -> Result<()> {
        let connection = Connection::open_in_memory()?;
        connection.execute_batch(SCHEMA)?;
        connection.execute_batch("ALTER TABLE job DROP COLUMN owner; DROP TABLE chunk; DROP TABLE failure")?;
        assert!(set_up(&connection)?);
        connection.execute_batch(
            "INSERT INTO job (state, created_ms, owner) VALUES (1, 0, 'a');
             INSERT INTO chunk (job, run_at_ms, attempts, items, retried) VALUES (1, 0, 0, x'', 1)",
        )
    }
}
