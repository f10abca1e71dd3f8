//! The one integration test binary: each module tests one part over its public face.

// In a test a failure ends it; `.clippy.toml` knows only functions marked #[test], not what they call.
#![allow(clippy::unwrap_used)]

// Pixels.
mod codecs;
mod compression;
mod determinism;
mod metadata;
mod operations;
mod pipeline;

// Bytes, kept and fetched.
mod fetch;
mod queue;
mod renditions;
mod store;

// The edges.
mod cli;
mod external;
mod http;

// The repository.
mod docs;
mod gallery;
mod tidy;

// What tests share.
mod counting;
mod fixtures;

/// The pairs of an operation's example, as a server reads them; `id` is that of the image it names.
fn example(query: &str, id: &progimage::digest::Digest) -> Vec<(String, String)> {
    progimage::pipeline::query::pairs(Some(&query.replace("{id}", &id.to_string()))).expect(query)
}
