//! Which submissions are one job: by their lines, their key and their rights, whole or not at all.

use super::*;

#[tokio::test]
async fn the_same_lines_or_the_same_key_find_the_same_job() {
    let jobs = start(&Fake::new(), options()).await;
    let first = submit(&jobs, None, &["a", "b"]).await.unwrap();
    assert_eq!(submit(&jobs, None, &["a", "b"]).await, Ok(Accepted { new: false, ..first }));
    assert_ne!(submit(&jobs, None, &["ab"]).await.unwrap().id, first.id);
    let keyed = submit(&jobs, Some("k"), &["a", "b"]).await.unwrap();
    assert!(keyed.new && keyed.id != first.id);
    assert_eq!(submit(&jobs, Some("k"), &["a", "b"]).await, Ok(Accepted { new: false, ..keyed }));
    assert_eq!(submit(&jobs, Some("k"), &["a"]).await, Err(Error::KeyReused));
    assert_eq!(jobs.list(10).await.unwrap().len(), 3);
    assert_eq!(jobs.list(2).await.unwrap()[0].id, keyed.id);
}

#[tokio::test]
async fn long_lines_name_a_job_as_short_ones_do() {
    let jobs = start(&Fake::new(), options()).await;
    for bytes in [INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1] {
        let line = "x".repeat(bytes);
        let id = submit(&jobs, None, &["a", &line, "b"]).await.unwrap().id;
        assert_eq!(id, Digest::of(format!("a\n{line}\nb\n").as_bytes()), "{bytes}");
    }
}

#[tokio::test]
async fn a_job_is_found_again_by_a_key_with_fewer_rights() {
    let jobs = start(&Fake::new(), options()).await;
    let with = |rights| Sender { rights, ..Sender::default() };
    let first = submit_as(&jobs, with(0b101), "a").await.unwrap();
    for fewer in [0b101, 0b100, 0] {
        assert_eq!(submit_as(&jobs, with(fewer), "a").await, Ok(Accepted { new: false, ..first }));
    }
    for other in [0b111, 0b010] {
        assert_eq!(submit_as(&jobs, with(other), "a").await, Err(Error::OtherRights));
    }
    assert!(submit_as(&jobs, Sender { key: Some("k"), ..with(0b111) }, "a").await.unwrap().new);
}

#[tokio::test]
async fn a_cancelled_job_is_run_when_its_lines_come_again_and_not_when_its_key_does() {
    let fake = Fake::held();
    let jobs = start(&fake, options()).await;
    let id = submit(&jobs, None, &["a"]).await.unwrap().id;
    let keyed = submit(&jobs, Some("k"), &["a"]).await.unwrap();
    for id in [&id, &keyed.id] {
        assert_eq!(jobs.cancel(id).await, Ok(true));
    }
    assert_eq!(jobs.counters().await, Ok(Counters { cancelled: 2, ..Counters::default() }));
    fake.gate.close();
    assert_eq!(submit(&jobs, None, &["a"]).await, Ok(Accepted { id, new: true }));
    assert_eq!(end(&jobs, &id).await.state, State::Done);
    assert_eq!(results(&jobs, &id).await.len(), 2);
    assert_eq!(submit(&jobs, Some("k"), &["a"]).await, Ok(Accepted { new: false, ..keyed }));
    assert_eq!(jobs.status(&keyed.id).await.unwrap().state, State::Cancelled);
}

#[tokio::test]
async fn a_reader_of_a_job_never_sees_a_later_one_of_its_id() {
    let fake = Fake::held();
    let jobs = start(&fake, options()).await;
    let id = submit(&jobs, None, &["a", "b"]).await.unwrap().id;
    fake.gate.add_permits(1);
    let first = until(&jobs, &id, |status| status.done == 1).await;
    let page = jobs.results(&id, 0, 1).await.unwrap();
    assert_eq!(jobs.page_after(&page, 7).await.unwrap().lines.len(), 1);
    assert_eq!(jobs.cancel(&id).await, Ok(true));
    assert_eq!(jobs.page_after(&page, 7).await.unwrap().lines.len(), 1);
    assert_eq!(jobs.status_now(&first).await.unwrap().state, State::Cancelled);
    fake.gate.close();
    assert!(submit(&jobs, None, &["a", "b"]).await.unwrap().new);
    end(&jobs, &id).await;
    assert_eq!(results(&jobs, &id).await.len(), 4);
    assert_eq!(jobs.page_after(&page, 7).await.err(), Some(Error::NotFound));
    assert_eq!(jobs.status_now(&first).await, Err(Error::NotFound));
}

#[tokio::test]
async fn a_job_that_is_not_received_whole_leaves_nothing() {
    let fake = Fake::new();
    let jobs = start(&fake, options()).await;
    let mut submission = jobs.receive(Sender::default()).unwrap();
    for _ in 0..1_000 {
        submission.line(Bytes::from_static(b"ok")).await.unwrap();
    }
    drop(submission);
    let id = submit(&jobs, None, &["ok"]).await.unwrap().id;
    end(&jobs, &id).await;
    assert_eq!(jobs.list(10).await.unwrap().len(), 1);
    assert_eq!(fake.runs.lock().unwrap().len(), 1);
    soon(async || rows(&jobs, "job").await <= 1).await;
    assert_eq!(rows(&jobs, "chunk").await, 0);
}

#[tokio::test]
async fn a_sender_that_leaves_before_the_answer_leaves_a_job_that_runs_or_nothing() {
    let jobs = start(&Fake::new(), options()).await;
    // The scheduler waits for ever, or soon will.
    let first = submit(&jobs, None, &["1"]).await.unwrap().id;
    end(&jobs, &first).await;
    let mut submission = jobs.receive(Sender::default()).unwrap();
    submission.line(Bytes::from_static(b"2")).await.unwrap();
    _ = submission.accept().now_or_never();
    assert_eq!(end(&jobs, &Digest::of(b"2\n")).await.done, 1);

    let mut submission = jobs.receive(Sender::default()).unwrap();
    for _ in 1..chunk::CHUNK_ITEMS_MAX {
        submission.line(Bytes::from_static(b"3")).await.unwrap();
    }
    _ = submission.line(Bytes::from_static(b"3")).now_or_never();
    drop(submission);
    soon(async || rows(&jobs, "job").await == 2).await;
}

#[tokio::test]
async fn jobs_of_different_owners_are_never_the_same_job() {
    let jobs = start(&Fake::new(), options()).await;
    let of = |owner, key| Sender { owner, key, ..Sender::default() };
    let mut ids = BTreeSet::new();
    for (owner, seen_by) in [("", [true; 3]), ("a", [false, true, false]), ("b", [false, false, true])] {
        for key in [None, Some("k")] {
            let first = submit_as(&jobs, of(owner, key), "x").await.unwrap();
            assert!(first.new && ids.insert(first.id), "{owner} {key:?}");
            assert_eq!(submit_as(&jobs, of(owner, key), "x").await, Ok(Accepted { new: false, ..first }));
            let status = jobs.status(&first.id).await.unwrap();
            assert_eq!(["", "a", "b"].map(|owner| status.is_of(owner)), seen_by, "{owner} {key:?}");
        }
    }
    // A name that another owner has used is free.
    assert!(submit_as(&jobs, of("b", Some("other")), "x").await.unwrap().new);
    assert!(submit_as(&jobs, of("a", Some("other")), "y").await.unwrap().new);
    assert_eq!(submit_as(&jobs, of("a", Some("other")), "x").await, Err(Error::KeyReused));
}
