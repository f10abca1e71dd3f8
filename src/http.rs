//! The edge: routes and handlers. The only module that names server HTTP types.
//!
//! [`ROUTES`] is the table from which dispatch, 404, 405 with `Allow`, scopes and metric labels follow; [`server::serve`] runs it
//! over sockets. Not a place for pixels, blobs or caches: handlers are short paragraphs over the layers below.

mod app;
mod call;
mod error;
mod message;
mod protocol;
mod routes;
pub mod server;
mod setup;
mod table;

pub use crate::pipeline::Presets;
pub use app::{App, Settings};
pub use message::options::Options;
pub use protocol::{auth, sign};
pub use table::{ROUTES, Route};
