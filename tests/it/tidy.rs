//! The house rules that no compiler checks: which room may use which, which modules may touch the outside world, and
//! the prose.

mod prose;
mod scan;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use scan::{Names, names, reaches};

/// Each room of the crate, and the rooms that it may use in addition to itself. There is one direction only. A path
/// belongs to the room with the longest name that it begins with. What `http` re-exports for others is the room `http`,
/// which no room inside it may use.
const ALLOWED: &[(&str, &[&str])] = &[
    ("digest", &[]),
    ("pipeline", &["digest"]),
    ("offload", &[]),
    ("singleflight", &[]),
    ("store", &["digest", "singleflight"]),
    ("hold", &[]),
    ("fetch", &["digest", "singleflight"]),
    ("renditions", &["offload", "hold", "digest", "pipeline", "store", "singleflight"]),
    ("items", &["offload", "hold", "digest", "pipeline", "store", "fetch", "renditions"]),
    ("jobs", &["offload", "digest", "store", "fetch"]),
    ("http::error", &["digest", "pipeline", "store", "fetch", "renditions", "items", "jobs"]),
    ("http::message", &["offload", "hold", "digest", "pipeline", "store", "items", "http::error"]),
    (
        "http::protocol",
        &[
            "offload",
            "digest",
            "pipeline",
            "store",
            "fetch",
            "renditions",
            "items",
            "jobs",
            "http::error",
            "http::message",
        ],
    ),
    ("http::app", &["pipeline", "store", "fetch", "renditions", "items", "jobs", "http::message", "http::protocol"]),
    ("http::call", &["http::app", "http::error", "http::message", "http::protocol"]),
    (
        "http::routes",
        &[
            "offload",
            "hold",
            "digest",
            "pipeline",
            "store",
            "fetch",
            "renditions",
            "items",
            "jobs",
            "http::app",
            "http::call",
            "http::error",
            "http::message",
            "http::protocol",
        ],
    ),
    ("http::table", &["digest", "http::call", "http::protocol", "http::routes"]),
    (
        "http::setup",
        &[
            "store",
            "fetch",
            "renditions",
            "items",
            "jobs",
            "http::app",
            "http::message",
            "http::protocol",
            "http::routes",
            "http::table",
        ],
    ),
    (
        "http::server",
        &[
            "digest",
            "pipeline",
            "http::app",
            "http::call",
            "http::error",
            "http::message",
            "http::protocol",
            "http::table",
        ],
    ),
    ("http", &["pipeline", "http::app", "http::message", "http::protocol", "http::server", "http::table"]),
    ("config", &["pipeline", "store", "fetch", "renditions", "items", "jobs", "http"]),
    ("cli", &["digest", "pipeline", "store", "renditions", "jobs", "http", "http::server", "config"]),
    ("lib", &[]),
    ("main", &[]),
];

/// A way to the outside world, or a crate for a few modules alone: its paths, and the modules that may use them.
struct Capability {
    name: &'static str,
    paths: &'static [&'static str],
    modules: &'static [&'static str],
}

