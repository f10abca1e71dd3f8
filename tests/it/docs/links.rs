//! Every link and picture of every document in the repository leads to a file, folder or heading that exists.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use super::{DOCUMENTS, read, root};

/// Beginnings of paths that exist on one machine only.
const MACHINES: &[&str] = &["/home/", "/root/", "/Users/"];

/// Every Markdown file below the folder.
fn markdown(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) = entries.partition(|path| path.is_dir());
    let files = files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    files.chain(folders.iter().flat_map(|folder| markdown(folder))).collect()
}

/// The documents, and the notes next to fixtures and tests.
fn documents() -> Vec<PathBuf> {
    let folders = ["benches", "fixtures", "src", "tests"].iter().flat_map(|folder| markdown(&root().join(folder)));
    std::iter::once(root().join("README.md")).chain(folders).collect()
}

/// The text without its code, in which nothing is a link.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let lines = text.lines().filter(|line| {
        let fence = line.starts_with("```");
        fenced ^= fence;
        !fence && !fenced
    });
    lines.flat_map(|line| line.split('`').step_by(2).chain(["\n"])).collect()
}

/// The parts of the prose between `open` and the next `close`.
fn between<'a>(prose: &'a str, open: &'a str, close: char) -> impl Iterator<Item = &'a str> {
    prose.split(open).skip(1).filter_map(move |rest| rest.split_once(close)).map(|(target, _)| target)
}

fn targets(prose: &str) -> Vec<&str> {
    let links = between(prose, "](", ')');
    links.chain(between(prose, "src=\"", '"')).chain(between(prose, "href=\"", '"')).collect()
}

/// The anchors that GitHub makes of headings, and those that are written.
fn anchors(text: &str) -> Vec<String> {
    let mut fenced = false;
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut anchors = Vec::new();
    for line in text.lines() {
        fenced ^= line.starts_with("```");
        if !fenced && line.starts_with('#') {
            let slug = slug(line.trim_start_matches('#'));
            let count = seen.entry(slug.clone()).or_default();
            anchors.push(if *count == 0 { slug } else { format!("{slug}-{count}") });
            *count += 1;
        }
    }
    anchors.extend(between(text, "<a id=\"", '"').map(str::to_owned));
    anchors
}

/// The anchor of a heading: its letters and digits in lower case, a hyphen for each space.
fn slug(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    kept.flat_map(char::to_lowercase).map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

/// The path that a link of a document leads to; `None` where it leaves the repository.
fn resolved(document: &Path, target: &str) -> Option<PathBuf> {
    let mut path = document.parent().expect("a file").to_owned();
    for component in Path::new(target).components() {
        match component {
            Component::ParentDir => path.pop(),
            Component::Normal(name) => {
                path.push(name);
                true
            }
            Component::CurDir => true,
            Component::RootDir | Component::Prefix(_) => return None,
        };
    }
    path.starts_with(root()).then_some(path)
}

/// Whether the path exists in exactly this spelling, also on file systems that ignore case.
fn is_there(path: &Path) -> bool {
    if path == root() {
        return true;
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return false };
    let names = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
    is_there(folder) && names.into_iter().any(|known| known == name)
}

/// The problem with a link of the document, if any. Links to other sites are not tried.
fn fault(document: &Path, target: &str) -> Option<&'static str> {
    if target.starts_with("https://") || target.starts_with("http://localhost:8080/") {
        return None;
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let path = if path.is_empty() { Some(document.to_owned()) } else { resolved(document, path) };
    match (path.filter(|path| is_there(path)), anchor) {
        (None, _) => Some("no such file in the repository"),
        (Some(_), None) => None,
        (Some(path), Some(_)) if path.is_dir() => Some("an anchor in a folder"),
        (Some(path), Some(anchor)) => {
            let text = std::fs::read_to_string(path).expect("UTF-8");
            (!anchors(&text).iter().any(|known| known == anchor)).then_some("no such heading")
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("UTF-8");
        let prose = prose(&text);
        for target in targets(&prose) {
            assert_eq!(fault(&document, target), None, "{}: {target}", document.display());
        }
    }
}

#[test]
fn broken_links_are_seen() {
    let readme = root().join("README.md");
    for target in ["src/Lib.rs", "/src/lib.rs", "src/../..", "src#pipeline", "README.md#no-such-heading", "none.png"] {
        assert!(fault(&readme, target).is_some(), "{target}");
    }
    for target in ["src/lib.rs", "src/", "./src/http/../lib.rs", "#progimage", "https://example.com"] {
        assert_eq!(fault(&readme, target), None, "{target}");
    }
    assert_eq!(slug(" What `w` is, in short "), "what-w-is-in-short");
    assert_eq!(anchors("# A b\n```\n# c\n```\n## A b\n"), ["a-b", "a-b-1"]);
    assert_eq!(targets(&prose("[a](b) `[c](d)`\n```\n[e](f)\n```\n<img src=\"g\">")), ["b", "g"]);
}

#[test]
fn each_reference_begins_with_its_contents() {
    for (document, _) in DOCUMENTS.iter().filter(|(document, _)| *document != "README.md") {
        let text = read(document);
        let (head, _) = text.split_once("\n## ").expect("sections");
        for heading in text.lines().filter_map(|line| line.strip_prefix("## ")) {
            assert!(
                head.contains(&format!("](#{})", slug(heading))),
                "{document}: {heading} is not among its contents"
            );
        }
    }
}

#[test]
fn no_document_names_a_folder_of_one_machine() {
    for document in documents() {
        let text = std::fs::read_to_string(&document).expect("UTF-8");
        let named = MACHINES.iter().find(|folder| text.contains(**folder));
        assert_eq!(named, None, "{}", document.display());
    }
}
