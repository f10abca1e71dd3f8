//! What every backend must do: a list of functions over `&dyn Store`, run on each backend, fresh for each function.

use std::future::Future;
use std::pin::Pin;

use futures_util::future::join_all;

use super::*;

type Case = for<'a> fn(&'a dyn Store) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

macro_rules! cases {
    ($($name:ident),* $(,)?) => { [$((stringify!($name), (|store| Box::pin($name(store))) as Case)),*] };
}

fn cases() -> impl Iterator<Item = (&'static str, Case)> {
    cases![
        what_was_put_is_got_byte_for_byte,
        every_range_by_frames_is_that_slice,
        a_second_put_is_present_and_not_new,
        what_was_never_put_is_not_found,
        a_dropped_stage_leaves_nothing,
        a_deleted_blob_is_gone_and_may_come_back,
        stat_answers_in_the_order_asked,
        pages_of_a_list_are_all_blobs_in_order,
        staged_bytes_are_the_body,
        one_of_many_simultaneous_puts_is_new,
        a_delete_racing_puts_wins_or_loses_as_a_whole,
        an_open_blob_is_readable_after_its_delete,
    ]
    .into_iter()
}

/// Lengths around the bounds: one frame, one read, memory.
const LENGTHS: [usize; 9] = [1, 4096, 100_000, 262_144, 262_145, 1 << 20, (1 << 20) + 1, 3 << 20, 0];

async fn what_was_put_is_got_byte_for_byte(store: &dyn Store) {
    for (seed, len) in LENGTHS.into_iter().enumerate() {
        let bytes = body(seed as u64, len);
        let digest = Digest::of(&bytes);
        assert_eq!(put(store, &bytes).await, Ok(Commit::New), "{len}");
        assert_eq!(store.stat(&[digest]).await.unwrap()[0].unwrap().len, len as u64);
        assert_eq!(get(store, &digest).await.unwrap(), bytes, "{len}");
    }
}

async fn every_range_by_frames_is_that_slice(store: &dyn Store) {
    let bytes = body(1, 700_000);
    let digest = Digest::of(&bytes);
    put(store, &bytes).await.unwrap();
    for (start, end) in
        [(0, 700_000), (0, 1), (699_999, 700_000), (262_143, 262_145), (262_144, 700_000), (1, 600_000), (5, 5)]
    {
        let (got, result) = frames(store, &digest, start as u64, end as u64).await;
        assert_eq!(result, Ok(()));
        assert!(got == bytes[start..end], "{start}..{end}");
    }
}

async fn a_second_put_is_present_and_not_new(store: &dyn Store) {
    for len in [10, 2 << 20] {
        assert_eq!(put(store, &body(2, len)).await, Ok(Commit::New));
        assert_eq!(put(store, &body(2, len)).await, Ok(Commit::Present));
    }
}

async fn what_was_never_put_is_not_found(store: &dyn Store) {
    let digest = Digest::of(b"never");
    assert_eq!(store.open(&digest).await.err(), Some(Error::NotFound));
    assert_eq!(store.stat(&[digest]).await.unwrap(), [None]);
    assert_eq!(store.delete(&digest).await, Ok(false));
    assert_eq!(store.list(None, 10).await.unwrap().blobs, []);
}

async fn a_dropped_stage_leaves_nothing(store: &dyn Store) {
    for len in [10, 3 << 20] {
        let bytes = body(3, len);
        let mut stage = store.stage(None).await.unwrap();
        stage.write(bytes.clone().into()).await.unwrap();
        drop(stage);
        assert_eq!(store.stat(&[Digest::of(&bytes)]).await.unwrap(), [None]);
        assert_eq!(put(store, &bytes).await, Ok(Commit::New));
    }
}

async fn a_deleted_blob_is_gone_and_may_come_back(store: &dyn Store) {
    let bytes = body(4, 1000);
    let digest = Digest::of(&bytes);
    for _ in 0..2 {
        assert_eq!(put(store, &bytes).await, Ok(Commit::New));
        assert_eq!(store.delete(&digest).await, Ok(true));
        assert_eq!(store.delete(&digest).await, Ok(false));
        assert_eq!(get(store, &digest).await.err(), Some(Error::NotFound));
    }
}

