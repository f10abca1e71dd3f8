//! The stages from an id to its outcome: ask and upload. Each receives from one bounded channel and sends to the next.

use std::collections::HashSet;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::sync::mpsc::{Receiver, Sender};

use super::hash_cache::HashCache;
use super::{ASKED_MAX, FileOutcome, HashedFile, hash};
use crate::cli::client::{Body, Client, Error, Problem};
use crate::cli::exit::{Exit, Failure};
use crate::digest::Digest;

/// The longest wait of the first file of a question for others.
const GATHER: Duration = Duration::from_millis(20);
/// An id and a line feed.
const LINE_BYTES: usize = 65;
/// The most bytes of the answer to an upload.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// The problem of a file that changed between hash and upload.
const CHANGED: &str = "changed while it was uploaded; put it again";

/// The failure when the next stage is gone. It has no text: that stage has reported why.
fn ending<T>(_: T) -> Failure {
    Failure::new(Exit::Failed, "")
}

/// Asks which files the server lacks. One question covers all files that were hashed during the last one, or within a
/// moment.
pub async fn ask(
    client: &Client,
    mut named: Receiver<HashedFile>,
    missing: Sender<HashedFile>,
    outcomes: Sender<FileOutcome>,
) -> Result<(), Failure> {
    let mut batch = Vec::new();
    while named.recv_many(&mut batch, ASKED_MAX).await > 0 {
        // Many small questions would cost more than hashing the files.
        let _ = tokio::time::timeout(GATHER, fill(&mut named, &mut batch)).await;
        let lacking = lacking(client, &batch).await?;
        for file in batch.drain(..) {
            if lacking.contains(&file.id) {
                missing.send(file).await.map_err(ending)?;
            } else {
                outcomes.send(FileOutcome::Stored { file, created: false }).await.map_err(ending)?;
            }
        }
    }
    Ok(())
}

/// Fills the batch until it is full, or no more files come.
async fn fill(named: &mut Receiver<HashedFile>, batch: &mut Vec<HashedFile>) {
    loop {
        let room = ASKED_MAX - batch.len();
        if room == 0 || named.recv_many(batch, room).await == 0 {
            return;
        }
    }
}

/// Asks the server which of `files` it lacks. The question includes an id that no server has. An answer without that id
/// is not from ProgImage, and must not be read as "all are stored".
async fn lacking(client: &Client, files: &[HashedFile]) -> Result<HashSet<Digest>, Error> {
    let unknown = unknown_id();
    let ids = files.iter().map(|file| file.id).chain([unknown]);
    let lines: String = ids.flat_map(|id| [id.to_string(), "\n".to_owned()]).collect();
    let answer = client.repeat(async || {
        let body = Body::bytes("text/plain", lines.clone());
        let response = client.ask(Method::POST, "/images/missing", body).await?;
        client.whole(response, (files.len() + 1) * LINE_BYTES).await
    });
    let answer = answer.await?;
    let ids = answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(Digest::from_hex);
    let lacking: Option<HashSet<Digest>> = ids.collect::<Result<_, _>>().ok();
    lacking.filter(|lacking| lacking.contains(&unknown)).ok_or_else(|| {
        Error::Answer(Problem::unreadable("the answer does not list the missing ids: is this ProgImage?"))
    })
}

/// A random id, of which no server has the bytes.
fn unknown_id() -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("progimage 1 id that no server has");
    for word in 0..4 {
        // Each state is keyed by the system's randomness.
        hasher.update(&RandomState::new().hash_one(word).to_le_bytes());
    }
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

/// Sends files, up to `jobs` at once.
pub async fn upload(
    client: &Client,
    cache: &Arc<HashCache>,
    files: Receiver<HashedFile>,
    jobs: usize,
    outcomes: Sender<FileOutcome>,
) -> Result<(), Failure> {
    let files = stream::unfold(files, async |mut files| files.recv().await.map(|file| (file, files)));
    let sent = files.map(|file| send(client, cache, file)).buffer_unordered(jobs);
    sent.try_for_each(async |outcome| outcomes.send(outcome).await.map_err(ending)).await
}

/// Sends one file. Returns a failure only if it concerns every other file, too.
async fn send(client: &Client, cache: &Arc<HashCache>, mut file: HashedFile) -> Result<FileOutcome, Failure> {
    loop {
        let error = match put(client, &file).await {
            Ok(created) => return Ok(FileOutcome::Stored { file, created }),
            Err(error) if error.ends().is_some() => return Err(error.into()),
            Err(error) => error,
        };
        let problem = if !is_changed(&error) {
            error.to_string()
        } else if !file.recalled {
            CHANGED.to_owned()
        } else {
            // At most once: the result is not marked as recalled.
            match hash::again(cache, file).await {
                Ok(hashed) => file = hashed,
                Err(outcome) => return Ok(outcome),
            }
            continue;
        };
        // Whatever the server answered, the next run reads the file again.
        hash::forget(cache, file.stamp).await;
        return Ok(FileOutcome::Failed { path: file.path, problem });
    }
}

/// Uploads one file. Returns whether the server stored it now.
async fn put(client: &Client, file: &HashedFile) -> Result<bool, Error> {
    let path = format!("/images/{}", file.id);
    let stored = client.repeat(async || {
        let response = client.ask(Method::PUT, &path, body(file)?).await?;
        let created = response.status() == StatusCode::CREATED;
        let answer: Value =
            serde_json::from_slice(&client.whole(response, ANSWER_BYTES_MAX).await?).unwrap_or_default();
        if answer["id"].as_str() == Some(file.id.hex().as_str()) {
            return Ok(created);
        }
        Err(Error::Answer(Problem::unreadable("the answer does not name the uploaded image: is this ProgImage?")))
    });
    stored.await
}

/// Whether the bytes do not match the id: the file has changed.
fn is_changed(error: &Error) -> bool {
    error.is("digest-mismatch") || matches!(error, Error::Body(error) if error.kind() == io::ErrorKind::UnexpectedEof)
}

/// The body of one attempt, from a newly opened file.
fn body(file: &HashedFile) -> Result<Body, Error> {
    let open = || {
        let opened = File::open(&file.path)?;
        // Of another length, it has changed.
        let unchanged = opened.metadata()?.len() == file.bytes;
        if unchanged { Ok(opened) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    };
    Ok(Body::file(open().map_err(Error::Body)?, file.bytes))
}
