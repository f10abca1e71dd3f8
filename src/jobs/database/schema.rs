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

/// What version 2 has and version 1 had not; [`SCHEMA`] makes the missing table.
const FROM_1: &str = "
    ALTER TABLE job ADD COLUMN owner TEXT;
    ALTER TABLE chunk ADD COLUMN retried INTEGER NOT NULL DEFAULT 0;
";

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
        let changes = if version == 1 { FROM_1 } else { "" };
        // All of it or nothing, or a change would be made twice.
        connection.execute_batch(&format!("BEGIN; {changes} {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;"))?;
    }
    Ok(true)
}
