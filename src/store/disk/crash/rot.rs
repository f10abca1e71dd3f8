//! Bytes that change while they are stored, on the device or in memory alone.

use super::super::fs::Room;
use super::*;

/// Bytes of the length of blob `blob` that are not it.
fn rotten(blob: usize) -> Arc<Vec<u8>> {
    let mut bytes = BODIES[blob].to_vec();
    bytes[0] ^= 1;
    Arc::new(bytes)
}

fn inode_of(fs: &SimFs, blob: usize) -> u64 {
    fs.lock().state.names[&layout::blob(&digest(blob))]
}

/// Changes a stored byte.
pub(super) fn rot(fs: &SimFs, blob: usize) {
    let inode = inode_of(fs, blob);
    fs.lock().state.inodes.get_mut(&inode).expect("a file").rot(rotten(blob));
}

/// Changes a byte in the page cache.
fn flip(fs: &SimFs, blob: usize) {
    let inode = inode_of(fs, blob);
    fs.lock().flipped.insert(inode, rotten(blob));
}

async fn read(store: &dyn Store, blob: usize) -> Result<Bytes, Error> {
    store.open(&digest(blob)).await?.bytes().await
}

#[test]
fn an_upload_of_what_rotted_is_stored_anew() {
    let fs = SimFs::new(initialised());
    Runtime::new().unwrap().block_on(async {
        let store = start(&fs).unwrap();
        for (blob, body) in BODIES.into_iter().enumerate() {
            assert_eq!(commit(&*store, blob).await, Ok(Commit::New));
            rot(&fs, blob);
            assert_eq!(commit(&*store, blob).await, Ok(Commit::New), "{blob}");
            assert_eq!(read(&*store, blob).await.unwrap(), body);
            assert_eq!(store.counters().quarantined, blob as u64 + 1);
            keeps(&fs, &[blob]).unwrap();
        }
    });
}

#[test]
fn a_duplicate_is_hashed_once_while_it_is_verified() {
    for (verify_after_s, commits) in [(86_400, Commit::Present), (0, Commit::New)] {
        let fs = SimFs::new(initialised());
        Runtime::new().unwrap().block_on(async {
            let store = Disk::start(fs.clone(), Options { verify_after_s, ..options() }, None).unwrap();
            put(&store, 0).await.unwrap();
            assert_eq!(commit(&store, 0).await, Ok(Commit::Present));
            rot(&fs, 0);
            assert_eq!(commit(&store, 0).await, Ok(commits));
        });
    }
}

#[test]
fn a_bit_that_flips_in_memory_takes_no_good_blob_away() {
    let fs = SimFs::new(initialised());
    Runtime::new().unwrap().block_on(async {
        let store = Disk::start(fs.clone(), Options { verify_after_s: 0, ..options() }, None).unwrap();
        put(&store, 1).await.unwrap();
        flip(&fs, 1);
        assert_eq!(read(&store, 1).await.unwrap(), BODIES[1], "read again");
        flip(&fs, 1);
        assert_eq!(commit(&store, 1).await, Ok(Commit::Present));
        flip(&fs, 1);
        let (blob, len) = (store.open(&digest(1)).await.unwrap(), BODIES[1].len() as u64);
        assert!(matches!(blob.frame(0..len).await, Err(Error::Unavailable(_))), "parts may be with the reader");
        assert_eq!(blob.frame(0..len).await.unwrap(), BODIES[1]);
        flip(&fs, 1);
        assert_eq!(blob.frame(0..1).await.unwrap(), BODIES[1][..1], "proven first");
        assert_eq!(store.counters().quarantined, 0);
    });
}

#[test]
fn what_the_device_cannot_read_now_stays() {
    let fs = SimFs::new(initialised());
    Runtime::new().unwrap().block_on(async {
        let store = Disk::start(fs.clone(), Options { verify_after_s: 0, ..options() }, None).unwrap();
        put(&store, 1).await.unwrap();
        let inode = inode_of(&fs, 1);
        fs.lock().unreadable.insert(inode);
        flip(&fs, 1);
        assert!(matches!(read(&store, 1).await, Err(Error::Unavailable(_))), "other bytes, then none");
        assert!(matches!(read(&store, 1).await, Err(Error::Unavailable(_))), "none");
        fs.lock().unreadable.clear();
        assert_eq!(read(&store, 1).await.unwrap(), BODIES[1]);
        assert_eq!(store.counters().quarantined, 0);
        fs.lock().unreadable.insert(inode);
        assert_eq!(commit(&store, 1).await, Ok(Commit::New), "the client has the bytes");
        assert_eq!(read(&store, 1).await.unwrap(), BODIES[1]);
        assert_eq!(store.counters().quarantined, 1);
        keeps(&fs, &[1]).unwrap();
    });
}

#[test]
fn a_doubtful_blob_stays_until_the_bytes_that_replace_it_are_durable() {
    let fs = SimFs::new(initialised());
    Runtime::new().unwrap().block_on(async {
        let store = Disk::start(fs.clone(), Options { full_retry_ms: 0, ..options() }, None).unwrap();
        put(&store, 0).await.unwrap();
        rot(&fs, 0);
        let room = std::mem::replace(&mut fs.lock().room, Room { free: 0, all: u64::MAX });
        assert_eq!(commit(&store, 0).await, Err(Error::Full));
        fs.lock().room = room;
        fs.lock().failure = Some((Call::Pwrite, 0, Errno::NOSPC));
        assert_eq!(commit(&store, 0).await, Err(Error::Full));
        assert_eq!(store.counters().quarantined, 0);
        fs.lock().failure = None;
        assert_eq!(commit(&store, 0).await, Ok(Commit::New));
        assert_eq!(store.counters().quarantined, 1);
    });
}

#[test]
fn a_read_only_store_takes_no_blob_out_of_service() {
    let fs = SimFs::new(initialised());
    Runtime::new().unwrap().block_on(async {
        let store = start(&fs).unwrap();
        put(&*store, 0).await.unwrap();
        fs.lock().failure = Some((Call::FsyncShard, 0, Errno::IO));
        assert_eq!(commit(&*store, 1).await, Err(Error::ReadOnly));
        rot(&fs, 0);
        assert_eq!(read(&*store, 0).await, Err(Error::Corrupt(digest(0))));
        assert_eq!(store.counters().quarantined, 0);
        assert!(fs.lock().state.names.contains_key(&layout::blob(&digest(0))));
    });
}
