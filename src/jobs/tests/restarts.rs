//! The state that a process leaves, and the next process.

use std::path::Path;

use super::*;

async fn start_on(file: &Path, fake: &Arc<Fake>) -> Jobs {
    Jobs::start(
        Database::open(file).unwrap(),
        Arc::new(Shareable(fake.clone())),
        memory_store().await,
        webhooks(),
        options(),
    )
}

#[tokio::test]
async fn what_a_stopped_process_left_is_done_by_the_next_and_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.sqlite");
    let first = Fake::held();
    let jobs = start_on(&file, &first).await;
    let id = submit(&jobs, None, &vec!["ok"; 1_000]).await.unwrap().id;
    first.gate.add_permits(300);
    until(&jobs, &id, |status| status.done >= 100).await;
    drop(jobs);

    let second = Fake::new();
    let jobs = start_on(&file, &second).await;
    let status = end(&jobs, &id).await;
    assert_eq!((status.done, status.items), (1_000, 1_000));
    assert_each_once(&jobs, &id, 1_000).await;
    let again: usize = (0..1_000).filter(|item| second.runs(*item) > 0).count();
    assert!(again <= 900, "{again} items were run again");
}

#[tokio::test]
async fn a_job_that_was_being_received_is_not_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.sqlite");
    let jobs = start_on(&file, &Fake::new()).await;
    let mut submission = jobs.receive(Sender::default()).unwrap();
    for _ in 0..300 {
        submission.line(Bytes::from_static(b"ok")).await.unwrap();
    }
    std::mem::forget(submission);
    // So that it makes no further call to the database.
    jobs.stop().await;
    drop(jobs);
    let fake = Fake::new();
    let jobs = start_on(&file, &fake).await;
    // Its own items stay, whatever was left.
    let mut submission = jobs.receive(Sender::default()).unwrap();
    for _ in 0..300 {
        submission.line(Bytes::from_static(b"ok")).await.unwrap();
    }
    soon(async || rows(&jobs, "job").await == 1).await;
    let id = submission.accept().await.unwrap().id;
    assert_eq!(end(&jobs, &id).await.done, 300);
    assert_eq!((rows(&jobs, "job").await, rows(&jobs, "chunk").await), (1, 0));
    assert_eq!(fake.runs.lock().unwrap().values().sum::<u32>(), 300);
}

#[tokio::test]
async fn an_item_that_ends_the_process_each_time_is_given_up_and_its_neighbours_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.sqlite");
    let first = Fake::held();
    let jobs = start_on(&file, &first).await;
    let id = submit(&jobs, None, &["ok"; 10]).await.unwrap().id;
    until(&jobs, &id, |status| status.state == State::Running).await;
    drop(jobs);
    // As if further processes had died with it.
    let database = Database::open(&file).unwrap();
    database.write(|database| Ok(database.execute("UPDATE chunk SET starts = 5", [])?)).await.unwrap();
    drop(database);
    let second = Fake::new();
    let jobs = start_on(&file, &second).await;
    let status = end(&jobs, &id).await;
    assert_eq!((status.done, status.failed), (9, 1));
    let results = results(&jobs, &id).await;
    assert_eq!((results.len(), &*results[0], second.runs(0)), (19, "0 0 99", 0));
    // Items that may have run at the same time are tried one by one, in their order.
    assert_eq!(results[1..7], ["1 0 0", "1 0 1", "2 0 0", "2 0 1", "3 0 0", "3 0 1"]);
}

#[tokio::test]
async fn an_item_that_was_given_up_stays_so_when_the_next_one_ends_the_process_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.sqlite");
    let first = Fake::held();
    let jobs = start_on(&file, &first).await;
    let id = submit(&jobs, None, &["ok"; 3]).await.unwrap().id;
    until(&jobs, &id, |status| status.state == State::Running).await;
    drop(jobs);
    let database = Database::open(&file).unwrap();
    database.write(|database| Ok(database.execute("UPDATE chunk SET starts = 5", [])?)).await.unwrap();
    drop(database);
    // The first item is given up. The second runs, and the process ends before that has a result.
    let second = Fake::held();
    let jobs = start_on(&file, &second).await;
    soon(async || second.runs(1) > 0).await;
    assert_eq!(results(&jobs, &id).await, ["0 0 99"]);
    drop(jobs);
    let third = Fake::new();
    let jobs = start_on(&file, &third).await;
    end(&jobs, &id).await;
    let results = results(&jobs, &id).await;
    assert_eq!((results.iter().filter(|line| line.starts_with("0 ")).count(), third.runs(0)), (1, 0));
}

