//! `progimage backup` and `progimage restore`: a whole data folder, images and jobs, into another folder and back. A backup
//! is a store like any other, with a copy of the queue and a file that says what was backed up. A repeated command
//! continues where the last one ended.
//!
//! The queue is copied first, at one moment. Each image that it says is stored was stored before, so it is copied, too, and
//! then the queue takes the place of that of the last backup. A backup that breaks off has the last one's queue, and all
//! of its images.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Value, json};

use super::copy::blobs::{CopyCounts, CopyRun, Named, PARTS};
use super::copy::jobs_arg;
use super::exit::{self, Exit, Failure};
use super::load;
use super::output::Output;
use super::progress::Progress;
use crate::jobs::{self, Database, DatabaseCopy, Restored};
use crate::store::Folder;

pub fn command() -> Command {
    Command::new("backup")
        .about("Back up the images and jobs of a data folder, also while its server runs")
        .arg(folder_arg().help("Folder of the backup; made if missing"))
        .arg(data_arg().help("Data folder to back up, as for serve"))
        .args(common_args())
        .after_help(format!(
            "Prints the id of each image once it is durable in the backup. What is there already and right is not copied \
             again. Everything that was acknowledged before the backup began is in it. What cannot be read is named, and \
             the rest goes on. Files in quarantine are listed in backup.json, not copied. If a repeated backup breaks off, \
             DIR holds the jobs of the last one, and all of their images.\n\n{}",
            exit::HELP_WITHOUT_SERVER
        ))
}

pub fn restore_command() -> Command {
    Command::new("restore")
        .about("Restore the images and jobs of a backup into a data folder, without a server")
        .arg(folder_arg().help("Folder of the backup"))
        .arg(data_arg().help("Data folder to fill, as for serve; made if missing"))
        .args(common_args())
        .after_help(format!(
            "Images that are in the data folder and not in the backup stay. Jobs that had not ended go on when the server \
             starts, and webhooks that were still due are called. If the data folder has other jobs, those stay, and the \
             exit status is 1; a queue without jobs is replaced. It is 1, too, if the last backup did not come to its end.\n\n{}",
            exit::HELP_WITHOUT_SERVER
        ))
}

fn folder_arg() -> Arg {
    Arg::new("folder").value_name("DIR").required(true)
}

fn data_arg() -> Arg {
    Arg::new("data").long("data").value_name("DIR")
}

fn common_args() -> [Arg; 3] {
    let quick = Arg::new("quick").long("quick").action(ArgAction::SetTrue);
    let json = Arg::new("json").long("json").action(ArgAction::SetTrue);
    [
        jobs_arg(),
        quick.help("Take what is there already by its length, without reading it"),
        json.help("Lines of JSON: {id, bytes}, {id, problem} or {path, problem}"),
    ]
}

pub fn run(matches: &ArgMatches) -> ExitCode {
    exit::run("backup", backup(matches))
}

pub fn run_restore(matches: &ArgMatches) -> ExitCode {
    exit::run("restore", restore(matches))
}

/// What a command works on.
struct Work<'a> {
    from: Folder<'a>,
    to: Folder<'a>,
    copy: CopyRun<'a>,
    output: Output,
    progress: Progress,
}

impl<'a> Work<'a> {
    async fn open(from: Named<'a>, to: Named<'a>, matches: &ArgMatches) -> Result<Work<'a>, Failure> {
        let copy = CopyRun::open(from, to, matches, !matches.get_flag("quick")).await?;
        let folder = |named: Named<'a>| Folder::of(named.url).ok_or_else(|| named.failure("not a folder"));
        let progress = Progress::parts(PARTS);
        let output = Output::new(matches.get_flag("json"), progress.clone());
        Ok(Work { from: folder(from)?, to: folder(to)?, copy, output, progress })
    }

    /// Names something beside the images that failed.
    fn failed(&mut self, path: &Path, problem: &str) -> io::Result<()> {
        let path = path.display();
        self.output.failed(|| json!({ "path": path.to_string(), "problem": problem }), || format!("{path}: {problem}"))
    }
}

/// The real path of a folder that may not be made yet.
fn real(path: &str) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    // The last ancestor, the root, is there.
    let (made, there) = path.ancestors().find_map(|above| Some((above, fs::canonicalize(above).ok()?)))?;
    Some(there.join(path.strip_prefix(made).ok()?))
}

/// Refuses a backup inside of what is backed up: it would be lost with that, and each would hold the ones before.
fn check_is_outside(data: &str, folder: &str) -> Result<(), Failure> {
    match real(data).zip(real(folder)) {
        Some((data, folder)) if folder.starts_with(&data) => {
            let text = format!("{}: inside of the data folder; expected a folder outside of it", folder.display());
            Err(Failure::usage(text))
        }
        _ => Ok(()),
    }
}

