//! The figures at `/metrics`, by what moves them.

use super::{Server, ppm};

fn figure(server: &Server, name: &str) -> u64 {
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
    let before = figure(&server, "store_fdatasync_total");
    server.store(&ppm(9, 9, [1, 7, 8]));
    assert_eq!(figure(&server, "store_fdatasync_total"), before + 1);
    assert_eq!((figure(&server, "store_commits_total"), figure(&server, "store_published_total")), (1, 1));
    assert_eq!(figure(&server, "store_writable"), 1);
}
