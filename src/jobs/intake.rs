//! [`Intake`]: a job on its way in. Its lines are written in chunks as they come, under a row that a restart throws away until the
//! job is accepted; so a job is there whole or not at all, and never held in memory.

use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::history::{self, State};
use super::ledger::{bytes, now_ms};
use super::queue::{self, Item};
use super::receiving::Seat;
use super::scheduler::Shared;
use super::{Error, Options, Place, Sender};
use crate::offload;
use crate::digest::{Digest, Hasher};

/// A job that is being received.
pub struct Intake {
    shared: Arc<Shared>,
    /// Given back once the ledger is done with it: so what waits there is bounded.
    seat: Option<Seat>,
    hasher: Hasher,
    key: Option<Digest>,
    rights: u32,
    webhook: Option<String>,
    beside: bool,
    /// Its seat's.
    mark: i64,
    /// Whether the ledger was asked for a row.
    written: bool,
    /// Its row, once that is known.
    number: Option<i64>,
    chunk: Vec<Item>,
    chunk_bytes: usize,
    items: u64,
}

/// An accepted job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub id: Digest,
    /// Whether it is new; else it was accepted before, and is as far as it is.
    pub new: bool,
}

impl Intake {
    pub(super) fn new(shared: Arc<Shared>, sender: Sender) -> Result<Intake, Error> {
        if let Some(url) = &sender.webhook {
            shared.hooks.check(url)?;
        }
        let seat = shared.receiving.begin(sender.beside).ok_or(Error::Busy)?;
        Ok(Intake {
            shared,
            mark: seat.mark,
            written: false,
            seat: Some(seat),
            hasher: Hasher::default(),
            key: sender.key.map(id_of_key),
            rights: sender.rights,
            webhook: sender.webhook,
            beside: sender.beside,
            number: None,
            chunk: Vec::new(),
            chunk_bytes: 0,
            items: 0,
        })
    }

    /// Takes the next line, without its end; an empty one stands for a line that was too long to be held.
    pub async fn line(&mut self, line: Bytes) -> Result<(), Error> {
        let max = self.shared.options.items_max;
        if self.items >= max {
            return Err(Error::TooManyItems { max });
        }
        self.hash(line.clone()).await?;
        self.chunk_bytes += line.len();
        self.chunk.push(Item { place: Place { item: self.items, part: 0 }, line });
        self.items += 1;
        if self.chunk.len() >= queue::CHUNK_ITEMS_MAX || self.chunk_bytes >= queue::CHUNK_BYTES {
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
        // Lost only when the server is stopping.
        self.hasher = offload::run(bytes, hash).await.ok_or(Error::Ended)?;
        Ok(())
    }

    /// Lines that are held now.
    #[cfg(test)]
    pub(super) fn in_hand(&self) -> usize {
        self.chunk.len()
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let (number, mark) = (self.number, self.mark);
        let (chunk, max) = (std::mem::take(&mut self.chunk), self.shared.options.bytes_max);
        self.chunk_bytes = 0;
        self.written = true;
        let append = move |ledger: &Transaction| append(ledger, number, mark, &chunk, max);
        self.number = Some(self.shared.ledger.write(append).await?);
        Ok(())
    }

    /// Accepts the job: once this has returned it survives a power cut. A job of the same id is found instead.
    ///
    /// The id is the key's, or else the BLAKE3 of the lines, each ended by a line feed; a job beside something is always a new one.
    pub async fn accept(mut self) -> Result<Accepted, Error> {
        let body = self.hasher.digest();
        let names = (!self.beside).then(|| Names { id: self.key.unwrap_or(body), body });
        let webhook = self.webhook.take();
        let arrival = Arrival { mark: self.mark, names, rights: self.rights, webhook, items: self.items };
        let (number, chunk) = (self.number, std::mem::take(&mut self.chunk));
        let options = self.shared.options.clone();
        let accept = move |ledger: &Transaction| accept(ledger, number, &chunk, &arrival, &options);
        self.shared.ledger.write_durably(accept).await
    }
}

impl Drop for Intake {
    /// Whoever waited for an answer may have left before it came, so this knows only what was asked of the ledger, which comes first
    /// there. Unless that was to accept it, the sweeper finds its row without a seat.
    fn drop(&mut self) {
        if self.written {
            let seat = self.seat.take();
            self.shared.ledger.afterwards(move || drop(seat));
            self.shared.sweep.notify_one();
        }
        // It may have been accepted.
        self.shared.wake();
        self.shared.changed();
    }
}

/// What is known of a job when its last line is there.
struct Arrival {
    mark: i64,
    names: Option<Names>,
    rights: u32,
    webhook: Option<String>,
    items: u64,
}

/// What a job is known by to whoever sends it again.
struct Names {
    id: Digest,
    /// Of its lines.
    body: Digest,
}

/// The id of a job that was sent with a key.
fn id_of_key(key: &str) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("progimage 1 idempotency key of a job");
    hasher.update(key.as_bytes());
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

/// The id of a job that nobody sends again.
fn id_of_row(number: i64) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key("progimage 1 job beside something");
    // A ledger in memory begins anew with each process.
    hasher.update(&number.to_le_bytes()).update(&now_ms().to_le_bytes());
    Digest::from_bytes(*hasher.finalize().as_bytes())
}

