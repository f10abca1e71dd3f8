//! [`Results`]: the results of the items, one line for each output, in the order in which they end; or a tar of the
//! bytes.
//!
//! ```json
//! {"item": 0, "key": "a", "output": 0, "media_type": "image/webp", "bytes": 812, "data": "<base64>", "status": 200}
//! {"item": 0, "key": "a", "output": 1, "status": 201, "id": "<digest>", "url": "/images/<digest>", "bytes": 977}
//! {"item": 1, "status": 400, "problem": {"type": "/problems/invalid-parameter", ...}}
//! {"done": true, "ok": 2, "failed": 1}
//! ```
//!
//! Bytes are sent in pieces, each read when it is needed, so no result is held for the client, however long it is. The
//! status of an output comes after its `data`: if the rest of the bytes cannot be sent, `status` and `problem` say so.
//!
//! In a tar the bytes are entries named `<item>-<output>.<ext>`. Keys are free text, so they may be no file names, or
//! be used twice. The lines are in the last entry, `results.ndjson`, with `name` instead of `data`. Each full mebibyte
//! of lines is sent earlier, in `results-1.ndjson`, `results-2.ndjson` and so on, so that no number of items fills
//! memory.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{ACCEPT, HeaderMap};
use serde_json::{Map, Value};

use super::item_reader::ItemLabel;
use super::result_buffer::Buffered;
use crate::http::app::App;
use crate::http::error::Error;
use crate::http::message::line_reader::NDJSON;
use crate::http::protocol::problem::report::report;
use crate::http::protocol::result_line::{self, Counts};
use crate::http::protocol::stream_writer::{Gone, StreamWriter, cut_short};
use crate::items::{Done, Placed};
use crate::pipeline::codec::Codec;

const TAR: &str = "application/x-tar";
/// The end of a line whose `data` is complete.
const DATA_ENDS: &str = "\",\"status\":200}\n";
/// Bytes of lines in one entry of a tar.
const LINES_BYTES_MAX: usize = 1 << 20;
/// Bytes of a block of tar; two empty blocks end an archive.
const BLOCK_BYTES: usize = 512;
static ZEROS: [u8; 2 * BLOCK_BYTES] = [0; 2 * BLOCK_BYTES];

/// The format of the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    Lines,
    Tar,
}

impl Media {
    /// Lines, unless `Accept` names a tar.
    pub(super) fn of(headers: &HeaderMap) -> Media {
        let fields = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut ranges = fields.flat_map(|field| field.split(','));
        let tar = |range: &str| range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(TAR);
        if ranges.any(tar) { Media::Tar } else { Media::Lines }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Media::Lines => NDJSON,
            Media::Tar => TAR,
        }
    }
}

/// Writes the results of a request.
pub(super) struct Results {
    app: Arc<App>,
    answer: StreamWriter,
    media: Media,
    /// Lines that are in no entry of the tar yet, and the number of entries with lines.
    lines: Vec<u8>,
    entries: u32,
    counts: Counts,
}

impl Results {
    pub(super) fn new(app: Arc<App>, answer: StreamWriter, media: Media) -> Results {
        Results { app, answer, media, lines: Vec::new(), entries: 0, counts: Counts::default() }
    }

    /// Writes the lines of an item, or the one line of a failure.
    pub(super) async fn ran(
        &mut self,
        label: &ItemLabel,
        results: Result<Vec<Result<Done<Buffered>, Error>>, Error>,
    ) -> Result<(), Gone> {
        let head = match &label.part {
            Some(part) => Map::from_iter([("part".to_owned(), part.as_str().into())]),
            None => result_line::head(label.index, label.key.as_deref()),
        };
        let results = match results {
            Ok(results) => results,
            Err(error) => return self.problem(head, &error).await,
        };
        for (output, result) in results.into_iter().enumerate() {
            let mut line = head.clone();
            line.insert("output".to_owned(), output.into());
            match result {
                Ok(done) => self.done(line, (label.index, output), done).await?,
                Err(error) => self.problem(line, &error).await?,
            }
        }
        Ok(())
    }

    /// Writes the last line. Without it the response is incomplete.
    pub(super) async fn end(mut self, ended: Result<(), Error>) -> Result<(), Gone> {
        let last = Bytes::from(self.counts.last(ended).to_string());
        match self.media {
            Media::Lines => self.answer.end(last).await,
            Media::Tar => {
                self.lines.extend_from_slice(&last);
                self.lines.push(b'\n');
                let lines = std::mem::take(&mut self.lines);
                self.entry("results.ndjson", lines.into()).await?;
                self.answer.send(Bytes::from_static(&ZEROS)).await?;
                self.answer.finish();
                Ok(())
            }
        }
    }

    async fn done(
        &mut self,
        mut line: Map<String, Value>,
        place: (u64, usize),
        done: Done<Buffered>,
    ) -> Result<(), Gone> {
        result_line::missing(&mut line, done.missing);
        match done.place {
            Placed::Response(codec, waiting) => {
                line.insert("media_type".to_owned(), codec.media_type.into());
                line.insert("bytes".to_owned(), waiting.len().into());
                return match self.media {
                    Media::Lines => self.data(line, waiting).await,
                    Media::Tar => self.file(line, &file_name(place, codec), waiting).await,
                };
            }
            Placed::Blob(receipt) => result_line::blob(&mut line, &receipt, &self.app.metrics),
            Placed::Rendition { url } => result_line::rendition(&mut line, url),
        }
        self.counts.add(true);
        self.line(line).await
    }

