//! Webhooks: when a job ends, its status is posted to the URL that came with it, signed. A call that fails is repeated
//! a bounded number of times, so a receiver may get it twice.
//!
//! `Progimage-Signature: t=<Unix seconds>,v1=<hex>`, where `v1` is the HMAC-SHA256 of `<t>.<body>`. A receiver computes
//! it anew, and refuses signatures that are older than a few minutes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use hmac::Mac;
use rusqlite::{Connection, Transaction, params};

use super::database::now_ms;
use super::shared::{ERROR_WAIT, Shared, sleep};
use super::status::{WEBHOOK_CALLS_MAX, status};
use super::{Error, backoff_ms};
use crate::digest::{Digest, secret};

const SIGNATURE: &str = "progimage-signature";
/// Webhooks that are called at once.
const CALLS_AT_ONCE: i64 = 8;
/// How many times longer a webhook waits than an item: its receiver may be restarting.
const RETRY_FACTOR: u64 = 10;

/// The secret that signs webhooks.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl FromStr for Secret {
    type Err = String;

    /// Reads a secret. The error message never shows it.
    fn from_str(text: &str) -> Result<Secret, String> {
        secret::check(text).map(|()| Secret(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("...")
    }
}

impl Secret {
    fn sign(&self, time_s: i64, body: &str) -> String {
        let mac = secret::hmac(&self.0, &format!("{time_s}.{body}"));
        let digest = Digest::from_bytes(mac.finalize().into_bytes().into());
        format!("t={time_s},v1={}", digest.hex().as_str())
    }
}

/// A job whose webhook is to be called now.
struct Due {
    number: i64,
    id: Digest,
    url: String,
    /// Calls that failed.
    failed: u32,
    body: String,
}

/// Calls the webhooks that are due, for ever.
pub async fn run(shared: Arc<Shared>, secret: Secret) {
    let mut changes = shared.changes();
    loop {
        changes.mark_unchanged();
        let wait = match shared.database.read(due).await {
            Ok((due, _)) if !due.is_empty() => {
                join_all(due.into_iter().map(|due| call(&shared, &secret, due))).await;
                continue;
            }
            Ok((_, next_ms)) => next_ms.map(|next_ms| Duration::from_millis((next_ms - now_ms()).max(1) as u64)),
            Err(Error::Away(_)) => Some(ERROR_WAIT),
            Err(error) => {
                tracing::error!(%error, "cannot read the jobs database");
                Some(ERROR_WAIT)
            }
        };
        tokio::select! {
            _ = changes.changed() => {}
            () = sleep(wait) => {}
        }
    }
}

async fn call(shared: &Shared, secret: &Secret, due: Due) {
    let signature = secret.sign(now_ms() / 1_000, &due.body);
    let posted = shared.webhooks.post(&due.url, (SIGNATURE, signature), Bytes::from(due.body)).await;
    shared.counters.called(posted.is_ok());
    let failed = due.failed + u32::from(posted.is_err());
    let next_ms = match &posted {
        Ok(()) => None,
        Err(error) if failed >= WEBHOOK_CALLS_MAX => {
            tracing::warn!(%error, job = %due.id, failed, "a webhook failed for the last time");
            None
        }
        Err(error) => {
            tracing::info!(%error, job = %due.id, failed, "a webhook failed; it will be called again");
            Some(now_ms() + backoff_ms(shared.options.retry_ms.saturating_mul(RETRY_FACTOR), due.failed, due.number))
        }
    };
    let write = move |database: &Transaction| called(database, due.number, failed, next_ms);
    if let Err(error) = shared.database.write(write).await {
        tracing::error!(%error, "cannot write the jobs database");
        tokio::time::sleep(ERROR_WAIT).await;
    }
}

/// The webhooks that are due, and the time when the next one is.
fn due(database: &Connection) -> Result<(Vec<Due>, Option<i64>), Error> {
    let query = "SELECT number, webhook, webhook_attempts, id FROM job WHERE webhook_at_ms <= ?1 AND id IS NOT NULL
        ORDER BY webhook_at_ms LIMIT ?2";
    let mut statement = database.prepare_cached(query)?;
    let mut rows = statement.query(params![now_ms(), CALLS_AT_ONCE])?;
    let mut due = Vec::new();
    while let Some(row) = rows.next()? {
        let id = Digest::from_bytes(row.get(3)?);
        let body = status(database, &id)?.json().to_string();
        due.push(Due { number: row.get(0)?, id, url: row.get(1)?, failed: row.get(2)?, body });
    }
    let next = "SELECT min(webhook_at_ms) FROM job WHERE webhook_at_ms IS NOT NULL AND id IS NOT NULL";
    Ok((due, database.query_row(next, [], |row| row.get(0))?))
}

fn called(database: &Transaction, job: i64, failed: u32, next_ms: Option<i64>) -> Result<(), Error> {
    let update = "UPDATE job SET webhook_attempts = ?2, webhook_at_ms = ?3 WHERE number = ?1";
    database.execute(update, params![job, failed, next_ms])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_over_time_and_body() {
        // From another program: printf '1.{}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let secret: Secret = "0123456789abcdef".parse().expect("long enough");
        let expected = "t=1,v1=2af693cb56b22c16912222aeefdc75a01de562bf70ee2015f41ecea48382997f";
        assert_eq!(secret.sign(1, "{}"), expected);
        assert_ne!(secret.sign(2, "{}"), expected);
        assert!("0123456789abcde".parse::<Secret>().is_err());
        assert!(!format!("{secret:?}").contains("0123"));
    }
}
