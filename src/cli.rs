//! The command line: `serve`, `describe`. It parses arguments and calls the layers below; it renders nothing itself.

use std::process::ExitCode;

/// Parses the arguments, runs the command and says how it ended.
pub fn run() -> ExitCode {
    ExitCode::SUCCESS
}
