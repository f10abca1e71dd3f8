//! The house rules that a compiler does not hold: which module may use which, where unsafe code and the outside world may appear.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module of the crate and those it may use, beside itself. One direction only.
const ALLOWED: &[(&str, &[&str])] = &[
    ("digest", &[]),
    ("pipeline", &["digest"]),
    ("offload", &[]),
    ("singleflight", &[]),
    ("store", &["digest", "singleflight"]),
    ("fetch", &["digest", "singleflight"]),
    ("renditions", &["digest", "pipeline", "store", "singleflight"]),
    ("items", &["offload", "digest", "pipeline", "store", "fetch", "renditions"]),
    ("jobs", &["offload", "digest", "store", "fetch"]),
    ("http", &["offload", "digest", "pipeline", "store", "fetch", "renditions", "items", "jobs"]),
    ("config", &["pipeline", "store", "fetch", "renditions", "items", "jobs", "http"]),
    ("cli", &["digest", "pipeline", "store", "renditions", "jobs", "http", "config"]),
    ("lib", &[]),
    ("main", &[]),
];

/// Words that a module must not contain: invariants 1 to 5 of `lib.rs`.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("digest", &["tokio", "hyper", "std::fs", "std::net", "std::env"]),
    ("pipeline", &["tokio", "hyper", "moka", "std::fs", "std::net", "std::env"]),
    ("store", &["hyper", "image::", "pipeline", "std::env"]),
    ("offload", &["hyper", "std::fs", "std::net", "std::env"]),
    ("singleflight", &["hyper", "std::fs", "std::net", "std::env"]),
    ("fetch", &["hyper::server", "std::fs", "std::env"]),
    ("renditions", &["hyper", "std::fs", "std::net", "std::env"]),
    ("items", &["hyper", "std::fs", "std::net", "std::env"]),
    ("jobs", &["hyper", "pipeline", "std::net", "std::env"]),
    ("http", &["std::fs", "std::env"]),
    ("config", &["hyper"]),
];

/// Files that may know a word that their module must not: the rendition tier is files, and it alone.
const EXEMPT: &[(&str, &str)] = &[("renditions/tier", "std::fs")];

/// The only files with `unsafe`: one per C library.
const UNSAFE: &[&str] = &[
    "pipeline/codec/avif/aom.rs",
    "pipeline/codec/avif/rav1d.rs",
    "pipeline/codec/jpeg/libjpeg.rs",
    "pipeline/codec/webp/libwebp.rs",
];

/// Past this a file is two files.
const LINES_MAX: usize = 500;

struct Source {
    path: String,
    module: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("src is readable") {
            let path: PathBuf = entry.expect("src is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path.strip_prefix(&root).expect("inside src").to_string_lossy().into_owned();
                let module = relative.split('/').next().expect("a name").trim_end_matches(".rs").to_owned();
                found.push(Source { path: relative, module, text: fs::read_to_string(&path).expect("UTF-8") });
            }
        }
    }
    found
}

/// Lines of code: comments aside, and nothing after the file's own tests begin.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .filter(|line| !line.trim_start().starts_with("//"))
}

fn used_modules(text: &str) -> BTreeSet<String> {
    let name = |rest: &str| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>();
    let mut used = BTreeSet::new();
    for line in code(text) {
        for rest in line.split("crate::").skip(1) {
            match rest.strip_prefix('{') {
                Some(list) => used.extend(list.split(", ").map(name)),
                None => _ = used.insert(name(rest)),
            }
        }
    }
    used.remove("");
    used
}

#[test]
fn modules_use_only_what_stands_above_them() {
    for source in sources() {
        let (_, allowed) = ALLOWED
            .iter()
            .find(|(module, _)| *module == source.module)
            .unwrap_or_else(|| panic!("{}: give the module {} a row in ALLOWED", source.path, source.module));
        for used in used_modules(&source.text) {
            let fits = used == source.module || allowed.contains(&used.as_str()) || source.module == "main";
            assert!(fits, "src/{}: {} must not use {used}", source.path, source.module);
        }
    }
}

#[test]
fn each_layer_keeps_to_its_own_world() {
    for source in sources() {
        for (_, words) in FORBIDDEN.iter().filter(|(module, _)| *module == source.module) {
            let exempt = |word: &str| EXEMPT.iter().any(|(path, of)| source.path.starts_with(path) && *of == word);
            let words = words.iter().filter(|word| !exempt(word));
            for (line, word) in code(&source.text).flat_map(|line| words.clone().map(move |word| (line, word))) {
                assert!(!line.contains(word), "src/{}: {} must not know {word}: {line}", source.path, source.module);
            }
        }
    }
}

#[test]
fn unsafe_stands_only_beside_c_libraries() {
    for source in sources().iter().filter(|source| !UNSAFE.contains(&source.path.as_str())) {
        let found = code(&source.text).find(|line| line.contains("unsafe "));
        assert!(found.is_none(), "src/{}: {}", source.path, found.unwrap_or_default());
    }
}

#[test]
fn every_module_says_what_it_is_and_fits_one_room() {
    for source in sources() {
        assert!(source.text.starts_with("//! "), "src/{} does not begin with `//! `", source.path);
        let lines = code(&source.text).count();
        assert!(
            lines <= LINES_MAX,
            "src/{} has {lines} lines of code, at most {LINES_MAX}: two rooms in one?",
            source.path
        );
    }
}
