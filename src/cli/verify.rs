//! `progimage verify`: reads a store's folder from the device and checks each file against its name, also while a
//! server runs.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use clap::builder::RangedU64ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::json;
use tokio::sync::mpsc;

use super::exit::{self, Exit, Failure};
use super::load;
use super::output::{self, Output};
use super::progress::Progress;
use crate::store::verify::{self, Finding, Note, Observer, Options, SHARDS, Summary};

/// Findings that wait to be printed.
const FINDINGS_MAX: usize = 1_024;

pub fn command() -> Command {
    Command::new("verify")
        .about("Read every stored image from the device and check it against its id")
        .arg(Arg::new("data").long("data").value_name("DIR").help("Folder of the store, as for serve"))
        .arg(
            Arg::new("recent")
                .long("recent")
                .action(ArgAction::SetTrue)
                .help("Check only images of the last hour, or of the hour before a sync failed"),
        )
        .arg(
            Arg::new("rate")
                .long("rate")
                .value_name("BYTES")
                .value_parser(bytes)
                .help("Bytes a second to read at most: 10000000, 10M, 1.5G"),
        )
        .arg(
            Arg::new("jobs")
                .long("jobs")
                .short('j')
                .value_name("N")
                .value_parser(RangedU64ValueParser::<usize>::new().range(1..=256))
                .help("Files to read at once, 1 to 256 [default: one per processor]"),
        )
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Lines of JSON: {path, fault, detail}"))
        .after_help(format!(
            "Prints `fault  path` for each file with a fault: corrupt, misplaced, unknown, missing or unreadable. \
             Nothing is repaired: a server takes a corrupt image out of service when it is next read, and the next \
             upload of it heals the store. With --recent, the note of a failed sync is removed if no image is \
             damaged and no server runs: the next start accepts uploads.\n\n{}",
            exit::HELP_WITHOUT_SERVER
        ))
}

pub fn run(matches: &ArgMatches) -> ExitCode {
    exit::run("verify", verify(matches))
}

async fn verify(matches: &ArgMatches) -> Result<Exit, Failure> {
    let data = PathBuf::from(load(&[matches]).map_err(Failure::usage)?.data);
    let options = Options {
        threads: matches
            .get_one("jobs")
            .copied()
            .unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from)),
        rate_bytes_max: matches.get_one("rate").copied(),
        recent: matches.get_flag("recent"),
    };
    let progress = Progress::parts(u64::from(SHARDS));
    let (sender, mut findings) = mpsc::channel(FINDINGS_MAX);
    let observer = Reporter { progress: progress.clone(), sender, blobs: AtomicU64::new(0), bytes: AtomicU64::new(0) };
    let work = tokio::task::spawn_blocking(move || verify::run(&data, &options, &observer));
    let mut output = Output::new(matches.get_flag("json"), progress);
    while let Some(Finding { path, fault }) = findings.recv().await {
        output.item(
            || json!({ "path": path, "fault": fault.name(), "detail": fault.to_string() }),
            || output::named(fault.name(), path.as_ref()),
        )?;
        output.flush()?;
    }
    let summary = work.await.map_err(|panic| Failure::new(Exit::Failed, panic))??;
    output.end("verify", &text(&summary))?;
    Ok(if summary.findings > 0 || summary.note == Note::Owned { Exit::Failed } else { Exit::Done })
}

fn text(summary: &Summary) -> String {
    let Summary { blobs, bytes, findings, quarantined, note } = summary;
    let note = match note {
        Note::None => "",
        Note::Removed => "; the note of a failed sync was removed: the next start accepts uploads",
        Note::Kept => "; a failed sync is noted: no uploads are accepted until verify --recent finds no damage",
        Note::Owned => "; no damage, but a server runs: stop it and run this again to remove the note of a failed sync",
    };
    format!(
        "{}, {}, {}, {quarantined} in quarantine{note}",
        images(*blobs),
        output::bytes(*bytes),
        output::counted(*findings, "finding")
    )
}

fn images(count: u64) -> String {
    output::counted(count, "image")
}

/// Parses a number of bytes, at least one. The suffixes k, M, G and T are powers of 1,000, as in all output of this
/// program.
fn bytes(text: &str) -> Result<u64, String> {
    let units = [("k", 3), ("M", 6), ("G", 9), ("T", 12)];
    let unit = units.iter().find_map(|(name, digits)| Some((text.strip_suffix(name)?, *digits)));
    let (number, digits) = unit.unwrap_or((text, 0));
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    // The fraction is padded to the digits of the unit: 1.5M is 1 and 500000.
    let all = format!("{whole}{part:0<digits$}");
    let is_number = !whole.is_empty() && part.len() <= digits && all.bytes().all(|byte| byte.is_ascii_digit());
    let count = all.parse().ok().filter(|count| is_number && *count > 0);
    count.ok_or_else(|| "expected a number of bytes from 1, such as 10000000, 10M or 1.5G".to_owned())
}

/// Passes progress to the bar, and findings to the printer.
struct Reporter {
    progress: Progress,
    sender: mpsc::Sender<Finding>,
    blobs: AtomicU64,
    bytes: AtomicU64,
}

impl Observer for Reporter {
    fn blob(&self, bytes: u64) {
        let blobs = self.blobs.fetch_add(1, Ordering::Relaxed) + 1;
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.progress.message(|| format!("{}, {}", images(blobs), output::bytes(bytes)));
    }

    fn shard(&self) {
        self.progress.advance(1);
    }

    fn found(&self, finding: Finding) {
        // An error means that standard output was closed: the process is about to end.
        drop(self.sender.blocking_send(finding));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_by_their_unit() {
        for (text, count) in
            [("1", 1), ("10M", 10_000_000), ("1.5G", 1_500_000_000), ("0.001k", 1), ("18446744073709551615", u64::MAX)]
        {
            assert_eq!(bytes(text), Ok(count), "{text}");
        }
        for bad in [
            "",
            "0",
            "0k",
            "M",
            ".5M",
            "1.5",
            "0.0001k",
            "-1",
            "+1",
            "1 M",
            "1e3",
            "10MiB",
            "1m",
            "18446744073709551616",
        ] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
        assert!(bytes("18446745T").is_err(), "more than can be counted");
    }
}
