//! Finds the paths that a source file names: those of its `use` declarations, flattened, and those in its code,
//! resolved through these.
//!
//! It reads tokens, not meaning. It knows comments, strings, `use` trees, renames, `self`, `super` and items that exist
//! for tests alone. It does not see methods and what macros expand to.

use std::collections::{BTreeMap, BTreeSet};

use super::tokens::tokens;

/// Tokens of a visibility, such as `pub(in crate::http)`, and of a second attribute before `mod`.
const VISIBILITY_TOKENS_MAX: usize = 16;

/// Words that an item begins with, after its attributes and its visibility.
const ITEM_WORDS: &[&str] = &[
    "async",
    "const",
    "enum",
    "extern",
    "fn",
    "impl",
    "let",
    "macro_rules",
    "mod",
    "static",
    "struct",
    "trait",
    "type",
    "union",
    "unsafe",
    "use",
];

/// The names in a file, outside its tests.
#[derive(Debug, Default)]
pub struct Names {
    /// Whole paths from a crate's root: `crate::store::Blob`, `std::fs::read`, `tokio::*`.
    pub paths: Vec<String>,
    /// Whole paths that the file hands on under a name of its own: those of its `pub use` declarations.
    pub exported: Vec<String>,
    /// Modules that the file declares for tests alone.
    pub test_modules: Vec<String>,
    /// Whether `unsafe` is written.
    pub is_unsafe: bool,
}

/// Whether `path` is `prefix`, is below it, or includes it by a glob of its parent.
pub fn reaches(path: &str, prefix: &str) -> bool {
    let below = |long: &str, short: &str| {
        long.strip_prefix(short).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    };
    below(path, prefix) || path.strip_suffix("::*").is_some_and(|above| below(prefix, above))
}

/// Reads the text of the file whose module is `module`, such as `crate::http::server`.
pub fn names(module: &str, text: &str) -> Names {
    let tokens = tokens(text);
    let mut reader = Reader {
        tokens: &tokens,
        at: 0,
        module,
        names: Names::default(),
        local: BTreeMap::new(),
        children: BTreeSet::new(),
        exports: false,
    };
    let mut bare = Vec::new();
    while reader.at < tokens.len() {
        reader.step(&mut bare);
    }
    let Reader { mut names, local, children, .. } = reader;
    // A `use` may be after what it serves, and so may `mod`.
    names.paths.extend(bare.iter().map(|path| resolved(path, &local)));
    let whole = |path: &mut String| *path = from_root(module, path, &children);
    names.paths.iter_mut().for_each(whole);
    names.exported.iter_mut().for_each(whole);
    names
}

/// A path that begins with a module which the file declares, from the root of the crate.
fn from_root(module: &str, path: &str, children: &BTreeSet<String>) -> String {
    let first = path.split("::").next().unwrap_or_default();
    if !children.contains(first) {
        return path.to_owned();
    }
    // The modules of `lib.rs` and `main.rs` are those of the crate.
    let above = if matches!(module, "crate::lib" | "crate::main") { "crate" } else { module };
    format!("{above}::{path}")
}

/// The whole path of one whose first word is imported by a `use` of the file.
fn resolved(path: &str, local: &BTreeMap<String, String>) -> String {
    let (first, rest) = path.split_once("::").map_or((path, ""), |(first, rest)| (first, rest));
    match local.get(first) {
        Some(whole) if rest.is_empty() => whole.clone(),
        Some(whole) => format!("{whole}::{rest}"),
        None => path.to_owned(),
    }
}

struct Reader<'a> {
    tokens: &'a [&'a str],
    at: usize,
    module: &'a str,
    names: Names,
    /// Names that `use` declarations import, with their whole paths.
    local: BTreeMap<String, String>,
    /// Modules that the file declares.
    children: BTreeSet<String>,
    /// Whether the item that is read is visible outside.
    exports: bool,
}