/// Writes a chunk of a job, which gets its row with the first one.
fn append(ledger: &Transaction, number: Option<i64>, mark: i64, chunk: &[Item], bytes_max: u64) -> Result<i64, Error> {
    if bytes(ledger)? >= bytes_max {
        return Err(Error::Full { max: bytes_max });
    }
    let number = match number {
        Some(number) => number,
        None => {
            let insert = "INSERT INTO job (state, created_ms, body) VALUES (?1, ?2, ?3)";
            ledger.execute(insert, params![State::Receiving as i64, now_ms(), mark])?;
            ledger.last_insert_rowid()
        }
    };
    if !chunk.is_empty() {
        queue::insert(ledger, number, chunk, 0, 0)?;
    }
    Ok(number)
}

fn accept(
    ledger: &Transaction,
    number: Option<i64>,
    chunk: &[Item],
    arrival: &Arrival,
    options: &Options,
) -> Result<Accepted, Error> {
    if let Some(names) = &arrival.names
        && is_known(ledger, names, arrival)?
    {
        return Ok(Accepted { id: names.id, new: false });
    }
    let unfinished = "SELECT count(*) FROM job WHERE state IN (?1, ?2) AND (body IS NULL) = ?3";
    let parameters = params![State::Queued as i64, State::Running as i64, arrival.names.is_none()];
    let unfinished: i64 = ledger.query_row(unfinished, parameters, |row| row.get(0))?;
    if unfinished >= options.unfinished_max as i64 {
        return Err(Error::Busy);
    }
    let number = append(ledger, number, arrival.mark, chunk, options.bytes_max)?;
    let update = "UPDATE job SET id = ?2, body = ?3, rights = ?4, webhook = ?5, items = ?6, state = ?7, created_ms = ?8
        WHERE number = ?1";
    let Arrival { names, rights, webhook, items, .. } = arrival;
    let id = names.as_ref().map_or_else(|| id_of_row(number), |names| names.id);
    let body = names.as_ref().map(|names| names.body.as_bytes());
    let (items, state) = (*items as i64, State::Queued as i64);
    ledger.execute(update, params![number, id.as_bytes(), body, rights, webhook, items, state, now_ms()])?;
    // Nobody follows it yet.
    queue::end_if_over(ledger, number)?;
    Ok(Accepted { id, new: true })
}

/// A job as it was sent before.
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

/// Whether what was sent is a job already. One that was cancelled, and is known by its lines alone, is forgotten: whoever sends them
/// again means to have them run.
fn is_known(ledger: &Transaction, names: &Names, arrival: &Arrival) -> Result<bool, Error> {
    let query = "SELECT number, body, rights, webhook, state FROM job WHERE id = ?1";
    let known = ledger.query_row(query, [names.id.as_bytes()], Known::read).optional()?;
    let Some(Known { number, body, rights, webhook, state }) = known else { return Ok(false) };
    if body.as_deref() != Some(names.body.as_bytes()) {
        return Err(Error::KeyReused);
    }
    if state == State::Cancelled as i64 && names.id == names.body {
        history::forget(ledger, "?1", params![number])?;
        return Ok(false);
    }
    // It may have failed where this would not.
    if arrival.rights & !rights != 0 {
        return Err(Error::OtherRights);
    }
    // Else whoever waits to be told would wait for ever.
    if arrival.webhook.is_some() && arrival.webhook != webhook {
        return Err(Error::OtherWebhook);
    }
    Ok(true)
}
