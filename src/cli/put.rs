//! `progimage put`: files and folders to a server. Each file is hashed, or was before; the server is asked which it lacks, and only
//! those are sent: to repeat it is to go on with it.
//!
//! Six stages run side by side, with a bounded channel between each two, so that memory does not grow with the number of files:
//! ```text
//! walk -> recall -> hash -> ask /images/missing -> PUT -> report
//! ```

mod devices;
mod hash;
mod memory;
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
use super::ending::{self, Exit, Failure};
use super::output::{self, Output};
use super::progress::Progress;
use crate::digest::Digest;
use memory::{Memory, Stamp};

/// Files that were found and are not looked up yet.
const FOUND_MAX: usize = 1_024;
/// Files that have an id and are not asked for yet; and of one question.
const ASKED_MAX: usize = 1_000;
/// Outcomes that are not printed yet.
const OUTCOMES_MAX: usize = 1_024;

/// For the help; and in the README.
const MEMORY_HELP: &str = "The ids of files are remembered in $XDG_CACHE_HOME/progimage (else ~/.cache/progimage), at most 256 MiB: one whose path, \
     device, inode, size and times of modification and change are as they were when it was hashed is not read again. On network \
     file systems, FUSE and any that is not known to be local each file is read. A change is missed only where all of these stay \
     as they were: on FAT and exFAT, which have no time of change, when a program keeps the size and puts the time of modification \
     back; while a file is written through a memory map; after the clock was turned back. --checksum reads and hashes every file: \
     use it there, and before originals are deleted. What is sent is held against its id by the server in any case.";

