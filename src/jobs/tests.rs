//! Jobs over a fake executor that runs items as their lines say: every end of an item and of a job.

mod bounds;
mod identity;
mod outage;
mod restarts;
mod retry;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::*;
use crate::offload::INLINE_BYTES_MAX;
use crate::store;

/// The executor of tests. The line of an item says how it ends.
struct Fake {
    /// How often each item was begun.
    runs: Mutex<BTreeMap<Place, u32>>,
    lines: Mutex<BTreeMap<Place, Bytes>>,
    /// Items wait here, unless it is closed.
    gate: Semaphore,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Fake {
    fn new() -> Arc<Fake> {
        let fake = Fake::held();
        fake.gate.close();
        fake
    }

    /// An executor whose items wait at the gate.
    fn held() -> Arc<Fake> {
        Arc::new(Fake {
            runs: Mutex::default(),
            lines: Mutex::default(),
            gate: Semaphore::new(0),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
        })
    }

    fn runs(&self, item: u64) -> u32 {
        *self.runs.lock().unwrap().get(&Place { item, part: 0 }).unwrap_or(&0)
    }

    async fn outcomes(&self, place: Place, line: Bytes) -> Vec<Outcome> {
        let run = {
            let mut runs = self.runs.lock().unwrap();
            let run = runs.entry(place).or_default();
            *run += 1;
            *run
        };
        self.lines.lock().unwrap().insert(place, line.clone());
        let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
        if let Ok(permit) = self.gate.acquire().await {
            permit.forget();
        }
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        let verdict = match &line[..] {
            b"panic" => panic!("as asked"),
            b"fail" => Verdict::Failed,
            b"third time" if run < 3 => Verdict::Retry,
            b"never" => Verdict::Retry,
            _ => Verdict::Done,
        };
        let outcome = |output| Outcome { output, line: text(place, output), verdict };
        vec![outcome(0), outcome(1)]
    }
}

fn text(place: Place, output: u32) -> Bytes {
    format!("{} {} {output}", place.item, place.part).into()
}

struct Shareable(Arc<Fake>);

impl JobExecutor for Shareable {
    fn run(&self, _: u32, place: Place, line: Bytes) -> BoxFuture<'static, Vec<Outcome>> {
        let fake = self.0.clone();
        Box::pin(async move { fake.outcomes(place, line).await })
    }

    fn may_select(&self, rights: u32) -> bool {
        rights == 0
    }

    fn refused(&self, place: Place, error: Error) -> Outcome {
        Outcome { output: 0, line: format!("{} {} {error}", place.item, place.part).into(), verdict: Verdict::Failed }
    }

    fn lost(&self, place: Place) -> Outcome {
        Outcome { output: 0, line: text(place, 99), verdict: Verdict::Failed }
    }
}

fn options() -> Options {
    Options { items_at_once: 4, retry_ms: 1, ..Options::default() }
}

fn webhooks() -> WebhookClient {
    WebhookClient::new(&fetch::Options::default())
}

async fn memory_store() -> Arc<dyn Store> {
    store::open("memory:", &store::Options::default()).await.unwrap()
}

async fn start(fake: &Arc<Fake>, options: Options) -> Jobs {
    Jobs::start(
        Database::in_memory().unwrap(),
        Arc::new(Shareable(fake.clone())),
        memory_store().await,
        webhooks(),
        options,
    )
}

async fn submit(jobs: &Jobs, key: Option<&str>, lines: &[&str]) -> Result<Accepted, Error> {
    let mut submission = jobs.receive(Sender { key, ..Sender::default() })?;
    for line in lines {
        submission.line(Bytes::copy_from_slice(line.as_bytes())).await?;
    }
    submission.accept().await
}

/// Waits until the status of a job is as `wanted`.
async fn until(jobs: &Jobs, id: &Digest, wanted: impl Fn(&Status) -> bool) -> Status {
    let mut changes = jobs.changes();
    loop {
        let status = jobs.status(id).await.unwrap();
        if wanted(&status) {
            return status;
        }
        changes.changed().await.unwrap();
    }
}

