//! `progimage get`: originals and renditions from a server to files or standard output. Originals are held against their ids.

mod target;

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use clap::builder::RangedU64ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use futures_util::stream::{self, StreamExt};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, Response};
use serde_json::json;
use tempfile::NamedTempFile;

use super::client::{self, Body, Client, Error, Problem};
use super::ending::{self, Exit, Failure};
use super::output::{self, Output};
use super::progress::Progress;
use crate::digest::{Digest, Hasher};
use target::Target;

/// Of new files, before the umask.
const FILE_MODE: u32 = 0o666;

pub fn command() -> Command {
    Command::new("get")
        .about("Download originals and renditions")
        .arg(
            Arg::new("targets")
                .value_name("ID[.EXT][?QUERY]")
                .required(true)
                .num_args(1..)
                .value_parser(value_parser!(Target))
                .help("The original, or with an extension another form of it: '<id>.webp?w=300'"),
        )
        .arg(
            Arg::new("output")
                .long("output")
                .short('o')
                .value_name("FILE|DIR")
                .value_parser(value_parser!(PathBuf))
                .help("Where to: a file, a folder that is there, or - for standard output (which it is unless that is a terminal)"),
        )
        .arg(
            Arg::new("jobs")
                .long("jobs")
                .short('j')
                .value_name("N")
                .default_value("4")
                .value_parser(RangedU64ValueParser::<usize>::new().range(1..=256))
                .help("Downloads at once, 1 to 256"),
        )
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("Lines of JSON: {id, path, bytes}, or {id, problem}"))
        .args(client::args())
        .after_help(format!(
            "A file in a folder is named by what is asked for: ID.EXT, or ID-DIGITS.EXT with a query, whose hash the eight digits \
             begin, so that all forms of an image lie side by side and the same one has the same name each time. An original, and \
             what is asked for as .auto, has the extension of the format that comes; where that makes one name of two, as of ID and \
             ID.jpg, the first that is whole has it and the other is an error. Into a folder, prints `ID[.EXT][?QUERY]  path` \
             for each file. A file has its name only when it is whole. Bytes of an \
             original that do not hash to its id are an error; on standard output they have been written by then.\n\n{}",
            ending::HELP
        ))
}

pub fn run(matches: &ArgMatches) -> ExitCode {
    ending::run("get", get(matches))
}

/// Where bytes go.
enum Place {
    Stdout,
    File(PathBuf),
    Folder(PathBuf),
}

async fn get(matches: &ArgMatches) -> Result<Exit, Failure> {
    let targets: Vec<Target> = matches.get_many("targets").unwrap_or_default().cloned().collect();
    let json = matches.get_flag("json");
    let place = place(matches.get_one::<PathBuf>("output"), targets.len())?;
    if json && matches!(place, Place::Stdout) {
        return Err(Failure::usage("--json prints to standard output: name a file or a folder with -o"));
    }
    let progress = Progress::bytes();
    let client = Client::of(matches, progress.clone())?;
    let mut output = Output::new(json, progress.clone());
    let jobs = matches.get_one("jobs").copied().unwrap_or(1);
    // The same thing twice would be two writers of one file.
    let mut seen = HashSet::new();
    let targets = targets.into_iter().filter(|target| seen.insert(target.as_str().to_owned()));
    let job = Job { client: &client, place: &place, progress: &progress, written: Mutex::default() };
    let mut fetched = std::pin::pin!(stream::iter(targets).map(|target| job.fetch(target)).buffer_unordered(jobs));
    while let Some((target, outcome)) = fetched.next().await {
        let text = target.as_str();
        match outcome {
            Ok(Fetched { path: Some(path), bytes }) if json || matches!(place, Place::Folder(_)) => output.item(
                || output::json_of(&path, json!({ "id": text, "bytes": bytes })),
                || output::named(text, &path),
            )?,
            Ok(_) => {}
            Err(Wrong::Item(problem)) => {
                output.failed(|| json!({ "id": text, "problem": problem }), || format!("{text}: {problem}"))?;
            }
            Err(Wrong::All(failure)) => {
                output.end("get", "")?;
                return Err(failure);
            }
        }
        output.flush()?;
    }
    Ok(Exit::of_failed(output.end("get", "")?))
}

fn place(output: Option<&PathBuf>, targets: usize) -> Result<Place, Failure> {
    match output {
        Some(path) if path.is_dir() => Ok(Place::Folder(path.clone())),
        _ if targets > 1 => Err(Failure::usage("several images need a folder that is there: -o DIR")),
        Some(path) if path == Path::new("-") => Ok(Place::Stdout),
        Some(path) => Ok(Place::File(path.clone())),
        None if io::stdout().is_terminal() => {
            Err(Failure::usage("a terminal shows no image: -o FILE, or -o - all the same"))
        }
        None => Ok(Place::Stdout),
    }
}

/// What is there now; no path: it went to standard output.
struct Fetched {
    path: Option<PathBuf>,
    bytes: u64,
}

/// What is wrong, and with how much.
enum Wrong {
    Item(String),
    All(Failure),
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Wrong {
        if error.ends().is_some() { Wrong::All(error.into()) } else { Wrong::Item(error.to_string()) }
    }
}

