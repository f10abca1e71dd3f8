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
use crate::pipeline::query;
pub use app::{App, Settings};
pub use message::options::Options;
pub use protocol::{auth, sign};
pub use table::{ROUTES, Route};

/// The decoded pairs of a query, as every route reads them.
///
/// Errors: text that is not UTF-8.
pub fn decode_query(query: &str) -> Result<Vec<(String, String)>, &'static str> {
    query::pairs(Some(query)).map_err(|_| "the query must be UTF-8, percent-encoded")
}
