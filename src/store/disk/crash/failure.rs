//! Syncs that fail, and a device that is full: nothing is acknowledged that could be lost, and what was acknowledged before
//! stays.

use super::*;

/// Every sync of the sequence fails once: afterwards nothing is acknowledged, and what was before is kept through any
/// crash.
#[test]
fn after_a_failed_sync_nothing_is_acknowledged_and_the_next_start_knows() {
    let runtime = Runtime::new().unwrap();
    for call in [Call::Fdatasync, Call::FsyncShard] {
        for nth in 0..2 {
            let fs = SimFs::new(initialised());
            runtime.block_on(async {
                let store = start(&fs).unwrap();
                fs.lock().failure = Some((call, nth, Errno::IO));
                let results = [put(&*store, 0).await, put(&*store, 1).await, put(&*store, 0).await];
                let first = if nth == 0 { Err(Error::ReadOnly) } else { Ok(()) };
                assert_eq!(results, [first, Err(Error::ReadOnly), Err(Error::ReadOnly)], "{call:?} {nth}");
                assert_eq!(store.writable(), Err(Error::ReadOnly));
                assert_eq!(store.delete(&digest(0)).await, Err(Error::ReadOnly));
                let there = store.stat(&[digest(0), digest(1)]).await.unwrap();
                assert_eq!((there[0].is_some(), there[1]), (nth > 0, None), "{call:?} {nth}");
                let withdrawn = !fs.lock().state.names.contains_key(&layout::blob(&digest(nth)));
                assert!(withdrawn, "the name of the failed batch is still there");
                let syncs = store.counters().syncs();
                assert_eq!(put(&*store, 1).await, Err(Error::ReadOnly));
                assert_eq!(store.counters().syncs(), syncs, "a sync was tried again");
                drop(store);
                let next = start(&fs).unwrap();
                assert_eq!(next.writable(), Err(Error::ReadOnly));
                assert_eq!(next.stat(&[digest(0)]).await.unwrap()[0].is_some(), nth > 0);
            });
        }
    }
}

/// That of the bytes, then that of the names; the first of all is the start's.
#[test]
fn after_a_failed_syncfs_nothing_is_acknowledged() {
    for nth in 1..3 {
        let fs = SimFs::new(initialised());
        fs.lock().failure = Some((Call::Syncfs, nth, Errno::IO));
        Runtime::new().unwrap().block_on(async {
            let store = start_with(&fs, 1).unwrap();
            assert_eq!(put(&*store, 0).await, Err(Error::ReadOnly));
            assert_eq!(put(&*store, 1).await, Err(Error::ReadOnly));
        });
        assert!(!fs.lock().state.names.contains_key(&layout::blob(&digest(0))), "{nth}");
    }
}

/// Simulates a journal that cannot be written: `syncfs` succeeds and `fsync` fails.
#[test]
fn a_syncfs_that_keeps_an_error_to_itself_is_found_out() {
    let fs = SimFs::new(initialised());
    fs.lock().failure = Some((Call::FsyncShard, 0, Errno::IO));
    Runtime::new().unwrap().block_on(async {
        let store = start_with(&fs, 1).unwrap();
        assert_eq!(put(&*store, 0).await, Err(Error::ReadOnly));
        assert_eq!(store.writable(), Err(Error::ReadOnly));
    });
    assert!(!fs.lock().state.names.contains_key(&layout::blob(&digest(0))));
}

#[test]
fn crashes_after_a_failed_sync_keep_what_was_acknowledged_before() {
    for call in [Call::Fdatasync, Call::FsyncShard] {
        for nth in 0..3 {
            let script = in_sequence();
            let runtime = Runtime::new().unwrap();
            let fail = |fs: &SimFs| fs.lock().failure = Some((call, nth, Errno::IO));
            let (trace, notes) = runtime.block_on(run(&script[0], 0, fail));
            for (state, noted) in &trace {
                for cut in state.power_cuts() {
                    names_hold_their_bytes(&cut).unwrap();
                    for blob in 0..2 {
                        let there = cut.names.contains_key(&layout::blob(&digest(blob)));
                        let owed = duty(&notes[..*noted], blob);
                        assert!(there || owed != Duty::There, "{call:?} {nth}: blob {blob} is lost");
                    }
                }
            }
        }
    }
}

#[test]
fn when_the_start_up_sync_fails_nothing_is_said_to_exist_and_reads_go_on() {
    let fs = SimFs::new(initialised());
    Runtime::new().unwrap().block_on(async {
        let store = start(&fs).unwrap();
        put(&*store, 0).await.unwrap();
        drop(store);
        fs.lock().failure = Some((Call::Syncfs, 0, Errno::IO));
        let store = start(&fs).unwrap();
        assert!(matches!(store.stat(&[digest(0)]).await, Err(Error::Unavailable(_))));
        assert!(put(&*store, 0).await.is_err());
        assert_eq!(store.open(&digest(0)).await.unwrap().bytes().await.unwrap(), BODIES[0]);
    });
}

#[test]
fn a_full_device_refuses_its_upload_and_recovers_by_itself() {
    for (call, full_retry_ms) in [(Call::Pwrite, 0), (Call::Linkat, 0), (Call::Linkat, 3_600_000)] {
        let fs = SimFs::new(initialised());
        Runtime::new().unwrap().block_on(async {
            let store = Disk::start(fs.clone(), Options { full_retry_ms, ..options() }, None).unwrap();
            fs.lock().failure = Some((call, 0, Errno::NOSPC));
            assert_eq!(put(&store, 0).await, Err(Error::Full), "{call:?}");
            assert_eq!(store.stat(&[digest(0)]).await.unwrap(), [None]);
            let later = if full_retry_ms == 0 { Ok(()) } else { Err(Error::Full) };
            assert_eq!(store.writable(), later);
            assert_eq!(put(&store, 0).await, later, "refused at once for a while");
            drop(store);
            assert!(fs.lock().state.names.keys().all(|path| !path.starts_with("tmp/")));
        });
    }
}

#[test]
fn what_could_not_be_staged_cannot_be_committed() {
    let fs = SimFs::new(initialised());
    Runtime::new().unwrap().block_on(async {
        let store = start(&fs).unwrap();
        let mut stage = store.stage(None).await.unwrap();
        fs.lock().failure = Some((Call::Pwrite, 1, Errno::NOSPC));
        assert_eq!(stage.write(Bytes::from_static(BODIES[1])).await, Err(Error::Full));
        assert!(stage.commit(digest(1)).await.is_err());
        assert_eq!(store.stat(&[digest(1)]).await.unwrap(), [None]);
    });
}
