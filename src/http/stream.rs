//! Requests that are read while their answers are sent: lines in ([`LineReader`]), lines out ([`Answer`]). What the lines say is
//! not here.
//!
//! A client may send everything before it reads anything. So lines never wait for it: past a little memory they are kept in an
//! unlinked temporary file ([`spool`]), up to a bound of the answer and one of all answers together. Only past these, and for
//! bytes that are too many to keep ([`Answer::send`]), the server waits, and with it the reading of the request.

mod answer;
mod lines;
mod spool;

pub(super) use answer::{Answer, Gone, Lines, spawn};
pub(super) use lines::{Line, LineReader};
pub(super) use spool::Spools;

/// One JSON text a line.
pub(super) const NDJSON: &str = "application/x-ndjson";
