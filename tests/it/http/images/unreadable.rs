//! A folder of images that cannot be read: it takes only its own images with it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use progimage::digest::Digest;
use serde_json::{Value, json};

use crate::http::bulk::{item, ndjson, resize};
use crate::http::jobs::{end, results};
use crate::http::metrics::figure;
use crate::http::{Server, path_of, ppm};

/// The folder of an image, as the API names it.
fn shard(image: &[u8]) -> String {
    format!("blobs/{}", &Digest::of(image).to_string()[..3])
}

/// Puts a file in the place of a folder, which stands for a device that cannot read it; where the folder is now.
fn spoil(root: &Path, shard: &str) -> PathBuf {
    let aside = root.join("aside");
    fs::rename(root.join(shard), &aside).unwrap();
    fs::write(root.join(shard), "").unwrap();
    aside
}

fn ids(list: &Value) -> BTreeSet<String> {
    let images = list["images"].as_array().unwrap().iter();
    images.map(|image| image["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_folder_that_cannot_be_read_takes_only_its_own_images() {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let server = Server::on(folder.path().to_str().unwrap(), |_| {});
    let images: Vec<Vec<u8>> = (0..40).map(|red| ppm(2, 1, [red, 2, 3])).collect();
    images.iter().for_each(|image| _ = server.store(image));
    let name = |image: &Vec<u8>| Digest::of(image).to_string();
    let bad = shard(&images[0]);
    let (lost, left): (BTreeSet<String>, BTreeSet<String>) = (
        images.iter().filter(|image| shard(image) == bad).map(name).collect(),
        images.iter().filter(|image| shard(image) != bad).map(name).collect(),
    );
    let aside = spoil(folder.path(), &bad);

    let list = server.get("/images").json();
    assert_eq!((ids(&list), &list["unreadable"]), (left.clone(), &json!([bad])));
    let asked = images.iter().map(|image| format!("{}\n", name(image))).collect::<String>();
    let missing = server.send("POST", "/images/missing", &["Content-Type: text/plain"], asked.as_bytes());
    assert_eq!((missing.status, missing.field("progimage-unreadable")), (200, Some(&*bad)));
    assert_eq!(missing.text().lines().map(str::to_owned).collect::<BTreeSet<_>>(), lost, "so that they are sent again");
    server.get(&path_of(&images[0])).assert_problem(503, "store-unavailable");
    server
        .send("POST", "/images/missing", &[], format!("{}\n", name(&images[0])).as_bytes())
        .assert_problem(503, "store-unavailable");
    let ready = server.get("/readyz");
    assert_eq!((ready.status, &*ready.text()), (200, &*format!("ready\n{bad} cannot be read\n")));
    assert_eq!(figure(&server, "store_unreadable_folders"), 1);

    let body = ndjson(&[item(json!({ "all": true }), &[resize("png", 1)])]);
    let job = server.send("POST", "/jobs", &[], &body).field("location").unwrap().to_owned();
    let ended = end(&server, &job);
    assert_eq!(
        (&ended["done"], &ended["failed"], &ended["items"]),
        (&json!(left.len()), &json!(1), &json!(left.len() + 1))
    );
    let (lines, _) = results(&server.get(&format!("{job}/results")));
    let failed: Vec<&Value> = lines.iter().filter(|line| line.get("problem").is_some()).collect();
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["problem"]["type"], "/problems/store-unreadable");
    assert_eq!(failed[0]["problem"]["folder"], *bad);

    fs::remove_file(folder.path().join(&bad)).unwrap();
    fs::rename(aside, folder.path().join(&bad)).unwrap();
    // What was left out is run once more, and nothing else.
    assert_eq!(server.send("POST", &format!("{job}/retry"), &[], b"").status, 202);
    let ended = end(&server, &job);
    assert_eq!((&ended["done"], &ended["failed"], &ended["items"]), (&json!(40), &json!(0), &json!(40)));
    let (lines, _) = results(&server.get(&format!("{job}/results")));
    let of = |line: &Value| line["source"].as_str().map(|source| source.trim_start_matches("/images/").to_owned());
    let rendered: BTreeSet<String> = lines.iter().filter_map(of).collect();
    assert_eq!((lines.len(), &rendered), (40, &images.iter().map(name).collect()), "{lines:?}");

    let list = server.get("/images").json();
    assert_eq!((ids(&list).len(), list.get("unreadable")), (40, None));
    assert_eq!(server.get("/readyz").text(), "ready\n");

    // Where nothing can be read, the device is away.
    for index in 0..4096 {
        let shard = folder.path().join(format!("blobs/{index:03x}"));
        fs::remove_dir_all(&shard).unwrap();
        fs::write(shard, "").unwrap();
    }
    server.get("/images").assert_problem(503, "store-unavailable");
}
