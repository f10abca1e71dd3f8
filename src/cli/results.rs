//! Result lines of bulk requests and jobs: passed on as they come, counted, and held against the last line, which says that none is
//! missing. Asks nothing.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, value_parser};
use serde::Deserialize;
use serde_json::Value;

use super::client::Lines;
use super::ending::{Exit, Failure};
use super::output::Output;
use super::progress::Progress;

/// Where results go.
pub fn arg() -> Arg {
    Arg::new("results")
        .long("results")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("Write the results to a file, not to standard output")
}

/// What is looked at in a line; images in it are passed over.
#[derive(Deserialize)]
struct Line {
    item: Option<u64>,
    key: Option<String>,
    output: Option<u64>,
    problem: Option<Problem>,
    done: Option<bool>,
}

#[derive(Deserialize)]
struct Problem {
    detail: Option<String>,
}

/// What came of the lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Results that are well.
    pub well: u64,
    /// Results that are a problem.
    pub failed: u64,
}

/// Standard output, or a file.
enum Target {
    Output,
    File(BufWriter<File>, PathBuf),
}

/// Passes `lines` on to where `matches` say, and names what failed; the last line says whether more may come.
pub async fn pass(
    mut lines: Lines<'_>,
    matches: &ArgMatches,
    command: &str,
    progress: &Progress,
) -> Result<Counts, Failure> {
    let mut target = target(matches.get_one("results"))?;
    let mut output = Output::results(progress.clone());
    let mut counts = Counts::default();
    let (mut last, mut items) = (None, 0);
    while let Some(text) = lines.next().await? {
        let line: Line = serde_json::from_slice(&text)
            .map_err(|_| Failure::new(Exit::Failed, "the answer has a line that is no result: is this ProgImage?"))?;
        match &mut target {
            Target::Output => {
                output.line(&text)?;
                // Results are as rare as renders: nobody waits for a full buffer.
                output.flush()?;
            }
            Target::File(file, path) => write(file, &text).map_err(|error| unwritten(path, &error))?,
        }
        if line.done.is_some() {
            last = Some(line);
            break;
        }
        // In the order in which they end, but items begin in the order of their lines.
        items = items.max(line.item.map_or(0, |item| item + 1));
        progress.set(items);
        match &line.problem {
            None => counts.well += 1,
            Some(problem) => {
                counts.failed += 1;
                output.failed(|| Value::Null, || named(&line, problem))?;
            }
        }
        progress.say(|| format!("{} done, {} failed", counts.well, counts.failed));
    }
    if let Target::File(file, path) = &mut target {
        file.flush().map_err(|error| unwritten(path, &error))?;
    }
    output.end(command, &format!("{} done, {} failed", counts.well, counts.failed))?;
    match last {
        None => Err(Failure::new(Exit::Unreached, "the answer was cut: results are missing")),
        Some(Line { problem: Some(problem), .. }) => {
            Err(Failure::new(Exit::Failed, problem.detail.unwrap_or_else(|| "the server has given up".to_owned())))
        }
        Some(_) => Ok(counts),
    }
}

fn target(path: Option<&PathBuf>) -> Result<Target, Failure> {
    let Some(path) = path else { return Ok(Target::Output) };
    let file = File::create(path).map_err(|error| unwritten(path, &error))?;
    Ok(Target::File(BufWriter::new(file), path.clone()))
}

fn write(file: &mut BufWriter<File>, line: &[u8]) -> std::io::Result<()> {
    file.write_all(line)?;
    file.write_all(b"\n")
}

fn unwritten(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("{}: {error}", path.display()))
}

/// `item 3, output 1 (key): why`.
fn named(line: &Line, problem: &Problem) -> String {
    let mut name = line.item.map_or_else(|| "an item".to_owned(), |item| format!("item {item}"));
    if let Some(output) = line.output {
        name += &format!(", output {output}");
    }
    if let Some(key) = &line.key {
        name += &format!(" ({key})");
    }
    format!("{name}: {}", problem.detail.as_deref().unwrap_or("it failed"))
}
