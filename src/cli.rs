//! The command line: parses arguments and calls the layers below; it renders nothing itself. One file a command, one row each in
//! `COMMANDS`. stdout is data, stderr is for people, the exit status tells (`ending`).

mod bulk;
mod client;
mod completions;
mod copy;
mod describe;
mod ending;
mod get;
mod jobs;
mod output;
mod progress;
mod put;
mod render;
mod results;
mod serve;
mod sign;
mod verify;

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};

use crate::config::{Config, Mistakes, SETTINGS, Sources};

/// What a command takes, and what it does.
type Row = (fn() -> Command, fn(&ArgMatches) -> ExitCode);

/// Every command but `serve`, which is also what is done without one.
const COMMANDS: &[Row] = &[
    (put::command, put::run),
    (get::command, get::run),
    (bulk::command, bulk::run),
    (jobs::command, jobs::run),
    (copy::command, copy::run),
    (verify::command, verify::run),
    (render::command, render::run),
    (sign::command, sign::run),
    (describe::command, describe::run),
    (completions::command, completions::run),
];

/// Parses the arguments, runs the command and says how it ended.
pub fn run() -> ExitCode {
    let matches = command().get_matches();
    let Some((name, given)) = matches.subcommand() else { return serve::run(&[&matches]) };
    match COMMANDS.iter().find(|(command, _)| command().get_name() == name) {
        Some((_, run)) => run(given),
        None => serve::run(&[given, &matches]),
    }
}

fn command() -> Command {
    let config = Arg::new("config").long("config").value_name("FILE").help("TOML file of settings").global(true);
    Command::new("progimage")
        .version(env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .arg(config)
        // Without a command the server starts; its settings may stand there, too.
        .args(settings().map(|arg| arg.hide(true)))
        .subcommand(Command::new("serve").about("Serve HTTP; what is done without a command, too").args(settings()))
        .subcommands(COMMANDS.iter().map(|(command, _)| command()))
}

/// A flag for every setting.
fn settings() -> impl Iterator<Item = Arg> {
    // Made once: the defaults of some depend on the machine, which is slow to ask.
    let defaults = Config::default();
    SETTINGS.iter().map(move |setting| {
        // clap keeps names for as long as the process lives; this runs twice.
        let flag: &'static str = setting.key.replace('_', "-").leak();
        let arg = Arg::new(setting.key).long(flag).help(setting.doc);
        if setting.is_switch(&defaults) {
            arg.value_name("true|false").num_args(0..=1).require_equals(true).default_missing_value("true")
        } else {
            arg.value_name("VALUE")
        }
    })
}

/// Reads the settings from where they stand: flags of any of `matches`, where the command takes them, environment and file.
fn load(matches: &[&ArgMatches]) -> Result<Config, Mistakes> {
    let flag =
        |key: &str| matches.iter().find_map(|matches| matches.try_get_one::<String>(key).ok().flatten().cloned());
    let environment = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let path = flag("config").or_else(|| environment("PROGIMAGE_CONFIG"));
    let file = match path {
        None => None,
        Some(path) => Some(
            std::fs::read_to_string(&path)
                .map_err(|error| Mistakes(vec![format!("--config: cannot read {path}: {error}")]))?,
        ),
    };
    Config::load(&Sources { flag: &flag, environment: &environment, file: file.as_deref() })
}
