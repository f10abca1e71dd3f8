//! The bounds of jobs: each is reached, and one past it.

use super::*;
use crate::jobs::database::now_ms;

#[tokio::test]
async fn prerender_jobs_are_bounded_among_themselves() {
    let fake = Fake::held();
    let jobs = start(&fake, Options { unfinished_max: 1, ended_max: 1, ..options() }).await;
    let prerender = || Sender { kind: JobKind::Prerender, ..Sender::default() };
    let first = submit_as(&jobs, prerender(), "a").await.unwrap().id;
    assert_eq!(submit_as(&jobs, prerender(), "b").await, Err(Error::Busy));
    let sent = submit(&jobs, None, &["a"]).await.unwrap().id;
    assert_eq!(submit(&jobs, None, &["b"]).await, Err(Error::Busy));
    fake.gate.close();
    end(&jobs, &sent).await;
    end(&jobs, &first).await;
    // Equal lines always make another prerender job.
    let mut last = first;
    for _ in 0..3 {
        let Accepted { id, new } = submit_as(&jobs, prerender(), "a").await.unwrap();
        assert!(new && id != last);
        end(&jobs, &id).await;
        last = id;
    }
    soon(async || rows(&jobs, "job").await <= 2).await;
    assert_eq!(jobs.list(10).await.unwrap().iter().map(|job| job.id).collect::<Vec<_>>(), [last, sent]);
}

#[tokio::test]
async fn prerender_jobs_keep_no_slot_from_submitted_ones() {
    let jobs = start(&Fake::new(), Options { receiving_max: 1, ..options() }).await;
    let receive = |kind| jobs.receive(Sender { kind, ..Sender::default() });
    let (submitted, prerender) = (JobKind::Submitted, JobKind::Prerender);
    for (first, other) in [(submitted, prerender), (prerender, submitted)] {
        let _first = receive(first).unwrap();
        assert_eq!(receive(first).err(), Some(Error::Busy));
        let _other = receive(other).unwrap();
        assert_eq!(receive(other).err(), Some(Error::Busy));
    }
}

#[tokio::test]
async fn a_selection_fits_the_bounds_of_a_job() {
    let jobs = start(&Fake::new(), Options { items_max: 4, ..options() }).await;
    blobs(&*jobs.shared.store, 5).await;
    for (limit, items, failed) in [(3, 4, 0), (4, 2, 1)] {
        for to in ["blob", "rendition"] {
            let line = format!("{{\"source\":{{\"limit\":{limit}}},\"outputs\":[{{\"to\":\"{to}\"}}]}}");
            let id = submit(&jobs, None, &[&line, "ok"]).await.unwrap().id;
            let status = end(&jobs, &id).await;
            assert_eq!((status.items, status.failed, status.done), (items, failed, items - failed), "{line}");
            let refused = results(&jobs, &id).await.contains(&"0 0 more than 4 items".to_owned());
            assert_eq!(refused, failed == 1, "{line}");
        }
    }
}

#[tokio::test]
async fn a_selection_fits_the_database() {
    let database = Database::in_memory().unwrap();
    let row = |database: &rusqlite::Transaction| {
        database.execute_batch(
            "INSERT INTO job (number, state, created_ms) VALUES (1, 2, 0);
             INSERT INTO selection (number, job, item, whole, line) VALUES (1, 1, 0, 1, '');",
        )?;
        database::bytes(database)
    };
    let used = database.write(row).await.unwrap();
    let select = async |bytes_max: u64| {
        let options = Options { bytes_max, ..options() };
        let items = [chunk::Item { place: Place { item: 0, part: 1 }, line: Bytes::from_static(b"ok") }];
        database.write(move |database| queue::select(database, 1, &items, &[], (None, true), &options)).await
    };
    assert_eq!(select(used).await, Err(Error::Full { max: used }));
    assert_eq!(select(used + 1).await, Ok(None));
}

