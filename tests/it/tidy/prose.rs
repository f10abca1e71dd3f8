//! The prose of sources and documents: comments, strings and names are plain English, and a doc comment is whole by itself.

use std::fs;
use std::path::{Path, PathBuf};

/// Words that leave the subject of a sentence open, in two halves, so that this file does not contain them.
const VAGUE: [(&str, &str); 2] = [("who", "ever"), ("no", "body")];

/// Beginnings of a doc comment that say nothing where an editor shows it alone.
const DANGLING: [&str; 4] = ["The same", "Those", "Of ", "See the module"];

/// Folders with sources. Their documents are read too.
const FOLDERS: [&str; 4] = ["src", "tests", "benches", "fixtures/gallery"];

/// Every source and document of the repository, with its path.
fn texts() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = vec![root.join("README.md")];
    FOLDERS.iter().for_each(|folder| collect(&root.join(folder), &mut paths));
    let relative = |path: &PathBuf| path.strip_prefix(root).expect("inside the repository").display().to_string();
    paths.iter().map(|path| (relative(path), fs::read_to_string(path).expect("UTF-8"))).collect()
}

/// Adds the Rust and Python sources and the documents below a folder.
fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| ["rs", "py", "md"].iter().any(|known| extension == *known)) {
            paths.push(path);
        }
    }
}

/// The text of a line of a doc comment.
fn doc(line: &str) -> Option<&str> {
    let line = line.trim_start();
    line.strip_prefix("///").or_else(|| line.strip_prefix("//!")).map(str::trim_start)
}

/// The faults of a text, each with the number of its line.
fn faults(text: &str) -> Vec<(usize, String)> {
    let mut faults = Vec::new();
    let mut is_within_a_paragraph = false;
    for (index, line) in text.lines().enumerate() {
        let lower = line.to_lowercase();
        let vague = VAGUE.map(|(start, end)| format!("{start}{end}")).into_iter().filter(|word| lower.contains(word));
        faults.extend(vague.map(|word| (index + 1, format!("has the word {word}"))));
        let doc = doc(line).filter(|text| !text.is_empty());
        let dangling = doc.and_then(|text| DANGLING.iter().find(|start| text.starts_with(**start)));
        if !is_within_a_paragraph {
            faults
                .extend(dangling.map(|start| (index + 1, format!("begins a doc comment with {:?}", start.trim_end()))));
        }
        is_within_a_paragraph = doc.is_some();
    }
    faults
}

#[test]
fn prose_is_plain_and_doc_comments_are_whole() {
    let of = |(path, text): (String, String)| {
        faults(&text).into_iter().map(move |(line, fault)| format!("  {path}:{line} {fault}"))
    };
    let faults: Vec<String> = texts().into_iter().flat_map(of).collect();
    assert!(faults.is_empty(), "{} faults of prose:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn faults_of_prose_are_found() {
    let vague = VAGUE.map(|(start, end)| format!("{start}{end}"));
    for word in &vague {
        assert_eq!(faults(&format!("x\n// {word} comes\n")).len(), 1, "{word}");
        assert_eq!(faults(&format!("fn {word}_comes() {{}}")).len(), 1, "{word}");
    }
    for start in DANGLING {
        assert_eq!(faults(&format!("    /// {start} thing.\n")).len(), 1, "{start}");
        assert_eq!(faults(&format!("//! Whole.\n//!\n//! {start} thing.\n")).len(), 1, "{start}");
        assert!(faults(&format!("/// A sentence goes on.\n/// {start} thing.\n")).is_empty(), "{start}");
        assert!(faults(&format!("// {start} thing.\n")).is_empty(), "{start}");
    }
}
