//! Renders in worker processes: the codecs of C share no memory with keys, uploads and other images, and a render can
//! be stopped at any point.
//!
//! Each thread of a lane has one worker: this program, started again ([`WorkerCommand`]). The thread says over a socket
//! which step to take, and waits with a deadline. The worker has this socket and no other descriptor, no environment, one
//! thread, a bound on its address space, and a list of system calls that opens nothing (`sandbox`).
//!
//! ```text
//! thread of a lane                                   worker
//! seat      step by step, again after a death        worker    decode, finish
//! process   start, wait, kill                        sandbox   what it may ask of the system
//! strikes   sources that end workers
//!           wire: steps and replies -- memory: the images, sealed; kept for the next batch
//! ```
//!
//! It narrows what a mistake in a codec can do to the images that this worker renders. It does not protect those from
//! each other: one worker renders many images, one after the other.

mod memory;
mod process;
mod sandbox;
mod seat;
mod strikes;
mod wire;
mod worker;

pub use process::WorkerCommand;
pub(super) use seat::{Apart, Workers};
pub use worker::serve;

#[cfg(test)]
mod tests;