#[tokio::test]
async fn bounds_are_reached_and_not_passed() {
    let fake = Fake::held();
    let jobs = start(&fake, Options { items_max: 3, unfinished_max: 2, receiving_max: 2, ..options() }).await;
    submit(&jobs, None, &["1"; 3]).await.unwrap();
    assert_eq!(submit(&jobs, None, &["1"; 4]).await, Err(Error::TooManyItems { max: 3 }));
    let intakes = [jobs.receive(Sender::default()).unwrap(), jobs.receive(Sender::default()).unwrap()];
    assert_eq!(jobs.receive(Sender::default()).err(), Some(Error::Busy));
    drop(intakes);
    submit(&jobs, None, &["2"]).await.unwrap();
    assert_eq!(submit(&jobs, None, &["3"]).await, Err(Error::Busy));
    assert!(!submit(&jobs, None, &["2"]).await.unwrap().new);
    fake.gate.close();
    let full = start(&Fake::new(), Options { bytes_max: 1, ..options() }).await;
    assert_eq!(submit(&full, None, &["1"]).await, Err(Error::Full { max: 1 }));
}

#[tokio::test]
async fn the_oldest_ended_jobs_are_forgotten_first() {
    let jobs = start(&Fake::new(), Options { ended_max: 2, ..options() }).await;
    let mut ids = Vec::new();
    for line in ["1", "2", "3"] {
        let id = submit(&jobs, None, &[line]).await.unwrap().id;
        end(&jobs, &id).await;
        ids.push(id);
    }
    soon(async || rows(&jobs, "job").await <= 2).await;
    assert_eq!(jobs.status(&ids[0]).await, Err(Error::NotFound));
    assert_eq!(jobs.list(10).await.unwrap().iter().map(|job| job.id).collect::<Vec<_>>(), [ids[2], ids[1]]);
    assert_eq!(rows(&jobs, "result").await, 4);
    assert!(submit(&jobs, None, &["1"]).await.unwrap().new);
}

#[tokio::test]
async fn a_job_whose_webhook_is_due_is_forgotten_among_its_like_and_later() {
    let jobs = start(&Fake::new(), options()).await;
    for line in ["1", "2", "3", "4"] {
        let id = submit(&jobs, None, &[line]).await.unwrap().id;
        end(&jobs, &id).await;
    }
    let set =
        async |update: String| jobs.shared.database.write(move |database| Ok(database.execute(&update, [])?)).await;
    // These tests call no webhook.
    set("UPDATE job SET webhook = 'x', webhook_at_ms = 0 WHERE number <= 2".to_owned()).await.unwrap();
    let left = async |options: Options| {
        jobs.shared.database.write(move |database| retention::forget_old(database, &options, now_ms())).await.unwrap();
        while jobs.shared.database.write(retention::sweep).await.unwrap() {}
        let list = jobs.list(10).await.unwrap();
        list.iter().map(|status| status.number).collect::<Vec<_>>()
    };
    assert_eq!(left(Options { ended_max: 2, ..options() }).await, [4, 3, 2, 1]);
    assert_eq!(left(Options { ended_max: 1, ..options() }).await, [4, 2]);
    set("UPDATE job SET ended_ms = ended_ms - 1".to_owned()).await.unwrap();
    assert_eq!(left(Options { bytes_max: 1, ..options() }).await, [2]);
    assert_eq!(left(Options { keep_s: 0, ..options() }).await, [2]);
    set(format!("UPDATE job SET ended_ms = ended_ms - {}", retention::DUE_MS_MAX)).await.unwrap();
    assert_eq!(left(Options { keep_s: 0, ..options() }).await, [0; 0]);
}

#[tokio::test]
async fn jobs_are_forgotten_by_age_and_by_bytes() {
    let jobs = start(&Fake::new(), options()).await;
    let id = submit(&jobs, None, &["1"]).await.unwrap().id;
    end(&jobs, &id).await;
    let used = jobs.shared.database.read(database::bytes).await.unwrap();
    let fits = Options { bytes_max: used / 3 * 4 + 4, ..options() };
    let forget = async |options: Options| {
        jobs.shared.database.write(move |database| retention::forget_old(database, &options, now_ms())).await.unwrap();
        jobs.status(&id).await.is_err()
    };
    assert!(!forget(fits.clone()).await);
    assert!(forget(Options { bytes_max: used, ..fits }).await);

    let id = submit(&jobs, None, &["2"]).await.unwrap().id;
    let ended_ms = end(&jobs, &id).await.ended_ms.unwrap();
    let forget = async |options: Options| {
        jobs.shared.database.write(move |database| retention::forget_old(database, &options, now_ms())).await.unwrap();
        jobs.status(&id).await.is_err()
    };
    assert!(!forget(Options { keep_s: 60, ..options() }).await);
    soon(async || now_ms() != ended_ms).await;
    assert!(forget(Options { keep_s: 0, ..options() }).await);
}

