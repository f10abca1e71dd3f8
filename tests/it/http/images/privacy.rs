//! What a photograph tells of its place and its author leaves with the original and its plain conversion alone.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use progimage::http::Presets;
use progimage::http::auth::{Access, keys};
use progimage::pipeline::codec::{self, DecodeOptions};
use progimage::pipeline::metadata::Metadata;
use progimage::pipeline::{Channels, Deadline, Frame, Limits};
use serde_json::{Value, json};

use crate::fetch::origin::{Origin, ok};
use crate::fetch::{PERMITTED, options};
use crate::fixtures::metadata::{self, MAKER_NOTE, THUMBNAIL};
use crate::fixtures::pattern::pattern;
use crate::http::bulk::{data, id, item, ndjson, results, with};
use crate::http::client::Answer;
use crate::http::{Server, path_of};

/// Words of the blocks of `fixtures::metadata`, and of the comments here.
const SECRETS: [&[u8]; 5] = [b"Ansel Artist", b"xmpmeta", b"48 degrees north", THUMBNAIL, MAKER_NOTE];

fn tells(bytes: &[u8]) -> bool {
    SECRETS.iter().any(|secret| bytes.windows(secret.len()).any(|window| window == *secret))
}

/// Blocks without a profile, for pixels that are upright already.
fn upright() -> Metadata {
    let (mut block, turned) = (metadata::block(false), b"\x12\x01\x03\0\x01\0\0\0\x06\0");
    let at = block.windows(turned.len()).position(|window| window == turned).unwrap();
    block[at + 8] = 1;
    Metadata { exif: Some(block), icc: None, ..metadata::all(false) }
}

/// A GIF with a comment, XMP and a number of plays.
fn gif() -> Vec<u8> {
    let plain = crate::fixtures::read("disposal_keep.gif");
    let palette = if plain[10] & 0x80 == 0 { 0 } else { 3 << ((plain[10] & 7) + 1) };
    let (head, rest) = plain.split_at(13 + palette);
    let comment = b"\x21\xfe\x1048 degrees north\0";
    let xmp = b"\x21\xff\x0bXMP DataXMP\x10<x:xmpmeta xmlns\0";
    [head, comment, xmp, rest, b"48 degrees north"].concat()
}

/// Files that tell, by extension: one whose data may stay, and one that must be turned or has a profile.
fn sources() -> Vec<(&'static str, Vec<u8>, bool)> {
    let lossless = ["jpg", "png", "webp", "avif"].map(|extension| {
        let name = codec::by_extension(extension).unwrap().name;
        (extension, metadata::file(name, &pattern(Channels::Rgb), &upright()), true)
    });
    let rendered = ["jpg", "png", "webp", "avif", "tiff"]
        .map(|extension| (extension, crate::fixtures::read(&format!("metadata.{extension}")), false));
    let sources = lossless.into_iter().chain(rendered).chain([("gif", gif(), true)]).collect::<Vec<_>>();
    assert!(sources.iter().all(|(_, bytes, _)| tells(bytes)));
    sources
}

fn frames(bytes: &[u8]) -> Vec<Frame> {
    let (limits, deadline) = (Limits::default(), Deadline::default());
    let options = DecodeOptions { frames_max: u32::MAX, ..DecodeOptions::new(&limits, &deadline) };
    (codec::sniff(bytes).unwrap().decode)(bytes, &options).unwrap().frames
}

#[test]
fn only_the_original_and_its_plain_conversion_tell() {
    for (extension, bytes, _) in sources() {
        let server = Server::start();
        let path = server.store(&bytes);
        for plain in [path.clone(), format!("{path}.{extension}"), format!("{path}.{extension}?download=x")] {
            assert!(server.get(&plain).body == bytes, "{plain} of {extension}");
        }
    }
}

/// The answers of every other route and spelling.
fn others(server: &Server, origin: &Origin, extension: &str, bytes: &[u8]) -> Vec<(String, Answer)> {
    let path = path_of(bytes);
    let accepts = ["*/*", "image/webp", "image/avif,image/webp,*/*", "image/png", "image/jpeg", "image/gif"];
    let mut answers = Vec::new();
    let mut add = |method: &str, path: String, accept: &str, body: &[u8]| {
        let answer = server.send(method, &path, &[&format!("Accept: {accept}")], body);
        answers.push((format!("{method} {path} {accept}"), answer));
    };
    for accept in accepts {
        add("GET", format!("{path}.auto"), accept, b"");
        add("GET", format!("{path}.auto?preset=empty"), accept, b"");
        add("POST", "/process.auto".to_owned(), accept, bytes);
    }
    for query in ["metadata=none", "metadata=strip", "never_larger", "orient=auto", "preset=empty", "q=75", "frame=all"]
    {
        add("GET", format!("{path}.{extension}?{query}"), "*/*", b"");
    }
    for query in ["", "?download=x", "?preset=empty", "?metadata=strip"] {
        add("POST", format!("/process.{extension}{query}"), "*/*", bytes);
    }
    for query in ["", "&download=x", "&store=true"] {
        add("GET", format!("/remote.{extension}?url={}{query}", origin.url("/a")), "*/*", b"");
    }
    add("GET", format!("/remote.auto?url={}", origin.url("/a")), "*/*", b"");
    answers.retain(|(_, answer)| answer.status != 406);
    answers
}

