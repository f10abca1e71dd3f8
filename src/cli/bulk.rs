//! `progimage bulk`: sends many items in one request, and prints results as they come.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Arg, ArgMatches, Command, value_parser};
use reqwest::Method;

use super::client::{self, Body, Client, Lines};
use super::exit::{self, Exit, Failure};
use super::progress::Progress;
use super::results;

/// The media type of items and of results.
pub const NDJSON: &str = "application/x-ndjson";

pub fn command() -> Command {
    Command::new("bulk")
        .about("Render many images in one request")
        .arg(items_arg())
        .arg(results::arg())
        .args(client::args())
        .after_help(format!(
            "Prints the server's lines of JSON as they come; the last is {{\"done\": true, ...}}. A request that was \
             cut is not repeated automatically; it is safe to run the command again.\n\n{}",
            exit::HELP
        ))
}

/// The argument for a file of items, one JSON object per line.
pub fn items_arg() -> Arg {
    Arg::new("items")
        .value_name("ITEMS")
        .required(true)
        .value_parser(value_parser!(PathBuf))
        .help("File of items, one JSON object per line; - for standard input")
}

pub fn run(matches: &ArgMatches) -> ExitCode {
    exit::run("bulk", bulk(matches))
}

async fn bulk(matches: &ArgMatches) -> Result<Exit, Failure> {
    let progress = Progress::items();
    let client = Client::of(matches, progress.clone())?;
    let items = matches.get_one::<PathBuf>("items").map_or(Path::new("-"), PathBuf::as_path);
    if progress.is_seen() {
        measure(items.to_owned(), progress.clone());
    }
    let response = client.ask(Method::POST, "/bulk", body(items)?).await?;
    let counts = results::pass(Lines::new(&client, response), matches, "bulk", &progress).await?;
    Ok(Exit::of_failed(counts.failed))
}

/// A body that is read as it is sent.
pub fn body(items: &Path) -> Result<Body, Failure> {
    if items == Path::new("-") {
        return Ok(Body::reader(NDJSON, io::stdin()));
    }
    let file = File::open(items).map_err(|error| Failure::usage(format!("{}: {error}", items.display())))?;
    Ok(Body::reader(NDJSON, file))
}

/// Sets the total of `progress`, if the items are a file, which can be read twice.
fn measure(items: PathBuf, progress: Progress) {
    tokio::task::spawn_blocking(move || {
        let Some(file) = File::open(items).ok().filter(|file| file.metadata().is_ok_and(|file| file.is_file())) else {
            return;
        };
        progress.set_total(lines(BufReader::new(file)).unwrap_or(0));
    });
}

/// Counts lines that are not blank, without holding them.
fn lines(mut text: impl BufRead) -> io::Result<u64> {
    let (mut count, mut blank) = (0, true);
    loop {
        let chunk = text.fill_buf()?;
        if chunk.is_empty() {
            return Ok(count + u64::from(!blank));
        }
        for byte in chunk {
            match byte {
                b'\n' => {
                    count += u64::from(!blank);
                    blank = true;
                }
                byte => blank &= byte.is_ascii_whitespace(),
            }
        }
        let len = chunk.len();
        text.consume(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_lines_that_are_not_blank() {
        for (text, count) in [("", 0), ("{}", 1), ("{}\n", 1), ("{}\r\n\n \r\n{}\n{}", 3)] {
            assert_eq!(lines(BufReader::with_capacity(2, text.as_bytes())).expect("in memory"), count, "{text:?}");
        }
    }
}
