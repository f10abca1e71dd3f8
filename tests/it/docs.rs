//! The README's tables are the program's own: rewritten under `UPDATE=1`, otherwise compared.

use std::path::Path;
use std::process::Command;

/// What `progimage describe` prints and the README carries between markers of the same name.
const TABLES: &[&str] = &["formats", "gallery", "operations", "routes", "config"];

#[test]
fn the_readme_carries_the_tables_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let mut readme = std::fs::read_to_string(&path).expect("README.md");
    let written = readme.clone();
    for table in TABLES {
        let output = Command::new(env!("CARGO_BIN_EXE_progimage")).args(["describe", table]).output().expect("it runs");
        assert!(output.status.success(), "describe {table}");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let (open, close) = (format!("<!-- {table} -->\n"), format!("<!-- /{table} -->"));
        let start = readme.find(&open).unwrap_or_else(|| panic!("no {open}")) + open.len();
        let end = readme.find(&close).unwrap_or_else(|| panic!("no {close}"));
        readme.replace_range(start..end, &text);
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &readme).expect("README.md is writable");
    } else {
        assert!(readme == written, "the README's tables differ from the code; run UPDATE=1 cargo test docs");
    }
}
