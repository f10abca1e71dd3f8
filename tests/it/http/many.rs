//! Many images in one request: what each entry comes to, and what a stream of them may do to the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use progimage::digest::Digest;
use progimage::store::{self, Blob, Error, Future, Options, Stage, Stat, Store};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::metrics::figure;
use super::uploads::{FORM, form};
use super::{Client, Server, path_of, ppm, runtime, until};

pub const TAR: &str = "Content-Type: application/x-tar";

/// An image that no other number gives.
fn image(n: u32) -> Vec<u8> {
    let [a, b, c, _] = n.to_le_bytes();
    ppm(2, 2, [a, b, c])
}

/// An archive of regular files.
pub fn tar<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for (name, bytes) in files {
        archive.append(&header(name, EntryType::Regular, bytes.len() as u64), bytes).unwrap();
    }
    archive.into_inner().unwrap()
}

pub fn header(name: &str, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    // Not by `set_path`, which refuses what is dangerous to unpack.
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_cksum();
    header
}

/// Entries written by hand, each a header and what follows it, and the end of an archive.
fn raw(entries: &[(Header, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (header, data) in entries {
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1_024, 0);
    bytes
}

fn pax(records: &str) -> (Header, &[u8]) {
    (header("pax", EntryType::XHeader, records.len() as u64), records.as_bytes())
}

fn statuses(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|line| line["status"].as_u64().unwrap_or_else(|| panic!("{line}"))).collect()
}

fn names(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["name"].as_str().unwrap_or_else(|| panic!("{line}"))).collect()
}

#[test]
fn each_entry_of_a_tar_and_each_part_of_a_form_is_stored_and_told() {
    let images = [image(1), image(2), image(3)];
    let files = ["a.ppm", "b/c.ppm", "b/c.ppm"].into_iter().zip(images.iter().map(Vec::as_slice));
    for (field, body) in [(TAR, tar(files)), (FORM, form(&images.each_ref().map(Vec::as_slice)))] {
        let server = Server::start();
        let mut client = server.connect();
        for (status, created) in [(201, true), (200, false)] {
            let answer = client.ask("POST", "/images", &[field], &body);
            let (lines, last) = answer.lines();
            assert_eq!(last, json!({ "done": true, "ok": 3, "failed": 0 }));
            for (index, (line, image)) in lines.iter().zip(&images).enumerate() {
                let name = if field == TAR { ["a.ppm", "b/c.ppm", "b/c.ppm"][index] } else { "x.bin" };
                let expected = json!({
                    "index": index, "name": name, "status": status, "id": Digest::of(image), "bytes": image.len(),
                    "format": "ppm", "width": 2, "height": 2, "created": created,
                });
                assert_eq!(*line, expected);
            }
            assert_eq!(answer.field("cache-control"), Some("no-store"));
        }
        for image in &images {
            assert_eq!(client.ask("GET", &path_of(image), &[], b"").body, *image, "on the same connection");
        }
        assert_eq!((figure(&server, "uploads_total"), figure(&server, "uploads_duplicate_total")), (3, 3));
    }
}

#[test]
fn bad_entries_stop_no_good_ones() {
    let (first, large, last) = (image(1), vec![7; 300 << 10], image(2));
    let cut = b"P6\n3 2\n255\n\x01".as_slice();
    let all = [&first, b"plain text".as_slice(), b"", &large, cut, &first, &last];
    let names = ["0", "1", "2", "3", "4", "5", "6"];
    let start = || {
        Server::with(|settings| {
            settings.limits.bytes_max = 100 << 10;
            settings.store.blob_bytes_max = 100 << 10;
        })
    };
    let good = |lines: &[Value]| {
        assert_eq!(lines[0]["id"], lines[5]["id"]);
        let created = [0, 5].map(|index| lines[index]["created"].as_bool().unwrap());
        assert!(created[0] != created[1], "one of two that are the same stores it");
        assert_eq!(lines[6]["status"], 201);
    };
    for (field, body) in [(TAR, tar(names.into_iter().zip(all))), (FORM, form(&all))] {
        let server = start();
        let (lines, last) = server.send("POST", "/images", &[field], &body).lines();
        assert_eq!(last, json!({ "done": true, "ok": 3, "failed": 4 }));
        good(&lines);
        let kind = |index: usize| lines[index]["problem"]["type"].as_str().unwrap().to_owned();
        assert_eq!(statuses(&lines[1..5]), [415, 415, 413, 415]);
        assert_eq!(
            [1, 2, 3, 4].map(kind),
            ["unknown-format", "unknown-format", "too-large", "corrupt-source"].map(|kind| format!("/problems/{kind}"))
        );
        assert_eq!(
            (&lines[3]["problem"]["limit"], &lines[3]["problem"]["max"]),
            (&"bytes_max".into(), &102_400.into())
        );
        assert_eq!(server.get("/images").json()["images"].as_array().unwrap().len(), 2);
        let figures = ["uploads_total", "uploads_duplicate_total", "upload_entries_refused_total"];
        assert_eq!(figures.map(|name| figure(&server, name)), [2, 1, 4]);
    }
    // The first part of a form is read before it is known that there is a second one.
    let server = start();
    let (lines, _) = server.send("POST", "/images", &[FORM], &form(&[&large, b"text", &first])).lines();
    assert_eq!(statuses(&lines), [413, 415, 201]);
}

