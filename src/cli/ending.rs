//! How a command ends: its exit status, and what is said on standard error. Prints no data.

use std::fmt;
use std::io;
use std::process::ExitCode;
use std::sync::OnceLock;

use tokio::signal::unix::{SignalKind, signal};

use super::output;
use crate::store;

/// For the help of each command that talks to a server or a store.
pub const HELP: &str = "Exit status: 0 all well; 1 some items failed (each is named; those of a job by `jobs results`); 2 an argument or a setting is at fault; \
     3 the server or the store cannot be reached, or takes nothing more; 4 the server wants another key; \
     130 interrupted; 141 standard output was closed.";

/// An exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All well.
    Done = 0,
    /// Some items failed, and each is named.
    Failed = 1,
    /// An argument or a setting is at fault.
    Usage = 2,
    /// The server or the store cannot be reached, or takes nothing more.
    Unreached = 3,
    /// The server wants a key, or another one.
    Refused = 4,
    /// A signal ended it; as a shell says of SIGINT.
    Interrupted = 130,
    /// Nobody reads standard output any more; as a shell says of SIGPIPE.
    Pipe = 141,
}

impl Exit {
    /// `Done`, unless something failed.
    pub fn of_failed(count: u64) -> Exit {
        if count == 0 { Exit::Done } else { Exit::Failed }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command ends before its work does.
#[derive(Debug)]
pub struct Failure {
    /// The status.
    pub exit: Exit,
    /// For people; may be empty.
    pub text: String,
}

impl Failure {
    /// With its text.
    pub fn new(exit: Exit, text: impl fmt::Display) -> Failure {
        Failure { exit, text: text.to_string() }
    }

    /// An argument or a setting is at fault.
    pub fn usage(text: impl fmt::Display) -> Failure {
        Failure::new(Exit::Usage, text)
    }
}

/// Of standard output.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::new(Exit::Pipe, ""),
            _ => Failure::new(Exit::Failed, format!("standard output: {error}")),
        }
    }
}

/// Of a whole store, not of one blob.
impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Failure {
        Failure::new(Exit::Unreached, error)
    }
}

/// Says how `command` ended.
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

/// Prints all that `command` has to say.
pub fn printed(command: &str, data: &[u8]) -> ExitCode {
    end(command, output::print(data).map(|()| Exit::Done).map_err(Failure::from))
}

/// What goes on elsewhere when a signal ends the command: set once it does.
pub type GoesOn = OnceLock<String>;

/// Runs an asynchronous command until it ends or a signal does; what it has begun (temporary files) is cleaned up in both cases.
pub fn run(command: &str, work: impl Future<Output = Result<Exit, Failure>>) -> ExitCode {
    run_beside(command, &GoesOn::new(), work)
}

/// The same of a command beside which something else goes on.
pub fn run_beside(command: &str, goes_on: &GoesOn, work: impl Future<Output = Result<Exit, Failure>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return end(command, Err(Failure::new(Exit::Failed, error))),
    };
    let outcome = runtime.block_on(async {
        tokio::select! {
            outcome = work => outcome,
            () = signalled() => Err(Failure::new(Exit::Interrupted, interrupted(goes_on))),
        }
    });
    // A thread that still reads a slow file is not waited for.
    runtime.shutdown_background();
    end(command, outcome)
}

fn interrupted(goes_on: &GoesOn) -> String {
    goes_on.get().map_or("interrupted".to_owned(), |text| format!("interrupted; {text}"))
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
