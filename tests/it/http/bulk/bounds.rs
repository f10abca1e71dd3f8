//! How many items, how long, and how much of them at once.

use serde_json::json;

use super::{Server, assert_failed, bulk, data, id, item, ndjson, ppm, resize, results, with};
use crate::fetch::origin::{Origin, ok};
use crate::fetch::{PERMITTED, options};
use crate::http::until;

#[test]
fn items_and_lines_have_bounds() {
    let server = Server::with(|settings| settings.http.line_bytes_max = 2_000);
    let image = ppm(4, 4, [3, 2, 1]);
    server.store(&image);
    let outputs = |count| item(id(&image), &vec![resize("png", 2); count]);
    let keyed = |bytes| json!({ "key": "k".repeat(bytes), "source": id(&image), "outputs": [resize("png", 2)] });
    let line = |bytes: usize| format!("{:<bytes$}\n", item(id(&image), &[resize("png", 2)]).to_string()).into_bytes();
    let items = ndjson(&[outputs(16), outputs(17), keyed(256), keyed(257)]);
    let body = [items, line(2_000), line(2_001), line(2_000)].concat();
    let lines = results(&server.send("POST", "/bulk", &[], &body));
    assert!(lines[..16].iter().all(|line| line["item"] == 0 && line["status"] == 200));
    assert_failed(&lines[16], 422, "limit");
    assert_eq!((&lines[16]["item"], &lines[16]["problem"]["limit"]), (&1.into(), &"outputs_max".into()));
    assert_eq!(lines[17]["key"], "k".repeat(256));
    assert_failed(&lines[18], 400, "invalid-parameter");
    assert_eq!(lines[18]["problem"]["parameter"], "key");
    assert_eq!(lines[19]["status"], 200);
    assert_failed(&lines[20], 413, "too-large");
    assert_eq!((&lines[20]["item"], &lines[20]["problem"]["limit"]), (&5.into(), &"line_bytes_max".into()));
    assert_eq!((&lines[21]["item"], &lines[21]["status"]), (&6.into(), &200.into()));
}

#[test]
fn requests_that_are_none_are_refused_plainly() {
    let server = Server::start();
    server.send("POST", "/bulk?w=3", &[], b"{}").assert_problem(400, "invalid-parameter");
    server.send("POST", "/bulk", &["Content-Type: image/png"], b"{}").assert_problem(415, "media-type");
    server.get("/bulk").assert_problem(405, "method-not-allowed");
}

#[test]
fn bodies_that_find_no_room_are_refused_one_by_one() {
    const BUDGET: u64 = 1 << 20;
    let server = Server::with(|settings| {
        settings.store.uploads_bytes_max = BUDGET;
        // A body may wait for room for as long.
        settings.http.body_stall_ms = 2_000;
    });
    let (small, large) = (ppm(20, 10, [1, 2, 3]), ppm(600, 600, [1, 2, 3]));
    // The line in the middle finds room, but not both the line and the image in it.
    let sources = [&small, &large, &small, &ppm(410, 400, [1, 2, 3]), &small];
    let lines = bulk(&server, &sources.map(|source| item(data(source), &[resize("png", 2)])));
    for (index, line) in lines.iter().enumerate() {
        if index % 2 == 0 { assert_eq!(line["status"], 200) } else { assert_failed(line, 503, "busy") }
    }
    let part = |name: &str| item(json!({ "part": name }), &[resize("png", 2)]);
    let parts: [(&str, &[u8]); 3] =
        [("items", &ndjson(&[part("large"), part("small")])), ("large", &large), ("small", &small)];
    let form = super::bodies::form(&parts);
    let lines = results(&server.send("POST", "/bulk", &[super::bodies::FORM], &form));
    assert_failed(&lines[0], 503, "busy");
    assert_eq!(lines[1]["status"], 200);
    // No memory of them is still held.
    assert_eq!(server.send("POST", "/images", &[], &ppm(400, 400, [1, 2, 3])).status, 201);
}

#[test]
fn no_more_items_run_at_once_than_may() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static AT_ONCE: [AtomicUsize; 3] = [const { AtomicUsize::new(0) }; 3];
    let [came, running, most] = &AT_ONCE;
    let origin = Origin::start(PERMITTED, move |_| {
        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // Two by two: the first waits for the second.
        let place = came.fetch_add(1, Ordering::SeqCst);
        until(|| came.load(Ordering::SeqCst) >= place / 2 * 2 + 2);
        running.fetch_sub(1, Ordering::SeqCst);
        ok(&[], &ppm(2, 2, [1, 1, 1]))
    });
    let server = Server::with(|settings| {
        settings.fetch = options(&[origin.port()]);
        settings.http.bulk_items_max = 2;
    });
    let remote = |index: u32| item(json!({ "url": origin.url(&format!("/{index}")) }), &[resize("png", 1)]);
    let lines = bulk(&server, &(0..20).map(remote).collect::<Vec<_>>());
    assert!(lines.iter().all(|line| line["status"] == 200));
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[test]
fn results_that_find_room_nowhere_are_refused_one_by_one() {
    let ask = |bytes_max: usize| {
        let server = Server::with(|settings| {
            settings.http.bulk_results_bytes_max = bytes_max;
            settings.http.spools_bytes_max = 0;
        });
        let image = data(&ppm(60, 40, [1, 2, 3]));
        bulk(&server, &[item(image, &[resize("ppm", 30), with(resize("ppm", 30), "to", "blob")])])
    };
    let bytes = ask(1 << 20)[0]["bytes"].as_u64().unwrap() as usize;
    assert_eq!(ask(bytes)[0]["status"], 200);
    let lines = ask(bytes - 1);
    assert_failed(&lines[0], 503, "busy");
    assert_eq!(lines[1]["status"], 201, "what is not answered needs no room");
}
