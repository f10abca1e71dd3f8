//! [`Submission`]: a job that is being received. Its lines are written in chunks as they come, under a row that does
//! not count until the job is accepted. So a job is there whole or not at all, and is never held in memory.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::chunk::{CHUNK_BYTES, CHUNK_ITEMS_MAX, Item};
use super::database::{bytes, now_ms};
use super::shared::Shared;
use super::status::State;
use super::submission_slots::Slot;
use super::{Error, JobKind, Options, Place, Sender, queue, retention};
use crate::digest::{Digest, Hasher};
use crate::{offload, store};

/// A job that is being received.
pub struct Submission {
    shared: Arc<Shared>,
    /// Freed once the database has done everything for this submission, so that calls waiting there are bounded.
    slot: Option<Slot>,
    hasher: Hasher,
    key: Option<String>,
    owner: String,
    rights: u32,
    webhook: Option<String>,
    kind: JobKind,
    /// The mark of the slot.
    mark: i64,
    /// Whether the database was asked to write anything.
    written: bool,
    /// The row, once it is known.
    number: Option<i64>,
    chunk: Vec<Item>,
    chunk_bytes: usize,
    items: u64,
}

/// An accepted job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The id of the job.
    pub id: Digest,
    /// Whether the job is new. Otherwise it was accepted before, and goes on.
    pub new: bool,
}

impl Submission {
    pub(super) fn new(shared: Arc<Shared>, sender: Sender) -> Result<Submission, Error> {
        if let Some(url) = &sender.webhook {
            shared.webhooks.check(url)?;
        }
        let slot = shared.slots.try_acquire(sender.kind).ok_or(Error::Busy)?;
        Ok(Submission {
            shared,
            mark: slot.mark,
            written: false,
            slot: Some(slot),
            hasher: Hasher::default(),
            key: sender.key.map(str::to_owned),
            owner: sender.owner.to_owned(),
            rights: sender.rights,
            webhook: sender.webhook,
            kind: sender.kind,
            number: None,
            chunk: Vec::new(),
            chunk_bytes: 0,
            items: 0,
        })
    }

