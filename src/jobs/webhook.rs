//! Webhooks: when a job ends, its status is posted to the URL that came with it, signed. A call that fails is repeated
//! a bounded number of times, so a receiver may get it twice. Endpoints do not wait for one another.
//!
//! `Progimage-Signature: t=<Unix seconds>,v1=<hex>`, where `v1` is the HMAC-SHA256 of `<t>.<body>`. A receiver computes
//! it anew, and refuses signatures that are older than a few minutes.

use std::collections::HashMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use hmac::Mac;
use rusqlite::{Connection, Transaction, params};
use tokio::task::JoinSet;

use super::database::now_ms;
use super::shared::{ERROR_WAIT, Shared, sleep};
use super::status::{State, WEBHOOK_CALLS_MAX, status};
use super::{AHEAD_MS_MAX, Error, backoff_ms};
use crate::digest::{Digest, secret};

const SIGNATURE: &str = "progimage-signature";
/// Webhooks that are called at once, in all and at one host and port.
const CALLS_AT_ONCE: usize = 64;
const ENDPOINT_CALLS_AT_ONCE: usize = 4;
/// Due webhooks that are looked at together. There are fewer, unless the bound on ended jobs is raised.
const FOUND_MAX: i64 = 10_000;
/// How many times longer a webhook waits than an item: its receiver may be restarting.
const RETRY_FACTOR: u64 = 10;

/// The states of jobs that have an end to announce.
const ENDED: [i64; 2] = [State::Done as i64, State::Cancelled as i64];

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
    /// The time when it was due. An end of a later run has another.
    at_ms: i64,
    /// Calls that failed.
    failed: u32,
    body: String,
}

/// The webhooks that are due.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    /// Jobs and their URLs.
    jobs: Vec<(i64, String)>,
    /// The time when the next one is due.
    next_ms: Option<i64>,
}

/// The calls under way.
#[derive(Default)]
struct Calls {
    running: JoinSet<i64>,
    /// The endpoint of each call, by the number of its job.
    endpoints: HashMap<i64, String>,
}

impl Calls {
    /// Whether one more call may begin: for this job, to this endpoint.
    fn has_room(&self, job: i64, endpoint: &str) -> bool {
        let there = self.endpoints.values().filter(|other| *other == endpoint).count();
        self.endpoints.len() < CALLS_AT_ONCE && there < ENDPOINT_CALLS_AT_ONCE && !self.endpoints.contains_key(&job)
    }

    fn begin(&mut self, job: i64, endpoint: String, call: impl Future<Output = ()> + Send + 'static) {
        self.endpoints.insert(job, endpoint);
        self.running.spawn(async move {
            // A panic is our bug. The job must not count as called for ever.
            _ = AssertUnwindSafe(call).catch_unwind().await;
            job
        });
    }

    /// Waits for the end of one call.
    async fn end(&mut self) {
        if let Some(Ok(job)) = self.running.join_next().await {
            self.endpoints.remove(&job);
        }
    }
}

/// Calls the webhooks that are due, for ever. Each is called as soon as it is due and its endpoint has room, whatever other
/// endpoints do.
pub async fn run(shared: Arc<Shared>, secret: Secret) {
    let mut changes = shared.changes();
    let mut calls = Calls::default();
    loop {
        changes.mark_unchanged();
        let wait = match begin_due(&shared, &secret, &mut calls).await {
            Ok(next_ms) => next_ms.map(|next_ms| Duration::from_millis((next_ms - now_ms()).max(1) as u64)),
            // Told once, by the database.
            Err(Error::Away(_)) => Some(ERROR_WAIT),
            Err(error) => {
                tracing::error!(%error, "cannot read the jobs database");
                Some(ERROR_WAIT)
            }
        };
        tokio::select! {
            _ = changes.changed() => {}
            () = calls.end(), if !calls.running.is_empty() => {}
            () = sleep(wait) => {}
        }
    }
}

