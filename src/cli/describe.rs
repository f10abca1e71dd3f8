//! `progimage describe`: prints the tables of the documentation, made from the tables of the program.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};

use super::exit;
use crate::config;
use crate::http::ROUTES;
use crate::pipeline;
use crate::pipeline::codec::CODECS;
use crate::pipeline::operation::OPERATIONS;

/// A function that writes a Markdown table.
type Describe = fn() -> String;

/// The tables by name.
const DESCRIPTIONS: &[(&str, Describe)] = &[
    ("config", config::describe),
    ("routes", describe_routes),
    ("gallery", describe_gallery),
    ("operations", describe_operations),
    ("formats", describe_formats),
];

pub fn command() -> Command {
    let names: Vec<&str> = DESCRIPTIONS.iter().map(|(name, _)| *name).collect();
    Command::new("describe")
        .about("Print a table of the documentation")
        .arg(Arg::new("what").required(true).value_parser(names).help("Name of the table"))
}

pub fn run(matches: &ArgMatches) -> ExitCode {
    let what = matches.get_one::<String>("what").map(String::as_str);
    let text: String = DESCRIPTIONS.iter().filter(|(name, _)| what == Some(*name)).map(|(_, text)| text()).collect();
    exit::printed("describe", text.as_bytes())
}

fn describe_routes() -> String {
    let mut table = "| Request | Scope | Meaning |\n|---|---|---|\n".to_owned();
    for route in ROUTES {
        table += &format!("| `{} {}` | {} | {} |\n", route.method(), route.path(), route.scope().name(), route.doc());
    }
    table
}

/// The operations with a picture each, as the README has them.
fn describe_gallery() -> String {
    let mut table = "| Operation | Example | | What it does |\n|---|---|---|---|\n".to_owned();
    for operation in OPERATIONS {
        let (name, example, doc) = (operation.name, operation.example, operation.doc);
        let picture = format!("<img src=\"fixtures/gallery/{name}.webp\" width=\"160\" alt=\"{name}\">");
        table += &format!("| {name} | `{example}` | {picture} | {doc} |\n");
    }
    table
}

fn describe_operations() -> String {
    let mut table =
        "| Operation | In JSON | In a query | Allowed | Default | Meaning |\n|---|---|---|---|---|---|\n".to_owned();
    for row in pipeline::reference::rows() {
        let keys: Vec<String> = row.keys.iter().map(|key| format!("`{key}`")).collect();
        let keys = if keys.is_empty() { "`,`".to_owned() } else { keys.join(" ") };
        let (name, allowed, default) = (row.name, row.allowed, row.default);
        table += &format!("| {} | `{name}` | {keys} | {allowed} | {default} | {} |\n", row.operation, row.doc);
    }
    table
}

fn describe_formats() -> String {
    let mut table = "| Format | Extensions | Media type | Read | Written | |\n|---|---|---|---|---|---|\n".to_owned();
    for codec in CODECS {
        let extensions: Vec<String> = codec.extensions.iter().map(|extension| format!("`.{extension}`")).collect();
        let written = if codec.encoder.is_some() { "yes" } else { "no" };
        let (extensions, media_type) = (extensions.join(" "), codec.media_type);
        table += &format!("| {} | {extensions} | `{media_type}` | yes | {written} | {} |\n", codec.name, codec.doc);
    }
    table
}
