//! `progimage copy`: copies the images that one store has and another lacks. Each blob is checked against its name on
//! the way. A repeated command continues where the last one ended.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::builder::RangedU64ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use futures_util::stream::{self, StreamExt};
use serde_json::json;

use super::exit::{self, Exit, Failure};
use super::load;
use super::output::{self, Output};
use super::progress::Progress;
use crate::digest::Digest;
use crate::store::{self, Error, Folder, Listing, Options, Stat, Store, Uploads};

/// Blobs that are listed at a time, and looked up in the other store.
const PAGE: usize = 10_000;
/// The values of the first two bytes of a digest. Digests are spread evenly, so these bytes tell the progress of a
/// walk.
const PARTS: u64 = 1 << 16;

pub fn command() -> Command {
    Command::new("copy")
        .about("Copy the images that another store lacks: backup, restore, move")
        .arg(store_arg("from").help("Folder of the store to read, also of a running server"))
        .arg(store_arg("to").help("Folder of the store to fill, without a server; made if missing"))
        .arg(
            Arg::new("jobs")
                .long("jobs")
                .short('j')
                .value_name("N")
                .default_value("32")
                .value_parser(RangedU64ValueParser::<usize>::new().range(1..=256))
                .help("Images to copy at once, 1 to 256"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Lines of JSON: {id, bytes}, or {id, problem}"),
        )
        .after_help(format!(
            "Prints the id of each image once it is durable in --to. Safe to repeat. Images that were deleted from --from stay in --to.\n\n{}",
            exit::HELP
        ))
}

fn store_arg(name: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("STORE").required(true)
}

pub fn run(matches: &ArgMatches) -> ExitCode {
    exit::run("copy", copy(matches))
}

async fn copy(matches: &ArgMatches) -> Result<Exit, Failure> {
    let settings = load(&[matches]).map_err(Failure::usage)?.layers.store;
    // Stored images were admitted once. This command is bounded by its jobs.
    let options = Options { blob_bytes_max: u64::MAX, uploads_bytes_max: u64::MAX, ..settings };
    let name = |id: &str| matches.get_one::<String>(id).cloned().unwrap_or_default();
    let (from, to) = (name("from"), name("to"));
    let named = |which: &'static str| move |error: Error| Failure::new(Exit::Unreached, format!("--{which}: {error}"));
    for (which, url) in [("from", &from), ("to", &to)] {
        if Folder::of(url).is_none() {
            return Err(Failure::usage(format!(
                "--{which} {url}: not a store that outlives this command; expected a folder"
            )));
        }
    }
    let source = store::open_to_read(&from, &options).await.map_err(named("from"))?;
    let target = store::open(&to, &options).await.map_err(named("to"))?;
    let progress = Progress::parts(PARTS);
    let run = CopyRun {
        uploads: Uploads::new(Arc::clone(&target), options),
        source,
        target,
        jobs: matches.get_one("jobs").copied().unwrap_or(1),
    };
    let mut output = Output::new(matches.get_flag("json"), progress.clone());
    let (started, mut counts, mut after) = (Instant::now(), CopyCounts::default(), None);
    loop {
        let Listing { blobs: page, unreadable } = run.source.list(after, PAGE).await.map_err(named("from"))?;
        for folder in unreadable {
            counts.failed += 1;
            let problem = "cannot be read: its images are not copied";
            output.failed(|| json!({ "path": folder, "problem": problem }), || format!("{folder}: {problem}"))?;
        }
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        run.page(&page, &mut counts, &mut output, &progress).await?;
        progress.set(part(last));
    }
    let seconds = started.elapsed().as_secs_f64();
    Ok(Exit::of_failed(output.end("copy", &format!("{} in {seconds:.1} s", counts.text()))?))
}

/// The part of the walk to which a digest belongs.
fn part(digest: &Digest) -> u64 {
    let bytes = digest.as_bytes();
    u64::from(bytes[0]) << 8 | u64::from(bytes[1])
}

#[derive(Default)]
struct CopyCounts {
    copied: u64,
    present: u64,
    failed: u64,
    bytes: u64,
}

impl CopyCounts {
    fn text(&self) -> String {
        let CopyCounts { copied, present, failed, bytes } = self;
        format!("{copied} copied ({}), {present} there before, {failed} failed", output::bytes(*bytes))
    }
}

struct CopyRun {
    source: Arc<dyn Store>,
    target: Arc<dyn Store>,
    uploads: Uploads,
    jobs: usize,
}

impl CopyRun {
    async fn page(
        &self,
        page: &[(Digest, Stat)],
        counts: &mut CopyCounts,
        output: &mut Output,
        progress: &Progress,
    ) -> Result<(), Failure> {
        let digests: Vec<Digest> = page.iter().map(|(digest, _)| *digest).collect();
        let there = self.target.stat(&digests).await?;
        // A blob of another length is damaged; the upload replaces it.
        let missing: Vec<_> = page.iter().zip(there).filter(|((_, stat), there)| *there != Some(*stat)).collect();
        counts.present += (page.len() - missing.len()) as u64;
        let copies = stream::iter(missing).map(async |((digest, stat), _)| (*digest, *stat, self.blob(digest).await));
        let mut copies = std::pin::pin!(copies.buffer_unordered(self.jobs));
        while let Some((digest, Stat { len }, copied)) = copies.next().await {
            match copied {
                Ok(()) => {
                    counts.copied += 1;
                    counts.bytes += len;
                    output.item(|| json!({ "id": digest, "bytes": len }), || digest.to_string().into_bytes())?;
                }
                Err(Error::NotFound) => {}
                Err(error) if ends(&error) => return Err(Failure::new(Exit::Unreached, format!("{digest}: {error}"))),
                Err(error) => {
                    counts.failed += 1;
                    let problem = error.to_string();
                    output.failed(|| json!({ "id": digest, "problem": problem }), || format!("{digest}: {problem}"))?;
                }
            }
            output.flush()?;
            progress.set(part(&digest));
            progress.message(|| counts.text());
        }
        Ok(())
    }

    /// Copies one blob durably. It is hashed when it is read, and again when it is written.
    async fn blob(&self, digest: &Digest) -> Result<(), Error> {
        let blob = self.source.open(digest).await?;
        let mut upload = self.uploads.begin(Some(blob.len)).await?;
        let mut start = 0;
        while start < blob.len {
            let frame = blob.frame(start..blob.len).await?;
            start += frame.len() as u64;
            upload.write(frame).await?;
        }
        upload.seal(Some(*digest)).await?.commit().await.map(drop)
    }
}

/// Whether every further blob would fail, too.
fn ends(error: &Error) -> bool {
    matches!(error, Error::Full | Error::ReadOnly)
}