/// Invariants 1 to 5 of `lib.rs`.
const CAPABILITIES: &[Capability] = &[
    Capability {
        name: "files",
        paths: &[
            "std::fs",
            "std::os::unix::fs",
            "std::os::linux::fs",
            "std::os::fd",
            "std::os::unix::io",
            "tokio::fs",
            "tempfile",
            "rustix::fs",
            "rustix::io",
            "walkdir",
            "memmap2",
            "libc",
            "nix",
            // Of crates whose other parts are for all.
            "image::open",
            "image::ImageReader",
            "tar::Archive",
            "tar::Builder",
        ],
        // In `http` only the temporary files, which are opened in one place.
        // In `jobs` only the mode of the database, the name of one that is malformed, and copies of it.
        modules: &[
            "cli",
            "config::settings",
            "http::message::spool",
            "jobs::database",
            "renditions::isolate",
            "renditions::tier",
            "store::disk",
        ],
    },
    Capability {
        name: "processes",
        paths: &["std::process", "std::os::unix::process", "tokio::process"],
        modules: &["cli", "main", "renditions::isolate"],
    },
    Capability {
        name: "limits and priorities of the process",
        paths: &["rustix::process", "rustix::thread", "thread_priority"],
        modules: &["cli::serve", "renditions::isolate", "renditions::pool", "store::disk::pool"],
    },
    Capability {
        name: "the boundary of worker processes",
        paths: &["rustix::mm", "rustix::net", "seccompiler"],
        modules: &["renditions::isolate"],
    },
    Capability {
        name: "threads",
        paths: &["std::thread::spawn", "std::thread::scope", "std::thread::Builder", "std::thread::sleep", "rayon"],
        modules: &["jobs::database", "renditions::pool", "renditions::tier", "store::disk"],
    },
    Capability {
        name: "listening sockets",
        paths: &["std::net::TcpListener", "tokio::net::TcpListener", "tokio::net::UnixListener"],
        modules: &["cli::serve", "http::server"],
    },
    Capability {
        // A pair of them joins a worker to its thread.
        name: "local sockets",
        paths: &["std::os::unix::net"],
        modules: &["renditions::isolate"],
    },
    Capability {
        name: "clients of the network",
        paths: &[
            "reqwest",
            "hyper::client",
            "hyper_util::client",
            "std::net::TcpStream",
            "std::net::ToSocketAddrs",
            "std::net::UdpSocket",
            "tokio::net::TcpSocket",
            "tokio::net::TcpStream::connect",
            "tokio::net::ToSocketAddrs",
            "tokio::net::UdpSocket",
            "tokio::net::UnixStream",
            "tokio::net::lookup_host",
            "tokio::net::unix",
        ],
        modules: &["cli", "fetch"],
    },
    Capability { name: "connections", paths: &["tokio::net::TcpStream"], modules: &["fetch", "http::server"] },
    Capability { name: "options of sockets", paths: &["socket2"], modules: &["http::server"] },
    Capability {
        name: "addresses",
        paths: &["std::net", "tokio::net"],
        modules: &["cli::serve", "config", "fetch", "http::server"],
    },
    Capability { name: "the environment", paths: &["std::env"], modules: &["cli", "config"] },
    Capability { name: "SQLite", paths: &["rusqlite"], modules: &["cli::put::hash_cache", "jobs"] },
    Capability {
        name: "HTTP",
        paths: &["hyper", "hyper_util", "http", "http_body", "http_body_util"],
        modules: &["cli::client", "fetch", "http"],
    },
    Capability {
        name: "an HTTP server",
        paths: &["hyper::server", "hyper::service", "hyper_util::server", "hyper_util::service"],
        modules: &["http::server"],
    },
    Capability {
        name: "the runtime",
        paths: &["tokio", "tokio_util", "futures_util", "async_stream"],
        modules: &["cli", "fetch", "http", "items", "jobs", "offload", "renditions", "singleflight", "store"],
    },
    Capability { name: "caches", paths: &["moka"], modules: &["fetch", "renditions", "store::disk"] },
    Capability {
        name: "codecs",
        paths: &[
            "image",
            "png",
            "gif",
            "tiff",
            "mozjpeg",
            "mozjpeg_sys",
            "re_rav1d",
            "libwebp_sys",
            "libaom_sys",
            "fdeflate",
            "weezl",
            "ruzstd",
            "fax",
            "half",
            "flate2",
            "bytemuck",
            "fast_ssim2",
            "avif_serialize",
            "blurhash",
            "thumbhash",
            "color_thief",
            "moxcms",
            "fast_image_resize",
        ],
        modules: &["pipeline"],
    },
    // `parking_lot` has them: invariant 8.
    Capability {
        name: "locks that a panic poisons",
        paths: &["std::sync::Mutex", "std::sync::RwLock", "std::sync::Condvar"],
        modules: &[],
    },
];

/// Types of capabilities that do nothing by themselves, and may be handed on.
const INERT: &[&str] = &["rustix::io::Errno", "rustix::io::Result", "image::metadata::Orientation"];

/// Dependencies that reach nothing outside the process by themselves: any room may use them.
const HARMLESS: &[&str] = &[
    "base64",
    "blake3",
    "bytes",
    "clap",
    "clap_complete",
    "governor",
    "hmac",
    "httpdate",
    "indicatif",
    "ipnet",
    "memchr",
    "mimalloc",
    "multer",
    "parking_lot",
    "prometheus_client",
    "serde",
    "serde_json",
    "sfv",
    "sha2",
    "strsim",
    "subtle",
    "tar",
    "thiserror",
    "tokio_rustls",
    "toml",
    "tracing",
    "tracing_subscriber",
    "url",
    "webpki_roots",
];

/// The only files with `unsafe`: one per C library, shared memory, and what a worker closes before it has anything.
const UNSAFE: &[&str] = &[
    "pipeline/codec/avif/aom.rs",
    "pipeline/codec/avif/rav1d.rs",
    "pipeline/codec/jpeg/libjpeg.rs",
    "pipeline/codec/webp/libwebp.rs",
    "renditions/isolate/memory.rs",
    "renditions/isolate/sandbox.rs",
];

