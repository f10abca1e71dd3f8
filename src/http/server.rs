//! From sockets to requests: `listen` accepts connections, `connection` enforces timeouts, `service` adds what
//! all responses share, and `dispatch` finds the route. `path_hints` suggests a path where there is no route. This
//! room is above all others of this module.

mod connection;
mod dispatch;
mod listen;
mod path_hints;
mod service;

pub use listen::{Stopped, serve};
