//! `progimage copy` and `progimage verify` on folders.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use progimage::digest::Digest;
use progimage::store::{self, Commit, Options, Store};

use super::{Ran, folder, run, text};

/// A store in `root` with `count` blobs of different sizes; their ids, sorted. Closed again.
fn filled(root: &Path, count: u32) -> Vec<Digest> {
    on(async {
        let store = open(root).await;
        let mut ids = Vec::new();
        for n in 0..count {
            let bytes: Vec<u8> = (0..100 + n * n * 700).map(|at| (at * 31 + n) as u8).collect();
            assert_eq!(put(&*store, &bytes).await, Commit::New);
            ids.push(Digest::of(&bytes));
        }
        ids.sort_unstable();
        ids
    })
}

fn on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(work)
}

async fn open(root: &Path) -> Arc<dyn Store> {
    store::open(text(root), &Options::default()).await.unwrap()
}

async fn put(store: &dyn Store, bytes: &[u8]) -> Commit {
    let mut stage = store.stage(None).await.unwrap();
    stage.write(bytes.to_vec().into()).await.unwrap();
    stage.commit(Digest::of(bytes)).await.unwrap()
}

fn path_of(root: &Path, id: &Digest) -> PathBuf {
    root.join(relative(id))
}

fn relative(id: &Digest) -> String {
    format!("blobs/{}/{id}", &id.to_string()[..3])
}

fn lines(ids: &[Digest]) -> String {
    ids.iter().map(|id| format!("{id}\n")).collect()
}

fn copy(from: &Path, to: &Path) -> Ran {
    run(&["copy", "--from", text(from), "--to", text(to)])
}

fn verify(root: &Path, more: &[&str]) -> Ran {
    run(&[&["verify", "--data", text(root)], more].concat())
}

/// Changes the last bit of a file.
fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_store_is_copied_once_and_mended_by_a_copy() {
    let folder = folder();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let ids = filled(&from, 40);
    let first = copy(&from, &to).with(0);
    assert_eq!(first.lines().len(), 40);
    assert!(first.stderr.contains("40 copied") && first.stderr.contains("0 there before"), "{}", first.stderr);
    let second = copy(&from, &to).with(0);
    assert!(second.stdout.is_empty() && second.stderr.contains("0 copied (0 B), 40 there before"), "{}", second.stderr);
    assert!(verify(&to, &[]).with(0).stderr.contains("40 images"));
    // A blob that lacks bytes in the target is no copy. A wrong blob in the source is not copied.
    fs::File::options().write(true).open(path_of(&to, &ids[3])).unwrap().set_len(10).unwrap();
    fs::remove_file(path_of(&to, &ids[4])).unwrap();
    flip(&path_of(&from, &ids[4]));
    let third = copy(&from, &to).with(1);
    assert_eq!(third.stdout, lines(&ids[3..4]));
    assert!(third.stderr.contains(&ids[4].to_string()) && third.stderr.contains("corrupt"), "{}", third.stderr);
    assert!(!path_of(&to, &ids[4]).exists() && path_of(&from, &ids[4]).exists(), "the source is only read");
    let json = run(&["copy", "--from", text(&from), "--to", text(&to), "--json"]).with(1).json();
    assert_eq!(json.len(), 1);
    assert_eq!(json[0]["id"], ids[4].to_string());
}

#[test]
fn a_folder_with_an_owner_is_copied_from_and_not_to() {
    let folder = folder();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    filled(&from, 3);
    on(async {
        let owner = open(&from).await;
        put(&*owner, b"another").await;
        assert_eq!(copy(&from, &to).with(0).lines().len(), 4);
        let refused = copy(&to, &from).with(3);
        assert!(refused.stderr.contains("--to: ") && refused.stderr.contains("owns"), "{}", refused.stderr);
        assert!(owner.writable().is_ok());
    });
    let nowhere = folder.path().join("nowhere");
    for (from, to) in [(text(&from), "memory:"), ("memory:", text(&to)), (text(&from), "http://127.0.0.1:9")] {
        assert!(
            run(&["copy", "--from", from, "--to", to]).with(2).stderr.contains("not a store that outlives"),
            "{to}"
        );
    }
    let missing = copy(&nowhere, &to).with(3);
    assert!(missing.stderr.contains("--from: ") && !nowhere.exists(), "{}", missing.stderr);
}