    /// Takes the next line, without its line feed. An empty line stands for one that was too long to be held.
    pub async fn line(&mut self, line: Bytes) -> Result<(), Error> {
        let max = self.shared.options.items_max;
        if self.items >= max {
            return Err(Error::TooManyItems { max });
        }
        self.hash(line.clone()).await?;
        self.chunk_bytes += line.len();
        self.chunk.push(Item { place: Place { item: self.items, part: 0 }, line });
        self.items += 1;
        if self.chunk.len() >= CHUNK_ITEMS_MAX || self.chunk_bytes >= CHUNK_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    async fn hash(&mut self, line: Bytes) -> Result<(), Error> {
        let bytes = line.len();
        let mut hasher = std::mem::take(&mut self.hasher);
        let hash = move || {
            hasher.update(&line);
            hasher.update(b"\n");
            hasher
        };
        // `None` only when the runtime is stopping.
        self.hasher = offload::run(bytes, hash).await.ok_or(Error::Ended)?;
        Ok(())
    }

    /// Lines that are held in memory.
    #[cfg(test)]
    pub(super) fn in_hand(&self) -> usize {
        self.chunk.len()
    }

    /// Whether lines may be written: they leave free what uploads leave free. Results of accepted jobs do not.
    fn has_room(&self) -> Result<(), Error> {
        match self.shared.store.writable() {
            Err(error @ store::Error::Full) => Err(error.into()),
            _ => Ok(()),
        }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        self.has_room()?;
        let (number, mark) = (self.number, self.mark);
        let (chunk, max) = (std::mem::take(&mut self.chunk), self.shared.options.bytes_max);
        self.chunk_bytes = 0;
        self.written = true;
        let append = move |database: &Transaction| append(database, number, mark, &chunk, max);
        self.number = Some(self.shared.database.write(append).await?);
        Ok(())
    }

    /// Accepts the job: once this has returned, it survives a power cut. If a job of this id exists, that one is
    /// returned.
    ///
    /// The id is derived from the key, or else is the BLAKE3 of the lines, each with its line feed. With an owner it is
    /// derived from the owner, too. A prerender job is always new.
    pub async fn accept(mut self) -> Result<Accepted, Error> {
        let body = self.hasher.digest();
        let key = self.key.take();
        let names = (self.kind == JobKind::Submitted).then(|| Names::new(&self.owner, key.as_deref(), body));
        let (owner, webhook) = (std::mem::take(&mut self.owner), self.webhook.take());
        let (mark, rights, items, room) = (self.mark, self.rights, self.items, self.has_room());
        let arrival = Arrival { mark, names, owner, rights, webhook, items, room };
        let (number, chunk) = (self.number, std::mem::take(&mut self.chunk));
        let options = self.shared.options.clone();
        let accept = move |database: &Transaction| accept(database, number, &chunk, &arrival, &options);
        self.shared.database.write_durably(accept).await
    }
}

impl Drop for Submission {
    /// Frees the slot after all calls of this submission. The caller may have left before the last answer came, so it
    /// is not known whether the job was accepted. If it was not, the sweeper finds its row without a slot and removes
    /// it.
    fn drop(&mut self) {
        if self.written {
            let slot = self.slot.take();
            self.shared.database.afterwards(move || drop(slot));
            self.shared.sweep.notify_one();
        }
        // The job may have been accepted.
        self.shared.wake.notify_one();
        self.shared.changed();
    }
}

/// A job whose last line has come.
struct Arrival {
    mark: i64,
    /// None for a prerender job.
    names: Option<Names>,
    owner: String,
    rights: u32,
    webhook: Option<String>,
    items: u64,
    /// Whether a new job may be written.
    room: Result<(), Error>,
}

/// The names by which a repeated submission finds its job.
struct Names {
    id: Digest,
    /// The id that version 1 of the tables, which knew no owners, gave such a job.
    ownerless: Digest,
    /// The digest of the lines.
    body: Digest,
    has_key: bool,
}

impl Names {
    fn new(owner: &str, key: Option<&str>, body: Digest) -> Names {
        let ownerless = key.map_or(body, |key| derived("progimage 1 idempotency key of a job", &[key.as_bytes()]));
        let length = (owner.len() as u64).to_le_bytes();
        let id = match key {
            _ if owner.is_empty() => ownerless,
            Some(key) => derived("progimage 2 idempotency key of a job", &[&length, owner.as_bytes(), key.as_bytes()]),
            None => derived("progimage 2 lines of a job", &[&length, owner.as_bytes(), body.as_bytes()]),
        };
        Names { id, ownerless, body, has_key: key.is_some() }
    }
}

fn derived(context: &'static str, parts: &[&[u8]]) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    parts.iter().for_each(|part| {
        hasher.update(part);
    });
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

/// The id of a prerender job, which no submission finds again.
fn id_of_row(number: i64) -> Digest {
    // With the time, since rows of a database in memory are numbered anew in each process.
    derived("progimage 1 job beside something", &[&number.to_le_bytes(), &now_ms().to_le_bytes()])
}

/// Writes a chunk of a job. The first one makes its row. Returns the number of the row.
fn append(
    database: &Transaction,
    number: Option<i64>,
    mark: i64,
    chunk: &[Item],
    bytes_max: u64,
) -> Result<i64, Error> {
    if bytes(database)? >= bytes_max {
        return Err(Error::Full { max: bytes_max });
    }
    let number = match number {
        Some(number) => number,
        None => {
            let insert = "INSERT INTO job (state, created_ms, body) VALUES (?1, ?2, ?3)";
            database.execute(insert, params![State::Receiving as i64, now_ms(), mark])?;
            database.last_insert_rowid()
        }
    };
    if !chunk.is_empty() {
        queue::insert(database, number, chunk, 0, 0)?;
    }
    Ok(number)
}