/// Both folders: the one that the settings name, and that of the backup.
fn folders(matches: &ArgMatches) -> Result<(String, String), Failure> {
    let data = load(&[matches]).map_err(Failure::usage)?.data;
    let folder = matches.get_one::<String>("folder").cloned().unwrap_or_default();
    let real = |path: &str| fs::canonicalize(path).ok();
    match (real(&data), real(&folder)) {
        (Some(one), Some(other)) if one == other => {
            Err(Failure::usage(format!("{folder}: the data folder itself; expected another folder")))
        }
        _ => Ok((data, folder)),
    }
}

async fn backup(matches: &ArgMatches) -> Result<Exit, Failure> {
    let (data, folder) = folders(matches)?;
    check_is_outside(&data, &folder)?;
    let (began_ms, started) = (now_ms(), Instant::now());
    let (from, to) = (Named { name: "--data", url: &data }, Named { name: &folder, url: &folder });
    check_is_backup(&folder)?;
    let mut work = Work::open(from, to, matches).await?;
    let began = json!({ "version": 1, "data": data, "began_ms": began_ms, "complete": false });
    write(&work.to.backup(), &began).map_err(|error| to.failure(error))?;
    let (file, copy) = (work.from.jobs(), work.to.jobs());
    let queue = blocking(move || Database::copy(&file, &copy)).await?;
    let counts = work.copy.all(&mut work.output, &work.progress).await?;
    // Last: each image that it names is there.
    let queue = match blocking(move || publish(queue)).await? {
        Ok(published) => published,
        Err(error) => {
            work.failed(&work.from.jobs(), &format!("the jobs are not copied: {error}"))?;
            "failed"
        }
    };
    let quarantine = names(&work.from.quarantine());
    if let Err(error) = &quarantine {
        work.failed(&work.from.quarantine(), &format!("cannot be read: its files are not listed: {error}"))?;
    }
    let quarantine = quarantine.unwrap_or_default();
    let CopyCounts { copied, present, failed, bytes } = counts;
    let told = json!({
        "version": 1, "data": data, "began_ms": began_ms, "complete": true, "ended_ms": now_ms(), "jobs": queue,
        "copied": copied, "copied_bytes": bytes, "present": present, "failed": failed, "quarantine": quarantine,
    });
    write(&work.to.backup(), &told).map_err(|error| to.failure(error))?;
    let seconds = started.elapsed().as_secs_f64();
    let text = format!("{}, jobs {queue}, {} in quarantine, in {seconds:.1} s", counts.text(), quarantine.len());
    Ok(Exit::of_failed(work.output.end("backup", &text)?))
}

/// Refuses a folder whose jobs are no backup, but those of a server: the backup would take their place.
fn check_is_backup(folder: &str) -> Result<(), Failure> {
    let is_other = Folder::of(folder).is_some_and(|folder| folder.jobs().exists() && !folder.backup().exists());
    let refused =
        || Failure::usage(format!("{folder}: has jobs, and no backup.json; expected a new folder or a backup"));
    if is_other { Err(refused()) } else { Ok(()) }
}

/// Names the copy of the queue, if there is one. Returns what became of the queue.
fn publish(copy: Result<Option<DatabaseCopy>, jobs::Error>) -> Result<&'static str, jobs::Error> {
    match copy? {
        Some(copy) => copy.publish().map(|()| "copied"),
        None => Ok("absent"),
    }
}

async fn restore(matches: &ArgMatches) -> Result<Exit, Failure> {
    let (data, folder) = folders(matches)?;
    let started = Instant::now();
    let (from, to) = (Named { name: &folder, url: &folder }, Named { name: "--data", url: &data });
    let mut work = Work::open(from, to, matches).await?;
    if !is_complete(&work.from.backup()) {
        work.failed(&work.from.backup(), "the last backup did not come to its end: its newest images may be missing")?;
    }
    let counts = work.copy.all(&mut work.output, &work.progress).await?;
    // Last: jobs find their images.
    let (file, copy) = (work.from.jobs(), work.to.jobs());
    let jobs = match blocking(move || Database::restore(&file, &copy)).await? {
        Ok(Restored::Now) => "copied",
        Ok(Restored::Before) => "there before",
        Ok(Restored::Absent) => "absent",
        Ok(Restored::Other) => {
            work.failed(&work.to.jobs(), "there are other jobs, which stay; move this file away to restore those")?;
            "kept"
        }
        Err(error) => {
            work.failed(&work.from.jobs(), &format!("the jobs are not restored: {error}"))?;
            "failed"
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    Ok(Exit::of_failed(work.output.end("restore", &format!("{}, jobs {jobs}, in {seconds:.1} s", counts.text()))?))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|panic| Failure::new(Exit::Failed, panic))
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Whether the file that a backup keeps about itself says that the last backup came to its end.
fn is_complete(path: &Path) -> bool {
    let told = fs::read(path).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    told.is_some_and(|told| told["complete"] == true)
}

/// The names in a folder, in order.
fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// Writes a small file durably, in one step.
fn write(path: &Path, value: &Value) -> io::Result<()> {
    let draft = path.with_extension("json.part");
    fs::write(&draft, format!("{value:#}\n"))?;
    File::open(&draft)?.sync_all()?;
    fs::rename(&draft, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
