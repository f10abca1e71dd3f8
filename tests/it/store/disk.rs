//! What can happen to a disk alone: restarts, damage, foreign files in its folder.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use futures_util::future::join_all;
use progimage::store::{Counters, Level};

use super::*;

fn path_of(folder: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.to_string();
    folder.join("blobs").join(&hex[..3]).join(hex)
}

fn count(folder: &Path, name: &str) -> usize {
    fs::read_dir(folder.join(name)).unwrap().count()
}

#[tokio::test]
async fn what_was_stored_is_there_after_a_restart() {
    // On the device that tests usually have, so that all real calls are made once.
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("new/and/deep");
    let bodies: Vec<_> = (0..40).map(|i| body(i, 1 + i as usize * 50_000)).collect();
    let store = open(&folder, &Options::default()).await;
    join_all(bodies.iter().map(|bytes| put(&*store, bytes)))
        .await
        .into_iter()
        .for_each(|put| assert_eq!(put, Ok(Commit::New)));
    drop(store);
    let store = open(&folder, &Options::default()).await;
    for bytes in &bodies {
        assert!(get(&*store, &Digest::of(bytes)).await.unwrap() == bytes);
        assert_eq!(put(&*store, bytes).await, Ok(Commit::Present));
    }
    let Counters { fdatasync, fsync, commits, .. } = store.counters();
    assert_eq!((fdatasync, fsync, commits), (0, 0, 0), "duplicates write nothing");
}

#[tokio::test]
async fn a_folder_has_one_owner_at_a_time() {
    let folder = folder();
    let first = open(folder.path(), &Options::default()).await;
    let second = store::open(folder.path().to_str().unwrap(), &Options::default()).await;
    assert!(matches!(second.err(), Some(Error::Unavailable(_))));
    drop(first);
    open(folder.path(), &Options::default()).await;
}

#[tokio::test]
async fn a_folder_of_an_unknown_version_is_refused_and_left_alone() {
    let folder = folder();
    fs::write(folder.path().join("PROGIMAGE"), "progimage store 2\n").unwrap();
    assert!(store::open(folder.path().to_str().unwrap(), &Options::default()).await.is_err());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_folder_without_its_marker_still_has_one_owner() {
    let folder = folder();
    let first = open(folder.path(), &Options::default()).await;
    fs::remove_file(folder.path().join("PROGIMAGE")).unwrap();
    let second = store::open(folder.path().to_str().unwrap(), &Options::default()).await;
    assert!(matches!(second.err(), Some(Error::Unavailable(_))));
    assert!(!folder.path().join("PROGIMAGE").exists(), "it has changed nothing");
    drop(first);
    open(folder.path(), &Options::default()).await;
}

#[tokio::test]
async fn what_was_made_is_not_for_all_to_read() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("new");
    let digest = Digest::of(b"x");
    put(&*open(&folder, &Options::default()).await, b"x").await.unwrap();
    for name in [folder.clone(), folder.join("PROGIMAGE"), folder.join("state"), path_of(&folder, &digest)] {
        let mode = fs::metadata(&name).unwrap().permissions().mode();
        assert_eq!(mode & 0o027, 0, "{}: {mode:o}", name.display());
    }
}

/// Damages the file of a stored blob while the store is closed; the store must notice, take it out of service, and
/// heal.
async fn check_damage(len: usize, damage: fn(&Path)) {
    let (folder, bytes) = (folder(), body(1, len));
    let (digest, options) = (Digest::of(&bytes), Options::default());
    put(&*open(folder.path(), &options).await, &bytes).await.unwrap();
    for how in ["bytes", "frames", "range"] {
        damage(&path_of(folder.path(), &digest));
        let store = open(folder.path(), &options).await;
        let len = fs::metadata(path_of(folder.path(), &digest)).unwrap().len();
        let result = match how {
            "bytes" => get(&*store, &digest).await.map(drop),
            "frames" if len > 0 => {
                let (got, result) = frames(&*store, &digest, 0, len).await;
                assert!((got.len() as u64) < len, "all of a corrupt blob was given away");
                result
            }
            "range" if len > 1 => {
                let (got, result) = frames(&*store, &digest, 0, 1).await;
                assert!(got.is_empty(), "a part of a corrupt blob was given away");
                result
            }
            _ => get(&*store, &digest).await.map(drop),
        };
        assert_eq!(result, Err(Error::Corrupt(digest)), "{how}");
        assert_eq!(store.stat(&[digest]).await.unwrap(), [None], "{how}");
        assert_eq!(store.open(&digest).await.err(), Some(Error::NotFound), "{how}");
        assert_eq!(store.counters().quarantined, 1);
        assert_eq!(put(&*store, &bytes).await, Ok(Commit::New), "the next upload heals");
        assert!(get(&*store, &digest).await.unwrap() == bytes);
    }
    assert_eq!(count(folder.path(), "quarantine"), 3, "nothing is deleted");
}

