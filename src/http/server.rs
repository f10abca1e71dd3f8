//! From sockets to requests: [`listen`] accepts, [`connection`] keeps time, [`service`] adds what all answers share, [`dispatch`] finds
//! the route. Above everything else in this module.

mod astray;
mod connection;
mod dispatch;
mod listen;
mod service;

pub use listen::{Stopped, serve};
