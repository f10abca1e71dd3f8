//! From sockets to requests: `listen` accepts connections, `places` bounds their number, `connection` enforces timeouts, `service` adds what
//! all responses share, and `dispatch` finds the route. `host` checks the host of a request. `path_hints` suggests a path where there is no route. This
//! room is above all others of this module.

mod connection;
mod dispatch;
mod host;
mod listen;
mod path_hints;
mod places;
mod service;

pub use listen::{Stopped, serve};