/// Waits until a condition holds that nothing signals. The test fails if it does not within a minute.
async fn soon(is_so: impl AsyncFn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so().await {
        assert!(Instant::now() < end, "it is not so yet");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn end(jobs: &Jobs, id: &Digest) -> Status {
    until(jobs, id, |status| status.state.has_ended()).await
}

/// All results, read in pages of seven.
async fn results(jobs: &Jobs, id: &Digest) -> Vec<String> {
    let (mut after, mut lines) = (0, Vec::new());
    loop {
        let page = jobs.results(id, after, 7).await.unwrap();
        lines.extend(page.lines.iter().map(|line| String::from_utf8_lossy(line).into_owned()));
        if page.last {
            return lines;
        }
        after = page.after;
    }
}

/// Asserts that the results name the two outputs of each of `items` once.
async fn assert_each_once(jobs: &Jobs, id: &Digest, items: u64) {
    let mut found = results(jobs, id).await;
    let mut expected: Vec<_> = (0..items).flat_map(|item| [format!("{item} 0 0"), format!("{item} 0 1")]).collect();
    found.sort();
    expected.sort();
    assert!(found == expected, "{} results for {items} items", found.len());
}

#[tokio::test]
async fn a_job_ends_with_every_output_of_every_item() {
    let fake = Fake::new();
    let jobs = start(&fake, options()).await;
    let lines = vec!["ok"; 1_000];
    let Accepted { id, new } = submit(&jobs, None, &lines).await.unwrap();
    assert_eq!((id, new), (Digest::of("ok\n".repeat(1_000).as_bytes()), true));
    let status = end(&jobs, &id).await;
    assert_eq!((status.state, status.items, status.done, status.failed), (State::Done, 1_000, 1_000, 0));
    assert_eq!((status.queued(), status.running, status.estimated_end_ms()), (0, 0, None));
    assert!(status.rate().unwrap() > 0.0);
    assert_each_once(&jobs, &id, 1_000).await;
}

/// From now on, records how durably the writes that `trigger` names are made.
async fn watch(jobs: &Jobs, trigger: &'static str) {
    let watch = move |database: &rusqlite::Transaction| {
        Ok(database.execute_batch(&format!(
            "CREATE TEMP TABLE seen (synchronous INTEGER);
             CREATE TEMP TRIGGER watch AFTER {trigger}
             BEGIN INSERT INTO seen SELECT synchronous FROM pragma_synchronous; END;"
        ))?)
    };
    jobs.shared.database.write(watch).await.unwrap();
}

/// The number of these writes, and the least durability of them; 2: FULL.
async fn seen(jobs: &Jobs) -> (i64, i64) {
    let seen = |database: &rusqlite::Connection| {
        let query = "SELECT count(*), min(synchronous) FROM seen";
        Ok(database.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?)))?)
    };
    jobs.shared.database.read(seen).await.unwrap()
}

#[tokio::test]
async fn the_end_of_a_job_survives_a_power_cut() {
    let fake = Fake::held();
    let jobs = start(&fake, options()).await;
    watch(&jobs, "UPDATE OF state ON main.job WHEN new.state = 3").await;
    for line in ["ok", r#"{"source":{"all":true}}"#] {
        let id = submit(&jobs, None, &[line]).await.unwrap().id;
        fake.gate.close();
        end(&jobs, &id).await;
    }
    assert_eq!(seen(&jobs).await, (2, 2));
}

#[tokio::test]
async fn results_survive_a_power_cut_once_they_are_told() {
    let fake = Fake::held();
    let jobs = start(&fake, options()).await;
    watch(&jobs, "INSERT ON main.result").await;
    let id = submit(&jobs, None, &["ok"; 2]).await.unwrap().id;
    fake.gate.add_permits(1);
    // Before the chunk has ended.
    until(&jobs, &id, |status| status.done == 1).await;
    assert_eq!(seen(&jobs).await, (2, 2));
    fake.gate.close();
    end(&jobs, &id).await;
    assert_eq!(seen(&jobs).await, (4, 2));
}

