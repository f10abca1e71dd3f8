//! The `progimage` program: parses the command line, runs it, chooses the exit status.

use std::process::ExitCode;

/// Measured against the system allocator in `benches/http.rs`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    progimage::cli::run()
}
