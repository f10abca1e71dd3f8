//! `progimage backup` and `progimage restore`: drills with the real server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use progimage::digest::Digest;
use serde_json::{Value, json};

use super::{Ran, folder, program, run, text};
use crate::external::Server;

/// A small image that differs from all others.
fn image(number: u32) -> Vec<u8> {
    let [_, red, green, blue] = number.to_be_bytes();
    [b"P6\n2 1\n255\n".to_vec(), vec![red, green, blue, 1, 2, 3]].concat()
}

fn path(bytes: &[u8]) -> String {
    format!("/images/{}", Digest::of(bytes))
}

fn command(name: &str, backup: &Path, data: &Path) -> Ran {
    run(&[name, text(backup), "--data", text(data)])
}

/// A job over stored images: a rendition of each is stored.
fn job(images: std::ops::Range<u32>) -> Vec<u8> {
    let item = |number: u32| {
        let source = json!({ "id": Digest::of(&image(number)) });
        json!({ "source": source, "outputs": [{ "format": "png", "to": "blob" }] })
    };
    images.flat_map(|number| format!("{}\n", item(number)).into_bytes()).collect()
}

fn status(server: &Server, job: &str) -> Value {
    let (status, body) = server.send("GET", job, b"").expect("an answer");
    assert_eq!(status, 200);
    serde_json::from_slice(&body).expect("JSON")
}

fn wait(server: &Server, job: &str) -> Value {
    let end = Instant::now() + Duration::from_secs(120);
    loop {
        let status = status(server, job);
        if status["state"] == "done" {
            return status;
        }
        assert!(Instant::now() < end, "{status}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_was_acknowledged_before_a_backup_began_is_there_after_the_restore() {
    let folder = folder();
    let (data, backup) = (folder.path().join("data"), folder.path().join("backup"));
    let server = Server::start(&data, &[]);
    for number in 0..100 {
        assert_eq!(server.status("POST", "/images", &image(number)), Some(201));
    }
    let body = job(0..20);
    let done = format!("/jobs/{}", Digest::of(&body));
    assert_eq!(server.status("POST", "/jobs", &body), Some(202));
    wait(&server, &done);
    let later = job(20..40);
    assert_eq!(server.status("POST", "/jobs", &later), Some(202));
    // More comes while the backup is made.
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1_000.. {
                if is_over.load(Ordering::SeqCst) {
                    break;
                }
                server.status("POST", "/images", &image(number));
            }
        });
        let ran = command("backup", &backup, &data);
        is_over.store(true, Ordering::SeqCst);
        assert!(ran.with(0).stderr.contains("jobs copied"));
    });
    drop(server);
    fs::remove_dir_all(&data).expect("destroyed");

    assert!(command("restore", &backup, &data).with(0).stderr.contains("jobs copied"));
    let server = Server::start(&data, &[]);
    for number in 0..100 {
        let image = image(number);
        assert_eq!(server.send("GET", &path(&image), b""), Some((200, image)), "{number}");
    }
    assert_eq!(status(&server, &done)["done"], 20);
    let later = format!("/jobs/{}", Digest::of(&later));
    assert_eq!((&wait(&server, &later)["done"], &wait(&server, &later)["failed"]), (&json!(20), &json!(0)));
    let (_, results) = server.send("GET", &format!("{done}/results"), b"").expect("an answer");
    let results = String::from_utf8(results).expect("UTF-8");
    let urls = results.split("\"url\":\"").skip(1).filter_map(|rest| rest.split('"').next());
    let found = urls.filter(|url| server.status("GET", url, b"") == Some(200)).count();
    assert_eq!(found, 20, "what the jobs say is stored is there: {results}");
    drop(server);
    run(&["verify", "--data", text(&data)]).with(0);
    run(&["verify", "--data", text(&backup)]).with(0);
}

