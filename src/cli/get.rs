//! `progimage get`: downloads originals and renditions to files or standard output. Originals are checked against their
//! ids.

mod image_ref;

use std::collections::HashSet;
use std::fs::{self, File, Permissions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::builder::RangedU64ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use futures_util::stream::{self, StreamExt};
use parking_lot::Mutex;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, Response};
use serde_json::json;
use tempfile::NamedTempFile;

use super::client::{self, Body, Client, Error, Problem};
use super::exit::{self, Exit, Failure};
use super::output::{self, Output};
use super::progress::Progress;
use crate::digest::{Digest, Hasher};
use image_ref::ImageRef;

/// The mode of new files, before the umask.
const FILE_MODE: u32 = 0o666;

pub fn command() -> Command {
    Command::new("get")
        .about("Download originals and renditions")
        .arg(
            Arg::new("targets")
                .value_name("ID[.EXT][?QUERY]")
                .required(true)
                .num_args(1..)
                .value_parser(value_parser!(ImageRef))
                .help("Original, or with an extension a rendition: '<id>.webp?w=300'"),
        )
        .arg(
            Arg::new("output")
                .long("output")
                .short('o')
                .value_name("FILE|DIR")
                .value_parser(value_parser!(PathBuf))
                .help("File, existing folder, or - for standard output (the default when piped)"),
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
        .arg(
            Arg::new("json")
                .long("json")
                .action(ArgAction::SetTrue)
                .help("Lines of JSON: {id, path, bytes}, or {id, problem}"),
        )
        .args(client::args())
        .after_help(format!(
            "In a folder, files are named ID.EXT, or ID-HASH.EXT with a query (first 8 hex digits of the query's \
             hash). Originals and .auto get the extension of the format that comes. If two images get one name, such \
             as ID and ID.jpg, the second is an error. With a folder, prints `ID[.EXT][?QUERY]  path` for each file. \
             A file gets its name only when it is whole. An original whose bytes do not hash to its id is an error; \
             on standard output it has been written by then.\n\n{}",
            exit::HELP
        ))
}

pub fn run(matches: &ArgMatches) -> ExitCode {
    exit::run("get", get(matches))
}

/// The destination of downloads.
enum Destination {
    Stdout,
    File(PathBuf),
    Folder(PathBuf),
}

async fn get(matches: &ArgMatches) -> Result<Exit, Failure> {
    let images: Vec<ImageRef> = matches.get_many("targets").unwrap_or_default().cloned().collect();
    let json = matches.get_flag("json");
    let destination = destination(matches.get_one::<PathBuf>("output"), images.len())?;
    if json && matches!(destination, Destination::Stdout) {
        return Err(Failure::usage("--json prints to standard output: name a file or a folder with -o"));
    }
    let progress = Progress::bytes();
    let client = Client::of(matches, progress.clone())?;
    let mut output = Output::new(json, progress.clone());
    let jobs = matches.get_one("jobs").copied().unwrap_or(1);
    let lists_files = json || matches!(destination, Destination::Folder(_));
    let downloads = Downloads { client: &client, destination, progress: &progress, written: Mutex::default() };
    let fetches = stream::iter(distinct(images)).map(|image| downloads.fetch(image));
    let mut fetches = std::pin::pin!(fetches.buffer_unordered(jobs));
    while let Some((image, outcome)) = fetches.next().await {
        if let Err(failure) = report(&mut output, &image, outcome, lists_files)? {
            output.end("get", "")?;
            return Err(failure);
        }
        output.flush()?;
    }
    Ok(Exit::of_failed(output.end("get", "")?))
}

/// Drops repeated arguments, which would be two writers of one file.
fn distinct(images: Vec<ImageRef>) -> impl Iterator<Item = ImageRef> {
    let mut seen = HashSet::new();
    images.into_iter().filter(move |image| seen.insert(image.as_str().to_owned()))
}

/// Writes one outcome. The inner error ends the command.
fn report(
    output: &mut Output,
    image: &ImageRef,
    outcome: Result<Saved, GetError>,
    lists_files: bool,
) -> io::Result<Result<(), Failure>> {
    let text = image.as_str();
    match outcome {
        Ok(Saved { path: Some(path), bytes }) if lists_files => output
            .item(|| output::json_of(&path, json!({ "id": text, "bytes": bytes })), || output::named(text, &path))?,
        Ok(_) => {}
        Err(GetError::Image(problem)) => {
            output.failed(|| json!({ "id": text, "problem": problem }), || format!("{text}: {problem}"))?;
        }
        Err(GetError::All(failure)) => return Ok(Err(failure)),
    }
    Ok(Ok(()))
}

fn destination(output: Option<&PathBuf>, images: usize) -> Result<Destination, Failure> {
    match output {
        Some(path) if path.is_dir() => Ok(Destination::Folder(path.clone())),
        _ if images > 1 => Err(Failure::usage("several images need an existing folder: -o DIR")),
        Some(path) if path == Path::new("-") => Ok(Destination::Stdout),
        Some(path) => Ok(Destination::File(path.clone())),
        None if io::stdout().is_terminal() => {
            Err(Failure::usage("a terminal shows no image: use -o FILE, or -o - to print it anyway"))
        }
        None => Ok(Destination::Stdout),
    }
}

/// A downloaded image. Without a path, it went to standard output.
struct Saved {
    path: Option<PathBuf>,
    bytes: u64,
}

/// Why an image could not be downloaded.
enum GetError {
    /// A problem of this image alone.
    Image(String),
    /// A failure that ends the command.
    All(Failure),
}

impl From<Error> for GetError {
    fn from(error: Error) -> GetError {
        if error.ends().is_some() { GetError::All(error.into()) } else { GetError::Image(error.to_string()) }
    }
}

/// The downloads of one command.
struct Downloads<'a> {
    client: &'a Client,
    destination: Destination,
    progress: &'a Progress,
    /// Files of this run. Two images may have one file name, which is known only when their formats are.
    written: Mutex<HashSet<PathBuf>>,
}