/// The most lines of code in a file. A longer file is two files.
const LINES_MAX: usize = 500;

/// The most files in a folder. A larger folder is two rooms.
const FILES_MAX: usize = 15;

/// Folders with one file for each row of a table, each command or each room, which are found by name, and the most files
/// in them. Each has folders inside: a flat folder is never an exception.
const LONG_FOLDERS: &[(&str, usize)] =
    &[("", 16), ("cli", 17), ("pipeline", 17), ("pipeline/codec", 20), ("pipeline/operation", 28)];

struct Source {
    path: String,
    /// `http::server::listen`
    module: String,
    text: String,
    names: Names,
}

static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(sources);

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
                let module = relative.trim_end_matches(".rs").replace('/', "::");
                let text = fs::read_to_string(&path).expect("UTF-8");
                let names = names(&format!("crate::{module}"), &text);
                found.push(Source { path: relative, module, text, names });
            }
        }
    }
    found
}

/// The sources that are built into the server: without modules that their parents declare for tests alone, and what is
/// below them.
fn built() -> impl Iterator<Item = &'static Source> {
    let declared = |source: &Source| {
        let module = source.module.clone();
        source.names.test_modules.clone().into_iter().map(move |name| format!("{module}::{name}"))
    };
    let tests: BTreeSet<String> = SOURCES.iter().flat_map(declared).collect();
    SOURCES.iter().filter(move |source| !tests.iter().any(|test| reaches(&source.module, test)))
}

/// The room of a module or of a path below `crate`: the longest name in [`ALLOWED`] that it begins with.
fn room(path: &str) -> Option<&'static str> {
    let path = path.trim_end_matches("::*");
    let rooms = ALLOWED.iter().map(|(room, _)| *room);
    rooms.filter(|room| reaches(path, room)).max_by_key(|room| room.len())
}

/// The paths named by `module` that [`ALLOWED`] forbids.
fn strays(module: &str, paths: &[String]) -> Vec<String> {
    let Some(own) = room(module) else { return vec![format!("give {module} a row in ALLOWED")] };
    let allowed = ALLOWED.iter().find(|(room, _)| *room == own).map_or(&[][..], |(_, allowed)| allowed);
    let fits = |used: Option<&str>| used.is_some_and(|used| used == own || allowed.contains(&used));
    let inside = paths.iter().filter_map(|path| Some((path, path.strip_prefix("crate::")?)));
    inside.filter(|(_, below)| !fits(room(below))).map(|(path, _)| format!("{own} must not use {path}")).collect()
}

/// The paths named by `module` that [`CAPABILITIES`] forbid.
fn touches(module: &str, paths: &[String]) -> Vec<String> {
    let denied = CAPABILITIES.iter().filter(|capability| !capability.modules.iter().any(|may| reaches(module, may)));
    let touched = |capability: &Capability, path: &str| capability.paths.iter().any(|named| reaches(path, named));
    denied
        .flat_map(|capability| {
            let paths = paths.iter().filter(|path| touched(capability, path));
            paths.map(|path| format!("{} are not for {module}: {path}", capability.name))
        })
        .collect()
}

#[test]
fn rooms_use_only_what_is_below_them() {
    for source in built() {
        let strays = strays(&source.module, &source.names.paths);
        assert!(strays.is_empty(), "src/{}: {}", source.path, strays.join("; "));
    }
}

#[test]
fn each_room_keeps_to_its_own_world() {
    for source in built() {
        let touches = touches(&source.module, &source.names.paths);
        assert!(touches.is_empty(), "src/{}: {}", source.path, touches.join("; "));
    }
}

#[test]
fn no_room_hands_a_capability_on_under_another_name() {
    for source in built() {
        let hands_on = |path: &&String| CAPABILITIES.iter().flat_map(|c| c.paths).any(|named| reaches(path, named));
        let exported = source.names.exported.iter().filter(|path| !INERT.contains(&path.as_str()));
        let found: Vec<_> = exported.filter(hands_on).collect();
        assert!(found.is_empty(), "src/{} hands on {found:?}", source.path);
    }
}

#[test]
fn every_dependency_has_its_place() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).expect("UTF-8");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    let named =
        |name: &str| CAPABILITIES.iter().flat_map(|c| c.paths).any(|path| path.split("::").next() == Some(name));
    for name in manifest["dependencies"].as_table().expect("a table").keys() {
        let name = name.replace('-', "_");
        let places = usize::from(HARMLESS.contains(&name.as_str())) + usize::from(named(&name));
        assert!(places > 0, "{name}: give it a capability, or a place among the harmless");
    }
}

