//! `progimage copy`: copies the images that one store has and another lacks. Each blob is checked against its name on
//! the way. A repeated command continues where the last one ended.

pub mod blobs;

use std::process::ExitCode;
use std::time::Instant;

use clap::builder::RangedU64ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::exit::{self, Exit, Failure};
use super::output::Output;
use super::progress::Progress;
use blobs::{CopyRun, Named, PARTS};

pub fn command() -> Command {
    Command::new("copy")
        .about("Copy the images that another store lacks")
        .arg(store_arg("from").help("Folder of the store to read, also of a running server"))
        .arg(store_arg("to").help("Folder of the store to fill, without a server; made if missing"))
        .arg(jobs_arg())
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Lines of JSON: {id, bytes}, or {id, problem}"),
        )
        .after_help(format!(
            "Prints the id of each image once it is durable in --to. Safe to repeat. Images that were deleted from --from stay in --to.\n\n{}",
            exit::HELP_WITHOUT_SERVER
        ))
}

/// The bound on images that are copied at once.
pub fn jobs_arg() -> Arg {
    Arg::new("jobs")
        .long("jobs")
        .short('j')
        .value_name("N")
        .default_value("32")
        .value_parser(RangedU64ValueParser::<usize>::new().range(1..=256))
        .help("Images to copy at once, 1 to 256")
}

fn store_arg(name: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("STORE").required(true)
}

pub fn run(matches: &ArgMatches) -> ExitCode {
    exit::run("copy", copy(matches))
}

async fn copy(matches: &ArgMatches) -> Result<Exit, Failure> {
    let name = |id: &str| matches.get_one::<String>(id).cloned().unwrap_or_default();
    let (from, to) = (name("from"), name("to"));
    let (from, to) = (Named { name: "--from", url: &from }, Named { name: "--to", url: &to });
    let run = CopyRun::open(from, to, matches, false).await?;
    let progress = Progress::parts(PARTS);
    let (started, mut output) = (Instant::now(), Output::new(matches.get_flag("json"), progress.clone()));
    let counts = run.all(&mut output, &progress).await?;
    let seconds = started.elapsed().as_secs_f64();
    Ok(Exit::of_failed(output.end("copy", &format!("{} in {seconds:.1} s", counts.text()))?))
}
