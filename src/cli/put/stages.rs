//! The stages between a path and its outcome: hash, ask, upload. Each takes from one bounded channel and gives to the next.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use reqwest::{Method, StatusCode};
use tokio::sync::mpsc::{Receiver, Sender};

use super::walk::Found;
use super::{ASKED_MAX, Named, Outcome};
use crate::cli::client::{Body, Client, Error, Problem};
use crate::cli::ending::{Exit, Failure};
use crate::digest::{Digest, Hasher};

/// Read, and hashed, at once.
const READ_BYTES: usize = 256 << 10;
/// How long the first file of a question waits for others.
const GATHER: Duration = Duration::from_millis(20);
/// An id and a line feed.
const LINE_BYTES: usize = 65;
/// Of the answer to an upload.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// To a file that is another one by the time it is sent.
const CHANGED: &str = "it was changed while it was uploaded; put it again";

/// What came next cannot be given on: the command is ending.
fn ending<T>(_: T) -> Failure {
    Failure::new(Exit::Failed, "")
}

/// Hashes files, as many at once as there are processors.
pub async fn hash(files: Receiver<Found>, hashed: Sender<Named>, outcomes: Sender<Outcome>) -> Result<(), Failure> {
    let files = Arc::new(Mutex::new(files));
    let threads = (0..thread::available_parallelism().map_or(1, usize::from)).map(|_| {
        let (files, hashed, outcomes) = (Arc::clone(&files), hashed.clone(), outcomes.clone());
        tokio::task::spawn_blocking(move || hash_each(&files, &hashed, &outcomes))
    });
    // A thread that panicked has lost a file: then not all is well.
    let ended = join_all(threads).await.into_iter().collect::<Result<(), _>>();
    ended.map_err(|panic| Failure::new(Exit::Failed, panic))
}

fn hash_each(files: &Mutex<Receiver<Found>>, hashed: &Sender<Named>, outcomes: &Sender<Outcome>) {
    loop {
        let file = files.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let taken = match file.map(|found| found.and_then(|path| name(path, hashed))) {
            None => return,
            Some(Ok(file)) => hashed.blocking_send(file).is_ok(),
            Some(Err(outcome)) => outcomes.blocking_send(outcome).is_ok(),
        };
        if !taken {
            return;
        }
    }
}

fn name(path: PathBuf, hashed: &Sender<Named>) -> Result<Named, Outcome> {
    match digest(&path, || hashed.is_closed()) {
        Ok((id, bytes)) => Ok(Named { path, id, bytes }),
        Err(error) => Err(Outcome::Failed { path, problem: error.to_string() }),
    }
}

fn digest(path: &PathBuf, is_in_vain: impl Fn() -> bool) -> io::Result<(Digest, u64)> {
    let mut file = File::open(path)?;
    // One more byte than it should have, so that one read is mostly enough.
    let expected = usize::try_from(file.metadata()?.len()).unwrap_or(READ_BYTES);
    let mut buffer = vec![0; expected.saturating_add(1).min(READ_BYTES)];
    let (mut hasher, mut bytes) = (Hasher::default(), 0);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((hasher.digest(), bytes)),
            Ok(_) if is_in_vain() => return Err(io::Error::other("it was not asked for any more")),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                bytes += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Asks which files the server lacks: of all at once that are hashed within a moment, or while the last answer was awaited.
pub async fn ask(
    client: &Client,
    mut named: Receiver<Named>,
    missing: Sender<Named>,
    outcomes: Sender<Outcome>,
) -> Result<(), Failure> {
    let mut batch = Vec::new();
    while named.recv_many(&mut batch, ASKED_MAX).await > 0 {
        // A question for each few files would cost more than hashing them.
        let _ = tokio::time::timeout(GATHER, fill(&mut named, &mut batch)).await;
        let lacking = lacking(client, &batch).await?;
        for file in batch.drain(..) {
            if lacking.contains(&file.id) {
                missing.send(file).await.map_err(ending)?;
            } else {
                outcomes.send(Outcome::Stored { file, created: false }).await.map_err(ending)?;
            }
        }
    }
    Ok(())
}

/// Until the question is full, or nothing more comes.
async fn fill(named: &mut Receiver<Named>, batch: &mut Vec<Named>) {
    loop {
        let room = ASKED_MAX - batch.len();
        if room == 0 || named.recv_many(batch, room).await == 0 {
            return;
        }
    }
}

async fn lacking(client: &Client, files: &[Named]) -> Result<HashSet<Digest>, Error> {
    let lines: String = files.iter().flat_map(|file| [file.id.to_string(), "\n".to_owned()]).collect();
    let answer = client.repeat(async || {
        let body = Body::bytes("text/plain", lines.clone());
        let response = client.ask(Method::POST, "/images/missing", body).await?;
        client.whole(response, files.len() * LINE_BYTES).await
    });
    let answer = answer.await?;
    let ids = answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(Digest::from_hex);
    ids.collect::<Result<_, _>>()
        .map_err(|_| Error::Answer(Problem::unreadable("the answer has no ids: is this ProgImage?")))
}

/// Sends files, up to `jobs` at once.
pub async fn upload(
    client: &Client,
    files: Receiver<Named>,
    jobs: usize,
    outcomes: Sender<Outcome>,
) -> Result<(), Failure> {
    let files = stream::unfold(files, async |mut files| files.recv().await.map(|file| (file, files)));
    let sent = files.map(|file| send(client, file)).buffer_unordered(jobs);
    sent.try_for_each(async |outcome| outcomes.send(outcome).await.map_err(ending)).await
}

/// One file. Only what concerns every other file, too, is a failure.
async fn send(client: &Client, file: Named) -> Result<Outcome, Failure> {
    let path = format!("/images/{}", file.id);
    let stored = client.repeat(async || {
        let response = client.ask(Method::PUT, &path, body(&file)?).await?;
        let created = response.status() == StatusCode::CREATED;
        // Read to its end, so that the connection can be used again.
        client.whole(response, ANSWER_BYTES_MAX).await.map(|_| created)
    });
    let problem = match stored.await {
        Ok(created) => return Ok(Outcome::Stored { file, created }),
        Err(error) if error.ends().is_some() => return Err(error.into()),
        Err(error) if error.is("digest-mismatch") => CHANGED.to_owned(),
        Err(Error::Body(error)) if error.kind() == io::ErrorKind::UnexpectedEof => CHANGED.to_owned(),
        Err(error) => error.to_string(),
    };
    Ok(Outcome::Failed { path: file.path, problem })
}

/// Opened anew for each attempt.
fn body(file: &Named) -> Result<Body, Error> {
    let open = || {
        let opened = File::open(&file.path)?;
        // Shorter or longer: another one.
        let unchanged = opened.metadata()?.len() == file.bytes;
        if unchanged { Ok(opened) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    };
    Ok(Body::file(open().map_err(Error::Body)?, file.bytes))
}
