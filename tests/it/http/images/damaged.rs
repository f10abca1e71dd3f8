//! Originals from a disk that were not read before: what is read for an answer, and how much of a damaged one is sent.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use progimage::digest::Digest;

use crate::http::client::Client;
use crate::http::{Server, path_of, until};

/// Bytes of one frame of a blob.
const FRAME: usize = 256 << 10;

/// A picture of two frames and a half.
fn image() -> Vec<u8> {
    let mut bytes = b"P6\n512 427\n255\n".to_vec();
    bytes.resize(bytes.len() + 512 * 427 * 3, 9);
    assert_eq!(bytes.len() / FRAME, 2);
    bytes
}

fn file_of(folder: &Path, image: &[u8]) -> PathBuf {
    let name = Digest::of(image).to_string();
    folder.join("blobs").join(&name[..3]).join(name)
}

/// A server on a folder with one picture, whose last byte was changed.
fn damaged(folder: &Path, image: &[u8]) -> Server {
    let first = Server::on(folder.to_str().unwrap(), |_| {});
    first.store(image);
    first.stop();
    first.stopped();
    let path = file_of(folder, image);
    let mut permissions = fs::metadata(&path).unwrap().permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "a file of this test's own")]
    permissions.set_readonly(false);
    fs::set_permissions(&path, permissions).unwrap();
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0], image.len() as u64 - 1).unwrap();
    // A client that waited for this would give up.
    Server::on(folder.to_str().unwrap(), |settings| settings.http.linger_ms = 600_000)
}

/// The client deletes its own copy after the answer, so this was the last good one.
#[test]
fn an_upload_of_a_damaged_original_is_stored_in_its_place() {
    let image = image();
    for (method, path) in [("POST", "/images".to_owned()), ("PUT", path_of(&image))] {
        let folder = tempfile::tempdir().unwrap();
        let server = damaged(folder.path(), &image);
        for (status, created) in [(201, true), (200, false)] {
            let answer = server.send(method, &path, &[], &image);
            assert_eq!((answer.status, &answer.json()["created"]), (status, &created.into()), "{method}");
            assert!(fs::read(file_of(folder.path(), &image)).unwrap() == image, "{method}");
        }
        assert!(server.get(&path_of(&image)).body == image, "{method}");
        assert_eq!(fs::read_dir(folder.path().join("quarantine")).unwrap().count(), 1, "{method}");
    }
}

#[test]
fn a_conditional_get_reads_nothing() {
    let (folder, image) = (tempfile::tempdir().unwrap(), image());
    let server = damaged(folder.path(), &image);
    let field = format!("If-None-Match: \"{}\"", Digest::of(&image));
    // Reading it would find the damage.
    assert_eq!(server.ask("GET", &path_of(&image), &[&field]).status, 304);
    assert_eq!(server.ask("GET", &path_of(&image), &["If-Match: \"x\""]).status, 412);
    assert!(file_of(folder.path(), &image).exists());
}

#[test]
fn an_original_is_proven_while_it_streams_and_its_last_frame_held_back() {
    let (folder, image) = (tempfile::tempdir().unwrap(), image());
    let server = damaged(folder.path(), &image);
    let mut client: Client = server.connect();
    client.write(format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", path_of(&image)).as_bytes());
    let mut answer = Vec::new();
    client.stream.read_to_end(&mut answer).expect("the connection ends as soon as the damage is found");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    assert!(head.starts_with("http/1.1 200") && head.contains("content-type: image/x-portable-pixmap"), "{head}");
    assert_eq!(answer.len() - end, 2 * FRAME, "all that cannot be the whole");
    assert!(answer[end..] == image[..2 * FRAME]);
    // It is out of service now.
    until(|| !file_of(folder.path(), &image).exists());
    assert_eq!(server.get(&path_of(&image)).status, 404);
}
