//! Calls that fail for lack of descriptors or memory: each call of each step once. Nothing is lost, the caller may try
//! again, and the store goes on by itself.

use super::super::core::list;
use super::super::fs::Room;
use super::*;
use crate::store::FRAME_BYTES_MAX;

const LACKS: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN];

/// What one caller asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Put(usize),
    /// The bytes on the device change before the upload.
    PutOverRot(usize),
    Stat,
    Read(usize),
    Delete(usize),
}

/// Duplicates, proven or not, among them.
const ASKS: [Ask; 10] = [
    Ask::Put(0),
    Ask::Put(0),
    Ask::Put(0),
    Ask::Put(1),
    Ask::Stat,
    Ask::Read(1),
    Ask::PutOverRot(1),
    Ask::Read(1),
    Ask::Delete(0),
    Ask::Delete(1),
];

async fn ask(store: &dyn Store, fs: &SimFs, ask: Ask) -> Result<(), Error> {
    match ask {
        Ask::Put(blob) => put(store, blob).await,
        Ask::PutOverRot(blob) => {
            if fs.lock().state.names.contains_key(&layout::blob(&digest(blob))) {
                rot::rot(fs, blob);
            }
            put(store, blob).await
        }
        Ask::Stat => store.stat(&[digest(0), digest(1)]).await.map(drop),
        Ask::Read(blob) => match store.open(&digest(blob)).await?.bytes().await {
            Ok(bytes) => {
                assert_eq!(bytes, BODIES[blob]);
                Ok(())
            }
            Err(error) => Err(error),
        },
        Ask::Delete(blob) => store.delete(&digest(blob)).await.map(drop),
    }
}

/// The last answer about each blob: whether it is there. `None`: the last call failed, or the bytes rotted.
fn learn(known: &mut [Option<bool>; 2], ask: Ask, answered: bool) {
    match ask {
        Ask::Put(blob) | Ask::PutOverRot(blob) => known[blob] = answered.then_some(true),
        Ask::Delete(blob) => known[blob] = answered.then_some(false),
        Ask::Stat | Ask::Read(_) => {}
    }
}

/// Whether every power cut at this moment agrees with what was answered.
fn agrees(fs: &SimFs, known: &[Option<bool>; 2]) {
    for cut in fs.lock().state.power_cuts() {
        for (blob, known) in known.iter().enumerate() {
            let name = layout::blob(&digest(blob));
            let there = cut.names.get(&name).map(|inode| cut.inodes[inode].bytes.as_slice());
            match known {
                Some(true) => assert_eq!(there, Some(BODIES[blob]), "blob {blob} was acknowledged"),
                Some(false) => assert_eq!(there, None, "blob {blob} was deleted"),
                None => {}
            }
        }
    }
}

/// How the store runs.
#[derive(Clone, Copy)]
struct Mode {
    syncfs_batch_min: usize,
    verify_after_s: u64,
}

/// Asks for everything, with one call failing. Returns whether that call came.
async fn one_call_fails(nth: usize, errno: Errno, Mode { syncfs_batch_min, verify_after_s }: Mode) -> bool {
    let fs = SimFs::new(initialised());
    let store = Disk::start(fs.clone(), Options { syncfs_batch_min, verify_after_s, ..options() }, None).unwrap();
    // What was verified lately may rot unseen until it is due again.
    let asks = || ASKS.into_iter().filter(|ask| verify_after_s == 0 || *ask != Ask::PutOverRot(1));
    let mut known = [None; 2];
    // The start-up sync has ended then.
    store.stat(&[]).await.unwrap();
    fs.lock().lack = Some((nth, errno));
    for step in asks() {
        let answer = ask(&store, &fs, step).await;
        let may_pass = matches!(answer, Ok(()) | Err(Error::Unavailable(_)));
        // What could not be stored, or was not stored anew over rot, is not there for a reader.
        let is_gone = step == Ask::Read(1) && known[1].is_none();
        assert!(may_pass || is_gone, "{step:?}, call {nth} fails with {errno}: {answer:?}");
        learn(&mut known, step, answer.is_ok());
        agrees(&fs, &known);
    }
    let came = fs.lock().lack.take().is_none();
    assert_eq!(store.writable(), Ok(()), "call {nth} fails with {errno}");
    for step in asks() {
        ask(&store, &fs, step).await.unwrap_or_else(|error| panic!("{step:?} after call {nth} failed: {error}"));
    }
    came
}

