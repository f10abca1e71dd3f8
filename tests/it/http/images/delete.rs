//! `DELETE /images/{id}`: nothing of an image is served any more.

use crate::http::{Server, ppm};

#[test]
fn after_a_delete_nothing_of_the_image_is_served() {
    let server = Server::start();
    let path = server.store(&ppm(8, 8, [9, 9, 9]));
    let tag = server.get(&format!("{path}.png")).field("etag").unwrap().to_owned();
    assert_eq!(server.ask("DELETE", &path, &["If-Match: \"x\""]).status, 412);
    for _ in 0..2 {
        let answer = server.ask("DELETE", &path, &[]);
        assert_eq!((answer.status, answer.body.len()), (204, 0));
    }
    for path in [path.clone(), format!("{path}.png"), format!("{path}/info")] {
        server.get(&path).assert_problem(404, "unknown-id");
        assert_eq!(server.ask("GET", &path, &[&format!("If-None-Match: {tag}")]).status, 404);
    }
}
