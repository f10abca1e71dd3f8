//! The stages between an id and its outcome: ask, upload. Each takes from one bounded channel and gives to the next.

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

use super::memory::Memory;
use super::{ASKED_MAX, Named, Outcome, hash};
use crate::cli::client::{Body, Client, Error, Problem};
use crate::cli::ending::{Exit, Failure};
use crate::digest::Digest;

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

/// Asks for an id that no server has, too: an answer that does not name it is no answer to the question, however well it looks.
/// What nobody lacks is taken for stored.
async fn lacking(client: &Client, files: &[Named]) -> Result<HashSet<Digest>, Error> {
    let none = nobodys();
    let ids = files.iter().map(|file| file.id).chain([none]);
    let lines: String = ids.flat_map(|id| [id.to_string(), "\n".to_owned()]).collect();
    let answer = client.repeat(async || {
        let body = Body::bytes("text/plain", lines.clone());
        let response = client.ask(Method::POST, "/images/missing", body).await?;
        client.whole(response, (files.len() + 1) * LINE_BYTES).await
    });
    let answer = answer.await?;
    let ids = answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(Digest::from_hex);
    let lacking: Option<HashSet<Digest>> = ids.collect::<Result<_, _>>().ok();
    lacking.filter(|lacking| lacking.contains(&none)).ok_or_else(|| {
        Error::Answer(Problem::unreadable("the answer does not name the ids that are missing: is this ProgImage?"))
    })
}

/// An id of which nobody knows the bytes, another one each time.
fn nobodys() -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("progimage 1 id that no server has");
    for word in 0..4 {
        // Keyed by the system's randomness.
        hasher.update(&RandomState::new().hash_one(word).to_le_bytes());
    }
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

/// Sends files, up to `jobs` at once.
pub async fn upload(
    client: &Client,
    memory: &Arc<Memory>,
    files: Receiver<Named>,
    jobs: usize,
    outcomes: Sender<Outcome>,
) -> Result<(), Failure> {
    let files = stream::unfold(files, async |mut files| files.recv().await.map(|file| (file, files)));
    let sent = files.map(|file| send(client, memory, file)).buffer_unordered(jobs);
    sent.try_for_each(async |outcome| outcomes.send(outcome).await.map_err(ending)).await
}

/// One file. Only what concerns every other file, too, is a failure.
async fn send(client: &Client, memory: &Arc<Memory>, mut file: Named) -> Result<Outcome, Failure> {
    loop {
        let error = match put(client, &file).await {
            Ok(created) => return Ok(Outcome::Stored { file, created }),
            Err(error) if error.ends().is_some() => return Err(error.into()),
            Err(error) => error,
        };
        let problem = if !is_changed(&error) {
            error.to_string()
        } else if !file.recalled {
            CHANGED.to_owned()
        } else {
            // Once: what is hashed now is not recalled.
            match hash::again(memory, file).await {
                Ok(hashed) => file = hashed,
                Err(outcome) => return Ok(outcome),
            }
            continue;
        };
        // Whatever the server has said of these bytes, they are looked at again the next time.
        hash::forget(memory, file.stamp).await;
        return Ok(Outcome::Failed { path: file.path, problem });
    }
}

/// Whether the server has not had it before.
async fn put(client: &Client, file: &Named) -> Result<bool, Error> {
    let path = format!("/images/{}", file.id);
    let stored = client.repeat(async || {
        let response = client.ask(Method::PUT, &path, body(file)?).await?;
        let created = response.status() == StatusCode::CREATED;
        let answer: Value =
            serde_json::from_slice(&client.whole(response, ANSWER_BYTES_MAX).await?).unwrap_or_default();
        if answer["id"].as_str() == Some(file.id.hex().as_str()) {
            return Ok(created);
        }
        Err(Error::Answer(Problem::unreadable("the answer does not name the image that was sent: is this ProgImage?")))
    });
    stored.await
}

/// The bytes are not those of the id.
fn is_changed(error: &Error) -> bool {
    error.is("digest-mismatch") || matches!(error, Error::Body(error) if error.kind() == io::ErrorKind::UnexpectedEof)
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