#[test]
fn whatever_a_call_lacks_nothing_is_lost_and_the_store_stays_writable() {
    let runtime = Runtime::new().unwrap();
    let modes = [(0, 0), (0, 86_400), (1, 0)];
    for (errno, (syncfs_batch_min, verify_after_s)) in
        LACKS.into_iter().flat_map(|errno| modes.map(|mode| (errno, mode)))
    {
        let mode = Mode { syncfs_batch_min, verify_after_s };
        let calls = (0..).take_while(|&nth| runtime.block_on(one_call_fails(nth, errno, mode))).count();
        println!("{errno}: each of {calls} calls failed once");
        assert!(calls > 30, "{calls} calls: the steps have become too few");
    }
}

/// Most calls of a list are equal, so only some fail: the first ones, and those around the blobs.
#[test]
fn a_list_that_lacks_something_is_not_shorter_for_it() {
    let fs = SimFs::new(initialised());
    Runtime::new().unwrap().block_on(async {
        let store = start(&fs).unwrap();
        put(&*store, 0).await.unwrap();
        put(&*store, 1).await.unwrap();
        drop(store);
        // Nothing is left to do in the background.
        let store = start(&fs).unwrap();
        let whole = store.list(None, 10).await.unwrap();
        let near = usize::from(layout::shard_index(&whole.blobs[0].0));
        for (errno, nth) in LACKS.into_iter().flat_map(|errno| [0, near, near + 1, near + 2].map(|nth| (errno, nth))) {
            fs.lock().lack = Some((nth, errno));
            assert!(matches!(store.list(None, 10).await, Err(Error::Unavailable(_))), "call {nth} fails with {errno}");
            assert_eq!(store.list(None, 10).await.unwrap(), whole);
        }
    });
}

#[test]
fn uploads_end_before_the_device_is_full_and_all_else_goes_on() {
    let fs = SimFs::new(initialised());
    Runtime::new().unwrap().block_on(async {
        let store = start(&fs).unwrap();
        put(&*store, 0).await.unwrap();
        let (reserve, twentieth) = (Options::default().space_reserve_bytes, 1 << 20);
        for (all, kept) in [(u64::MAX, reserve), (20 * twentieth, twentieth)] {
            fs.lock().room = Room { free: kept - 1, all };
            assert_eq!(put(&*store, 1).await, Err(Error::Full), "it began before that");
            assert_eq!(store.writable(), Err(Error::Full));
            assert_eq!(commit(&*store, 0).await, Ok(Commit::Present));
            assert_eq!(store.open(&digest(0)).await.unwrap().bytes().await.unwrap(), BODIES[0]);
            fs.lock().room = Room { free: kept, all };
            put(&*store, 1).await.unwrap();
            fs.lock().room = Room { free: 0, all };
            assert_eq!(store.delete(&digest(1)).await, Ok(true));
            fs.lock().room = Room { free: all, all };
        }
    });
}

#[test]
fn a_body_that_is_under_way_stops_at_the_reserve() {
    let fs = SimFs::new(initialised());
    Runtime::new().unwrap().block_on(async {
        let store = start(&fs).unwrap();
        // The start-up sync has ended then.
        store.stat(&[]).await.unwrap();
        let mut stage = store.stage(None).await.unwrap();
        stage.write(Bytes::from_static(BODIES[1])).await.unwrap();
        fs.lock().room = Room { free: 0, all: u64::MAX };
        let calls = fs.lock().calls;
        let more = Bytes::from(vec![0; FRAME_BYTES_MAX as usize]);
        assert_eq!(stage.write(more).await, Err(Error::Full));
        assert_eq!(fs.lock().calls, calls, "nothing was written");
    });
}

/// Uploads a blob as the server does, which looks at the bytes first. The room ends after the first of them.
async fn upload(fs: &SimFs, uploads: &Uploads, blob: usize, declared: Option<u64>) -> Result<bool, Error> {
    let body = Bytes::from_static(BODIES[blob]);
    let mut upload = uploads.begin(declared).await?;
    upload.write(body.slice(..3)).await?;
    fs.lock().room = Room { free: 0, all: u64::MAX };
    upload.write(body.slice(3..)).await?;
    let mut sealed = upload.seal(None).await?;
    assert_eq!(sealed.bytes().await?, body);
    Ok(sealed.commit().await?.created)
}

