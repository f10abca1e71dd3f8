//! `progimage get` against real servers.

use std::fs;

use progimage::digest::Digest;

use super::{folder, origin, program, run, text};
use crate::http::{Server, ppm};

#[test]
fn originals_and_renditions_come_whole() {
    let (server, folder) = (Server::start(), folder());
    let (first, second) = (ppm(700, 700, [1, 2, 3]), ppm(40, 40, [3, 2, 1]));
    for image in [&first, &second] {
        server.store(image);
    }
    let (url, id) = (format!("http://{}", server.address), Digest::of(&first).to_string());
    let printed = program(&["get", &id, "--server", &url]).output().unwrap();
    assert!(printed.status.success() && printed.stdout == first && printed.stderr.is_empty());
    let file = folder.path().join("a.png");
    let small = format!("{id}.png?w=30");
    let one = run(&["get", &small, "-o", text(&file), "--server", &url]).with(0);
    assert!(one.stdout.is_empty() && fs::read(&file).unwrap().starts_with(b"\x89PNG"));
    let other = Digest::of(&second).to_string();
    let into = folder.path().join("into");
    fs::create_dir(&into).unwrap();
    let many = run(&["get", &id, &other, &small, &id, "-o", text(&into), "--server", &url]).with(0);
    assert_eq!(many.lines().len(), 3, "one thing asked for twice is one file");
    for line in many.lines() {
        let (target, path) = line.split_once("  ").unwrap();
        let name = path.strip_prefix(text(&into)).unwrap();
        assert_eq!(name.rsplit_once('.').unwrap().1, if target.contains(".png") { "png" } else { "ppm" });
    }
    assert_eq!(fs::read(into.join(format!("{other}.ppm"))).unwrap(), second);
    assert_eq!(fs::read_dir(&into).unwrap().count(), 3, "no temporary file stays");
    let json = run(&["get", &id, "-o", text(&into), "--json", "--server", &url]).with(0).json();
    assert_eq!((&json[0]["id"], &json[0]["bytes"]), (&id.as_str().into(), &first.len().into()));
    let null = run(&["get", &id, "-o", "/dev/null", "--server", &url]).with(0);
    assert!(null.stdout.is_empty() && !fs::metadata("/dev/null").unwrap().is_file());
}

#[test]
fn what_is_not_there_is_named_and_the_rest_comes() {
    let (server, folder) = (Server::start(), folder());
    let image = ppm(4, 4, [1, 2, 3]);
    server.store(&image);
    let (url, id, absent) = (format!("http://{}", server.address), Digest::of(&image), Digest::of(b"").to_string());
    let ran = run(&["get", &absent, &id.to_string(), "-o", text(folder.path()), "--server", &url]).with(1);
    assert!(ran.lines().len() == 1 && ran.stderr.contains(&absent) && ran.stderr.contains("(404)"), "{}", ran.stderr);
    let wrong = run(&["get", &format!("{id}.png?w=0"), "--server", &url]).with(1);
    assert!(wrong.stdout.is_empty() && wrong.stderr.contains("(400)"), "{}", wrong.stderr);
}

#[test]
fn what_would_have_the_name_of_another_one_replaces_nothing() {
    let (server, folder) = (Server::start(), folder());
    let image = ppm(4, 4, [1, 2, 3]);
    server.store(&image);
    let (url, id) = (format!("http://{}", server.address), Digest::of(&image).to_string());
    // The second rendition has the format of the first, and so its extension.
    let targets = [id.clone(), format!("{id}.ppm")];
    let ran = run(&["get", &targets[0], &targets[1], "-o", text(folder.path()), "--server", &url]).with(1);
    let path = folder.path().join(format!("{id}.ppm"));
    let told = |target: &String| ran.stdout == format!("{target}  {}\n", text(&path));
    let first = targets.iter().position(told).expect(&ran.stdout);
    let other = &targets[1 - first];
    assert!(ran.stderr.contains(&format!("{other}: {} is another of these", text(&path))), "{}", ran.stderr);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    // A file of an earlier run is replaced.
    run(&["get", other, "-o", text(folder.path()), "--server", &url]).with(0);
}

#[test]
fn wrong_arguments_are_reported_before_any_request() {
    let id = Digest::of(b"").to_string();
    for (arguments, says) in [
        (&["get", "nonsense"][..], "64 lower-case hexadecimal digits"),
        (&["get", &id, &id], "-o DIR"),
        (&["get", &id, &id, "-o", "file"], "-o DIR"),
        (&["get", &id, "--json"], "-o"),
        (&["get", &id, "--server", "nowhere"], "--server"),
        (&["get", &id, "--ca-file", "/nothing/here"], "--ca-file"),
    ] {
        let ran = run(arguments).with(2);
        assert!(ran.stdout.is_empty() && ran.stderr.contains(says), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn an_original_that_is_another_one_gets_no_name() {
    let (folder, image) = (folder(), ppm(4, 4, [1, 2, 3]));
    let id = Digest::of(&image).to_string();
    let url = origin::start(|_| Some((200, "", ppm(4, 4, [1, 2, 4]))));
    let file = folder.path().join("a.ppm");
    let ran = run(&["get", &id, "-o", text(&file), "--server", &url]).with(1);
    assert!(ran.stderr.contains("hash to"), "{}", ran.stderr);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "neither the file nor a temporary one");
    run(&["get", &id, "--server", &url]).with(1);
}

#[test]
fn a_cut_answer_is_asked_for_again_from_its_start() {
    let (folder, image) = (folder(), ppm(40, 40, [1, 2, 3]));
    let (whole, mut asked) = (image.clone(), 0);
    let url = origin::start(move |_| {
        asked += 1;
        match asked {
            1 => Some((200, "X-Cut: yes\r\n", whole.clone())),
            _ => Some((200, "", whole.clone())),
        }
    });
    let file = folder.path().join("a.ppm");
    run(&["get", &Digest::of(&image).to_string(), "-o", text(&file), "--server", &url]).with(0);
    assert_eq!(fs::read(&file).unwrap(), image);
}
