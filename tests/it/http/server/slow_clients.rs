//! How much memory slow clients can make the server hold: many slow readers and senders, against the budgets.

use progimage::digest::Digest;

use crate::http::metrics::figure;
use crate::http::{Client, Server, until};

/// Results stay in memory for as long as a test runs.
const STAYS_MS: u64 = 3_600_000;

/// An image of one shade with more bytes than the buffers of both sockets take together.
fn large(shade: u8) -> Vec<u8> {
    let mut bytes = b"P6\n3000 2000\n255\n".to_vec();
    bytes.resize(bytes.len() + 18_000_000, shade);
    bytes
}

/// Sends a request and reads only the status of the answer: the rest waits on the server.
fn ask_and_read_slowly(server: &Server, path: &str) -> (Client, u16) {
    ask_for_a_range_and_read_slowly(server, path, "")
}

fn ask_for_a_range_and_read_slowly(server: &Server, path: &str, range: &str) -> (Client, u16) {
    let mut client = server.connect();
    client.write(format!("GET {path} HTTP/1.1\r\nHost: a\r\nRange: {range}\r\n\r\n").as_bytes());
    let mut status = [0; 12];
    std::io::Read::read_exact(&mut client.stream, &mut status).unwrap();
    (client, std::str::from_utf8(&status[9..]).unwrap().parse().unwrap())
}

#[test]
fn slow_readers_hold_no_more_than_the_budget() {
    const BUDGET: u64 = 60_000_000;
    for cache_bytes_max in [0, 20_000_000] {
        let server = Server::with(|settings| {
            settings.renditions.cache_bytes_max = cache_bytes_max;
            settings.renditions.render_memory_bytes_max = BUDGET;
            settings.renditions.queue_timeout_ms = 50;
            settings.http.result_wait_ms = STAYS_MS;
        });
        // A conversion to the source's own format returns its bytes as they are, without a render.
        let paths: Vec<String> = (0..6).map(|shade| format!("{}.ppm", server.store(&large(shade)))).collect();
        let mut readers: Vec<(Client, u16)> = Vec::new();
        for path in &paths {
            readers.push(ask_and_read_slowly(&server, path));
            assert!(figure(&server, "rendition_bytes_held") <= BUDGET + cache_bytes_max);
        }
        let statuses: Vec<u16> = readers.iter().map(|(_, status)| *status).collect();
        let fit = ((BUDGET + cache_bytes_max) / 18_000_000) as usize;
        assert_eq!(statuses, [vec![200; fit], vec![503; paths.len() - fit]].concat());
        // The answer in the cache is shared by its readers, also when nothing more fits.
        let again = paths.iter().map(|path| ask_and_read_slowly(&server, path)).filter(|(_, status)| *status == 200);
        assert_eq!(again.count() as u64, cache_bytes_max / 18_000_000);
        // A client that leaves, or reads all, makes room.
        drop(readers);
        until(|| figure(&server, "rendition_bytes_held") <= cache_bytes_max);
        assert_eq!(server.get(&paths[5]).body.len(), large(5).len());
    }
}

#[test]
fn results_of_slow_readers_leave_the_memory_of_renders_and_come_whole() {
    let server = Server::with(|settings| {
        settings.renditions.cache_bytes_max = 0;
        settings.renditions.render_memory_bytes_max = 60_000_000;
        settings.http.result_wait_ms = 0;
    });
    let images: Vec<Vec<u8>> = (0..6).map(large).collect();
    let mut readers: Vec<Client> = Vec::new();
    for image in &images {
        let (reader, status) = ask_and_read_slowly(&server, &format!("{}.ppm", server.store(image)));
        assert_eq!(status, 200);
        readers.push(reader);
        until(|| figure(&server, "rendition_bytes_held") == 0);
    }
    for (mut reader, image) in readers.into_iter().zip(&images) {
        reader.before(b"HTTP/1.1 200");
        assert!(reader.answer(false).body == *image);
    }
}

#[test]
fn ranges_of_results_of_slow_readers_leave_the_memory_of_renders_and_come_whole() {
    let server = Server::with(|settings| {
        settings.renditions.cache_bytes_max = 0;
        settings.http.result_wait_ms = 0;
    });
    let path = format!("{}.ppm", server.store(&large(5)));
    for ranges in ["1-", "0-9,20-"] {
        let (mut reader, status) = ask_for_a_range_and_read_slowly(&server, &path, &format!("bytes={ranges}"));
        assert_eq!(status, 206);
        until(|| figure(&server, "rendition_bytes_held") == 0);
        reader.before(b"HTTP/1.1 206");
        let in_time = server.ask("GET", &path, &[&format!("Range: bytes={ranges}")]);
        assert!(reader.answer(false).body == in_time.body && in_time.body.len() >= large(5).len() - 10);
    }
}

#[test]
fn results_for_which_no_file_has_room_come_whole_from_memory() {
    let server = Server::with(|settings| {
        settings.http.result_wait_ms = 0;
        settings.http.spools_bytes_max = 0;
    });
    let path = server.store(&large(9));
    assert!(server.get(&format!("{path}.ppm")).body == large(9));
}

fn ids(count: usize) -> Vec<u8> {
    (0..count).flat_map(|n| format!("{}\n", Digest::of(&n.to_le_bytes())).into_bytes()).collect()
}

#[test]
fn lists_of_slow_clients_hold_no_more_than_their_budget() {
    // An answer of more than the buffers of both sockets take.
    let (large, small) = (ids(280_000), ids(10));
    let server = Server::with(|settings| {
        settings.http.list_bytes_max = large.len();
        settings.http.lists_bytes_max = large.len();
        settings.http.ids_max = 280_000;
        settings.http.result_wait_ms = STAYS_MS;
    });
    let ask = || server.send("POST", "/images/missing", &[], &small);
    let mut slow = server.connect();
    let head = format!("POST /images/missing HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", large.len());
    slow.write(head.as_bytes());
    assert_eq!(ask().status, 200, "a declared length alone takes no memory");
    slow.write(&large);
    // The body was as large as the budget; now it is the answer that waits for its reader.
    std::io::Read::read_exact(&mut slow.stream, &mut [0]).unwrap();
    let refused = ask();
    refused.assert_problem(503, "busy");
    assert_eq!(refused.field("retry-after"), Some("1"));
    drop(slow);
    until(|| ask().status == 200);
}
