//! Requests that are read while their answers are sent: lines in ([`LineReader`]), lines out ([`Answer`]). What the lines say is
//! not here.
//!
//! A client may send everything before it reads anything. So lines never wait for it: past a little memory they are kept in an
//! unlinked temporary file ([`spool`]), up to a bound of the answer and one of all answers together. Only past these, and for
//! bytes that are too many to keep ([`Answer::send`]), the server waits, and with it the reading of the request. What waits for its
//! turn to be sent may lie on a [`Shelf`].

mod answer;
mod lines;
mod queue;
mod sending;
mod shelf;
mod spool;

use serde_json::{Value, json};

use super::error::Error;
use super::problem::Problem;
use super::service::told;
pub(super) use answer::{Answer, Gone, spawn};
pub(super) use lines::{Line, LineReader, is_lines};
pub(super) use sending::Lines;
pub(super) use shelf::{Kept, Shelf};
pub(super) use spool::{PIECE_BYTES, Spools};

/// One JSON text a line.
pub(super) const NDJSON: &str = "application/x-ndjson";

/// The end of a line that was left within a string, which stays cut short. A line that is sent in parts says `status` after these:
/// so one that is ended in this way is no result.
pub(super) fn cut_short(problem: Problem) -> String {
    let status = problem.status().as_u16();
    format!("\",\"problem\":{},\"status\":{status}}}\n", problem.json())
}

/// Lines that were answered, by how it went: what the last line says.
#[derive(Default)]
pub(super) struct Tally {
    ok: u64,
    failed: u64,
}

impl Tally {
    pub(super) fn count(&mut self, ok: bool) {
        *if ok { &mut self.ok } else { &mut self.failed } += 1;
    }

    /// The last line. After an error the request was not read to its end.
    pub(super) fn last(&self, ended: Result<(), Error>) -> Value {
        let mut last = json!({ "done": ended.is_ok(), "ok": self.ok, "failed": self.failed });
        if let Err(error) = ended {
            last["problem"] = told(&error, None).json();
        }
        last
    }
}