#[tokio::test]
async fn an_item_that_is_tried_again_is_not_taken_for_one_that_ends_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.sqlite");
    let first = Fake::held();
    let jobs = start_on(&file, &first).await;
    let id = submit(&jobs, None, &["third time", "ends it", "ok"]).await.unwrap().id;
    until(&jobs, &id, |status| status.state == State::Running).await;
    drop(jobs);
    let die_with = async |starts: i64| {
        let database = Database::open(&file).unwrap();
        let update = "UPDATE chunk SET starts = ?1 WHERE attempts = 0";
        database.write(move |database| Ok(database.execute(update, [starts])?)).await.unwrap();
    };
    die_with(3).await;
    // Each runs alone: the first is tried again later, and the second ends the process.
    let second = Fake::held();
    let jobs = start_on(&file, &second).await;
    second.gate.add_permits(1);
    soon(async || second.runs(1) > 0).await;
    drop(jobs);
    assert_eq!(second.runs(0), 1);
    die_with(5).await;
    let third = Fake::new();
    let jobs = start_on(&file, &third).await;
    let status = end(&jobs, &id).await;
    assert_eq!((status.items, status.done, status.failed), (3, 2, 1));
    let mut results = results(&jobs, &id).await;
    results.sort();
    assert_eq!(results, ["0 0 0", "0 0 1", "1 0 99", "2 0 0", "2 0 1"]);
}

#[tokio::test]
async fn a_process_that_is_stopped_was_not_ended_by_what_ran() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.sqlite");
    let held = Fake::held();
    let mut id = None;
    for _ in 0..8 {
        let jobs = start_on(&file, &held).await;
        let runs = held.runs(0);
        id = Some(submit(&jobs, None, &["ok"]).await.unwrap().id);
        soon(async || held.runs(0) > runs).await;
        jobs.stop().await;
    }
    let jobs = start_on(&file, &Fake::new()).await;
    assert_eq!(end(&jobs, &id.unwrap()).await.done, 1);
}

#[tokio::test]
async fn a_database_of_a_later_version_is_refused_and_one_of_this_is_not_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.sqlite");
    let jobs = start_on(&file, &Fake::new()).await;
    let id = submit(&jobs, None, &["ok"]).await.unwrap().id;
    end(&jobs, &id).await;
    // Still open, so that its log stays.
    let log = file.with_extension("sqlite-wal");
    let before = std::fs::metadata(&log).unwrap().len();
    let database = Database::open(&file).unwrap();
    assert_eq!(std::fs::metadata(&log).unwrap().len(), before);
    database.write(|database| Ok(database.pragma_update(None, "user_version", 3)?)).await.unwrap();
    drop(jobs);
    let later = start_on(&file, &Fake::new()).await;
    assert_eq!(later.fault(), Some(Fault::Version));
    assert_eq!(later.status(&id).await, Err(Error::Away(Fault::Version)));
    let database = Database::open(&file).unwrap();
    assert_eq!(database.read(|_| Ok(())).await, Err(Error::Away(Fault::Version)));
}

#[tokio::test]
async fn jobs_of_version_1_are_read_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.sqlite");
    let jobs = start_on(&file, &Fake::new()).await;
    let id = submit(&jobs, None, &["a", "fail"]).await.unwrap().id;
    let keyed = submit(&jobs, Some("k"), &["a"]).await.unwrap().id;
    for id in [&id, &keyed] {
        end(&jobs, id).await;
    }
    drop(jobs);
    let older = |database: &rusqlite::Connection| {
        Ok(database.execute_batch(
            "ALTER TABLE job DROP COLUMN owner; ALTER TABLE chunk DROP COLUMN retried; DROP TABLE failure;
             PRAGMA user_version = 1",
        )?)
    };
    Database::open(&file).unwrap().read(older).await.unwrap();
    let fake = Fake::new();
    let jobs = start_on(&file, &fake).await;
    let status = jobs.status(&id).await.unwrap();
    assert!(status.is_of("") && status.is_of("a"), "its owner is not known");
    assert_eq!((status.done, status.failed, results(&jobs, &id).await.len()), (1, 1, 4));
    let again = Sender { owner: "a", key: Some("k"), ..Sender::default() };
    assert_eq!(submit_as(&jobs, again, "a").await, Ok(Accepted { id: keyed, new: false }));
    // It was sent with fewer rights, or without this webhook: it would not do all that is asked for.
    let more = Sender { owner: "c", key: Some("k"), rights: 1, ..Sender::default() };
    assert!(submit_as(&jobs, more, "a").await.unwrap().new);
    // Other lines under the same key may be another client's.
    let other = Sender { owner: "b", key: Some("k"), ..Sender::default() };
    assert!(submit_as(&jobs, other, "b").await.unwrap().new);
    // Its failed items were not kept.
    assert_eq!(jobs.retry(&id).await, Err(Error::NotKept));
    assert_eq!(fake.runs(1), 0);
}
