//! `progimage put`: uploads files and folders to a server. Each file is hashed, or its hash is recalled. Only files
//! that the server lacks are sent, so a repeated command continues where the last one ended.
//!
//! Six stages run at the same time, with bounded channels between them, so memory does not grow with the number of
//! files:
//! ```text
//! walk -> recall -> hash -> ask /images/missing -> PUT -> report
//! ```

mod devices;
mod hash;
mod hash_cache;
mod stages;
mod walk;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::builder::RangedU64ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use serde_json::json;
use tokio::sync::mpsc;

use super::client::{self, Client};
use super::exit::{self, Exit, Failure};
use super::output::{self, Output};
use super::progress::Progress;
use crate::digest::Digest;
use hash_cache::{HashCache, Stamp};

/// Files that were found and wait to be recalled.
const FOUND_MAX: usize = 1_024;
/// Files with an id that wait to be asked for, and files of one question.
const ASKED_MAX: usize = 1_000;
/// Outcomes that wait to be printed.
const OUTCOMES_MAX: usize = 1_024;

/// The part of the help about remembered hashes.
const CACHE_HELP: &str = "put remembers hashes in $XDG_CACHE_HOME/progimage (or ~/.cache/progimage), at most 256 \
     MiB, and does not read files again whose path, device, inode, size, mtime and ctime are unchanged. Files on network \
     file systems, FUSE and unknown file systems are always read. Use --checksum on FAT and exFAT, which have no ctime, \
     after the clock was turned back, while files are written through memory maps, and before deleting originals. \
     The server checks every upload against its id in any case.";

pub fn command() -> Command {
    Command::new("put")
        .about("Upload files and folders, except images that the server has")
        .arg(
            Arg::new("paths")
                .value_name("PATH")
                .required(true)
                .num_args(1..)
                .value_parser(value_parser!(PathBuf))
                .help("Files; folders with --recursive"),
        )
        .arg(flag("recursive", "Upload the files in folders, at any depth").short('r'))
        .arg(flag("follow", "Follow symbolic links inside folders; arguments are always followed"))
        .arg(
            Arg::new("jobs")
                .long("jobs")
                .short('j')
                .value_name("N")
                .default_value("16")
                .value_parser(RangedU64ValueParser::<usize>::new().range(1..=256))
                .help("Uploads at once, 1 to 256"),
        )
        .arg(flag("checksum", "Read and hash every file, even if it seems unchanged"))
        .arg(flag("json", "Lines of JSON: {id, path, created, bytes}, or {path, problem}"))
        .args(client::args())
        .after_help(format!(
            "Prints `id  path` for each image once it is durable on the server. A line feed or a backslash in a path \
             is escaped, and the line begins with a backslash then. In JSON, a path that is not UTF-8 is also given \
             as path_base64. Safe to repeat. If the server lacks nothing, the right to read is \
             enough.\n\n{CACHE_HELP}\n\n{}",
            exit::HELP
        ))
}

/// A switch.
fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

pub fn run(matches: &ArgMatches) -> ExitCode {
    exit::run("put", put(matches))
}

/// A file and its id.
struct HashedFile {
    path: PathBuf,
    id: Digest,
    bytes: u64,
    stamp: Stamp,
    /// Whether the id is from an earlier run. Otherwise it was hashed in this one.
    recalled: bool,
}

/// The result of one file.
enum FileOutcome {
    /// It is on the server. `created`: this run uploaded it.
    Stored { file: HashedFile, created: bool },
    /// It is not on the server.
    Failed { path: PathBuf, problem: String },
}

