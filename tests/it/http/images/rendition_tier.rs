//! The rendition tier as clients see it: the answers of a server that was restarted.

use std::path::PathBuf;
use std::sync::Arc;

use crate::http::metrics::figure;
use crate::http::{Server, ppm, runtime, until};
use progimage::store::{self, Store};

/// Servers one after the other over one store and one tier.
struct Tiered {
    store: Arc<dyn Store>,
    folder: tempfile::TempDir,
}

impl Tiered {
    fn new() -> Tiered {
        let store = runtime().block_on(store::open("memory:", &store::Options::default())).unwrap();
        Tiered { store, folder: tempfile::tempdir().unwrap() }
    }

    fn start(&self) -> Server {
        let tier_folder = Some(self.folder.path().to_owned());
        Server::over(self.store.clone(), |settings| settings.renditions.tier_folder = tier_folder)
    }

    fn files(&self) -> Vec<PathBuf> {
        let folders = std::fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        folders.flat_map(|folder| std::fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path()).collect()
    }
}

#[test]
fn what_was_asked_for_twice_is_a_hit_after_a_restart_until_it_is_deleted() {
    let tiered = Tiered::new();
    let first = tiered.start();
    let path = first.store(&ppm(40, 20, [200, 100, 50]));
    let form = format!("{path}.png?w=10");
    let made = first.get(&form);
    assert_eq!(first.get(&form).field("cache-status"), Some("progimage; hit"));
    until(|| figure(&first, "tier_entries") == 1);
    assert_eq!(tiered.files().len(), 1);

    let second = tiered.start();
    let kept = second.get(&form);
    assert_eq!(kept.field("cache-status"), Some("progimage; hit; detail=tier"));
    for name in ["etag", "content-type", "cache-control", "link"] {
        assert_eq!(kept.field(name), made.field(name), "{name}");
    }
    assert_eq!(kept.body, made.body);
    assert_eq!(second.get(&form).field("cache-status"), Some("progimage; hit"));
    assert_eq!(second.ask("DELETE", &path, &[]).status, 204);
    assert!(tiered.files().is_empty());
    assert_eq!(second.get(&form).status, 404);
}

#[test]
fn a_rendition_goes_with_its_overlay_now_and_after_a_restart() {
    let tiered = Tiered::new();
    let first = tiered.start();
    let path = first.store(&ppm(40, 20, [200, 100, 50]));
    let overlay = first.store(&ppm(5, 5, [1, 2, 3]));
    let form = format!("{path}.png?overlay={}", overlay.trim_start_matches("/images/"));
    let tag = first.get(&form).field("etag").unwrap().to_owned();
    assert_eq!(first.get(&form).field("cache-status"), Some("progimage; hit"));
    // The rendition, and a note of what it shows.
    until(|| figure(&first, "tier_entries") == 2);
    let kept: Vec<(PathBuf, Vec<u8>)> =
        tiered.files().into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect();

    let second = tiered.start();
    assert_eq!(second.get(&form).field("cache-status"), Some("progimage; hit; detail=tier"));
    assert_eq!(second.get(&form).field("cache-status"), Some("progimage; hit"));
    let deleted = second.ask("DELETE", &overlay, &[]);
    assert_eq!((deleted.status, deleted.field("progimage-also-removed")), (204, Some("1")));
    assert!(tiered.files().is_empty());
    second.get(&form).assert_problem(422, "image-missing");
    second.ask("GET", &form, &[&format!("If-None-Match: {tag}")]).assert_problem(422, "image-missing");
    assert_eq!(second.get(&format!("{path}.png")).status, 200, "the source is there");

    // Files that came back, as from a backup, change nothing.
    kept.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
    let third = tiered.start();
    third.get(&form).assert_problem(422, "image-missing");
    third.store(&ppm(5, 5, [1, 2, 3]));
    assert_eq!(third.get(&form).status, 200);
}
