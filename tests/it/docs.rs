//! The documents of the repository. Their tables are the program's own: rewritten under `UPDATE=1`, otherwise compared.
//! Their links lead somewhere, and their commands work as pasted.

mod formats;
mod links;
mod tour;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use progimage::config::{Config, SettingSources};
use progimage::pipeline::codec::CODECS;
use progimage::pipeline::operation::OPERATIONS;

/// Each document for readers, and the tables that it has between markers of the same name: of `progimage describe`, and what
/// formats hold.
const DOCUMENTS: &[(&str, &[&str])] = &[
    ("README.md", &[]),
    ("benches/README.md", &[]),
    ("fixtures/gallery/README.md", &["gallery", "operations", "formats", "holds"]),
    ("src/config/README.md", &["config"]),
    ("src/http/README.md", &["routes", "foreign", "metrics"]),
];

/// The most lines of the README. A longer text is a reference, which belongs next to its subject.
const README_LINES_MAX: usize = 200;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(document: &str) -> String {
    std::fs::read_to_string(root().join(document)).unwrap_or_else(|error| panic!("{document}: {error}"))
}

/// The output of `progimage describe`.
fn described(table: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_progimage")).args(["describe", table]).output().expect("it runs");
    assert!(output.status.success(), "describe {table}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The document with the tables as the program has them now.
fn with_tables(document: &str, tables: &[&str]) -> String {
    let mut text = read(document);
    for table in tables {
        let (open, close) = (format!("<!-- {table} -->\n"), format!("<!-- /{table} -->"));
        let start = text.find(&open).unwrap_or_else(|| panic!("{document}: no {open}")) + open.len();
        let end = text.find(&close).unwrap_or_else(|| panic!("{document}: no {close}"));
        let rows = if *table == "holds" { formats::table() } else { described(table) };
        text.replace_range(start..end, &rows);
    }
    text
}

#[test]
fn the_documents_carry_the_tables_of_the_code() {
    for (document, tables) in DOCUMENTS {
        let text = with_tables(document, tables);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(root().join(document), &text).expect("it is writable");
        }
        assert!(read(document) == text, "{document} differs from the code; run UPDATE=1 cargo test docs");
    }
}

#[test]
fn the_readme_is_what_one_reads() {
    let lines = read("README.md").lines().count();
    assert!(lines <= README_LINES_MAX, "{lines} lines: move references to where their subject is");
}

/// Whether it is a word such as `unknown-id`.
fn is_kebab(word: &str) -> bool {
    let mut parts = word.split('-');
    word.contains('-') && parts.all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase()))
}

/// The files that choose error types, without their tests.
fn problems(folder: &Path, found: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            problems(&path, found);
        } else if path.to_str().is_some_and(|path| path.contains("problem")) {
            let text = std::fs::read_to_string(&path).expect("UTF-8");
            *found += text.split("#[cfg(test)]").next().unwrap_or_default();
        }
    }
}

#[test]
fn every_type_of_error_is_documented() {
    let mut source = String::new();
    problems(&root().join("src/http"), &mut source);
    // The value of a header field is no error type.
    let types: BTreeSet<&str> = source.split('"').filter(|word| is_kebab(word) && *word != "no-store").collect();
    assert!(types.contains("invalid-parameter") && types.contains("unknown-id"), "{types:?}");
    let reference = read("src/http/README.md");
    let (_, reference) = reference.split_once("## Types of errors\n").expect("the table of types");
    let rows = reference.lines().filter_map(|line| line.strip_prefix("| `")).filter_map(|row| row.split_once('`'));
    let documented: BTreeSet<&str> = rows.map(|(word, _)| word).filter(|word| is_kebab(word)).collect();
    assert_eq!(types, documented, "the types of src/http/problem, and those of src/http/README.md");
}

#[test]
fn the_readme_counts_right() {
    let (read_too, written) = (CODECS.len(), CODECS.iter().filter(|codec| codec.encoder.is_some()).count());
    let counts = format!("{} operations, {read_too} formats to read and {written} to write", OPERATIONS.len());
    assert!(read("README.md").contains(&counts), "{counts}");
}

#[test]
fn the_example_of_a_configuration_file_is_a_good_one() {
    let keys = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(&keys, "app:read+write:0123456789abcdef\n").expect("it is writable");
    let reference = read("src/config/README.md");
    let (_, example) = reference.split_once("```toml\n").expect("an example");
    let example = example.split("```").next().expect("its end");
    let example = example.replace("/etc/progimage/keys", keys.path().to_str().expect("UTF-8"));
    let sources = SettingSources { flag: &|_| None, environment: &|_| None, file: Some(&example) };
    let config = Config::load(&sources).expect("good settings");
    assert_eq!(config.data, "/var/lib/progimage");
}
