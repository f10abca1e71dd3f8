//! `progimage describe`: the tables of the README, from the program's own.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};

use super::ending;
use crate::config;
use crate::http::ROUTES;
use crate::pipeline;
use crate::pipeline::codec::CODECS;
use crate::pipeline::foreign::{FOREIGN, Means, Row};
use crate::pipeline::operation::OPERATIONS;

/// Writes a Markdown table.
type Describe = fn() -> String;

/// What [`describe`] can print, as Markdown tables.
const DESCRIPTIONS: &[(&str, Describe)] = &[
    ("config", config::describe),
    ("routes", describe_routes),
    ("gallery", describe_gallery),
    ("operations", describe_operations),
    ("formats", describe_formats),
    ("foreign", describe_foreign),
];

pub fn command() -> Command {
    let names: Vec<&str> = DESCRIPTIONS.iter().map(|(name, _)| *name).collect();
    Command::new("describe")
        .about("Print a table of the README")
        .arg(Arg::new("what").required(true).value_parser(names))
}

pub fn run(matches: &ArgMatches) -> ExitCode {
    let what = matches.get_one::<String>("what").map(String::as_str);
    let text: String = DESCRIPTIONS.iter().filter(|(name, _)| what == Some(*name)).map(|(_, text)| text()).collect();
    ending::printed("describe", text.as_bytes())
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
    for row in pipeline::docs::rows() {
        let keys: Vec<String> = row.keys.iter().map(|key| format!("`{key}`")).collect();
        let keys = if keys.is_empty() { "`,`".to_owned() } else { keys.join(" ") };
        let (name, allowed, default) = (row.name, row.allowed, row.default);
        table += &format!("| {} | `{name}` | {keys} | {allowed} | {default} | {} |\n", row.operation, row.doc);
    }
    table
}

/// Spellings of other services, and what they are here.
fn describe_foreign() -> String {
    let mut table = "| There | Of | Here |\n|---|---|---|\n".to_owned();
    for Row { names, values, of, means, .. } in FOREIGN {
        let (names, values) = (names.join("`, `"), values.join("`, `"));
        let here = match means {
            Means::Same(same) => format!("`{same}`, taken as it is"),
            Means::Nothing => "nothing is done, as asked".to_owned(),
            Means::Query(query) => format!("`{query}`"),
            Means::Because(query, why) => format!("`{query}`: {why}"),
            Means::Extension => "the extension of the path: `/images/{id}.webp`".to_owned(),
            Means::Words(words) => (*words).to_owned(),
        };
        table += &format!("| `{names}` = `{values}` | {of} | {here} |\n");
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