async fn stat_answers_in_the_order_asked(store: &dyn Store) {
    let bodies: Vec<_> = (0..20).map(|i| body(i, 10 + i as usize)).collect();
    for bytes in bodies.iter().step_by(2) {
        put(store, bytes).await.unwrap();
    }
    // On disk, few and many are looked up in different ways.
    for count in [1, 5, 20] {
        let digests: Vec<_> = bodies[..count].iter().map(|bytes| Digest::of(bytes)).collect();
        let lens = store.stat(&digests).await.unwrap().into_iter().map(|stat| stat.map(|stat| stat.len));
        let expected = (0..count).map(|i| (i % 2 == 0).then_some(10 + i as u64));
        assert!(lens.eq(expected), "{count}");
    }
}

async fn pages_of_a_list_are_all_blobs_in_order(store: &dyn Store) {
    let mut expected = Vec::new();
    for i in 0..25 {
        let bytes = body(i, 1 + i as usize);
        put(store, &bytes).await.unwrap();
        expected.push((Digest::of(&bytes), bytes.len() as u64));
    }
    expected.sort();
    for limit in [1, 7, 25, 100] {
        let (mut got, mut after) = (Vec::new(), None);
        loop {
            let page = store.list(after, limit).await.unwrap().blobs;
            assert!(page.len() <= limit);
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            got.extend(page.into_iter().map(|(digest, stat)| (digest, stat.len)));
        }
        assert_eq!(got, expected, "{limit}");
    }
    assert_eq!(store.list(None, 0).await.unwrap().blobs, []);
}

async fn staged_bytes_are_the_body(store: &dyn Store) {
    for len in [0, 10, 1 << 20, 3 << 20] {
        let bytes = body(5, len);
        let mut stage = store.stage(None).await.unwrap();
        let (first, second) = bytes.split_at(len / 3);
        stage.write(Bytes::copy_from_slice(first)).await.unwrap();
        assert_eq!(stage.bytes().await.unwrap(), first);
        stage.write(Bytes::copy_from_slice(second)).await.unwrap();
        assert_eq!(stage.bytes().await.unwrap(), bytes);
        assert_eq!(stage.commit(Digest::of(&bytes)).await, Ok(Commit::New));
        assert_eq!(get(store, &Digest::of(&bytes)).await.unwrap(), bytes);
    }
}

async fn one_of_many_simultaneous_puts_is_new(store: &dyn Store) {
    for len in [50, 2 << 20] {
        let bytes = body(6, len);
        let commits = join_all((0..20).map(|_| put(store, &bytes))).await;
        assert_eq!(commits.iter().filter(|commit| **commit == Ok(Commit::New)).count(), 1);
        assert_eq!(commits.iter().filter(|commit| **commit == Ok(Commit::Present)).count(), 19);
    }
}

async fn a_delete_racing_puts_wins_or_loses_as_a_whole(store: &dyn Store) {
    let bytes = body(7, 500);
    let digest = Digest::of(&bytes);
    for _ in 0..20 {
        let (first, deleted, second) = tokio::join!(put(store, &bytes), store.delete(&digest), put(store, &bytes));
        let commits = [first.unwrap(), second.unwrap()];
        let new = commits.iter().filter(|commit| **commit == Commit::New).count();
        let there = store.stat(&[digest]).await.unwrap()[0].is_some();
        // Each delete that found the blob makes room for one more that is new.
        assert_eq!(new - usize::from(deleted.unwrap()), usize::from(there));
        if there {
            assert_eq!(get(store, &digest).await.unwrap(), bytes);
            store.delete(&digest).await.unwrap();
        }
    }
}

async fn an_open_blob_is_readable_after_its_delete(store: &dyn Store) {
    let bytes = body(8, 400_000);
    put(store, &bytes).await.unwrap();
    let blob = store.open(&Digest::of(&bytes)).await.unwrap();
    store.delete(&blob.digest).await.unwrap();
    assert_eq!(blob.bytes().await.unwrap(), bytes);
}

#[tokio::test]
async fn memory_conforms() {
    for (name, case) in cases() {
        println!("{name}");
        case(&*store::open("memory:", &Options::default()).await.unwrap()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn disk_conforms() {
    let folder = folder();
    for (name, case) in cases() {
        println!("{name}");
        let store = open(folder.path(), &Options::default()).await;
        case(&*store).await;
        while let Some((digest, _)) = store.list(None, 1).await.unwrap().blobs.pop() {
            store.delete(&digest).await.unwrap();
        }
        // Nothing may hold the lock once the store is dropped.
        drop(store);
        assert_eq!(std::fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0, "{name}");
    }
}

#[tokio::test]
async fn other_schemes_are_refused() {
    assert!(matches!(store::open("gopher://x", &Options::default()).await.err(), Some(Error::Unavailable(_))));
}
