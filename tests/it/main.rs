//! The one integration test binary: each module tests one part over its public face.

// In a test a failure ends it; `.clippy.toml` knows only functions marked #[test], not what they call.
#![allow(clippy::unwrap_used)]

mod cli;
mod codecs_library;
mod codecs_modern;
mod codecs_native;
mod compression;
mod determinism;
mod docs;
mod external;
mod fixtures;
mod gallery;
mod http;
mod metadata;
mod operations;
mod pipeline;
mod renditions;
mod store;
mod tidy;