impl<'a> Reader<'a> {
    fn token(&self, ahead: usize) -> &'a str {
        self.tokens.get(self.at + ahead).copied().unwrap_or_default()
    }

    /// Reads one item's attribute, one `use`, one path, or passes one token.
    fn step(&mut self, bare: &mut Vec<String>) {
        const TESTS: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
        if TESTS.iter().enumerate().all(|(ahead, token)| self.token(ahead) == *token) {
            self.at += TESTS.len();
            self.skip_item();
        } else if self.token(0) == "use" {
            self.at += 1;
            self.tree("");
            self.exports = false;
        } else if self.token(0) == "mod" {
            self.children.insert(self.token(1).to_owned());
            self.at += 2;
        } else if self.token(0) == "extern" && self.token(1) == "crate" {
            self.at += 2;
            self.tree("");
        } else if self.token(0) == "pub" && self.token(1) == "(" {
            // The module that a visibility names is not used by it.
            while !matches!(self.token(0), ")" | "") {
                self.at += 1;
            }
            self.exports = self.token(1) == "use";
        } else if self.token(0) == "pub" {
            self.at += 1;
            self.exports = self.token(0) == "use";
        } else if is_word(self.token(0)) {
            self.names.is_unsafe |= self.token(0) == "unsafe";
            let path = self.path();
            if path.contains("::") {
                bare.push(path);
            }
        } else {
            self.at += 1;
        }
    }

    /// `a::b::c` from here on; `crate`, `self` and `super` made whole.
    fn path(&mut self) -> String {
        let mut path = self.token(0).to_owned();
        self.at += 1;
        while self.token(0) == "::" && is_word(self.token(1)) {
            path = format!("{path}::{}", self.token(1));
            self.at += 2;
        }
        self.whole(path)
    }

    fn whole(&self, path: String) -> String {
        let mut module = self.module.to_owned();
        let mut rest = path.as_str();
        if !matches!(rest.split("::").next(), Some("self" | "super")) {
            return path;
        }
        rest = rest.strip_prefix("self::").unwrap_or(rest);
        while let Some(above) = rest.strip_prefix("super").filter(|above| above.is_empty() || above.starts_with("::")) {
            module.truncate(module.rfind("::").unwrap_or(module.len()));
            rest = above.trim_start_matches("::");
        }
        if rest.is_empty() { module } else { format!("{module}::{rest}") }
    }

    /// One tree of a `use` below `above`.
    fn tree(&mut self, above: &str) {
        let join = |word: &str| if above.is_empty() { word.to_owned() } else { format!("{above}::{word}") };
        match self.token(0) {
            "{" => {
                self.at += 1;
                while !matches!(self.token(0), "}" | "") {
                    self.tree(above);
                    self.at += usize::from(self.token(0) == ",");
                }
                self.at += 1;
            }
            "::" => {
                self.at += 1;
                self.tree(above);
            }
            "*" => {
                self.at += 1;
                let path = self.whole(join("*"));
                self.names.exported.extend(self.exports.then(|| path.clone()));
                self.names.paths.push(path);
            }
            "self" if !above.is_empty() => {
                self.at += 1;
                self.leaf(above.to_owned());
            }
            word if is_word(word) => {
                let path = join(word);
                self.at += 1;
                if self.token(0) == "::" {
                    self.at += 1;
                    self.tree(&path);
                } else {
                    self.leaf(path);
                }
            }
            _ => self.at += 1,
        }
    }

    /// The end of a path in a `use`, with the name that it gets here.
    fn leaf(&mut self, path: String) {
        let path = self.whole(path);
        let mut name = path.rsplit("::").next().unwrap_or_default().to_owned();
        if self.token(0) == "as" {
            name = self.token(1).to_owned();
            self.at += 2;
        }
        self.local.insert(name, path.clone());
        self.names.exported.extend(self.exports.then(|| path.clone()));
        self.names.paths.push(path);
    }

    /// Passes what `#[cfg(test)]` is before, and notes a module that is declared by it. An item ends with its block or its
    /// semicolon, a field or an arm with its comma. The end of what is around it ends both.
    fn skip_item(&mut self) {
        let is_item = self.is_item();
        let before =
            (0..VISIBILITY_TOKENS_MAX).take_while(|ahead| !matches!(self.token(*ahead), "{" | ";" | "")).count();
        let declared = (0..before).find(|ahead| self.token(*ahead) == "mod" && self.token(ahead + 2) == ";");
        self.names.test_modules.extend(declared.map(|ahead| self.token(ahead + 1).to_owned()));
        let mut depth = 0_usize;
        while self.at < self.tokens.len() {
            let token = self.token(0);
            match token {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" if depth == 0 => return,
                "}" | ")" | "]" => depth -= 1,
                _ => {}
            }
            let ends = depth == 0 && (token == ";" || (is_item && token == "}") || (!is_item && token == ","));
            self.at += 1;
            if ends {
                return;
            }
        }
    }
}

impl Reader<'_> {
    /// Whether an item is next, and not a field, an argument or an arm.
    fn is_item(&self) -> bool {
        let mut ahead = 0;
        loop {
            let closing = match (self.token(ahead), self.token(ahead + 1)) {
                ("#", "[") => "]",
                ("pub", "(") => ")",
                ("pub", _) => {
                    ahead += 1;
                    continue;
                }
                (word, _) => return ITEM_WORDS.contains(&word),
            };
            while !matches!(self.token(ahead), "") && self.token(ahead) != closing {
                ahead += 1;
            }
            ahead += 1;
        }
    }
}

