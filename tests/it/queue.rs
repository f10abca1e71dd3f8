//! The queue of jobs while the system lacks descriptors or memory: each call of SQLite fails once. Nothing that was
//! acknowledged is lost, every answer is one of a queue that does not respond (503), and it goes on by itself.
//!
//! SQLite has a table of the calls that it makes of the system, in which this file replaces some. A failure is asked for on
//! the thread that is to meet it, so that no other test meets it. Syncs are not in that table, and do not fail for lack.

mod calls;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use progimage::digest::Digest;
use progimage::fetch::{self, WebhookClient};
use progimage::jobs::{Database, Error, JobExecutor, Jobs, Options, Outcome, Place, Sender, State, Verdict};
use progimage::store;

/// EMFILE, ENFILE, ENOMEM, EAGAIN.
const LACKS: [i32; 4] = [24, 23, 12, 11];

/// Items end as their lines say.
struct Fake;

impl JobExecutor for Fake {
    fn run(&self, _: u32, place: Place, line: Bytes) -> BoxFuture<'static, Vec<Outcome>> {
        let verdict = if line == "fail" { Verdict::Failed } else { Verdict::Done };
        Box::pin(async move { vec![Outcome { output: 0, line: place.item.to_string().into(), verdict }] })
    }

    fn may_select(&self, _: u32) -> bool {
        false
    }

    fn refused(&self, place: Place, _: Error) -> Outcome {
        self.lost(place)
    }

    fn lost(&self, _: Place) -> Outcome {
        Outcome { output: 0, line: Bytes::new(), verdict: Verdict::Failed }
    }
}

/// Whether an error is answered with 503.
fn passes(error: &Error) -> bool {
    matches!(error, Error::Database(_) | Error::Unsynced(_) | Error::Away(_))
}

/// Calls until it is answered; every refusal before that is one that passes.
async fn persist<T>(call: impl AsyncFn() -> Result<T, Error>) -> T {
    loop {
        match call().await {
            Ok(answer) => return answer,
            Err(error) => assert!(passes(&error), "{error}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

async fn submit(jobs: &Jobs, key: &str, lines: &[&'static str]) -> Result<Digest, Error> {
    let mut submission = jobs.receive(Sender { key: Some(key), ..Sender::default() })?;
    for line in lines {
        submission.line(Bytes::from_static(line.as_bytes())).await?;
    }
    Ok(submission.accept().await?.id)
}

/// Waits until a job has ended, and checks its results: each item has one.
async fn end(jobs: &Jobs, id: &Digest, items: usize) -> (u64, u64) {
    let status = loop {
        let mut ends = jobs.ends();
        let status = persist(async || jobs.status(id).await).await;
        if status.state == State::Done {
            break status;
        }
        _ = tokio::time::timeout(std::time::Duration::from_secs(1), ends.wait(&status)).await;
    };
    let page = persist(async || jobs.results(id, 0, 100).await).await;
    let mut lines = page.lines;
    lines.sort_unstable();
    assert_eq!(lines, (0..items).map(|item| Bytes::from(item.to_string())).collect::<Vec<_>>());
    (status.done, status.failed)
}

async fn start(database: Database) -> Jobs {
    let store = store::open("memory:", &store::Options::default()).await.unwrap();
    let webhooks = WebhookClient::new(&fetch::Options::default());
    let options = Options { items_at_once: 1, retry_ms: 1, ..Options::default() };
    Jobs::start(database, Arc::new(Fake), store, webhooks, options)
}

/// Everything that clients ask for.
async fn ask(jobs: &Jobs) {
    let id = persist(async || submit(jobs, "one", &["ok", "fail", "ok"]).await).await;
    assert_eq!(end(jobs, &id, 3).await, (2, 1));
    persist(async || jobs.retry(&id).await).await;
    assert_eq!(end(jobs, &id, 3).await, (2, 1));
    let other = persist(async || submit(jobs, "two", &["ok"]).await).await;
    persist(async || jobs.cancel(&other).await).await;
    assert_eq!(persist(async || jobs.list(10).await).await.len(), 3, "with the one from before");
    persist(async || jobs.counters().await).await;
}

/// Lets a call of the thread of the database fail. Returns whether one that was asked for before has.
async fn lack(database: &Database, lack: Option<(usize, i32)>) -> bool {
    database.read(move |_| Ok(calls::set(lack))).await.unwrap()
}

/// Whether the call came.
async fn one_call_fails(file: &Path, nth: usize, errno: i32) -> bool {
    let database = Database::open(file).unwrap();
    let jobs = start(database.clone()).await;
    // What the start does has ended then.
    let id = submit(&jobs, "before", &["ok"]).await.unwrap();
    end(&jobs, &id, 1).await;
    lack(&database, Some((nth, errno))).await;
    ask(&jobs).await;
    let came = lack(&database, None).await;
    assert_eq!(jobs.fault(), None, "call {nth}");
    assert_eq!(end(&jobs, &id, 1).await, (1, 0), "call {nth}: a job from before");
    let after = submit(&jobs, "after", &["ok", "ok"]).await.unwrap();
    assert_eq!(end(&jobs, &after, 2).await, (2, 0));
    jobs.stop().await;
    drop((jobs, database));
    // The next process finds all of it.
    let jobs = start(Database::open(file).unwrap()).await;
    for (id, items) in [(id, 1), (after, 2)] {
        end(&jobs, &id, items).await;
    }
    assert!(jobs.lost().is_empty());
    came
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// Time is paused, so that pauses between attempts take none.
#[tokio::test(start_paused = true)]
async fn whatever_a_call_of_the_queue_lacks_nothing_is_lost_and_it_goes_on() {
    calls::replace();
    for errno in LACKS {
        let mut calls = 0;
        loop {
            let folder = folder();
            if !one_call_fails(&folder.path().join("jobs.sqlite"), calls, errno).await {
                break;
            }
            calls += 1;
        }
        println!("{errno}: each of {calls} calls failed once");
        assert!(calls > 30, "{calls} calls: too few");
    }
}

#[tokio::test]
async fn a_queue_whose_file_lacks_something_at_the_start_is_opened_later() {
    const AT_ONCE: usize = 50;
    calls::replace();
    let folder = folder();
    let start_lacking = async |nth: usize, errno: i32| {
        let file = folder.path().join(format!("{nth}-{errno}.sqlite"));
        let (database, came) = tokio::task::spawn_blocking(move || {
            calls::set(Some((nth, errno)));
            (Database::open(&file).unwrap(), calls::set(None))
        })
        .await
        .unwrap();
        // It is tried again after a second.
        let count = async || {
            database.read(|database| Ok(database.query_row("SELECT count(*) FROM job", [], |row| row.get(0))?)).await
        };
        let jobs: i64 = persist(count).await;
        assert_eq!((jobs, database.lost().len()), (0, 0));
        came
    };
    for errno in LACKS {
        let mut calls = 0;
        // Several at once, since each waits for a second.
        for first in (0..).step_by(AT_ONCE) {
            let came = join_all((first..first + AT_ONCE).map(|nth| start_lacking(nth, errno))).await;
            calls += came.iter().filter(|came| **came).count();
            if came.contains(&false) {
                break;
            }
        }
        println!("{errno}: each of {calls} calls failed once");
        assert!(calls > 10, "{calls} calls: too few");
    }
}
