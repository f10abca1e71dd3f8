//! A store that is unavailable for a while, and the items of jobs meanwhile.

use std::sync::atomic::AtomicBool;

use super::*;
use crate::store::double::{Call, Double};

/// A store in memory, whether it is unavailable, and the number of items that were begun.
#[derive(Default)]
struct Outage {
    away: AtomicBool,
    runs: AtomicUsize,
}

impl Outage {
    async fn store(self: Arc<Outage>) -> Arc<dyn Store> {
        Double::refusing(memory_store().await, move |call| {
            if call != Call::List || !self.away.load(Ordering::SeqCst) {
                return None;
            }
            Some(store::Error::Unavailable("away".to_owned()))
        })
    }
}

/// Items that need the store, and wait for this reason while it is away.
struct Needing(Arc<Outage>, WaitReason);

impl JobExecutor for Needing {
    fn run(&self, _: u32, place: Place, _: Bytes) -> BoxFuture<'static, Vec<Outcome>> {
        let is_away = self.0.away.load(Ordering::SeqCst);
        self.0.runs.fetch_add(1, Ordering::SeqCst);
        let verdict = if is_away { Verdict::Wait(self.1) } else { Verdict::Done };
        Box::pin(async move { vec![Outcome { output: 0, line: text(place, 0), verdict }] })
    }

    fn may_select(&self, rights: u32) -> bool {
        rights == 0
    }

    fn refused(&self, place: Place, _: Error) -> Outcome {
        self.lost(place)
    }

    fn lost(&self, place: Place) -> Outcome {
        Outcome { output: 0, line: text(place, 99), verdict: Verdict::Failed }
    }
}

async fn start_with(outage: &Arc<Outage>, reason: WaitReason) -> Jobs {
    let work = Arc::new(Needing(outage.clone(), reason));
    let options = Options { attempts_max: 1, ..options() };
    Jobs::start(Database::in_memory().unwrap(), work, outage.clone().store().await, webhooks(), options)
}

fn away() -> Arc<Outage> {
    Arc::new(Outage { away: AtomicBool::new(true), ..Outage::default() })
}

#[tokio::test]
async fn no_item_fails_while_the_store_is_away_read_only_or_full() {
    for (index, reason) in WaitReason::ALL.into_iter().enumerate() {
        let outage = away();
        let jobs = start_with(&outage, reason).await;
        // More chunks than run at once.
        let items = 10 * chunk::CHUNK_ITEMS_MAX as u64;
        let id = submit(&jobs, None, &vec!["ok"; items as usize]).await.unwrap().id;
        let status = until(&jobs, &id, |status| status.state == State::Waiting).await;
        assert_eq!((status.done, status.failed, status.queued()), (0, 0, items));
        let json = status.json();
        assert_eq!((&json["state"], &json["reason"]), (&"waiting".into(), &reason.name().into()));
        let mut waiting = [0; 3];
        waiting[index] = 1;
        assert_eq!(jobs.counters().await.unwrap().waiting, waiting);
        // It is tried again and again, by a few items at a time.
        soon(async || outage.runs.load(Ordering::SeqCst) > 40).await;
        assert_eq!(jobs.status(&id).await.unwrap().failed, 0);
        outage.away.store(false, Ordering::SeqCst);
        let status = end(&jobs, &id).await;
        assert_eq!((status.done, status.failed, status.json().get("reason")), (items, 0, None));
        assert_eq!(jobs.counters().await.unwrap().waiting, [0; 3]);
    }
}

