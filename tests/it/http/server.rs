//! What holds on every connection, whatever is asked: the protocol, the clock, and memory that slow clients hold.

mod protocol;
mod slow_clients;
mod timeouts;