#[test]
fn nothing_else_tells_whatever_is_asked() {
    for (extension, bytes, is_lossless) in sources() {
        let remote = bytes.clone();
        let origin = Origin::start(PERMITTED, move |_| ok(&[], &remote));
        let server = Server::with(|settings| {
            settings.fetch = options(&[origin.port()]);
            settings.http.presets.set(Presets::named("empty:metadata=none").unwrap());
        });
        server.store(&bytes);
        let was = frames(&bytes);
        for (asked, answer) in others(&server, &origin, extension, &bytes) {
            assert_eq!(answer.status, 200, "{asked} of {extension}: {}", answer.text());
            assert!(!tells(&answer.body), "{asked} of {extension}");
            let own = codec::sniff(&answer.body).unwrap().extensions.contains(&extension);
            let is_plain = ["/process", "/remote", ".auto"].iter().any(|route| asked.contains(route));
            if is_lossless && own && is_plain && !asked.contains("preset") {
                assert!(frames(&answer.body) == was, "{asked} of {extension} is not lossless");
            }
        }
    }
}

#[test]
fn bulk_and_stored_results_tell_nothing() {
    for (extension, bytes, is_lossless) in sources() {
        let server = Server::start();
        server.store(&bytes);
        let output = json!({ "format": extension });
        let items = [id(&bytes), data(&bytes)]
            .map(|source| item(source, &[output.clone(), with(output.clone(), "to", "blob")]));
        for line in results(&server.send("POST", "/bulk", &[], &ndjson(&items))) {
            let made = match line["data"].as_str() {
                Some(data) => STANDARD.decode(data).unwrap(),
                None => server.get(line["url"].as_str().unwrap_or_else(|| panic!("{line}"))).body,
            };
            assert!(!tells(&made), "{extension}");
            assert!(!is_lossless || frames(&made) == frames(&bytes), "{extension}");
        }
    }
}

#[test]
fn a_rendition_made_in_bulk_is_what_its_url_says() {
    let server = Server::start();
    let (_, bytes, _) = sources().remove(0);
    let path = server.store(&bytes);
    let kept = item(id(&bytes), &[json!({ "format": "jpg", "to": "rendition" })]);
    let lines = results(&server.send("POST", "/bulk", &[], &ndjson(&[kept])));
    assert_eq!(lines[0]["url"], format!("{path}.jpg"));
    assert!(server.get(lines[0]["url"].as_str().unwrap()).body == bytes);
}

#[test]
fn a_damaged_image_does_not_pass_through_unseen() {
    let (_, whole, _) = sources().remove(0);
    let cut = whole[..whole.len() * 9 / 10].to_vec();
    let server = Server::start();
    let path = server.store(&cut);
    assert!(server.get(&path).body == cut && server.get(&format!("{path}.jpg")).body == cut);
    server.get(&format!("{path}.auto")).assert_problem(415, "corrupt-source");
    server.send("POST", "/process.jpg", &[], &cut).assert_problem(415, "corrupt-source");
    let lines =
        results(&server.send("POST", "/bulk", &[], &ndjson(&[item(data(&cut), &[json!({ "format": "jpg" })])])));
    assert_eq!(lines[0]["status"], 415);
}

const READER: &str = "Authorization: Bearer reader-reader-reader";
const WRITER: &str = "Authorization: Bearer writer-writer-writer";

#[test]
fn a_position_is_for_keys_that_may_read() {
    let bytes = crate::fixtures::read("metadata.jpg");
    let shown = |keyed: bool, originals_need_key: bool, fields: &[&str]| {
        let list = "r:read:reader-reader-reader w:write:writer-writer-writer";
        let server = Server::with(|settings| {
            let keys = if keyed { keys(list).unwrap() } else { Vec::new() };
            settings.access = Access { keys, originals_need_key, ..Access::default() };
        });
        server.send("POST", "/images", &[WRITER], &bytes);
        let info = server.ask("GET", &format!("{}/info", path_of(&bytes)), fields).json();
        assert_eq!(info["exif"]["model"], "Model 1");
        let listed = server.send("POST", "/images/info", fields, &path_of(&bytes).as_bytes()["/images/".len()..]);
        assert_eq!(listed.lines().0[0]["exif"], info["exif"]);
        info["exif"]["gps"] != Value::Null
    };
    for guarded in [false, true] {
        assert!(shown(true, guarded, &[READER]), "a key with read");
        assert!(!shown(true, guarded, &[]), "none, where there are some");
        assert!(!shown(true, guarded, &[WRITER]), "a key without read");
        assert!(!shown(true, guarded, &["Authorization: Bearer unknown-unknown-unknown"]), "an unknown one");
    }
    assert!(shown(false, false, &[]), "without keys every client may do everything");
    assert!(!shown(false, true, &[]), "originals need a key, and there is none");
}