#[tokio::test]
async fn a_hundred_thousand_items_end_with_few_in_hand() {
    let fake = Fake::new();
    let jobs = start(&fake, options()).await;
    let mut submission = jobs.receive(Sender::default()).unwrap();
    for _ in 0..100_000 {
        submission.line(Bytes::from_static(b"ok")).await.unwrap();
        assert!(submission.in_hand() < chunk::CHUNK_ITEMS_MAX);
    }
    let id = submission.accept().await.unwrap().id;
    let most = until(&jobs, &id, |status| {
        assert!(status.running <= 4 * chunk::CHUNK_ITEMS_MAX as u64, "{status:?}");
        status.state.has_ended()
    });
    assert_eq!(most.await.done, 100_000);
    assert_eq!(rows(&jobs, "result").await, 200_000);
}

#[tokio::test]
async fn calls_of_the_database_are_bounded_and_it_gets_none_of_callers_that_have_left() {
    let database = Database::in_memory().unwrap();
    let (go_on, stuck) = std::sync::mpsc::channel::<()>();
    database.afterwards(move || _ = stuck.recv());
    let asked = Arc::new(AtomicUsize::new(0));
    let ask = || {
        let asked = asked.clone();
        database.read(move |_| {
            asked.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
    };
    let ask_and_leave = || tokio::task::unconstrained(ask()).now_or_never();
    (0..database::CALLS_MAX).for_each(|_| assert_eq!(ask_and_leave(), None));
    assert_eq!(database.free_permits(), 0, "the bound itself");
    assert_eq!(ask_and_leave(), None, "one past it");
    go_on.send(()).unwrap();
    assert_eq!((ask().await, asked.load(Ordering::SeqCst)), (Ok(()), 1));
    soon(async || database.free_permits() == database::CALLS_MAX).await;
}

/// A submission that has taken the only slot, and of which the database has a chunk.
async fn receiving() -> (Jobs, Submission) {
    let jobs = start(&Fake::new(), Options { receiving_max: 1, ..options() }).await;
    let mut submission = jobs.receive(Sender::default()).unwrap();
    for _ in 0..chunk::CHUNK_ITEMS_MAX {
        submission.line(Bytes::from_static(b"ok")).await.unwrap();
    }
    (jobs, submission)
}

#[tokio::test]
async fn a_job_that_was_cut_keeps_its_place_until_the_database_is_done_with_it() {
    let (jobs, submission) = receiving().await;
    let (go_on, stuck) = std::sync::mpsc::channel::<()>();
    jobs.shared.database.afterwards(move || _ = stuck.recv());
    drop(submission);
    assert_eq!(jobs.receive(Sender::default()).err(), Some(Error::Busy));
    go_on.send(()).unwrap();
    soon(async || jobs.receive(Sender::default()).is_ok()).await;
    soon(async || rows(&jobs, "job").await == 0).await;
}

#[tokio::test]
async fn a_job_that_was_cut_is_forgotten_as_soon_as_the_database_can_be_written() {
    let (jobs, submission) = receiving().await;
    let run =
        async |statements| jobs.shared.database.write(move |database| Ok(database.execute_batch(statements)?)).await;
    let full = "CREATE TEMP TRIGGER full BEFORE UPDATE OF state ON main.job WHEN new.state = 5
        BEGIN SELECT RAISE(ABORT, 'full'); END";
    run(full).await.unwrap();
    drop(submission);
    soon(async || jobs.receive(Sender::default()).is_ok()).await;
    assert_eq!(rows(&jobs, "job").await, 1);
    run("DROP TRIGGER full").await.unwrap();
    jobs.shared.sweep.notify_one();
    soon(async || rows(&jobs, "job").await + rows(&jobs, "chunk").await == 0).await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_database_that_is_in_use() {
    let jobs = start(&Fake::new(), options()).await;
    let (go_on, stuck) = std::sync::mpsc::channel::<()>();
    jobs.shared.database.afterwards(move || _ = stuck.recv());
    assert_eq!(timeout(60 * STOP_WAIT, jobs.stop()).await, Ok(()));
    drop(go_on);
    assert_eq!(rows(&jobs, "job").await, 0);
}
