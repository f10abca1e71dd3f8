//! `progimage completions`: what a shell needs to complete this program's arguments.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;

use super::ending;

pub fn command() -> Command {
    Command::new("completions")
        .about("Print a script with which a shell completes arguments")
        .arg(Arg::new("shell").required(true).value_parser(value_parser!(Shell)))
        .after_help("For example: progimage completions bash > ~/.local/share/bash-completion/completions/progimage")
}

pub fn run(matches: &ArgMatches) -> ExitCode {
    let mut script = Vec::new();
    if let Some(shell) = matches.get_one::<Shell>("shell") {
        clap_complete::generate(*shell, &mut super::command(), "progimage", &mut script);
    }
    ending::printed("completions", &script)
}