/// How a response ended.
enum Received {
    /// All bytes came, and they match the id if the image is an original.
    Whole(u64),
    /// The bytes hash to this digest, not to the id.
    Wrong(Digest),
    /// The bytes could not be written.
    Unwritten(io::Error),
}

impl Downloads<'_> {
    async fn fetch(&self, image: ImageRef) -> (ImageRef, Result<Saved, GetError>) {
        let outcome = match self.destination {
            Destination::Stdout => self.print(&image).await,
            // A cut answer starts again from the beginning: the file has no name yet.
            _ => self.client.repeat(async || self.save(&image).await).await.unwrap_or_else(|error| Err(error.into())),
        };
        (image, outcome)
    }

    /// Downloads to standard output, which cannot be taken back: only attempts before the first byte are repeated.
    async fn print(&self, image: &ImageRef) -> Result<Saved, GetError> {
        let response = self.client.repeat(async || self.ask(image).await).await?;
        match self.receive(image, response, &mut io::stdout().lock()).await? {
            Received::Whole(bytes) => Ok(Saved { path: None, bytes }),
            Received::Wrong(actual) => Err(wrong(actual)),
            Received::Unwritten(error) => Err(GetError::All(error.into())),
        }
    }

    /// Downloads to a file. The outer error is one of the exchange, which may be repeated.
    async fn save(&self, image: &ImageRef) -> Result<Result<Saved, GetError>, Error> {
        let response = self.ask(image).await?;
        let path = match &self.destination {
            Destination::Folder(folder) => folder.join(image.file_name(media_type(&response))),
            Destination::File(path) => path.clone(),
            Destination::Stdout => PathBuf::new(),
        };
        let failed = |error| GetError::All(Failure::new(Exit::Failed, format!("{}: {error}", path.display())));
        let mut draft = match Draft::for_path(&path) {
            Ok(draft) => draft,
            Err(error) => return Ok(Err(failed(error))),
        };
        Ok(match self.receive(image, response, draft.file()).await? {
            Received::Whole(_) if !self.is_first(&path) => {
                Err(GetError::Image(format!("{} is another of these images already", path.display())))
            }
            Received::Whole(bytes) => match draft.keep(&path) {
                Ok(()) => Ok(Saved { path: Some(path), bytes }),
                Err(error) => Err(failed(error)),
            },
            Received::Wrong(actual) => Err(wrong(actual)),
            Received::Unwritten(error) => Err(failed(error)),
        })
    }

    /// Claims a path. Returns whether no other image of this run has it.
    fn is_first(&self, path: &Path) -> bool {
        self.written.lock().insert(path.to_owned())
    }

    async fn ask(&self, image: &ImageRef) -> Result<Response, Error> {
        let path = format!("/images/{}", image.as_str());
        let response = self.client.ask(Method::GET, &path, Body::none()).await?;
        // An original is checked by its bytes instead.
        if image.is_original() || media_type(&response).starts_with("image/") {
            return Ok(response);
        }
        Err(Error::Answer(Problem::unreadable("the answer is not an image: is this ProgImage?")))
    }

    async fn receive(&self, image: &ImageRef, mut response: Response, out: &mut dyn Write) -> Result<Received, Error> {
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
        Ok(if image.is_original() && actual != image.id { Received::Wrong(actual) } else { Received::Whole(bytes) })
    }
}

fn media_type(response: &Response) -> &str {
    response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn wrong(actual: Digest) -> GetError {
    GetError::Image(format!("the bytes hash to {actual}"))
}

/// A file that has no name until it is whole. A drop removes it.
enum Draft {
    Nameless(NamedTempFile),
    /// A path that is not a file (`/dev/null`, a named pipe), which is written to and not replaced.
    Special(File),
}

impl Draft {
    fn for_path(path: &Path) -> io::Result<Draft> {
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