/// Makes the job known by its id, unless it is known already.
fn accept(
    database: &Transaction,
    number: Option<i64>,
    chunk: &[Item],
    arrival: &Arrival,
    options: &Options,
) -> Result<Accepted, Error> {
    if let Some(names) = &arrival.names
        && let Some(id) = known(database, names, arrival)?
    {
        return Ok(Accepted { id, new: false });
    }
    arrival.room.clone()?;
    let unfinished = "SELECT count(*) FROM job WHERE state IN (?1, ?2) AND (body IS NULL) = ?3";
    let parameters = params![State::Queued as i64, State::Running as i64, arrival.names.is_none()];
    let unfinished: i64 = database.query_row(unfinished, parameters, |row| row.get(0))?;
    if unfinished >= options.unfinished_max as i64 {
        return Err(Error::Busy);
    }
    let number = append(database, number, arrival.mark, chunk, options.bytes_max)?;
    let update =
        "UPDATE job SET id = ?2, body = ?3, rights = ?4, webhook = ?5, items = ?6, state = ?7, created_ms = ?8,
        owner = ?9 WHERE number = ?1";
    let Arrival { names, owner, rights, webhook, items, .. } = arrival;
    let id = names.as_ref().map_or_else(|| id_of_row(number), |names| names.id);
    let body = names.as_ref().map(|names| names.body.as_bytes());
    let (items, state) = (*items as i64, State::Queued as i64);
    database.execute(update, params![number, id.as_bytes(), body, rights, webhook, items, state, now_ms(), owner])?;
    // Without items it ends at once. No client follows it yet.
    queue::end_if_over(database, number)?;
    Ok(Accepted { id, new: true })
}

/// The earlier job of the same id.
struct Known {
    number: i64,
    body: Option<Vec<u8>>,
    rights: u32,
    webhook: Option<String>,
    state: i64,
}

impl Known {
    fn read(row: &Row) -> rusqlite::Result<Known> {
        Ok(Known {
            number: row.get(0)?,
            body: row.get(1)?,
            rights: row.get(2)?,
            webhook: row.get(3)?,
            state: row.get(4)?,
        })
    }
}

/// The id of the job that the submission repeats. A cancelled job that is known by its lines alone is forgotten instead: a
/// client that submits them again wants them to run.
fn known(database: &Transaction, names: &Names, arrival: &Arrival) -> Result<Option<Digest>, Error> {
    let query = "SELECT number, body, rights, webhook, state FROM job WHERE id = ?1";
    let known = database.query_row(query, [names.id.as_bytes()], Known::read).optional()?;
    let Some(Known { number, body, rights, webhook, state }) = known else {
        return known_of_version_1(database, names, arrival);
    };
    if body.as_deref() != Some(names.body.as_bytes()) {
        return Err(Error::KeyReused);
    }
    if state == State::Cancelled as i64 && !names.has_key {
        retention::forget(database, "?1", params![number])?;
        return Ok(None);
    }
    serves(rights, webhook.as_deref(), arrival)?;
    Ok(Some(names.id))
}

/// Checks that a known job, sent with these rights and this webhook, does all that a submission asks for.
fn serves(rights: u32, webhook: Option<&str>, arrival: &Arrival) -> Result<(), Error> {
    // With fewer rights, items may have failed that would succeed now.
    if arrival.rights & !rights != 0 {
        return Err(Error::OtherRights);
    }
    // Otherwise the receiver of this webhook would wait for ever.
    if arrival.webhook.is_some() && arrival.webhook.as_deref() != webhook {
        return Err(Error::OtherWebhook);
    }
    Ok(())
}

/// The id of a job with these lines that was accepted before jobs had owners, if it does all that the submission asks for.
/// It may be another client's, who sees it as before, so it does not stand in the way of a new job.
fn known_of_version_1(database: &Transaction, names: &Names, arrival: &Arrival) -> Result<Option<Digest>, Error> {
    let query = "SELECT number, body, rights, webhook, state FROM job
        WHERE id = ?1 AND body = ?2 AND owner IS NULL AND state != ?3";
    let parameters = params![names.ownerless.as_bytes(), names.body.as_bytes(), State::Cancelled as i64];
    let known = database.query_row(query, parameters, Known::read).optional()?;
    let serves = |known: &Known| serves(known.rights, known.webhook.as_deref(), arrival).is_ok();
    Ok(known.filter(serves).map(|_| names.ownerless))
}
