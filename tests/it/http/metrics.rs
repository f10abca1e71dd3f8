//! The figures at `/metrics`, and the requests that change them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::client::Client;
use super::{Server, ppm, until};

/// A figure of the page.
pub fn figure(server: &Server, name: &str) -> u64 {
    let page = server.get("/metrics").text();
    let value = page.lines().find_map(|line| line.strip_prefix(&format!("progimage_{name} ")));
    value.unwrap_or_else(|| panic!("{name} in {page}")).parse().unwrap()
}

#[test]
fn an_upload_a_miss_and_a_hit_move_the_figures() {
    let server = Server::start();
    let check = |expected: [(&str, u64); 5]| {
        for (name, value) in expected {
            assert_eq!(figure(&server, name), value, "{name}");
        }
    };
    let figures = |uploads, hits, misses, renders, entries| {
        [
            ("uploads_total", uploads),
            ("rendition_hits_total", hits),
            ("rendition_misses_total", misses),
            ("renders_total", renders),
            ("rendition_cache_entries", entries),
        ]
    };
    check(figures(0, 0, 0, 0, 0));
    let path = format!("{}.png?w=3", server.store(&ppm(9, 9, [1, 7, 7])));
    check(figures(1, 0, 0, 0, 0));
    server.get(&path);
    check(figures(1, 0, 1, 1, 1));
    server.get(&path);
    check(figures(1, 1, 1, 1, 1));
    assert!(figure(&server, "rendition_cache_bytes") > 0);
    assert_eq!(figure(&server, "render_bytes_in_flight"), 0);
}

#[test]
fn the_store_counts_its_syncs() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::on(folder.path().to_str().unwrap(), |_| {});
    // The syncs of its start are over then.
    until(|| server.get("/readyz").status == 200);
    let before = figure(&server, "store_fdatasync_total");
    server.store(&ppm(9, 9, [1, 7, 8]));
    assert_eq!(figure(&server, "store_fdatasync_total"), before + 1);
    assert_eq!((figure(&server, "store_commits_total"), figure(&server, "store_published_total")), (1, 1));
    assert_eq!(figure(&server, "store_writable"), 1);
}

const REQUESTS: usize = 1_000;

#[test]
fn a_thousand_simultaneous_requests_for_one_cold_rendition_make_one_render() {
    let server = Server::start();
    // Large enough that its render outlasts the writing of the requests.
    let path = format!("{}.png?w=50", server.store(&ppm(1_200, 900, [10, 20, 30])));
    let connections = connections();
    let mut clients: Vec<Client> = (0..connections).map(|_| server.connect()).collect();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    for index in 0..REQUESTS {
        clients[index % connections].write(request.as_bytes());
    }
    let mut bodies = (0..REQUESTS).map(|index| {
        let answer = clients[index % connections].answer(false);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.body
    });
    let first = bodies.next().unwrap();
    assert!(first.starts_with(b"\x89PNG"));
    assert!(bodies.all(|body| body == first));
    assert_eq!(figure(&server, "renders_total"), 1);
    let (hits, misses) = (figure(&server, "rendition_hits_total"), figure(&server, "rendition_misses_total"));
    assert_eq!(hits + misses, REQUESTS as u64);
    assert_eq!(figure(&server, "render_refusals_total"), 0);
}

/// The number of connections: one for each request, unless this process may not hold both ends of so many in addition
/// to those of other tests. Then several requests share one. The soft bound is raised first.
fn connections() -> usize {
    const ENOUGH: u64 = 4 * REQUESTS as u64;
    let bounds = getrlimit(Resource::Nofile);
    let allowed = bounds.maximum.map_or(ENOUGH, |maximum| maximum.min(ENOUGH));
    if bounds.current.is_some_and(|current| current < allowed) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), ..bounds }).unwrap();
    }
    REQUESTS.min(allowed as usize / 4)
}
