//! `POST /images` of many images: the result of each entry of an archive and of each part of a form.

use progimage::digest::Digest;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use super::upload::{FORM, form};
use crate::http::metrics::figure;
use crate::http::{Server, path_of, ppm};

pub const TAR: &str = "Content-Type: application/x-tar";

/// An image that differs for each number.
pub fn image(n: u32) -> Vec<u8> {
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
pub fn raw(entries: &[(Header, &[u8])]) -> Vec<u8> {
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

pub fn statuses(lines: &[Value]) -> Vec<u64> {
    lines.iter().map(|line| line["status"].as_u64().unwrap_or_else(|| panic!("{line}"))).collect()
}

fn names(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|line| line["name"].as_str().unwrap_or_else(|| panic!("{line}"))).collect()
}

#[test]
fn each_entry_of_a_tar_and_each_part_of_a_form_is_stored_and_reported() {
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
fn what_is_no_regular_file_is_reported_or_skipped_and_no_path_matters() {
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
    // In every division into chunks.
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
        // An entry that has not ended is not stored.
        assert_eq!(server.get("/images").json()["images"].as_array().unwrap().len(), ok);
    };
    // Cut anywhere after the first entry: in a header, in data, before the end.
    for length in [1_025, 1_500, 1_536, 1_540, 2_047, 2_048] {
        check(&whole[..length], 400);
    }
    check(&broken((header("b", EntryType::Regular, 1 << 62), &second)), 400);
    check(&broken((header("b", EntryType::Regular, 1_600), &second)), 400);
    // The length is too small, so data is read as a header, which it is not.
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
