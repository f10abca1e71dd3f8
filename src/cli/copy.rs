//! `progimage copy`: what one store has and another lacks, from the one to the other. Each blob is proven against its name on the
//! way; to repeat it is to go on with it.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use clap::builder::RangedU64ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use futures_util::stream::{self, StreamExt};
use serde_json::json;

use super::ending::{self, Exit, Failure};
use super::load;
use super::output::{self, Output};
use super::progress::Progress;
use crate::digest::Digest;
use crate::store::{self, Error, Options, Stat, Store, Uploads};

/// Blobs that are listed, and looked up in the target, at once.
const PAGE: usize = 10_000;
/// What the first four hex digits of a digest can be: digests are spread evenly, so they tell how far a walk over them is.
const PARTS: u64 = 1 << 16;

pub fn command() -> Command {
    Command::new("copy")
        .about("Copy what one store has and another lacks: backup, restore, move")
        .arg(store_arg("from").help("The store to read; a running server's may be read"))
        .arg(store_arg("to").help("The store to fill; it is made where it is not there. No server may run on it"))
        .arg(
            Arg::new("jobs")
                .long("jobs")
                .short('j')
                .value_name("N")
                .default_value("32")
                .value_parser(RangedU64ValueParser::<usize>::new().range(1..=256))
                .help("Images on their way at once, 1 to 256"),
        )
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Lines of JSON for what was copied, {id, bytes}, and what was not, {id, problem}"),
        )
        .after_help(format!(
            "Prints the id of each image once it is durable in --to. Safe to repeat. Images that are deleted from --from stay in --to.\n\n{}",
            ending::HELP
        ))
}

fn store_arg(name: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("STORE").required(true)
}

pub fn run(matches: &ArgMatches) -> ExitCode {
    ending::run("copy", copy(matches))
}

async fn copy(matches: &ArgMatches) -> Result<Exit, Failure> {
    let settings = load(&[matches]).map_err(Failure::usage)?.layers.store;
    // What is stored was admitted once; the bound of this call is its jobs.
    let options = Options { blob_bytes_max: u64::MAX, uploads_bytes_max: u64::MAX, ..settings };
    let name = |id: &str| matches.get_one::<String>(id).cloned().unwrap_or_default();
    let (from, to) = (name("from"), name("to"));
    let named = |which: &'static str| move |error: Error| Failure::new(Exit::Unreached, format!("--{which}: {error}"));
    for (which, url) in [("from", &from), ("to", &to)] {
        if store::folder(url).is_none() {
            return Err(Failure::usage(format!(
                "--{which} {url}: no store that outlives this command; expected a folder"
            )));
        }
    }
    let source = store::open_to_read(&from, &options).await.map_err(named("from"))?;
    let target = store::open(&to, &options).await.map_err(named("to"))?;
    let progress = Progress::parts(PARTS);
    let run = Run {
        uploads: Uploads::new(Arc::clone(&target), options),
        source,
        target,
        jobs: matches.get_one("jobs").copied().unwrap_or(1),
    };
    let mut output = Output::new(matches.get_flag("json"), progress.clone());
    let (started, mut tally, mut after) = (Instant::now(), Tally::default(), None);
    loop {
        let page = run.source.list(after, PAGE).await.map_err(named("from"))?;
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        run.page(&page, &mut tally, &mut output, &progress).await?;
        progress.set(part(last));
    }
    let seconds = started.elapsed().as_secs_f64();
    Ok(Exit::of_failed(output.end("copy", &format!("{} in {seconds:.1} s", tally.text()))?))
}

fn part(digest: &Digest) -> u64 {
    let bytes = digest.as_bytes();
    u64::from(bytes[0]) << 8 | u64::from(bytes[1])
}

#[derive(Default)]
struct Tally {
    copied: u64,
    present: u64,
    failed: u64,
    bytes: u64,
}

impl Tally {
    fn text(&self) -> String {
        let Tally { copied, present, failed, bytes } = self;
        format!("{copied} copied ({}), {present} there before, {failed} failed", output::bytes(*bytes))
    }
}

struct Run {
    source: Arc<dyn Store>,
    target: Arc<dyn Store>,
    uploads: Uploads,
    jobs: usize,
}

impl Run {
    async fn page(
        &self,
        page: &[(Digest, Stat)],
        tally: &mut Tally,
        output: &mut Output,
        progress: &Progress,
    ) -> Result<(), Failure> {
        let digests: Vec<Digest> = page.iter().map(|(digest, _)| *digest).collect();
        let there = self.target.stat(&digests).await?;
        // One of another length is no copy: the upload replaces it.
        let missing: Vec<_> = page.iter().zip(there).filter(|((_, stat), there)| *there != Some(*stat)).collect();
        tally.present += (page.len() - missing.len()) as u64;
        let copies = stream::iter(missing).map(async |((digest, stat), _)| (*digest, *stat, self.blob(digest).await));
        let mut copies = std::pin::pin!(copies.buffer_unordered(self.jobs));
        while let Some((digest, Stat { len }, copied)) = copies.next().await {
            match copied {
                Ok(()) => {
                    tally.copied += 1;
                    tally.bytes += len;
                    output.item(|| json!({ "id": digest, "bytes": len }), || digest.to_string().into_bytes())?;
                }
                Err(Error::NotFound) => {}
                Err(error) if ends(&error) => return Err(Failure::new(Exit::Unreached, format!("{digest}: {error}"))),
                Err(error) => {
                    tally.failed += 1;
                    let problem = error.to_string();
                    output.failed(|| json!({ "id": digest, "problem": problem }), || format!("{digest}: {problem}"))?;
                }
            }
            output.flush()?;
            progress.set(part(&digest));
            progress.say(|| tally.text());
        }
        Ok(())
    }

    /// Durable when it returns. Hashed on the way out of the source, and again on the way into the target.
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

/// Of every further blob, too.
fn ends(error: &Error) -> bool {
    matches!(error, Error::Full | Error::ReadOnly)
}