#[test]
fn without_room_what_is_stored_is_acknowledged_and_new_bytes_are_refused() {
    const PLENTY: Room = Room { free: u64::MAX, all: u64::MAX };
    let fs = SimFs::new(initialised());
    Runtime::new().unwrap().block_on(async {
        let store = start(&fs).unwrap();
        let uploads = Uploads::new(Arc::clone(&store) as Arc<dyn Store>, options());
        for blob in [0, 1] {
            put(&*store, blob).await.unwrap();
            let lengths = [Some(BODIES[blob].len() as u64), None];
            for (declared, is_known) in lengths.into_iter().flat_map(|len| [(len, false), (len, true)]) {
                fs.lock().room = if is_known { Room { free: 0, ..PLENTY } } else { PLENTY };
                // What the watch does.
                store.inner.core.space.is_short(&fs);
                assert_eq!(upload(&fs, &uploads, blob, declared).await, Ok(false), "{blob} {declared:?} {is_known}");
                let other = upload(&fs, &uploads, 1 - blob, declared).await;
                assert_eq!(other, Err(Error::Full), "{blob} {declared:?} {is_known}");
            }
            fs.lock().room = PLENTY;
            store.inner.core.space.is_short(&fs);
            assert_eq!(store.delete(&digest(blob)).await, Ok(true));
        }
        assert_eq!(uploads.admits(), Ok(()));
        upload(&fs, &uploads, 0, Some(BODIES[0].len() as u64)).await.unwrap_err();
        assert!(fs.lock().state.names.keys().all(|path| !path.starts_with("tmp/")));
    });
}

#[test]
fn without_room_a_stored_blob_that_rotted_is_not_acknowledged() {
    let fs = SimFs::new(initialised());
    Runtime::new().unwrap().block_on(async {
        let store = Disk::start(fs.clone(), Options { verify_after_s: 0, ..options() }, None).map(Arc::new).unwrap();
        let uploads = Uploads::new(Arc::clone(&store) as Arc<dyn Store>, options());
        put(&*store, 1).await.unwrap();
        rot::rot(&fs, 1);
        assert_eq!(upload(&fs, &uploads, 1, None).await, Err(Error::Full));
        fs.lock().room = Room { free: u64::MAX, all: u64::MAX };
        store.inner.core.space.is_short(&fs);
        put(&*store, 1).await.unwrap();
        assert_eq!(store.open(&digest(1)).await.unwrap().bytes().await.unwrap(), BODIES[1]);
    });
}

#[test]
fn a_folder_that_can_be_read_again_is_named_no_more() {
    let fs = SimFs::new(initialised());
    Runtime::new().unwrap().block_on(async {
        let store = start(&fs).unwrap();
        store.stat(&[]).await.unwrap();
        fs.lock().lack = Some((0, Errno::IO));
        assert_eq!(store.list(None, 10).await.unwrap().unreadable, ["blobs/000"]);
        fs.lock().lack = Some((0, Errno::IO));
        list::look_again(&store.inner.core);
        assert_eq!(store.unreadable(), ["blobs/000"]);
        list::look_again(&store.inner.core);
        assert_eq!(store.unreadable(), [] as [&str; 0]);
    });
}

#[test]
fn a_start_that_lacks_something_says_so_and_the_next_one_succeeds() {
    let runtime = Runtime::new().unwrap();
    for errno in LACKS {
        for nth in 0.. {
            let fs = SimFs::new(initialised());
            fs.lock().lack = Some((nth, errno));
            let _entered = runtime.enter();
            let started = start(&fs);
            let came = fs.lock().lack.take().is_none();
            assert!(matches!(started, Ok(_) | Err(Error::Unavailable(_))), "call {nth} fails with {errno}");
            drop(started);
            runtime.block_on(async { put(&*start(&fs).unwrap(), 0).await.unwrap() });
            if !came {
                assert!(nth > 3, "{nth} calls: too few");
                break;
            }
        }
    }
}

#[test]
fn making_a_folder_may_lack_something_and_is_tried_again() {
    for errno in LACKS {
        for nth in [0, 1, 4, 1000, 4200, 8200, 8203, 8204, 8205, 8206] {
            let fs = SimFs::new(State::default());
            fs.lock().lack = Some((nth, errno));
            let made = layout::init(&fs, UUID);
            assert_eq!(made.is_err(), fs.lock().lack.take().is_none(), "call {nth}");
            layout::init(&fs, UUID + 1).unwrap();
            Runtime::new().unwrap().block_on(async { put(&*start(&fs).unwrap(), 0).await.unwrap() });
        }
    }
}
