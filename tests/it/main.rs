//! The one integration test binary: each module tests one part over its public face.

// In a test a failure ends it; `.clippy.toml` knows only functions marked #[test], not what they call.
#![allow(clippy::unwrap_used)]

mod cli;
mod codecs_library;
mod codecs_modern;
mod codecs_native;
mod compression;
mod counting;
mod determinism;
mod docs;
mod external;
mod fetch;
mod fixtures;
mod gallery;
mod http;
mod metadata;
mod operations;
mod pipeline;
mod renditions;
mod store;
mod tidy;

/// The pairs of an operation's example, as a server reads them; `id` is that of the image it names.
fn example(query: &str, id: &progimage::digest::Digest) -> Vec<(String, String)> {
    progimage::pipeline::query::pairs(Some(&query.replace("{id}", &id.to_string()))).expect(query)
}
