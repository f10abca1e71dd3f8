//! From sockets to requests: the listener, its connections, and what is common to every answer.

mod connection;
mod dispatch;
mod listen;
mod service;

pub use listen::{Stopped, serve};
