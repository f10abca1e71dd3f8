//! `progimage describe`: prints the tables of the documentation, made from the tables of the program.

use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command};

use super::exit;
use crate::config;
use crate::http::{ROUTES, describe_metrics};
use crate::pipeline;
use crate::pipeline::codec::CODECS;
use crate::pipeline::docs::Row;
use crate::pipeline::foreign::{self, FOREIGN, Means};
use crate::pipeline::operation::OPERATIONS;

/// Writes Markdown.
type Describe = fn() -> String;

/// The pictures in one row of the gallery.
const PICTURES_A_ROW: usize = 5;

/// What `describe` can print, as Markdown.
const DESCRIPTIONS: &[(&str, Describe)] = &[
    ("config", config::describe),
    ("routes", describe_routes),
    ("gallery", describe_gallery),
    ("operations", describe_operations),
    ("formats", describe_formats),
    ("foreign", describe_foreign),
    ("metrics", describe_metrics),
];

pub fn command() -> Command {
    let names: Vec<&str> = DESCRIPTIONS.iter().map(|(name, _)| *name).collect();
    Command::new("describe")
        .about("Print a table of the documentation as Markdown")
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

/// Every operation's picture, linked to its section; the pictures are in the folder of the document.
fn describe_gallery() -> String {
    let mut table = format!("|{}\n|{}\n", " |".repeat(PICTURES_A_ROW), "---|".repeat(PICTURES_A_ROW));
    for operations in OPERATIONS.chunks(PICTURES_A_ROW) {
        let cells = operations.iter().map(|operation| {
            let name = operation.name;
            format!(" [<img src=\"{name}.webp\" width=\"150\" alt=\"{name}\"><br>{name}](#{name}) |")
        });
        let empty = " |".repeat(PICTURES_A_ROW - operations.len());
        table += &format!("|{}{empty}\n", cells.collect::<String>());
    }
    table
}

/// A section for each operation, and one for the encode parameters.
fn describe_operations() -> String {
    let rows = pipeline::docs::rows();
    rows.chunk_by(|a, b| a.operation == b.operation).map(section).collect::<Vec<_>>().join("\n")
}

/// One operation: what it does, its example with the picture, its parameters.
fn section(rows: &[Row]) -> String {
    let Row { operation, operation_doc, example, .. } = &rows[0];
    let picture = match OPERATIONS.iter().any(|known| known.name == *operation) {
        true => format!("<br><img src=\"{operation}.webp\" width=\"240\" alt=\"{operation}\">"),
        false => String::new(),
    };
    let parameters: String = rows.iter().map(parameter).collect();
    format!(
        "### {operation}\n\n{operation_doc}\n\n`{example}`{picture}\n\n\
         | Query | JSON | Allowed | Default | Meaning |\n|---|---|---|---|---|\n{parameters}"
    )
}

/// A row of the table of parameters; one without a key follows the one above it after a comma.
fn parameter(row: &Row) -> String {
    let keys: Vec<String> = row.keys.iter().map(|key| format!("`{key}`")).collect();
    let keys = if keys.is_empty() { "`,`".to_owned() } else { keys.join(" ") };
    format!("| {keys} | `{}` | {} | {} | {} |\n", row.name, row.allowed, row.default, row.doc)
}

/// Spellings of other services, and what they are here.
fn describe_foreign() -> String {
    let word = |word: &&str| if word.is_empty() { "no value".to_owned() } else { format!("`{word}`") };
    let listed = |words: &[&str]| words.iter().map(word).collect::<Vec<_>>().join(", ");
    let mut table = "| Spelling | Service | Here |\n|---|---|---|\n".to_owned();
    for foreign::Row { names, values, of, means, .. } in FOREIGN {
        let (names, values) = (listed(names), listed(values));
        let here = match means {
            Means::Same(same) => format!("accepted as `{same}`"),
            Means::Nothing => "accepted, without effect".to_owned(),
            Means::Query(query) => format!("`{query}`"),
            Means::Because(query, why) => format!("`{query}`: {why}"),
            Means::Extension => "the extension of the path: `/images/{id}.webp`".to_owned(),
            Means::Words(words) => (*words).to_owned(),
        };
        table += &format!("| {names} = {values} | {of} | {here} |\n");
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