#[test]
fn what_is_opened_to_be_read_cannot_be_changed() {
    let folder = folder();
    let ids = filled(folder.path(), 2);
    flip(&path_of(folder.path(), &ids[0]));
    on(async {
        let store = store::open_to_read(text(folder.path()), &Options::default()).await.unwrap();
        assert_eq!(store.writable(), Err(store::Error::ReadOnly));
        assert_eq!(store.delete(&ids[1]).await, Err(store::Error::ReadOnly));
        let stage = store.stage(None).await.unwrap();
        assert_eq!(stage.commit(Digest::of(b"")).await, Err(store::Error::ReadOnly));
        // A larger body than memory holds would go to a file.
        let mut stage = store.stage(None).await.unwrap();
        assert_eq!(stage.write(vec![0; 2 << 20].into()).await, Err(store::Error::ReadOnly));
        let corrupt = store.open(&ids[0]).await.unwrap().bytes().await;
        assert_eq!(corrupt, Err(store::Error::Corrupt(ids[0])));
        assert!(path_of(folder.path(), &ids[0]).exists(), "quarantine is for the owner");
        assert_eq!(store.list(None, 10).await.unwrap().blobs.len(), 2);
    });
}

#[test]
fn verify_names_what_is_wrong_and_changes_nothing() {
    let folder = folder();
    let root = folder.path();
    let ids = filled(root, 12);
    let well = verify(root, &[]).with(0);
    assert!(well.stdout.is_empty() && well.stderr.contains("12 images"), "{}", well.stderr);
    flip(&path_of(root, &ids[0]));
    fs::File::options().write(true).open(path_of(root, &ids[1])).unwrap().set_len(50).unwrap();
    fs::File::create(path_of(root, &ids[2])).unwrap();
    let elsewhere = if relative(&ids[3]).starts_with("blobs/abc/") { "blobs/abd" } else { "blobs/abc" };
    fs::rename(path_of(root, &ids[3]), root.join(elsewhere).join(ids[3].to_string())).unwrap();
    fs::write(root.join("blobs/000/note.txt"), "x").unwrap();
    fs::write(root.join("blobs/fffff"), "x").unwrap();
    fs::write(root.join("stranger"), "x").unwrap();
    let link = Digest::of(b"link");
    symlink("nowhere", path_of(root, &link)).unwrap();
    let vacant = (0..4096).map(|n| format!("blobs/{n:03x}"));
    let mut vacant = vacant.filter(|shard| fs::read_dir(root.join(shard)).unwrap().count() == 0);
    let vacant = vacant.next_back().unwrap();
    fs::remove_dir(root.join(&vacant)).unwrap();
    let mut expected = vec![
        format!("corrupt  {}", relative(&ids[0])),
        format!("corrupt  {}", relative(&ids[1])),
        format!("unknown  {}", relative(&ids[2])),
        format!("misplaced  {elsewhere}/{}", ids[3]),
        "unknown  blobs/000/note.txt".to_owned(),
        "unknown  blobs/fffff".to_owned(),
        "unknown  stranger".to_owned(),
        format!("unknown  {}", relative(&link)),
        format!("missing  {vacant}"),
    ];
    expected.sort_unstable();
    let found = verify(root, &["--jobs", "2"]).with(1);
    assert_eq!(found.lines(), expected);
    assert!(found.stderr.contains("10 images") && found.stderr.contains("9 findings"), "{}", found.stderr);
    let json = verify(root, &["--json", "--rate", "1G"]).with(1).json();
    assert_eq!(json.len(), 9);
    let corrupt = json.iter().find(|line| line["path"] == relative(&ids[0])).unwrap();
    assert!(corrupt["fault"] == "corrupt" && corrupt["detail"].as_str().unwrap().contains("hash to"), "{corrupt}");
}

