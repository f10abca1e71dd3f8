//! Result lines of bulk requests and jobs: passed on as they come, counted, and held against the last line, which says that none is
//! missing. Asks nothing.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, value_parser};
use serde::Deserialize;
use serde_json::Value;

use super::client::{Error, Lines};
use super::ending::{Exit, Failure};
use super::output::{self, Output};
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
    status: Option<u16>,
    detail: Option<String>,
}

/// What came of the lines.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Outputs that are well.
    pub well: u64,
    /// Those that are a problem; an item whose outputs could not be read is one.
    pub failed: u64,
    /// Items that all of these are of.
    pub items: u64,
}

impl Counts {
    fn count(&mut self, line: &Line) {
        // In the order in which they end, but items begin in the order of their lines.
        self.items = self.items.max(line.item.map_or(0, |item| item.saturating_add(1)));
        *(if line.problem.is_none() { &mut self.well } else { &mut self.failed }) += 1;
    }

    fn text(&self) -> String {
        let Counts { well, failed, items } = self;
        format!("{} done, {failed} failed, of {}", output::counted(*well, "output"), output::counted(*items, "item"))
    }
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
    let last = loop {
        let line = match next(&mut lines).await {
            Ok((text, line)) => {
                write(&mut target, &mut output, &text)?;
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
        progress.say(|| format!("{} done, {} failed", output::counted(counts.well, "output"), counts.failed));
    };
    // What came is told also where the rest is missing.
    if let Target::File(file, path) = &mut target {
        file.flush().map_err(|error| unwritten(path, &error))?;
    }
    output.end(command, &counts.text())?;
    match last?.problem {
        Some(problem) => Err(problem.cut()),
        None => Ok(counts),
    }
}

impl Problem {
    /// Of the last line: what comes after it was not done.
    fn cut(self) -> Failure {
        let passes = self.status.is_some_and(|status| status >= 500);
        let why = self.detail.as_deref().map_or("the server has given up", |detail| detail.trim_end_matches('.'));
        match passes {
            true => Failure::new(Exit::Unreached, format!("{CUT} ({why})")),
            false => Failure::new(Exit::Failed, format!("{why}; results are missing")),
        }
    }
}

const CUT: &str = "the answer was cut, and results are missing: run this again";

/// The next line as it is, and what it says.
async fn next(lines: &mut Lines<'_>) -> Result<(Vec<u8>, Line), Failure> {
    let text = match lines.next().await {
        Ok(Some(text)) => text,
        Ok(None) => return Err(Failure::new(Exit::Unreached, CUT)),
        Err(Error::Transport(why)) => return Err(Failure::new(Exit::Unreached, format!("{CUT} ({why})"))),
        Err(error) => return Err(error.into()),
    };
    let line = serde_json::from_slice(&text)
        .map_err(|_| Failure::new(Exit::Failed, "the answer has a line that is no result: is this ProgImage?"))?;
    Ok((text, line))
}

fn target(path: Option<&PathBuf>) -> Result<Target, Failure> {
    let Some(path) = path else { return Ok(Target::Output) };
    let file = File::create(path).map_err(|error| Failure::usage(format!("--results {}: {error}", path.display())))?;
    Ok(Target::File(BufWriter::new(file), path.clone()))
}

fn write(target: &mut Target, output: &mut Output, line: &[u8]) -> Result<(), Failure> {
    match target {
        // Results are as rare as renders: nobody waits for a full buffer.
        Target::Output => Ok(output.line(line).and_then(|()| output.flush())?),
        Target::File(file, path) => {
            let written = file.write_all(line).and_then(|()| file.write_all(b"\n"));
            written.map_err(|error| unwritten(path, &error))
        }
    }
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
