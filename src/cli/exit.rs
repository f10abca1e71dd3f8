//! How a command ends: its exit status, and its message on standard error. Prints no data.

use std::fmt;
use std::io;
use std::process::ExitCode;
use std::sync::OnceLock;

use tokio::signal::unix::{SignalKind, signal};

use super::output;
use crate::store;

/// A part of the help of each command that uses a server.
pub const HELP: &str = "Exit status: 0 success; 1 some items failed (each is named); 2 wrong argument or setting; 3 the \
     server cannot be reached, or accepts nothing more; 4 the server requires another key; 130 interrupted; 141 \
     standard output was closed.";

/// A part of the help of each command that uses folders without a server.
pub const HELP_WITHOUT_SERVER: &str = "Exit status: 0 success; 1 some items failed (each is named); 2 wrong argument or \
     setting; 3 a folder cannot be used, or has no room; 130 interrupted; 141 standard output was closed.";

/// An exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Success.
    Done = 0,
    /// Some items failed, and each is named.
    Failed = 1,
    /// An argument or a setting is wrong.
    Usage = 2,
    /// The server or the store cannot be reached, or accepts nothing more.
    Unreached = 3,
    /// The server requires a key, or another one.
    Refused = 4,
    /// A signal ended the command; a shell's status for SIGINT.
    Interrupted = 130,
    /// Standard output was closed; a shell's status for SIGPIPE.
    Pipe = 141,
}

impl Exit {
    /// `Done`, unless items failed.
    pub fn of_failed(count: u64) -> Exit {
        if count == 0 { Exit::Done } else { Exit::Failed }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command ends early.
#[derive(Debug)]
pub struct Failure {
    /// The exit status.
    pub exit: Exit,
    /// The message for people; may be empty.
    pub text: String,
}

impl Failure {
    /// A failure with its message.
    pub fn new(exit: Exit, text: impl fmt::Display) -> Failure {
        Failure { exit, text: text.to_string() }
    }

    /// A wrong argument or setting.
    pub fn usage(text: impl fmt::Display) -> Failure {
        Failure::new(Exit::Usage, text)
    }
}

/// An error of standard output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::new(Exit::Pipe, ""),
            _ => Failure::new(Exit::Failed, format!("standard output: {error}")),
        }
    }
}

/// An error that concerns a whole store, not one blob.
impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Failure {
        Failure::new(Exit::Unreached, error)
    }
}

/// Prints how `command` ended, and returns its status.
pub fn end(command: &str, outcome: Result<Exit, Failure>) -> ExitCode {
    let failure = match outcome {
        Ok(exit) => return exit.into(),
        Err(failure) => failure,
    };
    if !failure.text.is_empty() {
        eprintln!("progimage {command}: {}", failure.text);
    }
    failure.exit.into()
}

/// Prints the whole output of `command`, and returns its status.
pub fn printed(command: &str, data: &[u8]) -> ExitCode {
    end(command, output::print(data).map(|()| Exit::Done).map_err(Failure::from))
}

/// A note that is printed when a signal ends the command, about work that goes on elsewhere. It is set once such work
/// exists.
pub type InterruptNote = OnceLock<String>;

/// Runs an asynchronous command until it ends, or a signal ends it. Temporary files are removed in both cases.
pub fn run(command: &str, work: impl Future<Output = Result<Exit, Failure>>) -> ExitCode {
    run_with_note(command, &InterruptNote::new(), work)
}

/// Runs an asynchronous command like [`run`], and prints `note` if a signal ends it.
pub fn run_with_note(
    command: &str,
    note: &InterruptNote,
    work: impl Future<Output = Result<Exit, Failure>>,
) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return end(command, Err(Failure::new(Exit::Failed, error))),
    };
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = work => outcome,
            () = signalled() => Err(Failure::new(Exit::Interrupted, interrupted(note))),
        }
    });
    // Does not wait for threads that read slow files.
    runtime.shutdown_background();
    end(command, outcome)
}

fn interrupted(note: &InterruptNote) -> String {
    note.get().map_or("interrupted".to_owned(), |text| format!("interrupted; {text}"))
}

async fn signalled() {
    match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
        (Ok(mut interrupt), Ok(mut terminate)) => {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        }
        _ => std::future::pending().await,
    }
}