#[test]
fn a_backup_goes_on_past_what_is_bad_and_the_next_one_copies_only_what_is_missing() {
    let folder = folder();
    let (data, backup) = (folder.path().join("data"), folder.path().join("backup"));
    let server = Server::start(&data, &[]);
    for number in 0..20 {
        assert_eq!(server.status("POST", "/images", &image(number)), Some(201));
    }
    assert_eq!(server.status("POST", "/jobs", &job(0..1)), Some(202));
    drop(server);
    let file = |root: &Path, number: u32| {
        let id = Digest::of(&image(number)).to_string();
        root.join("blobs").join(&id[..3]).join(id)
    };
    fs::write(data.join("quarantine/old"), "x").expect("a file out of service");
    let first = command("backup", &backup, &data).with(0);
    assert!(first.stderr.contains("0 failed, jobs copied, 1 in quarantine"), "{}", first.stderr);
    let told: Value = serde_json::from_slice(&fs::read(backup.join("backup.json")).expect("written")).expect("JSON");
    assert_eq!((&told["jobs"], &told["quarantine"]), (&json!("copied"), &json!(["old"])));
    let again = command("backup", &backup, &data).with(0);
    assert!(again.stdout.is_empty() && again.stderr.contains(" 0 copied"), "{}", again.stderr);
    // A bit that flipped in the backup is seen and mended, unless lengths are enough.
    let flipped = file(&backup, 3);
    let mut bytes = fs::read(&flipped).expect("copied");
    *bytes.last_mut().expect("not empty") ^= 1;
    fs::write(&flipped, bytes).expect("flipped");
    let quick = run(&["backup", text(&backup), "--data", text(&data), "--quick"]).with(0);
    assert!(quick.stdout.is_empty(), "{}", quick.stdout);
    assert_eq!(command("backup", &backup, &data).with(0).lines(), [Digest::of(&image(3)).to_string()]);
    assert_eq!(fs::read(&flipped).expect("mended"), image(3));
    // Bad sources: an image, a folder and the jobs. All else is copied.
    fs::remove_dir_all(&backup).expect("removed");
    fs::write(file(&data, 5), "bad").expect("damaged");
    let shard = file(&data, 6);
    let shard = shard.parent().expect("a folder");
    fs::remove_dir_all(shard).expect("removed");
    fs::write(shard, "no folder").expect("unreadable");
    fs::remove_dir_all(data.join("quarantine")).expect("removed");
    fs::write(data.join("quarantine"), "no folder").expect("unreadable");
    for log in ["jobs.sqlite-wal", "jobs.sqlite-shm"] {
        _ = fs::remove_file(data.join(log));
    }
    fs::write(data.join("jobs.sqlite"), "no database").expect("damaged");
    let ran = command("backup", &backup, &data).with(1);
    let shard = format!("blobs/{}", &Digest::of(&image(6)).to_string()[..3]);
    for named in [&*Digest::of(&image(5)).to_string(), &shard, "jobs.sqlite", "quarantine: cannot be read"] {
        assert!(ran.stderr.contains(named), "{named} in {}", ran.stderr);
    }
    assert_eq!(ran.stderr.matches(&shard).count(), 1, "{}", ran.stderr);
    let is_bad = |number: &u32| *number == 5 || file(&data, *number).parent() == file(&data, 6).parent();
    for number in (0..20).filter(|number| !is_bad(number)) {
        assert_eq!(fs::read(file(&backup, number)).expect("copied"), image(number), "{number}");
    }
}