#[test]
fn the_table_of_rooms_is_in_order() {
    for (index, (room, allowed)) in ALLOWED.iter().enumerate() {
        for used in *allowed {
            assert!(
                ALLOWED[..index].iter().any(|(earlier, _)| earlier == used),
                "{room} uses {used}, which is below it"
            );
        }
    }
}

#[test]
fn a_room_that_strays_is_caught() {
    let check = |module: &str, text: &str, is_caught: bool| {
        let names = names(&format!("crate::{module}"), text);
        let caught = [strays(module, &names.paths), touches(module, &names.paths)].concat();
        assert_eq!(!caught.is_empty(), is_caught, "{module}: {text}: {caught:?}");
    };
    for text in [
        "use crate::http::app::App;",
        "use crate::http::App;",
        "use crate::http::{self, error::Error};",
        "use crate::http::*;",
        "use super::super::call::Call;",
        "fn f(app: &super::super::app::App) {}",
        "use crate::{digest, http::{error::Error, routes::images}};",
        "use crate::*;",
        "use crate::jobs_of_another_name::X;",
        "use self::super::super::app::App;",
    ] {
        check("http::message::queue", text, true);
        check("http::protocol::metrics", text, true);
    }
    check("http::message::queue", "use crate::http::protocol::problem;", true);
    check("http::protocol::metrics", "use crate::http::table::ROUTES;", true);
    check("http::routes::images", "use crate::http::server::serve;", true);
    check("http::routes::images", "use crate::http::app::App; use super::info;", false);
    check("http::message::queue", "use super::spool::Spool; use crate::store;", false);
    check("pipeline::codec::png", "use crate::store;", true);
    check("jobs::queue", "use crate::{digest::Digest,\n pipeline};", true);
    for text in [
        "use std::{fs, io};",
        "use std::os::unix::fs::FileExt;",
        "use std::{\n    io,\n    os::{\n        fd::AsFd,\n    },\n};",
        "use tempfile::tempfile;",
        "use rustix::fs as harmless;",
        "use std::*;",
        "fn f() { std::fs::read(\"x\"); }",
        "use std as s; fn f() { s::fs::read(\"x\"); }",
        "use std::process::Command;",
        "use std::thread; fn f() { thread::spawn(|| ()); }",
        "use tokio::net::TcpStream; async fn f() { TcpStream::connect(\"x\").await; }",
        "use hyper::client::conn::http1;",
        "fn f() { std::env::var(\"HOME\"); }",
        "use rusqlite::Connection;",
        "use std::sync::{Arc, Mutex};",
        "fn f() { image::open(\"x\"); }",
    ] {
        check("http::message::queue", text, true);
    }
    check("http::message::spool", "use std::os::unix::fs::FileExt; use tempfile::tempfile;", false);
    check("http::server::connection", "use tokio::net::TcpStream;", false);
    check("http::message::options", "fn f() { std::thread::available_parallelism(); }", false);
    check("digest", "use tokio::sync::Semaphore;", true);
    check("config", "use hyper::Method;", true);
}

#[test]
fn only_the_files_of_c_libraries_have_unsafe_code() {
    for source in SOURCES.iter().filter(|source| !UNSAFE.contains(&source.path.as_str())) {
        assert!(!source.names.is_unsafe, "src/{} has unsafe code", source.path);
    }
}

/// Lines of code: without comments, and without the file's own tests.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .filter(|line| !line.trim_start().starts_with("//"))
}

#[test]
fn every_module_says_what_it_is_and_fits_one_room() {
    for source in SOURCES.iter() {
        assert!(source.text.starts_with("//! "), "src/{} does not begin with `//! `", source.path);
        let lines = code(&source.text).count();
        assert!(
            lines <= LINES_MAX,
            "src/{} has {lines} lines of code, at most {LINES_MAX}: two rooms in one?",
            source.path
        );
    }
}

#[test]
fn no_folder_holds_more_files_than_one_looks_over() {
    let mut folders = BTreeMap::<String, usize>::new();
    for source in SOURCES.iter() {
        let folder = source.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        *folders.entry(folder.to_owned()).or_default() += 1;
    }
    for (folder, files) in &folders {
        let is_flat = !folder.is_empty() && !folders.keys().any(|inner| inner.starts_with(&format!("{folder}/")));
        let long = LONG_FOLDERS.iter().find(|(long, _)| long == folder && !is_flat);
        let max = long.map_or(FILES_MAX, |(_, max)| *max);
        assert!(*files <= max, "src/{folder} holds {files} files, at most {max}: two rooms in one?");
    }
}