#[tokio::test]
async fn an_item_that_the_store_cannot_give_although_it_is_there_fails_in_the_end() {
    let outage = away();
    let work = Arc::new(Needing(outage.clone(), WaitReason::Unavailable));
    let options = Options { attempts_max: 3, ..options() };
    let jobs = Jobs::start(Database::in_memory().unwrap(), work, memory_store().await, webhooks(), options);
    let id = submit(&jobs, None, &["ok"]).await.unwrap().id;
    assert_eq!(end(&jobs, &id).await.failed, 1);
    assert_eq!(outage.runs.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_selection_waits_for_a_store_that_is_away() {
    let outage = away();
    let jobs = start_with(&outage, WaitReason::Unavailable).await;
    let id = submit(&jobs, None, &[r#"{"source":{"all":true},"outputs":[{"to":"blob"}]}"#]).await.unwrap().id;
    let status = until(&jobs, &id, |status| status.state == State::Waiting).await;
    assert_eq!((status.json()["reason"].as_str(), status.selecting), (Some("store-unavailable"), true));
    outage.away.store(false, Ordering::SeqCst);
    assert_eq!(end(&jobs, &id).await.state, State::Done);
}

#[tokio::test]
async fn a_job_that_waits_is_not_taken_for_one_that_ends_the_process() {
    let outage = away();
    let jobs = start_with(&outage, WaitReason::Full).await;
    let id = submit(&jobs, None, &["ok"; 3]).await.unwrap().id;
    soon(async || outage.runs.load(Ordering::SeqCst) > 40).await;
    until(&jobs, &id, |status| status.state == State::Waiting).await;
    let starts =
        |database: &rusqlite::Connection| Ok(database.query_row("SELECT starts FROM chunk", [], |row| row.get(0))?);
    soon(async || jobs.shared.database.read(starts).await == Ok(0)).await;
    assert_eq!(jobs.cancel(&id).await, Ok(true));
    assert_eq!(jobs.status(&id).await.unwrap().state, State::Cancelled);
    soon(async || jobs.counters().await.unwrap().waiting == [0; 3]).await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_ends_while_the_database_is_slow_is_not_slept_through() {
    let outage = away();
    let (work, database) = (Arc::new(Needing(outage.clone(), WaitReason::Full)), Database::in_memory().unwrap());
    let job = "INSERT INTO job (number, state, created_ms) VALUES (1, 2, 0);
        INSERT INTO chunk (job, run_at_ms, attempts, items) VALUES (1, 0, 0, x'')";
    database.write(|database| Ok(database.execute_batch(job)?)).await.unwrap();
    let options = Options { retry_ms: 1_000, ..options() };
    let shared = Arc::new(Shared::new(database.clone(), work, outage.store().await, webhooks(), options));
    shared.waits.begin(1, WaitReason::Full);
    let (go_on, held) = std::sync::mpsc::channel::<()>();
    database.afterwards(move || _ = held.recv());
    let mut scheduler = scheduler::Scheduler::new(shared);
    let mut fill = std::pin::pin!(scheduler.fill());
    assert_eq!(fill.as_mut().now_or_never(), None);
    tokio::time::advance(Duration::from_secs(2)).await;
    drop(go_on);
    assert_eq!(fill.await, Ok(Some(Duration::ZERO)), "the job was skipped, and is due");
}

#[tokio::test]
async fn a_job_whose_selection_was_listed_does_not_wait() {
    let outage = Arc::new(Outage::default());
    let (work, database) = (Arc::new(Needing(outage.clone(), WaitReason::Full)), Database::in_memory().unwrap());
    let job = "INSERT INTO job (number, state, created_ms) VALUES (1, 2, 0);
        INSERT INTO selection (number, job, item, whole, line) VALUES (1, 1, 0, 0, x'')";
    database.write(|database| Ok(database.execute_batch(job)?)).await.unwrap();
    let shared = Shared::new(database, work, outage.store().await, webhooks(), options());
    shared.waits.begin(1, WaitReason::Unavailable);
    runner::select(&shared, 1, 1).await;
    assert_eq!(shared.waits.reason(1), None);
}

#[tokio::test]
async fn no_new_job_is_written_while_the_store_is_full_and_known_ones_are_found() {
    let is_full = Arc::new(AtomicBool::new(false));
    let full = is_full.clone();
    let store = Double::refusing(memory_store().await, move |call| {
        (call == Call::Writable && full.load(Ordering::SeqCst)).then_some(store::Error::Full)
    });
    let work = Arc::new(Shareable(Fake::new()));
    let jobs = Jobs::start(Database::in_memory().unwrap(), work, store, webhooks(), options());
    let known = submit(&jobs, None, &["ok"]).await.unwrap().id;
    is_full.store(true, Ordering::SeqCst);
    assert_eq!(submit(&jobs, None, &["ok"]).await, Ok(Accepted { id: known, new: false }));
    for lines in [1, 2 * chunk::CHUNK_ITEMS_MAX] {
        assert_eq!(submit(&jobs, None, &vec!["new"; lines]).await, Err(store::Error::Full.into()));
    }
    assert_eq!(end(&jobs, &known).await.done, 1, "results are written");
}