#[test]
fn what_is_no_regular_file_is_told_or_skipped_and_no_path_matters() {
    let server = Server::start();
    let images: Vec<Vec<u8>> = (0..9).map(image).collect();
    let file = |name, n: usize| (header(name, EntryType::Regular, images[n].len() as u64), images[n].as_slice());
    let bare = |name, kind| (header(name, kind, 0), b"".as_slice());
    let long = format!("{}/{}", "d".repeat(700), "f".repeat(700));
    let mut sized = header("short", EntryType::Regular, 0);
    sized.set_size(3);
    sized.set_cksum();
    let size = format!("{} size={}\n", 8 + images[6].len().to_string().len() + 1, images[6].len());
    let mut holes = header("holes", EntryType::GNUSparse, 512);
    holes.as_gnu_mut().unwrap().set_is_extended(true);
    holes.set_cksum();
    let mut map = vec![0; 3 * 512];
    map[504] = 1;
    let entries = [
        bare("dir/", EntryType::Directory),
        (header("link.ppm", EntryType::Symlink, 100), b"".as_slice()),
        bare("hard.ppm", EntryType::Link),
        bare("null", EntryType::Char),
        bare("pipe", EntryType::Fifo),
        file("/etc/passwd", 1),
        file("../../outside", 2),
        (header("global", EntryType::XGlobalHeader, 14), b"14 comment=hi\n"),
        (header("././@LongLink", EntryType::GNULongName, long.len() as u64), long.as_bytes()),
        file("x", 3),
        pax("16 path=a\nb.ppm\n"),
        file("x", 4),
        (holes, &map),
        file("7", 5),
        // Only the pax size is right.
        pax(&size),
        (sized, images[6].as_slice()),
        pax("22 GNU.sparse.major=1\n"),
        file("sparse", 7),
        bare("old/", EntryType::Regular),
        (header("volume", EntryType::new(b'V'), 0), b""),
    ];
    // However it is cut into chunks.
    for chunk in [1 << 20, 700, 512, 100] {
        let body = raw(&entries);
        let mut client = server.connect();
        client.write(
            format!("POST /images HTTP/1.1\r\nHost: a\r\n{TAR}\r\nTransfer-Encoding: chunked\r\n\r\n").as_bytes(),
        );
        for part in body.chunks(chunk) {
            client.write(&[format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
        }
        client.write(b"0\r\n\r\n");
        let (lines, last) = client.answer(false).lines();
        assert_eq!(last, json!({ "done": true, "ok": 6, "failed": 7 }), "{lines:#?}");
        let expected = [
            "link.ppm",
            "hard.ppm",
            "null",
            "pipe",
            "/etc/passwd",
            "../../outside",
            &long[..1_024],
            "a\nb.ppm",
            "holes",
            "7",
            "short",
            "sparse",
            "volume",
        ];
        assert_eq!(names(&lines), expected);
        let ok: Vec<bool> = statuses(&lines).into_iter().map(|status| status < 300).collect();
        assert_eq!(ok, [false, false, false, false, true, true, true, true, false, true, true, false, false]);
        for line in lines.iter().filter(|line| line["status"] == 422) {
            assert_eq!(line["problem"]["type"], "/problems/not-a-file");
            assert_eq!(line["problem"]["status"], 422);
        }
        assert_eq!(lines[10]["id"], Digest::of(&images[6]).to_string());
    }
}

#[test]
fn an_archive_that_lies_ends_the_answer_and_keeps_what_came_before() {
    let (first, second) = (image(1), image(2));
    let good = (header("good", EntryType::Regular, first.len() as u64), first.as_slice());
    let whole = raw(&[good.clone(), (header("b", EntryType::Regular, second.len() as u64), &second)]);
    let broken = |entry: (Header, &[u8])| raw(&[good.clone(), entry]);
    let mut unsummed = header("b", EntryType::Regular, second.len() as u64);
    unsummed.as_mut_bytes()[0] ^= 1;
    let large = vec![b'x'; (256 << 10) + 1];
    let check = |body: &[u8], status: u64| {
        let server = Server::start();
        let (lines, last) = server.send("POST", "/images", &[TAR], body).lines();
        let ok = lines.iter().filter(|line| line["status"] == 201).count();
        let expected = (&false.into(), &ok.into(), &(lines.len() - ok).into());
        assert_eq!((&last["done"], &last["ok"], &last["failed"]), expected, "{last}");
        assert_eq!(last["problem"]["status"], status, "{last}");
        assert_eq!(server.get(&path_of(&first)).status, 200);
        // Nothing of an entry that has not ended.
        assert_eq!(server.get("/images").json()["images"].as_array().unwrap().len(), ok);
    };
    // Cut anywhere behind the first entry: in a header, in data, before the end.
    for length in [1_025, 1_500, 1_536, 1_540, 2_047, 2_048] {
        check(&whole[..length], 400);
    }
    check(&broken((header("b", EntryType::Regular, 1 << 62), &second)), 400);
    check(&broken((header("b", EntryType::Regular, 1_600), &second)), 400);
    // Too small: what follows is taken for a header, and is none.
    let two_blocks = vec![b'y'; 1_024];
    check(&broken((header("b", EntryType::Regular, 512), &two_blocks)), 400);
    check(&broken((unsummed, &second)), 400);
    check(&broken(pax("10 path=a")), 400);
    check(&broken((header("g", EntryType::XGlobalHeader, 9), b"9 size=1\n")), 400);
    check(&broken((header("x", EntryType::XHeader, large.len() as u64), &large)), 413);
    check(&broken((header("L", EntryType::GNULongName, large.len() as u64), &large)), 413);
    check(&[whole.as_slice(), &whole].concat(), 400);
    let server = Server::start();
    for none in [b"".as_slice(), &[0; 100], b"no archive at all"] {
        let (lines, last) = server
            .send("POST", "/images", &[TAR, "Content-Length: 0"][..1 + usize::from(none.is_empty())], none)
            .lines();
        assert_eq!((lines.len(), &last["done"]), (0, &false.into()), "{last}");
    }
}

#[test]
fn a_form_that_breaks_in_the_middle_keeps_what_came_before() {
    let server = Server::start();
    let (first, second) = (image(1), image(2));
    let body = form(&[&first, &second, &first]);
    let (lines, last) = server.send("POST", "/images", &[FORM], &body[..body.len() - 30]).lines();
    assert_eq!(statuses(&lines), [201, 201]);
    assert_eq!((&last["done"], &last["problem"]["status"]), (&false.into(), &400.into()));
    let mut endless = body[..body.len() - "--edge--\r\n".len()].to_vec();
    endless.extend_from_slice(b"--edge\r\nx: ");
    endless.resize(endless.len() + (400 << 10), b'y');
    let (lines, last) = server.send("POST", "/images", &[FORM], &endless).lines();
    assert_eq!(statuses(&lines), [200, 200, 200]);
    assert_eq!(last["problem"]["limit"], "form_bytes_max");
}

#[test]
fn many_empty_entries_are_each_answered_to_a_client_that_sends_before_it_reads() {
    const COUNT: usize = 5_000;
    let server = Server::with(|settings| settings.http.body_rate_min = 0);
    let entry = header("empty", EntryType::Regular, 0);
    let mut body: Vec<u8> = (0..COUNT).flat_map(|_| *entry.as_bytes()).collect();
    body.resize(body.len() + 1_024, 0);
    // More than a megabyte of lines: in a file before the first one is read.
    let mut client = server.connect();
    client.write(
        format!("POST /images HTTP/1.1\r\nHost: a\r\n{TAR}\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(),
    );
    client.write(&body);
    let (lines, last) = client.answer(false).lines();
    assert_eq!(last, json!({ "done": true, "ok": 0, "failed": COUNT }));
    assert_eq!(lines.len(), COUNT);
    assert!(lines.iter().enumerate().all(|(index, line)| line["index"] == index && line["status"] == 415));
}

fn begin(server: &Server, bytes: u64) -> Client {
    let mut client = server.connect();
    client.write(format!("POST /images HTTP/1.1\r\nHost: a\r\n{TAR}\r\nContent-Length: {bytes}\r\n\r\n").as_bytes());
    client
}

fn file(n: u32) -> Vec<u8> {
    let bytes = image(n);
    let archive = raw(&[(header(&n.to_string(), EntryType::Regular, bytes.len() as u64), &bytes)]);
    archive[..archive.len() - 1_024].to_vec()
}

#[test]
fn lines_come_while_entries_are_sent_and_what_they_say_stays() {
    let server = Server::start();
    let mut client = begin(&server, 1 << 20);
    for n in 0..5 {
        client.write(&file(n));
        // The next one is sent only once this one is acknowledged.
        if n == 0 {
            assert_eq!(client.head().unwrap().status, 200);
        }
        let line: Value = serde_json::from_slice(&client.chunk().unwrap().unwrap()).unwrap();
        assert_eq!((&line["index"], &line["status"]), (&n.into(), &201.into()));
    }
    // It leaves in the middle of an entry.
    client.write(&file(5)[..520]);
    drop(client);
    for n in 0..5 {
        assert_eq!(server.get(&path_of(&image(n))).body, image(n));
    }
    assert_eq!(server.get("/images").json()["images"].as_array().unwrap().len(), 5);
    until(|| figure(&server, "http_connections") <= 1);
}

#[test]
fn a_stream_that_pauses_is_told_and_closed() {
    let server = Server::with(|settings| settings.http.body_stall_ms = 2_000);
    let mut client = begin(&server, 1 << 20);
    client.write(&file(1));
    let (lines, last) = client.answer(false).lines();
    assert_eq!(statuses(&lines), [201]);
    assert_eq!((&last["done"], &last["problem"]["type"]), (&false.into(), &"/problems/body-timeout".into()));
    assert!(client.is_closed());
}

#[test]
fn the_first_part_of_a_form_has_an_absolute_end() {
    let server = Server::with(|settings| settings.http.body_timeout_ms = 60);
    let mut client = server.connect();
    let part = &form(&[&image(1)])[..100];
    client.write(format!("POST /images HTTP/1.1\r\nHost: a\r\n{FORM}\r\nContent-Length: 10000\r\n\r\n").as_bytes());
    client.write(part);
    client.answer(false).assert_problem(408, "body-timeout");
}

#[test]
fn a_stream_that_is_longer_than_an_idle_connection_may_be_or_a_body_may_take_goes_on() {
    let server = Server::with(|settings| {
        settings.http.head_timeout_ms = 1;
        settings.http.body_timeout_ms = 1;
    });
    let mut client = begin(&server, (3 * file(0).len() + 1_024) as u64);
    for n in 0..3 {
        client.write(&file(n));
        if n == 0 {
            assert_eq!(client.head().unwrap().status, 200);
        }
        client.chunk().unwrap().expect("a line");
    }
    client.write(&[0; 1_024]);
    assert_eq!(client.chunk().unwrap().map(|last| last.starts_with(b"{\"done\":true")), Some(true));
    assert_eq!(client.chunk(), Ok(None));
    assert_eq!(client.ask("GET", "/healthz", &[], b"").status, 200);
}

#[test]
fn a_client_that_never_reads_is_told_why_the_server_stopped() {
    let server = Server::with(|settings| {
        settings.http.spool_bytes_max = 1 << 20;
        settings.http.write_stall_ms = 10_000;
        settings.http.linger_ms = 20_000;
        settings.http.body_rate_min = 0;
    });
    // More lines than the spool and the buffers of both sockets take, and a sender that reads only after all of it.
    let entry = header(&"n".repeat(100), EntryType::Regular, 0);
    let body: Vec<u8> = (0..120_000).flat_map(|_| *entry.as_bytes()).collect();
    let mut client = begin(&server, body.len() as u64 + 1_024);
    client.write(&body);
    let (lines, last) = client.answer(false).lines();
    assert_eq!(last["problem"]["type"], "/problems/client-not-reading", "{last} after {} lines", lines.len());
    assert!(lines.len() < 120_000);
}

#[test]
fn expectations_are_met_before_the_answer_begins() {
    let server = Server::start();
    let body = tar([("a", image(1).as_slice())]);
    let mut client = server.connect();
    let length = body.len();
    client.write(
        format!(
            "POST /images HTTP/1.1\r\nHost: a\r\n{TAR}\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        )
        .as_bytes(),
    );
    assert_eq!(client.answer(false).status, 100);
    client.write(&body);
    assert_eq!(statuses(&client.answer(false).lines().0), [201]);
}

#[test]
fn entries_wait_for_room_instead_of_being_refused() {
    // Room for two at a time.
    let server = Server::with(|settings| settings.store.uploads_bytes_max = 8 << 10);
    let images: Vec<Vec<u8>> = (0..50).map(image).collect();
    let body = tar(images.iter().map(|image| ("x", image.as_slice())));
    let (lines, last) = server.send("POST", "/images", &[TAR], &body).lines();
    assert_eq!(last, json!({ "done": true, "ok": 50, "failed": 0 }), "{lines:?}");
}

/// A store that becomes full after some commits.
struct Filling {
    store: Arc<dyn Store>,
    left: Arc<AtomicUsize>,
}

struct Filled(Box<dyn Stage>, Arc<AtomicUsize>);

impl Stage for Filled {
    fn write(&mut self, bytes: bytes::Bytes) -> Future<'_, ()> {
        self.0.write(bytes)
    }
    fn bytes(&mut self) -> Future<'_, bytes::Bytes> {
        self.0.bytes()
    }
    fn commit(self: Box<Self>, digest: Digest) -> Future<'static, store::Commit> {
        let left = self.1.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        match left {
            Ok(_) => self.0.commit(digest),
            Err(_) => Box::pin(async { Err(Error::Full) }),
        }
    }
}

impl Store for Filling {
    fn stat<'a>(&'a self, digests: &'a [Digest]) -> Future<'a, Vec<Option<Stat>>> {
        self.store.stat(digests)
    }
    fn open<'a>(&'a self, digest: &'a Digest) -> Future<'a, Blob> {
        self.store.open(digest)
    }
    fn stage(&self, size_hint: Option<u64>) -> Future<'_, Box<dyn Stage>> {
        Box::pin(async move {
            let stage = self.store.stage(size_hint).await?;
            Ok(Box::new(Filled(stage, self.left.clone())) as Box<dyn Stage>)
        })
    }
    fn delete<'a>(&'a self, digest: &'a Digest) -> Future<'a, bool> {
        self.store.delete(digest)
    }
    fn list(&self, after: Option<Digest>, limit: usize) -> Future<'_, Vec<(Digest, Stat)>> {
        self.store.list(after, limit)
    }
    fn writable(&self) -> Result<(), Error> {
        self.store.writable()
    }
}

