//! What holds on every connection and every route: the protocol, the timeouts, and the memory that slow clients hold.

mod crowds;
mod protocol;
mod slow_clients;
mod timeouts;