async fn put(matches: &ArgMatches) -> Result<Exit, Failure> {
    let progress = Progress::bytes();
    let client = Client::of(matches, progress.clone())?;
    let jobs = matches.get_one("jobs").copied().unwrap_or(1);
    let arguments = walk::Arguments {
        paths: matches.get_many("paths").unwrap_or_default().cloned().collect(),
        recursive: matches.get_flag("recursive"),
        follow: matches.get_flag("follow"),
    };
    if progress.is_seen() {
        walk::measure(arguments.clone(), progress.clone());
    }
    let cache = tokio::task::spawn_blocking(|| HashCache::open(hash_cache::default_path(), hash_cache::BYTES_MAX));
    let cache = Arc::new(cache.await.map_err(|panic| Failure::new(Exit::Failed, panic))?);
    let (found, files) = mpsc::channel(FOUND_MAX);
    let (hashed, named) = mpsc::channel(ASKED_MAX);
    let (missing, unsent) = mpsc::channel(jobs);
    let (outcome, outcomes) = mpsc::channel(OUTCOMES_MAX);
    walk::walk(arguments, found);
    let output = Output::new(matches.get_flag("json"), progress.clone());
    let stages = async {
        // The first stage that fails ends the others. Files that are on the server by then are still reported.
        Ok(tokio::try_join!(
            hash::name(&cache, matches.get_flag("checksum"), files, hashed, outcome.clone()),
            stages::ask(&client, named, missing, outcome.clone()),
            stages::upload(&client, &cache, unsent, jobs, outcome),
        ))
    };
    let worked = tokio::try_join!(stages, report(outcomes, output, &progress));
    // Hashes are remembered even if the server went away.
    let closed = tokio::task::spawn_blocking(move || cache.close());
    closed.await.map_err(|panic| Failure::new(Exit::Failed, panic))?;
    let (worked, exit) = worked?;
    worked.map(|_| exit)
}

/// Counts of files, and of their bytes.
#[derive(Default)]
struct PutCounts {
    created: u64,
    present: u64,
    failed: u64,
    recalled: u64,
    bytes_sent: u64,
    bytes: u64,
}

impl PutCounts {
    fn add(&mut self, outcome: &FileOutcome) {
        match outcome {
            FileOutcome::Failed { .. } => self.failed += 1,
            FileOutcome::Stored { file, created } => {
                *(if *created { &mut self.created } else { &mut self.present }) += 1;
                self.recalled += u64::from(file.recalled);
                self.bytes_sent += if *created { file.bytes } else { 0 };
                self.bytes += file.bytes;
            }
        }
    }

    fn text(&self) -> String {
        format!("{} stored, {} there before, {} failed", self.created, self.present, self.failed)
    }

    /// A short text for the progress bar.
    fn brief(&self) -> String {
        let failed = if self.failed > 0 { format!("{} failed, ", self.failed) } else { String::new() };
        format!("{failed}{} stored, {} there", self.created, self.present)
    }

    /// The last line of the command.
    fn summary(&self, seconds: f64) -> String {
        let (sent, all) = (output::bytes(self.bytes_sent), output::bytes(self.bytes));
        let unread = if self.recalled > 0 { format!(", {} not read again", self.recalled) } else { String::new() };
        format!("{}; {sent} sent of {all} in {seconds:.1} s{unread}", self.text())
    }
}

/// Prints and counts outcomes as they come.
async fn report(
    mut outcomes: mpsc::Receiver<FileOutcome>,
    mut output: Output,
    progress: &Progress,
) -> Result<Exit, Failure> {
    let (started, mut counts, mut batch) = (Instant::now(), PutCounts::default(), Vec::new());
    while outcomes.recv_many(&mut batch, OUTCOMES_MAX).await > 0 {
        for outcome in batch.drain(..) {
            print(&outcome, &mut output)?;
            counts.add(&outcome);
            advance(&outcome, progress);
        }
        output.flush()?;
        progress.message(|| counts.brief());
    }
    let summary = counts.summary(started.elapsed().as_secs_f64());
    Ok(Exit::of_failed(output.end("put", &summary)?))
}

fn advance(outcome: &FileOutcome, progress: &Progress) {
    match outcome {
        // Neither read nor sent, so it does not count for the rate.
        FileOutcome::Stored { file, created: false } if file.recalled => progress.pass_over(file.bytes),
        FileOutcome::Stored { file, .. } => progress.advance(file.bytes),
        FileOutcome::Failed { .. } => {}
    }
}

/// Prints one outcome.
fn print(outcome: &FileOutcome, output: &mut Output) -> Result<(), Failure> {
    match outcome {
        FileOutcome::Stored { file: HashedFile { path, id, bytes, .. }, created } => output.item(
            || output::json_of(path, json!({ "id": id, "created": created, "bytes": bytes })),
            || output::named(id.hex().as_str(), path),
        )?,
        FileOutcome::Failed { path, problem } => output.failed(
            || output::json_of(path, json!({ "problem": problem })),
            || format!("{}: {problem}", path.display()),
        )?,
    }
    Ok(())
}