#[test]
fn verify_reads_a_folder_that_has_an_owner_and_no_other_folder() {
    let folder = folder();
    filled(folder.path(), 2);
    on(async {
        let _owner = open(folder.path()).await;
        verify(folder.path(), &[]).with(0);
    });
    fs::write(folder.path().join("stranger"), "x").unwrap();
    let found = verify(folder.path(), &["--rate", "1000000000"]).with(1);
    assert!(found.stderr.contains("2 images, ") && found.stderr.contains(", 1 finding, "), "{}", found.stderr);
    assert!(verify(folder.path(), &["--rate", "0"]).with(2).stderr.contains("10M or 1.5G"));
    let none = folder.path().join("none");
    assert!(verify(&none, &[]).with(3).stderr.contains("none") && !none.exists());
    assert!(verify(&folder.path().join("tmp"), &[]).with(3).stderr.contains("PROGIMAGE"));
}

/// A store of images in `data`, on the device that tests usually have, since in memory there is only the page cache. It
/// is made elsewhere, because 4,096 syncs are slow.
fn filled_on_a_device(count: u32) -> (tempfile::TempDir, Vec<Digest>) {
    let (made, folder) = (folder(), tempfile::tempdir().unwrap());
    let ids = filled(made.path(), count);
    let root = folder.path().join("data");
    let status = std::process::Command::new("cp").arg("-a").args([made.path(), &root]).status().unwrap();
    assert!(status.success());
    (folder, ids)
}

/// Notes a failed sync, as the store does.
fn note(root: &Path) -> PathBuf {
    let note = root.join("state/failed-sync");
    fs::write(&note, format!("{}\nfsync failed", Digest::of(b"fsync failed"))).unwrap();
    note
}

#[test]
fn the_note_of_a_failed_sync_goes_when_recent_images_are_well_and_the_folder_has_no_owner() {
    let (folder, ids) = filled_on_a_device(3);
    let root = &folder.path().join("data");
    assert!(verify(root, &["--recent"]).with(0).stderr.contains("3 images"));
    let note = note(root);
    assert!(verify(root, &[]).with(0).stderr.contains("verify --recent"));
    assert!(note.exists(), "only --recent removes it");
    on(async {
        let owner = open(root).await;
        assert_eq!(owner.writable(), Err(store::Error::ReadOnly));
        assert!(verify(root, &["--recent"]).with(1).stderr.contains("a server runs"));
    });
    let bytes = fs::read(path_of(root, &ids[0])).unwrap();
    flip(&path_of(root, &ids[0]));
    assert_eq!(verify(root, &["--recent"]).with(1).stdout, format!("corrupt  {}\n", relative(&ids[0])));
    assert!(note.exists(), "not all is well");
    fs::write(path_of(root, &ids[0]), bytes).unwrap();
    // Foreign files are reported, and are no reason to refuse uploads.
    fs::create_dir(root.join("lost+found")).unwrap();
    fs::write(root.join("blobs/stranger"), "").unwrap();
    assert!(verify(root, &["--recent"]).with(1).stderr.contains("removed"));
    assert!(!note.exists());
    on(async { assert_eq!(put(&*open(root).await, b"again").await, Commit::New) });
}

#[test]
fn an_image_that_stays_in_memory_is_not_taken_as_read_from_the_device() {
    let (folder, ids) = filled_on_a_device(3);
    let root = &folder.path().join("data");
    let note = note(root);
    // Pages that wait in a pipe are held, not copied.
    let (reader, writer) = std::io::pipe().unwrap();
    let file = fs::File::open(path_of(root, &ids[1])).unwrap();
    assert!(rustix::fs::sendfile(&writer, &file, Some(&mut 0), 1 << 10).unwrap() > 0);
    let found = verify(root, &["--recent"]).with(1);
    assert_eq!(found.stdout, format!("unreadable  {}\n", relative(&ids[1])));
    assert!(note.exists());
    drop((reader, writer));
    assert!(verify(root, &["--recent"]).with(0).stderr.contains("removed"));
}