#[test]
fn a_store_that_fills_up_refuses_the_rest_and_keeps_what_it_acknowledged() {
    let store = runtime().block_on(store::open("memory:", &Options::default())).unwrap();
    let server = Server::over(Arc::new(Filling { store, left: Arc::new(AtomicUsize::new(7)) }), |_| {});
    let images: Vec<Vec<u8>> = (0..20).map(image).collect();
    let body = tar(images.iter().map(|image| ("x", image.as_slice())));
    let (lines, last) = server.send("POST", "/images", &[TAR], &body).lines();
    assert_eq!(last, json!({ "done": true, "ok": 7, "failed": 13 }));
    for (line, image) in lines.iter().zip(&images) {
        let expected = if line["status"] == 201 { 200 } else { 404 };
        assert_eq!(server.get(&path_of(image)).status, expected, "{line}");
        assert!(line["status"] == 201 || line["problem"]["type"] == "/problems/store-full", "{line}");
    }
}

#[test]
fn entries_share_group_commits_on_the_disk() {
    const COUNT: u32 = 300;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::on(folder.path().to_str().unwrap(), |_| {});
    // Its start-up sync waits for whatever else was written to the device.
    until(|| server.get("/readyz").status == 200);
    let images: Vec<Vec<u8>> = (0..COUNT).map(image).collect();
    let body = tar(images.iter().map(|image| ("x", image.as_slice())));
    let (_, last) = server.send("POST", "/images", &[TAR], &body).lines();
    assert_eq!(last["ok"], COUNT);
    let commits = figure(&server, "store_commits_total");
    assert!(commits < u64::from(COUNT), "{commits} commits of {COUNT} entries");
}
