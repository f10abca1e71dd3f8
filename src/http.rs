//! The edge: routes and handlers. The only module that names server HTTP types. Not a place for pixels, blobs or caches: handlers are
//! short paragraphs over the layers below.
//!
//! Four rooms that point one way (checked by `tests/it/tidy.rs`); each may use those below it:
//!
//! | Room | Holds |
//! |---|---|
//! | [`server`] | sockets to requests: [`server::serve`], connections, dispatch |
//! | `routes` | the handlers, one file a path; [`ROUTES`] is the table of them, from which dispatch, 404, 405 with `Allow`, scopes and metric labels follow |
//! | `protocol` | what HTTP means, without the application: access, conditions, formats, errors, answers |
//! | `message` | bytes in and out, without their meaning: bodies, lines, forms, temporary files |
//!
//! Between them: [`App`] is what a request can need, `setup` makes it, and a `Call` is a request on its way through a handler; what is
//! below the routes knows neither.

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
