//! `GET /images`: every image in order, page by page.

use progimage::digest::Digest;

use crate::http::{Server, ppm};

#[test]
fn lists_walk_all_images_in_order() {
    let server = Server::start();
    let mut stored: Vec<String> = (0..7)
        .map(|shade| {
            let image = ppm(1, 1, [shade, 0, 0]);
            server.store(&image);
            Digest::of(&image).to_string()
        })
        .collect();
    stored.sort();
    let (mut walked, mut after) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("/images?limit=3{after}")).json();
        let images = page["images"].as_array().unwrap();
        walked.extend(images.iter().map(|image| image["id"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(walked, stored);
    let twice = format!("after={0}&after={0}", stored[0]);
    for query in ["limit=0", "limit=x", "after=x", "page=2", "limit=1&limit=1", &twice] {
        server.get(&format!("/images?{query}")).assert_problem(400, "invalid-parameter");
    }
}
