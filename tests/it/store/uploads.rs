//! Uploads above the backends: bounds, budget, digests, and one durable result for many.

use std::sync::Mutex;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use progimage::store::{Receipt, Upload, Uploads};
use tokio::sync::Semaphore;

use super::double::{Call, Double};
use super::*;

async fn memory(options: &Options) -> Uploads {
    Uploads::new(store::open("memory:", options).await.unwrap(), options.clone())
}

async fn upload(uploads: &Uploads, bytes: &[u8], expected: Option<Digest>) -> Result<Receipt, Error> {
    let mut upload = uploads.begin(None).await?;
    upload.write(Bytes::copy_from_slice(bytes)).await?;
    upload.seal(expected).await?.commit().await
}

#[tokio::test]
async fn a_receipt_names_the_digest_and_only_the_first_creates() {
    let uploads = memory(&Options::default()).await;
    for created in [true, false] {
        let receipt = upload(&uploads, b"abc", None).await.unwrap();
        assert_eq!(receipt, Receipt { digest: Digest::of(b"abc"), bytes: 3, created });
    }
}

#[tokio::test]
async fn bytes_of_another_digest_are_refused_naming_both_and_not_stored() {
    let store = store::open("memory:", &Options::default()).await.unwrap();
    let uploads = Uploads::new(Arc::clone(&store), Options::default());
    let (expected, actual) = (Digest::of(b"one"), Digest::of(b"two"));
    for _ in 0..2 {
        assert_eq!(upload(&uploads, b"two", Some(expected)).await, Err(Error::Mismatch { expected, actual }));
        assert_eq!(store.stat(&[expected, actual]).await.unwrap(), [None, None]);
    }
    assert!(upload(&uploads, b"two", Some(actual)).await.unwrap().created);
}

#[tokio::test]
async fn a_blob_may_have_blob_bytes_max_and_not_one_more() {
    let uploads = memory(&Options { blob_bytes_max: 1000, ..Options::default() }).await;
    assert_eq!(upload(&uploads, &[1; 1000], None).await.unwrap().bytes, 1000);
    assert_eq!(upload(&uploads, &[1; 1001], None).await, Err(Error::TooLarge { max: 1000 }));
    assert!(uploads.begin(Some(1000)).await.is_ok());
    assert_eq!(uploads.begin(Some(1001)).await.err(), Some(Error::TooLarge { max: 1000 }));
    let mut upload = uploads.begin(None).await.unwrap();
    upload.write(Bytes::from_static(&[1; 600])).await.unwrap();
    assert_eq!(upload.write(Bytes::from_static(&[1; 600])).await, Err(Error::TooLarge { max: 1000 }));
    assert!(upload.seal(None).await.is_err(), "an upload that was refused cannot be stored");
}

#[tokio::test]
async fn bytes_in_flight_are_bounded_and_come_back() {
    let uploads = memory(&Options { uploads_bytes_max: 64 << 10, ..Options::default() }).await;
    let begin = async |declared| uploads.begin(declared).await;
    // A declared length takes no more than that of an upload without one: the bytes that arrive count.
    let declared = begin(Some(64 << 10)).await.unwrap();
    assert!(begin(Some(60 << 10)).await.is_ok());
    assert_eq!(begin(Some(64 << 10)).await.err(), Some(Error::Busy), "it would not fit now");
    drop(declared);
    let many: Vec<Upload> =
        join_all((0..16).map(|_| uploads.begin(None))).await.into_iter().map(|u| u.unwrap()).collect();
    assert_eq!(begin(None).await.err(), Some(Error::Busy));
    drop(many);
    let mut growing = begin(None).await.unwrap();
    growing.write(vec![0; 64 << 10].into()).await.unwrap();
    assert_eq!(begin(Some(1)).await.err(), Some(Error::Busy));
    assert_eq!(growing.write(vec![0; 1].into()).await, Err(Error::Busy));
    drop(growing);
    let mut last = begin(None).await.unwrap();
    last.write(vec![0; 64 << 10].into()).await.unwrap();
    last.seal(None).await.unwrap().commit().await.unwrap();
    assert!(begin(Some(64 << 10)).await.is_ok(), "what is durable no longer counts");
}

#[tokio::test]
async fn what_is_held_and_not_stored_counts_too() {
    let options = Options { blob_bytes_max: 8 << 10, uploads_bytes_max: 12 << 10, ..Options::default() };
    let uploads = memory(&options).await;
    assert!(matches!(uploads.try_acquire((8 << 10) + 1), Err(Error::TooLarge { max: 8192 })));
    let mut first = uploads.try_acquire(0).unwrap();
    assert_eq!(first.try_acquire((8 << 10) + 1), Err(Error::TooLarge { max: 8192 }));
    first.try_acquire(8 << 10).unwrap();
    let mut second = uploads.try_acquire(4 << 10).unwrap();
    assert_eq!(second.try_acquire((4 << 10) + 1), Err(Error::Busy));
    assert!(matches!(uploads.try_acquire(0), Err(Error::Busy)));
    assert!(matches!(uploads.begin(None).await, Err(Error::Busy)));
    drop(first);
    second.try_acquire(8 << 10).unwrap();
}

