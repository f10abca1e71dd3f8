//! From sockets to requests: [`listen`] accepts, [`connection`] keeps time, [`service`] adds what all answers share, [`dispatch`] finds
//! the route. Above everything else in this module.

mod connection;
mod dispatch;
mod listen;
mod path_hints;
mod service;

pub use listen::{Stopped, serve};