/// Begins the calls that are due and have room. Returns the time when the next one is due.
async fn begin_due(shared: &Arc<Shared>, secret: &Secret, calls: &mut Calls) -> Result<Option<i64>, Error> {
    let Found { jobs, next_ms } = shared.database.read(|database| found(database, now_ms())).await?;
    for (number, url) in jobs {
        let endpoint = endpoint(&url);
        if !calls.has_room(number, &endpoint) {
            continue;
        }
        match shared.database.read(move |database| due(database, number)).await {
            Ok(due) => {
                let (shared, secret) = (shared.clone(), secret.clone());
                calls.begin(number, endpoint, async move { call(&shared, &secret, due).await });
            }
            // Forgotten meanwhile.
            Err(Error::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(next_ms)
}

/// The host and port of a URL.
fn endpoint(url: &str) -> String {
    let url = url::Url::parse(url).ok();
    url.map(|url| format!("{}:{:?}", url.host_str().unwrap_or_default(), url.port_or_known_default()))
        .unwrap_or_default()
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
    let write = move |database: &Transaction| called(database, due.number, due.at_ms, failed, next_ms);
    if let Err(error) = shared.database.write(write).await {
        tracing::error!(%error, "cannot write the jobs database");
        tokio::time::sleep(ERROR_WAIT).await;
    }
}

/// The jobs whose webhooks are due, with their URLs, and the time when the next one is. A time further ahead than any is
/// planned was written while the clock was wrong.
fn found(database: &Connection, now_ms: i64) -> Result<Found, Error> {
    let query = "SELECT number, webhook FROM job
        WHERE (webhook_at_ms <= ?1 OR webhook_at_ms > ?2) AND id IS NOT NULL AND state IN (?4, ?5)
        ORDER BY webhook_at_ms LIMIT ?3";
    let mut statement = database.prepare_cached(query)?;
    let [done, cancelled] = ENDED;
    let parameters = params![now_ms, now_ms + AHEAD_MS_MAX, FOUND_MAX, done, cancelled];
    let jobs = statement.query_map(parameters, |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<Result<_, _>>()?;
    let next = "SELECT min(webhook_at_ms) FROM job WHERE webhook_at_ms > ?1 AND webhook_at_ms <= ?2 AND id IS NOT NULL";
    let next_ms = database.query_row(next, [now_ms, now_ms + AHEAD_MS_MAX], |row| row.get(0))?;
    Ok(Found { jobs, next_ms })
}

fn due(database: &Connection, number: i64) -> Result<Due, Error> {
    let query = "SELECT id, webhook, webhook_attempts, webhook_at_ms FROM job
        WHERE number = ?1 AND webhook_at_ms IS NOT NULL AND id IS NOT NULL AND state IN (?2, ?3)";
    let [done, cancelled] = ENDED;
    let (id, url, failed, at_ms) = database.prepare_cached(query)?.query_row([number, done, cancelled], |row| {
        Ok((Digest::from_bytes(row.get(0)?), row.get(1)?, row.get(2)?, row.get(3)?))
    })?;
    let body = status(database, &id)?.json().to_string();
    Ok(Due { number, id, url, at_ms, failed, body })
}

/// Notes a call that was due at `at_ms`. A job that was run again meanwhile has another end to announce, or none yet.
fn called(database: &Transaction, job: i64, at_ms: i64, failed: u32, next_ms: Option<i64>) -> Result<(), Error> {
    let update = "UPDATE job SET webhook_attempts = ?3, webhook_at_ms = ?4 WHERE number = ?1 AND webhook_at_ms = ?2";
    database.execute(update, params![job, at_ms, failed, next_ms])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::Database;

    #[tokio::test]
    async fn a_webhook_is_due_at_its_time_or_when_a_wrong_clock_put_it_off() {
        let database = Database::in_memory().expect("opens");
        let insert = "INSERT INTO job (id, state, created_ms, webhook, webhook_at_ms) VALUES (x'00', 3, 0, 'u', 100)";
        database.write(|database| Ok(database.execute(insert, [])?)).await.expect("written");
        let at = async |now_ms: i64| database.read(move |database| found(database, now_ms)).await.expect("read");
        let due = || Found { jobs: vec![(1, "u".to_owned())], next_ms: None };
        let later = || Found { jobs: Vec::new(), next_ms: Some(100) };
        assert_eq!([at(100).await, at(99).await], [due(), later()]);
        assert_eq!([at(100 - AHEAD_MS_MAX).await, at(99 - AHEAD_MS_MAX).await], [later(), due()]);
    }

    #[tokio::test]
    async fn the_end_of_a_run_is_announced_whatever_becomes_of_the_call_about_an_earlier_end() {
        let database = Database::in_memory().expect("opens");
        let insert = "INSERT INTO job (number, id, state, created_ms, webhook, webhook_at_ms)
            VALUES (1, zeroblob(32), 3, 0, 'u', 100)";
        database.write(|database| Ok(database.execute(insert, [])?)).await.expect("written");
        let due = async || database.read(|database| Ok(due(database, 1)?.at_ms)).await;
        let found = async || database.read(|database| Ok(found(database, 1_000)?.jobs.len())).await;
        let set = async |columns: &'static str| {
            let update = format!("UPDATE job SET {columns}");
            database.write(move |database| Ok(database.execute(&update, [])?)).await.expect("written");
        };
        let first = due().await.expect("the first end");
        for (now, next_ms) in [("state = 2, webhook_at_ms = NULL", Some(500)), ("state = 3, webhook_at_ms = 200", None)]
        {
            set(now).await;
            database.write(move |database| called(database, 1, first, 1, next_ms)).await.expect("written");
        }
        assert_eq!((due().await, found().await), (Ok(200), Ok(1)));
        set("state = 2").await;
        assert_eq!((due().await, found().await), (Err(Error::NotFound), Ok(0)), "it runs");
    }

    #[test]
    fn calls_are_bounded_in_all_and_at_each_endpoint() {
        let mut calls = Calls::default();
        let endpoints = ["https://a/x", "https://a:443/y?z", "http://a/", "https://b/"].map(endpoint);
        assert_eq!(endpoints[0], endpoints[1]);
        assert!(endpoints[0] != endpoints[2] && endpoints[0] != endpoints[3]);
        for job in 0..ENDPOINT_CALLS_AT_ONCE as i64 {
            assert!(calls.has_room(job, "a"));
            calls.endpoints.insert(job, "a".to_owned());
            assert!(!calls.has_room(job, "b"), "it is called already");
        }
        assert!(!calls.has_room(100, "a") && calls.has_room(100, "b"));
        (100..).take(CALLS_AT_ONCE - ENDPOINT_CALLS_AT_ONCE).for_each(|job| {
            calls.endpoints.insert(job, job.to_string());
        });
        assert!(!calls.has_room(1_000, "b"));
    }

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
