//! The command line: parses arguments and calls the layers below. It renders nothing itself. Each command has a file,
//! and a row in `COMMANDS`. stdout is data, stderr is for people, and `exit` defines the exit status.

mod backup;
mod bulk;
mod client;
mod completions;
mod copy;
mod describe;
mod exit;
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

use crate::config::{Config, Mistakes, Setting, SettingSources, settings};
use crate::renditions::isolate;

/// A command: its arguments, and the function that runs it.
type Row = (fn() -> Command, fn(&ArgMatches) -> ExitCode);

/// All commands except `serve`, which also runs without a command.
const COMMANDS: &[Row] = &[
    (put::command, put::run),
    (get::command, get::run),
    (bulk::command, bulk::run),
    (jobs::command, jobs::run),
    (copy::command, copy::run),
    (backup::command, backup::run),
    (backup::restore_command, backup::run_restore),
    (verify::command, verify::run),
    (render::command, render::run),
    (sign::command, sign::run),
    (describe::command, describe::run),
    (completions::command, completions::run),
];

/// Parses the arguments, runs the command and returns its exit status.
pub fn run() -> ExitCode {
    // Before all else: a worker is to start fast, and no user calls it.
    if std::env::args_os().nth(1).is_some_and(|name| name == serve::RENDER_WORKER) {
        return isolate::serve();
    }
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
        .about("Store images and serve them in any size and format")
        .arg(config)
        // Without a command the server starts, so its settings are allowed there, too.
        .args(flags().map(|arg| arg.hide(true)))
        .subcommand(Command::new("serve").about("Serve HTTP (the default command)").args(flags()))
        .subcommands(COMMANDS.iter().map(|(command, _)| command()))
}

/// A flag for every setting.
fn flags() -> impl Iterator<Item = Arg> {
    // Made once: some defaults depend on the machine, which is slow to ask.
    let defaults = Config::default();
    settings().map(move |setting| {
        // clap requires static names. This runs twice in a process.
        let flag: &'static str = setting.key.replace('_', "-").leak();
        let arg = Arg::new(setting.key).long(flag).help(setting.summary()).long_help(long_help(setting, &defaults));
        if setting.is_switch(&defaults) {
            arg.value_name("true|false").num_args(0..=1).require_equals(true).default_missing_value("true")
        } else {
            arg.value_name("VALUE")
        }
    })
}

/// The whole text of a setting, with its variable and its default.
fn long_help(setting: &Setting, defaults: &Config) -> String {
    let default = Some(setting.default(defaults)).filter(|default| !default.is_empty());
    let default = default.map(|default| format!(" [default: {default}]")).unwrap_or_default();
    format!("{} [env: {}]{default}", without_links(setting.doc), setting.variable())
}

/// The text without the targets of its Markdown links, which lead nowhere in a terminal.
fn without_links(markdown: &str) -> String {
    let mut parts = markdown.split("](");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (_target, rest) = part.split_once(')').unwrap_or(("", part));
        if let Some(at) = text.rfind('[') {
            text.remove(at);
        }
        text += rest;
    }
    text
}

/// Loads the settings: from the flags of any of `matches`, if the command takes them, the environment and the file.
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
    Config::load(&SettingSources { flag: &flag, environment: &environment, file: file.as_deref() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP_CHARS_MAX: usize = 80;

    fn check_command(command: &Command) {
        let name = command.get_name();
        check(name, command.get_about().map(ToString::to_string));
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            check(&format!("{name} {}", arg.get_id()), arg.get_help().map(ToString::to_string));
        }
        command.get_subcommands().for_each(check_command);
    }

    fn check(place: &str, help: Option<String>) {
        let help = help.unwrap_or_else(|| panic!("{place} has no help"));
        assert!(help.chars().count() <= HELP_CHARS_MAX, "{place}: {help}");
        assert!(!help.ends_with('.'), "{place}: {help}");
    }

    #[test]
    fn the_help_of_a_setting_has_its_default_and_no_markdown_links() {
        let check = |markdown, text: &str| assert_eq!(without_links(markdown), text);
        check("a [b c](d.md#e) f [g](h).", "a b c f g.");
        check("`[::1]:80` [a](b)", "`[::1]:80` a");
        check("no link", "no link");
        let mut serve = command().find_subcommand("serve").expect("there is one").clone();
        let help = serve.render_long_help().to_string();
        assert!(!help.contains("]("), "{help}");
        let defaults = Config::default();
        for setting in settings() {
            let default = setting.default(&defaults);
            assert!(default.is_empty() || long_help(setting, &defaults).contains(&default), "{}", setting.key);
        }
        for part in ["[default: 127.0.0.1:8080]", "[default: ./progimage-data]", "[env: PROGIMAGE_LISTEN]"] {
            assert!(help.contains(part), "{part}");
        }
    }

    #[test]
    fn help_texts_are_short_phrases() {
        check_command(&command());
    }
}