#[tokio::test]
async fn a_job_without_lines_is_done() {
    let jobs = start(&Fake::new(), options()).await;
    let id = submit(&jobs, None, &[]).await.unwrap().id;
    assert_eq!(jobs.status(&id).await.unwrap().state, State::Done);
}

async fn submit_as(jobs: &Jobs, sender: Sender<'_>, line: &'static str) -> Result<Accepted, Error> {
    let mut submission = jobs.receive(sender)?;
    submission.line(Bytes::from_static(line.as_bytes())).await?;
    submission.accept().await
}

async fn rows(jobs: &Jobs, table: &'static str) -> i64 {
    let count = move |database: &rusqlite::Connection| {
        Ok(database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?)
    };
    jobs.shared.database.read(count).await.unwrap()
}

#[tokio::test]
async fn failures_that_may_pass_are_tried_again_and_others_are_not() {
    let fake = Fake::new();
    let jobs = start(&fake, Options { attempts_max: 3, ..options() }).await;
    let id = submit(&jobs, None, &["third time", "fail", "ok", "panic"]).await.unwrap().id;
    let status = end(&jobs, &id).await;
    assert_eq!((status.done, status.failed), (2, 2));
    assert_eq!([0, 1, 2, 3].map(|item| fake.runs(item)), [3, 1, 1, 1]);
    let found = BTreeSet::from_iter(results(&jobs, &id).await);
    assert_eq!(
        found,
        BTreeSet::from(["0 0 0", "0 0 1", "1 0 0", "1 0 1", "2 0 0", "2 0 1", "3 0 99"].map(String::from))
    );
    let id = submit(&jobs, None, &["never"]).await.unwrap().id;
    assert_eq!(end(&jobs, &id).await.failed, 1);
    assert_eq!(fake.runs(0), 6);
    // They are counted just after they were written.
    soon(async || jobs.counters().await.unwrap().items_failed >= 3).await;
    let expected = Counters { done: 2, items_done: 2, items_failed: 3, items_retried: 4, ..Counters::default() };
    assert_eq!(jobs.counters().await, Ok(expected));
}

#[tokio::test]
async fn a_second_attempt_that_would_be_one_too_many_is_not_made() {
    let fake = Fake::new();
    let jobs = start(&fake, Options { attempts_max: 2, ..options() }).await;
    let id = submit(&jobs, None, &["third time"]).await.unwrap().id;
    assert_eq!((end(&jobs, &id).await.failed, fake.runs(0)), (1, 2));
}

#[tokio::test]
async fn a_cancelled_job_keeps_what_it_has_and_does_no_more() {
    let fake = Fake::held();
    let jobs = start(&fake, options()).await;
    let id = submit(&jobs, None, &vec!["ok"; 1_000]).await.unwrap().id;
    fake.gate.add_permits(10);
    let before = until(&jobs, &id, |status| status.done >= 10).await;
    assert_eq!((before.state, before.done + before.running + before.queued()), (State::Running, 1_000));
    assert_eq!(fake.most_at_once.load(Ordering::SeqCst), 4);
    assert_eq!(jobs.cancel(&id).await, Ok(true));
    assert_eq!(jobs.cancel(&id).await, Ok(false));
    fake.gate.close();
    let other = submit(&jobs, None, &["ok"]).await.unwrap().id;
    end(&jobs, &other).await;
    let status = jobs.status(&id).await.unwrap();
    assert_eq!((status.state, status.done, status.running, status.queued()), (State::Cancelled, 10, 0, 0));
    assert_eq!(results(&jobs, &id).await.len(), 20);
    soon(async || rows(&jobs, "chunk").await == 0).await;
}