pub fn command() -> Command {
    Command::new("put")
        .about("Upload files and folders; what the server has is not sent again")
        .arg(
            Arg::new("paths")
                .value_name("PATH")
                .required(true)
                .num_args(1..)
                .value_parser(value_parser!(PathBuf))
                .help("Files; folders with --recursive"),
        )
        .arg(flag("recursive", "Take the files of folders and of what lies in them").short('r'))
        .arg(flag("follow", "Follow symbolic links inside folders, too; arguments are always followed"))
        .arg(
            Arg::new("jobs")
                .long("jobs")
                .short('j')
                .value_name("N")
                .default_value("16")
                .value_parser(RangedU64ValueParser::<usize>::new().range(1..=256))
                .help("Uploads at once, 1 to 256"),
        )
        .arg(flag("checksum", "Read and hash every file, also those that seem unchanged since they were last hashed"))
        .arg(flag("json", "Lines of JSON: {id, path, created, bytes}, or {path, problem}; with path_base64 beside a path that is not UTF-8"))
        .args(client::args())
        .after_help(format!(
            "Prints `id  path` for each image once it is durable on the server. A line whose path has a line feed or a \
             backslash begins with a backslash and these are escaped. Safe to repeat. Where nothing is \
             lacking, a key that may read is enough, or none where reading needs none.\n\n{MEMORY_HELP}\n\n{}",
            ending::HELP
        ))
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

pub fn run(matches: &ArgMatches) -> ExitCode {
    ending::run("put", put(matches))
}

/// A file and its id.
struct Named {
    path: PathBuf,
    id: Digest,
    bytes: u64,
    stamp: Stamp,
    /// From an earlier run; else it was hashed in this one.
    recalled: bool,
}

/// What became of a file.
enum Outcome {
    /// It is on the server; whether this run brought it there.
    Stored { file: Named, created: bool },
    /// It is not.
    Failed { path: PathBuf, problem: String },
}

async fn put(matches: &ArgMatches) -> Result<Exit, Failure> {
    let progress = Progress::bytes();
    let client = Client::of(matches, progress.clone())?;
    let jobs = matches.get_one("jobs").copied().unwrap_or(1);
    let wanted = walk::Wanted {
        paths: matches.get_many("paths").unwrap_or_default().cloned().collect(),
        recursive: matches.get_flag("recursive"),
        follow: matches.get_flag("follow"),
    };
    if progress.is_seen() {
        walk::measure(wanted.clone(), progress.clone());
    }
    let memory = tokio::task::spawn_blocking(|| Memory::open(memory::place(), memory::BYTES_MAX));
    let memory = Arc::new(memory.await.map_err(|panic| Failure::new(Exit::Failed, panic))?);
    let (found, files) = mpsc::channel(FOUND_MAX);
    let (hashed, named) = mpsc::channel(ASKED_MAX);
    let (missing, unsent) = mpsc::channel(jobs);
    let (outcome, outcomes) = mpsc::channel(OUTCOMES_MAX);
    walk::walk(wanted, found);
    let output = Output::new(matches.get_flag("json"), progress.clone());
    let stages = async {
        // The first that fails ends the others; what is on the server by then is still reported.
        Ok(tokio::try_join!(
            hash::name(&memory, matches.get_flag("checksum"), files, hashed, outcome.clone()),
            stages::ask(&client, named, missing, outcome.clone()),
            stages::upload(&client, &memory, unsent, jobs, outcome),
        ))
    };
    let worked = tokio::try_join!(stages, report(outcomes, output, &progress));
    // What was hashed is remembered also where the server went away.
    let closed = tokio::task::spawn_blocking(move || memory.close());
    closed.await.map_err(|panic| Failure::new(Exit::Failed, panic))?;
    let (worked, exit) = worked?;
    worked.map(|_| exit)
}

#[derive(Default)]
struct Tally {
    created: u64,
    present: u64,
    failed: u64,
    recalled: u64,
    bytes_sent: u64,
    bytes: u64,
}

impl Tally {
    fn text(&self) -> String {
        format!("{} stored, {} there before, {} failed", self.created, self.present, self.failed)
    }

    /// For beside a bar, where there is little room.
    fn brief(&self) -> String {
        let failed = if self.failed > 0 { format!("{} failed, ", self.failed) } else { String::new() };
        format!("{failed}{} stored, {} there", self.created, self.present)
    }
}

async fn report(
    mut outcomes: mpsc::Receiver<Outcome>,
    mut output: Output,
    progress: &Progress,
) -> Result<Exit, Failure> {
    let (started, mut tally, mut batch) = (Instant::now(), Tally::default(), Vec::new());
    while outcomes.recv_many(&mut batch, OUTCOMES_MAX).await > 0 {
        for outcome in batch.drain(..) {
            print(&outcome, &mut output)?;
            match outcome {
                Outcome::Stored { file, created } => {
                    tally.recalled += u64::from(file.recalled);
                    *(if created { &mut tally.created } else { &mut tally.present }) += 1;
                    tally.bytes_sent += if created { file.bytes } else { 0 };
                    tally.bytes += file.bytes;
                    if file.recalled && !created {
                        // Neither read nor sent: the rate would be that of nothing.
                        progress.pass_over(file.bytes);
                    } else {
                        progress.advance(file.bytes);
                    }
                }
                Outcome::Failed { .. } => tally.failed += 1,
            }
        }
        output.flush()?;
        progress.say(|| tally.brief());
    }
    let (sent, all) = (output::bytes(tally.bytes_sent), output::bytes(tally.bytes));
    let unread = if tally.recalled > 0 { format!(", {} not read again", tally.recalled) } else { String::new() };
    let seconds = started.elapsed().as_secs_f64();
    let summary = format!("{}; {sent} sent of {all} in {seconds:.1} s{unread}", tally.text());
    Ok(Exit::of_failed(output.end("put", &summary)?))
}

fn print(outcome: &Outcome, output: &mut Output) -> Result<(), Failure> {
    match outcome {
        Outcome::Stored { file: Named { path, id, bytes, .. }, created } => output.item(
            || output::json_of(path, json!({ "id": id, "created": created, "bytes": bytes })),
            || output::named(id.hex().as_str(), path),
        )?,
        Outcome::Failed { path, problem } => output.failed(
            || output::json_of(path, json!({ "problem": problem })),
            || format!("{}: {problem}", path.display()),
        )?,
    }
    Ok(())
}