#[tokio::test]
async fn a_flipped_bit_is_never_served() {
    for len in [1, 1000, 600_000, 2 << 20] {
        check_damage(len, |path| {
            let mut bytes = fs::read(path).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            fs::write(path, bytes).unwrap();
        })
        .await;
    }
}

#[tokio::test]
async fn a_truncated_emptied_or_misplaced_file_is_never_served() {
    check_damage(600_000, |path| fs::File::options().write(true).open(path).unwrap().set_len(300_000).unwrap()).await;
    check_damage(1000, |path| fs::File::options().write(true).open(path).unwrap().set_len(0).unwrap()).await;
    check_damage(1000, |path| fs::write(path, body(99, 1000)).unwrap()).await;
}

#[tokio::test]
async fn a_file_that_shrinks_while_it_is_open_is_corrupt() {
    let (folder, bytes) = (folder(), body(1, 600_000));
    let store = open(folder.path(), &Options::default()).await;
    put(&*store, &bytes).await.unwrap();
    let blob = store.open(&Digest::of(&bytes)).await.unwrap();
    blob.bytes().await.unwrap();
    fs::File::options().write(true).open(path_of(folder.path(), &blob.digest)).unwrap().set_len(10).unwrap();
    assert_eq!(blob.frame(0..600_000).await, Err(Error::Corrupt(blob.digest)));
    assert_eq!(store.stat(&[blob.digest]).await.unwrap(), [None]);
}