#[tokio::test]
async fn a_listener_hears_of_the_end_of_its_job_alone() {
    let fake = Fake::held();
    let jobs = start(&fake, options()).await;
    let mut ends = jobs.ends();
    let ids = [submit(&jobs, None, &["1"]).await.unwrap().id, submit(&jobs, None, &["2"]).await.unwrap().id];
    let second = jobs.status(&ids[1]).await.unwrap();
    assert_eq!(jobs.cancel(&ids[0]).await, Ok(true));
    assert_eq!(ends.wait(&second).now_or_never(), None);
    fake.gate.close();
    ends.wait(&second).await;
    assert_eq!(jobs.status(&ids[1]).await.unwrap().state, State::Done);
    let select = submit(&jobs, None, &[r#"{"source":{"all":true}}"#]).await.unwrap().id;
    ends.wait(&jobs.status(&select).await.unwrap()).await;
    assert_eq!(jobs.status(&select).await.unwrap().state, State::Done);
    // More than are kept, so it is unknown.
    (0..=1_024).for_each(|_| jobs.shared.ended(0));
    assert_eq!(ends.wait(&second).now_or_never(), Some(()));
}

#[tokio::test]
async fn a_small_job_does_not_wait_for_a_large_one() {
    let fake = Fake::held();
    let jobs = start(&fake, Options { items_at_once: 600, ..options() }).await;
    let large = submit(&jobs, None, &vec!["ok"; 10_000]).await.unwrap().id;
    let small = submit(&jobs, None, &["ok", "ok"]).await.unwrap().id;
    fake.gate.add_permits(1_500);
    end(&jobs, &small).await;
    assert!(!jobs.status(&large).await.unwrap().state.has_ended());
}

/// Stores `count` blobs; their ids in order.
async fn blobs(store: &dyn Store, count: u32) -> Vec<Digest> {
    let mut ids = Vec::new();
    for number in 0..count {
        let bytes = Bytes::copy_from_slice(&number.to_le_bytes());
        let id = Digest::of(&bytes);
        let mut stage = store.stage(None).await.unwrap();
        stage.write(bytes).await.unwrap();
        stage.commit(id).await.unwrap();
        ids.push(id);
    }
    ids.sort();
    ids
}

#[tokio::test]
async fn a_selection_stands_for_every_image_that_it_names() {
    let fake = Fake::new();
    let jobs = start(&fake, options()).await;
    let ids = blobs(&*jobs.shared.store, 1_000).await;
    let after = format!("{{\"source\":{{\"after\":\"{}\",\"limit\":300}}}}", ids[99]);
    let none = format!("{{\"source\":{{\"after\":\"{}\"}}}}", "f".repeat(64));
    let lines = ["ok", r#"{"source":{"all":true},"outputs":[{"to":"blob"}]}"#, &after, &none];
    let id = submit(&jobs, None, &lines).await.unwrap().id;
    let status = end(&jobs, &id).await;
    assert_eq!((status.items, status.done, status.selecting), (1_301, 1_301, false));
    assert_eq!(BTreeSet::from_iter(results(&jobs, &id).await).len(), 2 * 1_301);
    let lines = fake.lines.lock().unwrap();
    let named = |item| -> Vec<Digest> {
        let parts = lines.iter().filter(|(place, _)| place.item == item);
        let id = |line: &Bytes| serde_json::from_slice::<serde_json::Value>(line).unwrap()["source"]["id"].clone();
        parts.map(|(_, line)| id(line).as_str().unwrap().parse().unwrap()).collect()
    };
    assert_eq!(named(1), ids);
    assert_eq!(named(2), ids[100..400]);
}

#[tokio::test]
async fn a_selection_without_the_right_to_select_is_run_as_it_is() {
    let fake = Fake::new();
    let jobs = start(&fake, options()).await;
    blobs(&*jobs.shared.store, 3).await;
    let line = br#"{"source":{"all":true}}"#;
    let mut submission = jobs.receive(Sender { rights: 1, ..Sender::default() }).unwrap();
    submission.line(Bytes::from_static(line)).await.unwrap();
    let id = submission.accept().await.unwrap().id;
    assert_eq!(end(&jobs, &id).await.items, 1);
    assert_eq!(*fake.lines.lock().unwrap(), BTreeMap::from([(Place { item: 0, part: 0 }, Bytes::from_static(line))]));
}