struct Job<'a> {
    client: &'a Client,
    place: &'a Place,
    progress: &'a Progress,
    /// Files of this run, at most one of each target: only the format that comes tells what two of them are named.
    written: Mutex<HashSet<PathBuf>>,
}

/// How an answer's body ended.
enum Received {
    Whole(u64),
    /// The bytes hash to something else.
    Wrong(Digest),
    Unwritten(io::Error),
}

impl Job<'_> {
    async fn fetch(&self, target: Target) -> (Target, Result<Fetched, Wrong>) {
        let outcome = match self.place {
            Place::Stdout => self.print(&target).await,
            // From the start again when an answer is cut: nobody has seen a file without its name.
            _ => self.client.repeat(async || self.save(&target).await).await.unwrap_or_else(|error| Err(error.into())),
        };
        (target, outcome)
    }

    /// To standard output, where nothing can be taken back: only what comes before the first byte is tried again.
    async fn print(&self, target: &Target) -> Result<Fetched, Wrong> {
        let response = self.client.repeat(async || self.ask(target).await).await?;
        match self.receive(target, response, &mut io::stdout().lock()).await? {
            Received::Whole(bytes) => Ok(Fetched { path: None, bytes }),
            Received::Wrong(actual) => Err(wrong(actual)),
            Received::Unwritten(error) => Err(Wrong::All(error.into())),
        }
    }

    /// To a file; the outer error is one that may pass.
    async fn save(&self, target: &Target) -> Result<Result<Fetched, Wrong>, Error> {
        let response = self.ask(target).await?;
        let path = match self.place {
            Place::Folder(folder) => folder.join(target.file_name(media_type(&response))),
            Place::File(path) => path.clone(),
            Place::Stdout => PathBuf::new(),
        };
        let failed = |error| Wrong::All(Failure::new(Exit::Failed, format!("{}: {error}", path.display())));
        let mut draft = match Draft::beside(&path) {
            Ok(draft) => draft,
            Err(error) => return Ok(Err(failed(error))),
        };
        Ok(match self.receive(target, response, draft.file()).await? {
            Received::Whole(_) if !self.is_first(&path) => {
                Err(Wrong::Item(format!("{} is another one of these already", path.display())))
            }
            Received::Whole(bytes) => match draft.keep(&path) {
                Ok(()) => Ok(Fetched { path: Some(path), bytes }),
                Err(error) => Err(failed(error)),
            },
            Received::Wrong(actual) => Err(wrong(actual)),
            Received::Unwritten(error) => Err(failed(error)),
        })
    }

    /// Whether nothing of this run has the name yet; then it has.
    fn is_first(&self, path: &Path) -> bool {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned())
    }

    async fn ask(&self, target: &Target) -> Result<Response, Error> {
        let path = format!("/images/{}", target.as_str());
        let response = self.client.ask(Method::GET, &path, Body::none()).await?;
        // An original is proven by its bytes.
        if target.is_original() || media_type(&response).starts_with("image/") {
            return Ok(response);
        }
        Err(Error::Answer(Problem::unreadable("the answer is no image: is this ProgImage?")))
    }

    async fn receive(&self, target: &Target, mut response: Response, out: &mut dyn Write) -> Result<Received, Error> {
        self.progress.expect(response.content_length().unwrap_or(0));
        let (mut hasher, mut bytes) = (Hasher::default(), 0);
        while let Some(chunk) = self.client.next(&mut response).await? {
            hasher.update(&chunk);
            bytes += chunk.len() as u64;
            self.progress.advance(chunk.len() as u64);
            if let Err(error) = out.write_all(&chunk) {
                return Ok(Received::Unwritten(error));
            }
        }
        if let Err(error) = out.flush() {
            return Ok(Received::Unwritten(error));
        }
        let actual = hasher.digest();
        Ok(if target.is_original() && actual != target.id { Received::Wrong(actual) } else { Received::Whole(bytes) })
    }
}

fn media_type(response: &Response) -> &str {
    response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn wrong(actual: Digest) -> Wrong {
    Wrong::Item(format!("the bytes hash to {actual}"))
}

/// A file without its name, which goes when it is dropped.
enum Draft {
    Nameless(NamedTempFile),
    /// What is no file (`/dev/null`, a named pipe) is written to, not replaced.
    Special(File),
}

impl Draft {
    fn beside(path: &Path) -> io::Result<Draft> {
        if fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
            return File::options().write(true).open(path).map(Draft::Special);
        }
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut options = tempfile::Builder::new();
        options.prefix(".progimage-").permissions(Permissions::from_mode(FILE_MODE));
        options.tempfile_in(folder).map(Draft::Nameless)
    }

    fn file(&mut self) -> &mut File {
        match self {
            Draft::Nameless(file) => file.as_file_mut(),
            Draft::Special(file) => file,
        }
    }

    fn keep(self, path: &Path) -> io::Result<()> {
        match self {
            Draft::Nameless(file) => file.persist(path).map(drop).map_err(|error| error.error),
            Draft::Special(_) => Ok(()),
        }
    }
}
