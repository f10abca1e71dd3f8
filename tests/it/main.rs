//! The one integration test binary: each module tests one part over its public face.

mod codecs_library;
mod codecs_modern;
mod codecs_native;
mod docs;
mod external;
mod fixtures;
mod http;
mod pipeline;
mod renditions;
mod store;
mod tidy;