#[tokio::test]
async fn a_memory_store_holds_its_bound_and_not_one_more() {
    let uploads = memory(&Options { memory_store_bytes_max: 10, ..Options::default() }).await;
    upload(&uploads, &[1; 6], None).await.unwrap();
    assert_eq!(upload(&uploads, &[2; 5], None).await, Err(Error::Full));
    upload(&uploads, &[2; 4], None).await.unwrap();
    assert_eq!(upload(&uploads, &[3; 1], None).await, Err(Error::Full));
    assert!(!upload(&uploads, &[2; 4], None).await.unwrap().created, "what is there needs no room");
}

#[tokio::test]
async fn bodies_are_read_back_whole_and_only_so_many_at_once() {
    let options = Options { memory_bytes_max: 1000, read_back_max: 2, ..Options::default() };
    let folder = folder();
    let uploads = Uploads::new(open(folder.path(), &options).await, options.clone());
    let sealed = async |seed, len| {
        let mut upload = uploads.begin(None).await.unwrap();
        for chunk in body(seed, len).chunks(300) {
            upload.write(Bytes::copy_from_slice(chunk)).await.unwrap();
        }
        upload.seal(None).await.unwrap()
    };
    let mut held = Vec::new();
    for seed in 0..2 {
        let mut sealed = sealed(seed, 5000).await;
        assert_eq!(sealed.bytes().await.unwrap(), body(seed, 5000));
        held.push(sealed);
    }
    let mut small = sealed(7, 1000).await;
    assert_eq!(small.bytes().await.unwrap(), body(7, 1000), "what is in memory does not wait");
    let mut third = sealed(2, 5000).await;
    assert!(third.bytes().now_or_never().is_none());
    held.pop().unwrap().commit().await.unwrap();
    assert_eq!(third.bytes().await.unwrap(), body(2, 5000));
}

/// The order of a commit and its gate.
#[derive(Clone, Copy)]
enum Way {
    /// Waits for it, then stores.
    Through,
    /// Waits for it, then fails.
    Against,
    /// Stores, then waits: durable, but not yet reported.
    Before,
}

/// Uploads to a store whose commits wait for the test; the store, the gate, and the number of commits that began.
async fn gated(way: Way) -> (Uploads, Arc<dyn Store>, Arc<Semaphore>, Arc<Mutex<usize>>) {
    let store = store::open("memory:", &Options::default()).await.unwrap();
    let (gate, commits) = (Arc::new(Semaphore::new(0)), Arc::new(Mutex::new(0)));
    let double = {
        let (gate, commits) = (Arc::clone(&gate), Arc::clone(&commits));
        Double::gated(Arc::clone(&store), move |call| {
            let (gate, commits) = (Arc::clone(&gate), Arc::clone(&commits));
            Box::pin(async move {
                if call == Call::Commit {
                    *commits.lock().unwrap() += 1;
                }
                let waits = if matches!(way, Way::Before) { Call::Committed } else { Call::Commit };
                if call == waits {
                    gate.acquire().await.unwrap().forget();
                }
                if call == Call::Commit && matches!(way, Way::Against) { Err(Error::Full) } else { Ok(()) }
            })
        })
    };
    (Uploads::new(double, Options::default()), store, gate, commits)
}

#[tokio::test]
async fn uploads_of_the_same_bytes_share_one_commit_and_none_is_early() {
    for (way, fails) in [(Way::Through, false), (Way::Against, true)] {
        let (uploads, _, gate, commits) = gated(way).await;
        let mut all = Box::pin(join_all((0..50).map(|_| upload(&uploads, b"same", None))));
        for _ in 0..10 {
            assert!((&mut all).now_or_never().is_none(), "acknowledged before the first is durable");
            tokio::task::yield_now().await;
        }
        gate.add_permits(1);
        let receipts = all.await;
        assert_eq!(*commits.lock().unwrap(), 1);
        let created = receipts.iter().filter(|receipt| receipt.as_ref().is_ok_and(|receipt| receipt.created)).count();
        assert_eq!(created, usize::from(!fails));
        assert_eq!(receipts.iter().filter(|receipt| **receipt == Err(Error::Full)).count(), if fails { 50 } else { 0 });
    }
}

#[tokio::test]
async fn a_commit_goes_on_when_its_caller_leaves() {
    let (uploads, store, gate, commits) = gated(Way::Through).await;
    let mut upload = uploads.begin(None).await.unwrap();
    upload.write(Bytes::from_static(b"left")).await.unwrap();
    let mut commit = Box::pin(upload.seal(None).await.unwrap().commit());
    assert!((&mut commit).now_or_never().is_none());
    drop(commit);
    gate.add_permits(1);
    while store.stat(&[Digest::of(b"left")]).await.unwrap() == [None] {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(*commits.lock().unwrap(), 1);
}

#[tokio::test]
async fn an_upload_that_joins_a_commit_undone_by_a_delete_stores_its_own_bytes() {
    let (uploads, store, gate, commits) = gated(Way::Before).await;
    let digest = Digest::of(b"twice");
    let mut first = Box::pin(upload(&uploads, b"twice", None));
    while store.stat(&[digest]).await.unwrap() == [None] {
        assert!((&mut first).now_or_never().is_none());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Durable, and its flight is not over. The delete ends before the second upload begins, so it does not undo that.
    assert_eq!(store.delete(&digest).await, Ok(true));
    let mut second = Box::pin(upload(&uploads, b"twice", None));
    assert!((&mut second).now_or_never().is_none());
    gate.add_permits(2);
    assert!(first.await.unwrap().created);
    assert!(second.await.unwrap().created);
    assert_eq!(store.stat(&[digest]).await, Ok(vec![Some(Stat { len: 5 })]));
    assert_eq!(*commits.lock().unwrap(), 2);
}