fn is_word(token: &str) -> bool {
    token.starts_with(|first: char| first == '_' || first.is_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        names("crate::http::message::spool", text).paths
    }

    fn check(text: &str, expected: &[&str]) {
        let paths = paths(text);
        for path in expected {
            assert!(paths.iter().any(|found| found == path), "{text}: {paths:?} lacks {path}");
        }
    }

    #[test]
    fn a_path_is_found_however_it_is_imported() {
        check("use std::fs;", &["std::fs"]);
        check("use std::{fs, io};", &["std::fs", "std::io"]);
        check("use std::os::unix::fs::FileExt;", &["std::os::unix::fs::FileExt"]);
        check(
            "pub(crate) use ::std::{\n    io::{self, Read},\n    os::{\n        unix::{fs::FileExt, net},\n    },\n};",
            &["std::io", "std::io::Read", "std::os::unix::fs::FileExt", "std::os::unix::net"],
        );
        check("use std::fs as harmless; fn f() { harmless::read(\"x\"); }", &["std::fs::read"]);
        check("use std as s; fn f() { s::fs::read(\"x\"); }", &["std::fs::read"]);
        check("extern crate std as s; fn f() { s::process::exit(1) }", &["std::process::exit"]);
        check("use std::*;", &["std::*"]);
        check("use std /* here */ ::\n // there\n fs;", &["std::fs"]);
    }

    #[test]
    fn a_path_is_found_in_code_and_resolved() {
        check("fn f() { std::fs::read(\"x\"); }", &["std::fs::read"]);
        check("fn f() { ::std :: process :: exit(1) }", &["std::process::exit"]);
        check(
            "use tokio::net::TcpStream; async fn f() { TcpStream::connect(\"x\").await; }",
            &["tokio::net::TcpStream::connect"],
        );
        check("fn f() { r#std::r#fs::read(\"x\"); }", &["std::fs::read"]);
        check("fn f() { vec![std::env::var(\"x\")]; }", &["std::env::var"]);
        check("fn f() { fs::read(\"x\"); } use std::fs;", &["std::fs::read"]);
    }

    #[test]
    fn own_modules_are_found_relative_to_the_file() {
        check("use super::body::Reader;", &["crate::http::message::body::Reader"]);
        check("use super::super::app::App;", &["crate::http::app::App"]);
        check("use super::{super::call::Call, queue};", &["crate::http::call::Call", "crate::http::message::queue"]);
        check("fn f(app: &super::super::App) {}", &["crate::http::App"]);
        check("use self::inner::X;", &["crate::http::message::spool::inner::X"]);
        check("use self::super::super::app::App;", &["crate::http::app::App"]);
        check("mod inner; pub use inner::X;", &["crate::http::message::spool::inner::X"]);
        check("fn f() { inner::x() } mod inner;", &["crate::http::message::spool::inner::x"]);
        assert_eq!(names("crate::lib", "pub mod store; pub use store::Blob;").paths, ["crate::store::Blob"]);
        check("use crate::{\n    store,\n    http::app::App,\n};", &["crate::store", "crate::http::app::App"]);
    }

    #[test]
    fn what_is_no_code_is_not_read() {
        for text in [
            "// use std::fs;",
            "pub(in std::fs) fn f() {}",
            "/* use std::fs; /* std::fs */ std::fs */",
            "const A: &str = \"std::fs\";",
            "const A: &str = r#\"a\" std::fs\"#;",
            "const A: &[u8] = b\"std::fs\"; const B: char = '\"'; fn f<'a>(x: &'a str) {}",
            "#[cfg(test)]\nmod tests {\n    use std::fs;\n}",
            "#[cfg(test)]\nuse std::fs;",
            "#[cfg(test)]\nimpl X {\n    fn f() { std::fs::read(\"x\") }\n}",
            "struct X {\n    #[cfg(test)]\n    file: std::fs::File,\n    a: u8,\n}",
            "struct X {\n    a: u8,\n    #[cfg(test)]\n    pub(crate) file: std::fs::File\n}",
        ] {
            assert!(!paths(text).iter().any(|path| reaches(path, "std::fs")), "{text}");
        }
    }

    #[test]
    fn what_comes_after_tests_is_read() {
        check("#[cfg(test)]\nmod tests;\n\nuse std::fs;", &["std::fs"]);
        check("#[cfg(test)]\nmod tests {\n    const A: char = '}';\n}\nuse std::fs;", &["std::fs"]);
        check("struct X { #[cfg(test)] a: u8, b: std::fs::File }", &["std::fs::File"]);
        check("struct X { #[cfg(test)] a: u8 } fn f() { std::fs::read(\"x\") }", &["std::fs::read"]);
        check("fn f(#[cfg(test)] a: u8, b: std::fs::File) {}", &["std::fs::File"]);
        check("const A: char = '\\''; const B: char = '\"'; use std::fs; const C: char = '\"';", &["std::fs"]);
        assert_eq!(names("crate::a", "#[cfg(test)]\npub(super) mod sim;\nmod real;").test_modules, ["sim"]);
    }

    #[test]
    fn a_path_reaches_what_it_names_or_includes() {
        for path in ["std::fs", "std::fs::read", "std::*", "std::fs::*"] {
            assert!(reaches(path, "std::fs"), "{path}");
        }
        for path in ["std", "std::fsx", "std::io::*", "xstd::fs", "std::io"] {
            assert!(!reaches(path, "std::fs"), "{path}");
        }
    }

    #[test]
    fn unsafe_is_seen_wherever_it_is_written() {
        assert!(names("crate::a", "fn f() { unsafe{ g() } }").is_unsafe);
        assert!(names("crate::a", "pub(crate) unsafe fn f() {}").is_unsafe);
        assert!(!names("crate::a", "// unsafe \nconst A: &str = \"unsafe \";").is_unsafe);
    }
}