#[test]
fn a_restore_keeps_other_jobs_and_refuses_a_folder_with_an_owner() {
    let folder = folder();
    let (data, backup) = (folder.path().join("data"), folder.path().join("backup"));
    let server = Server::start(&data, &[]);
    assert_eq!(server.status("POST", "/images", &image(1)), Some(201));
    assert_eq!(server.status("POST", "/jobs", &job(1..2)), Some(202));
    command("backup", &backup, &data).with(0);
    assert!(command("restore", &backup, &data).with(3).stderr.contains("owns"));
    drop(server);
    let kept = command("restore", &backup, &data).with(1);
    assert!(kept.stderr.contains("other jobs, which stay"), "{}", kept.stderr);
    assert!(command("backup", &data, &data).with(2).stderr.contains("the data folder itself"));
    // The arguments are swapped: the backup is backed up into the data folder.
    let queue = fs::read(data.join("jobs.sqlite")).expect("the queue");
    assert!(command("backup", &data, &backup).with(2).stderr.contains("has jobs, and no backup.json"));
    assert_eq!(fs::read(data.join("jobs.sqlite")).expect("stays"), queue);
    let new = folder.path().join("new");
    command("restore", &backup, &new).with(0);
    let twice = command("restore", &backup, &new).with(0);
    assert!(twice.stderr.contains("jobs there before"), "{}", twice.stderr);
}

#[test]
fn a_restore_replaces_a_queue_without_jobs() {
    let folder = folder();
    let (data, backup, new) = (folder.path().join("data"), folder.path().join("backup"), folder.path().join("new"));
    let server = Server::start(&data, &[]);
    assert_eq!(server.status("POST", "/images", &image(1)), Some(201));
    let body = job(1..2);
    assert_eq!(server.status("POST", "/jobs", &body), Some(202));
    let path = format!("/jobs/{}", Digest::of(&body));
    wait(&server, &path);
    command("backup", &backup, &data).with(0);
    // A server was started once to see whether it runs.
    drop(Server::start(&new, &[]));
    assert!(new.join("jobs.sqlite").exists());
    assert!(command("restore", &backup, &new).with(0).stderr.contains("jobs copied"));
    assert_eq!(wait(&Server::start(&new, &[]), &path)["done"], 1);
}

#[test]
fn a_backup_inside_of_the_data_folder_is_refused() {
    let folder = folder();
    let data = folder.path().join("data");
    drop(Server::start(&data, &[]));
    std::os::unix::fs::symlink(&data, folder.path().join("link")).expect("a link");
    for inside in ["data/backup", "data/blobs/a/b", "link/backup", "data/../data/backup", "data/."] {
        let refused = command("backup", &folder.path().join(inside), &data).with(2);
        assert!(refused.stderr.contains("data folder"), "{inside}: {}", refused.stderr);
    }
    assert!(!data.join("backup").exists());
    command("backup", &folder.path().join("database"), &data).with(0);
}

#[test]
fn a_repeated_backup_that_breaks_off_keeps_the_jobs_of_the_last_one_and_is_told_at_the_restore() {
    let folder = folder();
    let (data, backup) = (folder.path().join("data"), folder.path().join("backup"));
    let server = Server::start(&data, &[]);
    assert_eq!(server.status("POST", "/images", &image(1)), Some(201));
    let first = job(1..2);
    assert_eq!(server.status("POST", "/jobs", &first), Some(202));
    command("backup", &backup, &data).with(0);
    let queue = fs::read(backup.join("jobs.sqlite")).expect("copied");
    let other = job(2..3);
    assert_eq!(server.status("POST", "/images", &image(2)), Some(201));
    assert_eq!(server.status("POST", "/jobs", &other), Some(202));
    // It ends at the first image, whose id it cannot print.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut broken = program(&["backup", text(&backup), "--data", text(&data)]);
    assert_eq!(broken.stdout(writer).output().expect("it ends").status.code(), Some(141));
    assert_eq!(fs::read(backup.join("jobs.sqlite")).expect("of the last one"), queue);
    for name in ["jobs.sqlite", "jobs.sqlite.part", "backup.json"] {
        let mode = fs::metadata(backup.join(name)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o027, 0, "{name} has the mode {mode:o}");
    }
    drop(server);
    let new = folder.path().join("new");
    let restored = command("restore", &backup, &new).with(1);
    assert!(restored.stderr.contains("did not come to its end"), "{}", restored.stderr);
    let server = Server::start(&new, &[]);
    wait(&server, &format!("/jobs/{}", Digest::of(&first)));
    assert_eq!(server.status("GET", &format!("/jobs/{}", Digest::of(&other)), b""), Some(404));
}
