//! `progimage completions`: prints a script that completes arguments in a shell.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;

use super::exit;

pub fn command() -> Command {
    Command::new("completions")
        .about("Print a script that completes arguments in a shell")
        .arg(Arg::new("shell").required(true).value_parser(value_parser!(Shell)).help("Shell to complete for"))
        .after_help("For example: progimage completions bash > ~/.local/share/bash-completion/completions/progimage")
}

pub fn run(matches: &ArgMatches) -> ExitCode {
    let mut script = Vec::new();
    if let Some(shell) = matches.get_one::<Shell>("shell") {
        clap_complete::generate(*shell, &mut super::command(), "progimage", &mut script);
    }
    exit::printed("completions", &script)
}
