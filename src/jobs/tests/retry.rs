//! Another run of the failed items of a job.

use super::*;

#[tokio::test]
async fn the_failed_items_of_a_job_that_is_done_run_again_and_no_others() {
    let fake = Fake::new();
    let jobs = start(&fake, Options { attempts_max: 1, ..options() }).await;
    let id = submit(&jobs, None, &["third time", "ok", "fail"]).await.unwrap().id;
    assert_eq!(end(&jobs, &id).await.failed, 2);
    for (run, failed) in [(2, 2), (3, 1)] {
        assert_eq!(jobs.retry(&id).await, Ok(true));
        let status = end(&jobs, &id).await;
        assert_eq!((status.items, status.done, status.failed), (3, 3 - failed, failed), "run {run}");
        assert_eq!([0, 1, 2].map(|item| fake.runs(item)), [run, 1, run]);
        assert_each_once(&jobs, &id, 3).await;
    }
    assert_eq!(rows(&jobs, "chunk").await, 0);
    let well = submit(&jobs, None, &["ok"]).await.unwrap().id;
    end(&jobs, &well).await;
    assert_eq!(jobs.retry(&well).await, Ok(false));
    assert_eq!(jobs.retry(&Digest::of(b"absent")).await, Err(Error::NotFound));
}

#[tokio::test]
async fn a_job_that_has_not_ended_goes_on_and_a_cancelled_one_stays_so() {
    let fake = Fake::held();
    let jobs = start(&fake, options()).await;
    let id = submit(&jobs, None, &["fail", "ok"]).await.unwrap().id;
    assert_eq!(jobs.retry(&id).await, Ok(false));
    fake.gate.add_permits(1);
    assert_eq!(jobs.cancel(&id).await, Ok(true));
    assert_eq!(jobs.retry(&id).await, Err(Error::NotKept));
    assert_eq!(jobs.status(&id).await.unwrap().state, State::Cancelled);
}

#[tokio::test]
async fn a_forgotten_job_leaves_no_failed_items() {
    let fake = Fake::new();
    let jobs = start(&fake, Options { ended_max: 1, ..options() }).await;
    for line in ["fail", "panic"] {
        let id = submit(&jobs, None, &[line]).await.unwrap().id;
        end(&jobs, &id).await;
    }
    soon(async || rows(&jobs, "failure").await == 1).await;
}

#[tokio::test]
async fn a_run_that_the_process_did_not_survive_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.sqlite");
    let begin = async |fake: &Arc<Fake>| {
        let database = Database::open(&file).unwrap();
        Jobs::start(database, Arc::new(Shareable(fake.clone())), memory_store().await, webhooks(), options())
    };
    let jobs = begin(&Fake::new()).await;
    let id = submit(&jobs, None, &["fail", "ok"]).await.unwrap().id;
    end(&jobs, &id).await;
    drop(jobs);
    let held = Fake::held();
    let jobs = begin(&held).await;
    assert_eq!(jobs.retry(&id).await, Ok(true));
    soon(async || held.runs(0) == 1).await;
    // The result of the earlier run is gone, and the new one is not there yet.
    assert_eq!(results(&jobs, &id).await, ["1 0 0", "1 0 1"]);
    drop(jobs);
    let last = Fake::new();
    let jobs = begin(&last).await;
    let status = end(&jobs, &id).await;
    assert_eq!((status.done, status.failed, last.runs(0), last.runs(1)), (1, 1, 1, 0));
    assert_eq!(BTreeSet::from_iter(results(&jobs, &id).await).len(), 4);
}