    /// Writes a line with `data`, one piece at a time; a short line is sent whole.
    async fn data(&mut self, line: Map<String, Value>, waiting: Buffered) -> Result<(), Gone> {
        let mut text = begin_data(line);
        let mut rest = Some(waiting);
        while let Some(waiting) = rest {
            let piece;
            (piece, rest) = match waiting.next().await {
                Ok(next) => next,
                Err(error) => return self.end_data(text, false, &cut_short(report(&error, None))).await,
            };
            add_data(&mut text, &piece);
            if rest.is_some() {
                self.answer.send(std::mem::take(&mut text).into()).await?;
            }
        }
        self.end_data(text, true, DATA_ENDS).await
    }

    async fn end_data(&mut self, mut text: String, ok: bool, end: &str) -> Result<(), Gone> {
        self.counts.add(ok);
        text.push_str(end);
        self.answer.send(text.into()).await
    }

    /// Writes a file of a tar, and its line.
    async fn file(&mut self, mut line: Map<String, Value>, name: &str, waiting: Buffered) -> Result<(), Gone> {
        let bytes = waiting.len();
        self.answer.send(tar_head(name, bytes)).await?;
        let mut rest = Some(waiting);
        while let Some(waiting) = rest {
            let piece;
            // A file that was begun can only be cut, and with it the whole tar.
            (piece, rest) = waiting.next().await.map_err(|_| Gone)?;
            self.answer.send(piece).await?;
        }
        self.answer.send(padding(bytes)).await?;
        self.counts.add(true);
        line.insert("status".to_owned(), StatusCode::OK.as_u16().into());
        line.insert("name".to_owned(), name.into());
        self.line(line).await
    }

    async fn problem(&mut self, line: Map<String, Value>, error: &Error) -> Result<(), Gone> {
        self.counts.add(false);
        self.line(result_line::failed(line, error)).await
    }

    async fn line(&mut self, line: Map<String, Value>) -> Result<(), Gone> {
        let line = Value::Object(line).to_string();
        match self.media {
            Media::Lines => self.answer.line(line.into()).await,
            Media::Tar => {
                self.lines.extend_from_slice(line.as_bytes());
                self.lines.push(b'\n');
                if self.lines.len() < LINES_BYTES_MAX {
                    return Ok(());
                }
                self.entries += 1;
                let (name, lines) = (format!("results-{}.ndjson", self.entries), std::mem::take(&mut self.lines));
                self.entry(&name, lines.into()).await
            }
        }
    }

    /// Writes an entry of a tar that holds lines.
    async fn entry(&mut self, name: &str, lines: Bytes) -> Result<(), Gone> {
        let bytes = lines.len() as u64;
        self.answer.send(tar_head(name, bytes)).await?;
        self.answer.send(lines).await?;
        self.answer.send(padding(bytes)).await
    }
}

/// The line up to the bytes of its `data`.
fn begin_data(line: Map<String, Value>) -> String {
    let mut text = Value::Object(line).to_string();
    text.pop();
    text + ",\"data\":\""
}

/// Adds bytes to `data`. Only the last ones may be no multiple of three. Room for the end of the line is reserved, too.
fn add_data(text: &mut String, bytes: &[u8]) {
    text.reserve_exact(bytes.len().div_ceil(3) * 4 + 32);
    STANDARD.encode_string(bytes, text);
}

fn file_name((item, output): (u64, usize), codec: &Codec) -> String {
    format!("{item}-{output}.{}", codec.extensions[0])
}

fn padding(bytes: u64) -> Bytes {
    let blocks = BLOCK_BYTES as u64;
    Bytes::from_static(&ZEROS[..(bytes.next_multiple_of(blocks) - bytes) as usize])
}

fn tar_head(name: &str, bytes: u64) -> Bytes {
    let mut header = tar::Header::new_ustar();
    // The names are made here: they are short and relative.
    let named = header.set_path(name);
    debug_assert!(named.is_ok(), "{name}");
    header.set_size(bytes);
    header.set_mode(0o644);
    header.set_mtime(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs()));
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    Bytes::copy_from_slice(header.as_bytes())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_client_that_names_tar_gets_a_tar() {
        let check = |accept: &str, expected| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().expect("a field value"));
            assert_eq!(Media::of(&headers), expected, "{accept}");
        };
        check("*/*", Media::Lines);
        check("application/x-ndjson", Media::Lines);
        check("Application/X-Tar", Media::Tar);
        check("application/x-ndjson;q=0.5, application/x-tar;q=1", Media::Tar);
        assert_eq!(Media::of(&HeaderMap::new()), Media::Lines);
    }

    #[test]
    fn data_is_written_into_its_line_piece_by_piece() {
        for pieces in [[b"".as_slice(), b""], [b"a", b""], [b"abc\xff\x00\x01", b"de"]] {
            let mut text = begin_data(result_line::head(7, Some("k")));
            pieces.iter().for_each(|piece| add_data(&mut text, piece));
            let line: Value = serde_json::from_str(&(text + DATA_ENDS)).expect("JSON");
            assert_eq!(line, json!({ "item": 7, "key": "k", "data": STANDARD.encode(pieces.concat()), "status": 200 }));
        }
    }
}