#[tokio::test]
async fn an_upload_over_a_file_of_another_length_replaces_it() {
    let (folder, bytes) = (folder(), body(1, 1000));
    let digest = Digest::of(&bytes);
    let path = path_of(folder.path(), &digest);
    let store = open(folder.path(), &Options::default()).await;
    let damages: [fn(&Path); 4] = [
        |path| fs::write(path, b"").unwrap(),
        |path| fs::write(path, body(1, 999)).unwrap(),
        |path| fs::create_dir(path).unwrap(),
        |path| symlink("/etc/hostname", path).unwrap(),
    ];
    for (kept, damage) in damages.into_iter().enumerate() {
        damage(&path);
        assert_eq!(put(&*store, &bytes).await, Ok(Commit::New), "{kept}");
        assert_eq!(get(&*store, &digest).await.unwrap(), bytes);
        assert_eq!(count(folder.path(), "quarantine"), kept + 1);
        store.delete(&digest).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_no_blob_is_neither_found_nor_deleted() {
    let folder = folder();
    let store = open(folder.path(), &Options::default()).await;
    let digest = Digest::of(b"x");
    let path = path_of(folder.path(), &digest);
    let strangers: [fn(&Path); 2] =
        [|path| fs::create_dir(path).unwrap(), |path| symlink("/etc/hostname", path).unwrap()];
    for stranger in strangers {
        stranger(&path);
        assert_eq!(store.stat(&[digest]).await.unwrap(), [None]);
        assert_eq!(store.open(&digest).await.err(), Some(Error::NotFound));
        assert_eq!(store.delete(&digest).await, Ok(false));
        assert_eq!(store.list(None, 10).await.unwrap().blobs, []);
        assert!(path.symlink_metadata().is_ok());
        fs::rename(&path, folder.path().join(format!("moved-{}", count(folder.path(), ".")))).unwrap();
    }
}

#[tokio::test]
async fn unknown_files_stop_nothing_and_stay_but_tmp_is_emptied() {
    let folder = folder();
    let (bytes, options) = (body(1, 10), Options::default());
    put(&*open(folder.path(), &options).await, &bytes).await.unwrap();
    let misplaced = format!("blobs/000/{}", Digest::of(b"in the wrong shard, or by chance not"));
    let strangers = ["lost+found", "blobs/readme", "blobs/000/.nfs0001", "state/odd", "quarantine/odd", &misplaced];
    strangers.iter().for_each(|name| fs::write(folder.path().join(name), b"?").unwrap());
    fs::write(folder.path().join("tmp/0"), b"torn").unwrap();
    fs::create_dir(folder.path().join("tmp/1")).unwrap();
    let store = open(folder.path(), &options).await;
    assert_eq!(store.list(None, 10).await.unwrap().blobs.len(), 1);
    assert_eq!(put(&*store, &body(2, 10)).await, Ok(Commit::New));
    assert_eq!(put(&*store, &body(3, 10)).await, Ok(Commit::New));
    drop(store);
    assert!(strangers.iter().all(|name| folder.path().join(name).exists()));
    assert_eq!(count(folder.path(), "tmp"), 1, "only the folder that is not ours");
}

#[tokio::test]
async fn small_bodies_and_duplicates_touch_no_file_before_they_are_committed() {
    let folder = folder();
    let store = open(folder.path(), &Options::default()).await;
    let mut stage = store.stage(None).await.unwrap();
    stage.write(body(1, 1 << 20).into()).await.unwrap();
    assert_eq!(count(folder.path(), "tmp"), 0);
    stage.write(vec![0].into()).await.unwrap();
    assert_eq!(count(folder.path(), "tmp"), 1, "one byte more than memory_bytes_max is spilled");
}

#[tokio::test]
async fn a_group_costs_one_sync_per_file_and_one_per_shard() {
    let folder = folder();
    let store = open(folder.path(), &Options { syncfs_batch_min: 0, ..Options::default() }).await;
    let bodies: Vec<_> = (0..64).map(|i| body(i, 1000)).collect();
    join_all(bodies.iter().map(|bytes| put(&*store, bytes)))
        .await
        .into_iter()
        .for_each(|put| assert_eq!(put, Ok(Commit::New)));
    let counters = store.counters();
    assert_eq!((counters.fdatasync, counters.published), (64, 64));
    assert!(counters.fsync <= 64 && counters.commits <= 64 && counters.syncfs == 1, "{counters:?}");
}

#[tokio::test]
async fn levels_leave_out_what_they_say() {
    for (level, expected) in [(Level::Strict, (1, 1)), (Level::Relaxed, (1, 0)), (Level::None, (0, 0))] {
        let folder = folder();
        let store = open(folder.path(), &Options { level, ..Options::default() }).await;
        put(&*store, b"x").await.unwrap();
        assert_eq!((store.counters().fdatasync, store.counters().fsync), expected, "{level:?}");
    }
}

#[tokio::test]
async fn a_batch_of_one_still_stores_everything() {
    let folder = folder();
    let options = Options { batch_max: 1, sync_threads: 1, read_threads: 1, ..Options::default() };
    let store = open(folder.path(), &options).await;
    let bodies: Vec<_> = (0..30).map(|i| body(i, 100)).collect();
    join_all(bodies.iter().map(|bytes| put(&*store, bytes)))
        .await
        .into_iter()
        .for_each(|put| assert_eq!(put, Ok(Commit::New)));
    assert_eq!(store.counters().commits, 30);
}

#[tokio::test]
async fn a_verified_blob_is_not_hashed_for_a_range_until_it_is_due_again() {
    for (verify_after_s, served) in [(86_400, true), (0, false)] {
        let (folder, bytes) = (folder(), body(1, 1000));
        let store = open(folder.path(), &Options { verify_after_s, ..Options::default() }).await;
        put(&*store, &bytes).await.unwrap();
        let digest = Digest::of(&bytes);
        get(&*store, &digest).await.unwrap();
        let mut damaged = bytes.clone();
        damaged[999] ^= 1;
        fs::write(path_of(folder.path(), &digest), damaged).unwrap();
        assert_eq!(frames(&*store, &digest, 0, 10).await.1.is_ok(), served);
        assert!(get(&*store, &digest).await.is_err(), "all bytes at once are always proven");
    }
}

#[tokio::test]
async fn two_readers_of_one_blob_do_not_disturb_each_other() {
    let (folder, bytes) = (folder(), body(1, 900_000));
    let store = open(folder.path(), &Options { verify_after_s: 0, ..Options::default() }).await;
    put(&*store, &bytes).await.unwrap();
    let blob = store.open(&Digest::of(&bytes)).await.unwrap();
    let mut starts = [0_u64; 2];
    while starts[1] < 900_000 {
        for start in starts.iter_mut().filter(|start| **start < 900_000) {
            let frame = blob.frame(*start..900_000).await.unwrap();
            assert!(frame == bytes[*start as usize..][..frame.len()]);
            *start += frame.len() as u64;
        }
    }
}

#[tokio::test]
async fn after_a_failed_sync_was_noted_no_upload_is_accepted_until_the_note_is_removed() {
    let (folder, bytes) = (folder(), body(1, 10));
    put(&*open(folder.path(), &Options::default()).await, &bytes).await.unwrap();
    let note = folder.path().join("state/failed-sync");
    fs::write(&note, "torn").unwrap();
    let store = open(folder.path(), &Options::default()).await;
    assert_eq!(store.writable(), Err(Error::ReadOnly));
    assert_eq!(put(&*store, b"new").await, Err(Error::ReadOnly));
    assert_eq!(get(&*store, &Digest::of(&bytes)).await.unwrap(), bytes);
    drop(store);
    fs::remove_file(note).unwrap();
    assert_eq!(put(&*open(folder.path(), &Options::default()).await, b"new").await, Ok(Commit::New));
}
