//! Passes on the result lines of bulk requests and jobs as they come, and counts them. The last line proves that none
//! is missing. Sends no request.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, value_parser};
use serde::Deserialize;
use serde_json::Value;

use super::client::{Error, Lines};
use super::exit::{Exit, Failure};
use super::output::{self, Output};
use super::progress::Progress;

/// The argument for the file of results.
pub fn arg() -> Arg {
    Arg::new("results")
        .long("results")
        .value_name("FILE")
        .value_parser(value_parser!(PathBuf))
        .help("File to write the results to, instead of standard output")
}

/// The members of a line that are read here. Images in it are skipped.
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
    status: Option<u16>,
    detail: Option<String>,
}

/// Counts of result lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ResultCounts {
    /// Outputs that succeeded.
    pub well: u64,
    /// Outputs that failed. An item whose outputs could not be read counts as one.
    pub failed: u64,
    /// Items of all these outputs.
    pub items: u64,
}

impl ResultCounts {
    fn count(&mut self, line: &Line) {
        // Lines come in the order in which outputs end. Items start in order, so the largest number counts them.
        self.items = self.items.max(line.item.map_or(0, |item| item.saturating_add(1)));
        *(if line.problem.is_none() { &mut self.well } else { &mut self.failed }) += 1;
    }

    fn text(&self) -> String {
        let ResultCounts { well, failed, items } = self;
        format!("{} done, {failed} failed, of {}", output::counted(*well, "output"), output::counted(*items, "item"))
    }
}

/// The destination of results.
enum Sink {
    Output,
    File(BufWriter<File>, PathBuf),
}

/// Passes `lines` on to the destination that `matches` name, and names failed items. Fails unless the last line says
/// `done`.
pub async fn pass(
    mut lines: Lines<'_>,
    matches: &ArgMatches,
    command: &str,
    progress: &Progress,
) -> Result<ResultCounts, Failure> {
    let mut sink = sink(matches.get_one("results"))?;
    let mut output = Output::results(progress.clone());
    let mut counts = ResultCounts::default();
    let last = loop {
        let line = match next(&mut lines).await {
            Ok((text, line)) => {
                write(&mut sink, &mut output, &text)?;
                line
            }
            Err(failure) => break Err(failure),
        };
        if line.done.is_some() {
            break Ok(line);
        }
        counts.count(&line);
        progress.set(counts.items);
        if let Some(problem) = &line.problem {
            output.failed(|| Value::Null, || named(&line, problem))?;
        }
        progress.message(|| format!("{} done, {} failed", output::counted(counts.well, "output"), counts.failed));
    };
    // Results that came are kept and counted even if the rest is missing.
    if let Sink::File(file, path) = &mut sink {
        file.flush().map_err(|error| unwritten(path, &error))?;
    }
    output.end(command, &counts.text())?;
    match last?.problem {
        Some(problem) => Err(problem.cut()),
        None => Ok(counts),
    }
}

impl Problem {
    /// The failure for a problem in the last line: the rest was not done.
    fn cut(self) -> Failure {
        let is_temporary = self.status.is_some_and(|status| status >= 500);
        let why = self.detail.as_deref().map_or("the server gave up", |detail| detail.trim_end_matches('.'));
        match is_temporary {
            true => Failure::new(Exit::Unreached, format!("{CUT} ({why})")),
            false => Failure::new(Exit::Failed, format!("{why}; results are missing")),
        }
    }
}

const CUT: &str = "the answer was cut and results are missing: run this again";

/// The next line, as text and parsed.
async fn next(lines: &mut Lines<'_>) -> Result<(Vec<u8>, Line), Failure> {
    let text = match lines.next().await {
        Ok(Some(text)) => text,
        Ok(None) => return Err(Failure::new(Exit::Unreached, CUT)),
        Err(Error::Transport(why)) => return Err(Failure::new(Exit::Unreached, format!("{CUT} ({why})"))),
        Err(error) => return Err(error.into()),
    };
    let line = serde_json::from_slice(&text)
        .map_err(|_| Failure::new(Exit::Failed, "the answer has a line that is not a result: is this ProgImage?"))?;
    Ok((text, line))
}

fn sink(path: Option<&PathBuf>) -> Result<Sink, Failure> {
    let Some(path) = path else { return Ok(Sink::Output) };
    let file = File::create(path).map_err(|error| Failure::usage(format!("--results {}: {error}", path.display())))?;
    Ok(Sink::File(BufWriter::new(file), path.clone()))
}

fn write(sink: &mut Sink, output: &mut Output, line: &[u8]) -> Result<(), Failure> {
    match sink {
        // Flushed at once: results are as rare as renders.
        Sink::Output => Ok(output.line(line).and_then(|()| output.flush())?),
        Sink::File(file, path) => {
            let written = file.write_all(line).and_then(|()| file.write_all(b"\n"));
            written.map_err(|error| unwritten(path, &error))
        }
    }
}

fn unwritten(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("{}: {error}", path.display()))
}

/// The text `item 3, output 1 (key): why`.
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
