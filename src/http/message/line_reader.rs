//! [`LineReader`]: the body of a request, line by line. Each line has a bound, and all lines count in the budget of
//! uploads.

use bytes::{Buf, Bytes};

use super::body::BodyReader;
use crate::hold::hold;
use crate::http::error::Error;
use crate::store::{Reserved, Uploads};

/// The media type of one JSON text a line.
pub(in crate::http) const NDJSON: &str = "application/x-ndjson";

/// Whether a body of this media type is lines. The type is in lower case and without parameters. The type that curl's
/// --data-binary sets by itself is taken for lines, too.
pub fn is_lines(media_type: &str) -> bool {
    matches!(media_type, "" | "application/x-ndjson" | "application/jsonl" | "application/x-www-form-urlencoded")
}

/// A line, or why there is none.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::http) enum Line {
    /// A line without its end. The permit for its bytes goes with it.
    Text(Bytes),
    /// The line was longer than `bytes_max`, and was skipped.
    TooLong { bytes_max: usize },
    /// The budget was used up, and nothing was given back for as long as a body may pause. The line was skipped.
    NoRoom,
}

/// Reads lines. Blank lines are skipped, and a `\r` before the end is removed. [`LineReader::next`] may be dropped and
/// called again: no byte is lost.
pub(in crate::http) struct LineReader {
    reader: BodyReader,
    uploads: Uploads,
    line_bytes_max: usize,
    /// Bytes that have arrived and were not read yet.
    chunk: Bytes,
    partial: Partial,
}

/// The line that is being read.
#[derive(Default)]
struct Partial {
    text: Vec<u8>,
    held: Option<Reserved>,
    /// The reason why the rest of the line is skipped.
    skipped: Option<Line>,
}

impl LineReader {
    /// Reads lines of at most `line_bytes_max` bytes, within the budget of `uploads`.
    pub(in crate::http) fn new(reader: BodyReader, line_bytes_max: usize, uploads: &Uploads) -> LineReader {
        let uploads = uploads.patient(reader.patience());
        LineReader { reader, uploads, line_bytes_max, chunk: Bytes::new(), partial: Partial::default() }
    }

    /// Returns the next line; `None` at the end. After an error there is no further line, except after a pause or a
    /// crawl ([`Error::BodyTimeout`]): then the next call goes on, and no byte is lost.
    pub(in crate::http) async fn next(&mut self) -> Result<Option<Line>, Error> {
        loop {
            if self.chunk.is_empty() {
                match self.reader.next().await? {
                    Some(chunk) => self.chunk = chunk,
                    None => return Ok(self.end_line()),
                }
            }
            let end = memchr::memchr(b'\n', &self.chunk);
            let count = end.unwrap_or(self.chunk.len());
            self.take(count).await;
            self.chunk.advance(count + usize::from(end.is_some()));
            if end.is_some()
                && let Some(line) = self.end_line()
            {
                return Ok(Some(line));
            }
        }
    }

    /// Adds the first `count` bytes of the chunk to the line.
    async fn take(&mut self, count: usize) {
        let LineReader { partial, uploads, line_bytes_max, chunk, .. } = self;
        let bytes = partial.text.len() + count;
        if partial.skipped.is_some() || count == 0 {
            return;
        }
        if bytes > *line_bytes_max {
            return partial.skip(Line::TooLong { bytes_max: *line_bytes_max });
        }
        let held = partial.held.get_or_insert_with(|| uploads.acquire_none());
        match held.acquire(bytes as u64).await {
            Ok(()) => partial.text.extend_from_slice(&chunk[..count]),
            Err(_) => partial.skip(Line::NoRoom),
        }
    }

    fn end_line(&mut self) -> Option<Line> {
        let Partial { mut text, held, skipped } = std::mem::take(&mut self.partial);
        if text.last() == Some(&b'\r') {
            text.pop();
        }
        let blank = text.iter().all(u8::is_ascii_whitespace);
        skipped.or_else(|| (!blank).then(|| Line::Text(keep(text, held))))
    }
}

impl Partial {
    fn skip(&mut self, why: Line) {
        *self = Partial { skipped: Some(why), ..Partial::default() };
    }
}

fn keep(text: Vec<u8>, held: Option<Reserved>) -> Bytes {
    let text = text.into_boxed_slice();
    match held {
        Some(reserved) => hold(text, reserved),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncWriteExt, DuplexStream};

    use super::*;
    use crate::http::message::activity::Activity;
    use crate::http::message::body::RequestBody;
    use crate::http::message::options::Options;
    use crate::store;

    /// A body that arrives over `DuplexStream` as chunks of HTTP.
    async fn arriving(options: &Options, uploads: &Uploads) -> (DuplexStream, LineReader) {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let sender = Mutex::new(Some(sender));
        let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let sender = sender.lock().expect("one request").take().expect("one request");
            assert!(sender.send(request.into_body()).is_ok());
            std::future::pending::<Result<hyper::Response<String>, Infallible>>()
        });
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service));
        client.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await.expect("room");
        let body = RequestBody::new(receiver.await.expect("a request"), Arc::new(Activity::new()));
        (client, LineReader::new(body.stream(options), options.line_bytes_max, uploads))
    }

    async fn send(client: &mut DuplexStream, bytes: &[u8]) {
        let head = format!("{:x}\r\n", bytes.len());
        client.write_all(&[head.as_bytes(), bytes, b"\r\n"].concat()).await.expect("room");
    }

    async fn uploads(change: impl FnOnce(&mut store::Options)) -> Uploads {
        let mut options = store::Options::default();
        change(&mut options);
        Uploads::new(store::open("memory:", &options).await.expect("memory"), options)
    }

    fn text(line: &str) -> Result<Option<Line>, Error> {
        Ok(Some(Line::Text(Bytes::copy_from_slice(line.as_bytes()))))
    }

    #[tokio::test]
    async fn lines_are_read_whatever_chunks_they_come_in() {
        const BODY: &[u8] = b"12345678\n\r\n 1\r\n123456789\n  \n\n1\r2\nlast";
        let options = Options { line_bytes_max: 8, ..Options::default() };
        for chunk in 1..=BODY.len() {
            let (mut client, mut lines) = arriving(&options, &uploads(|_| {}).await).await;
            for part in BODY.chunks(chunk) {
                send(&mut client, part).await;
            }
            send(&mut client, b"").await;
            assert_eq!(lines.next().await, text("12345678"), "chunks of {chunk}");
            assert_eq!(lines.next().await, text(" 1"));
            assert_eq!(lines.next().await, Ok(Some(Line::TooLong { bytes_max: 8 })));
            assert_eq!(lines.next().await, text("1\r2"));
            assert_eq!(lines.next().await, text("last"));
            assert_eq!(lines.next().await, Ok(None));
            assert_eq!(lines.next().await, Ok(None));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lines_together_are_held_within_the_budget_of_uploads() {
        let uploads = uploads(|options| options.uploads_bytes_max = 8 << 10).await;
        let (mut client, mut lines) = arriving(&Options::default(), &uploads).await;
        for shade in ["a", "b", "c", "d"] {
            send(&mut client, format!("{}\n", shade.repeat(4 << 10)).as_bytes()).await;
        }
        let first = lines.next().await.expect("a line");
        let second = lines.next().await.expect("a line");
        assert_eq!(lines.next().await, Ok(Some(Line::NoRoom)), "after it has waited");
        drop((first, second));
        assert_eq!(lines.next().await, text(&"d".repeat(4 << 10)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_has_no_end_in_time_but_may_neither_pause_nor_crawl() {
        let options = Options { body_rate_min: 4, body_grace_ms: 10_000, body_timeout_ms: 1, ..Options::default() };
        let uploads = uploads(|_| {}).await;
        let (mut client, mut lines) = arriving(&options, &uploads).await;
        for _ in 0..100 {
            // The server does not read for longer than a body may pause. That time does not count.
            tokio::time::sleep(Duration::from_secs(60)).await;
            send(&mut client, b"x\n").await;
            assert_eq!(lines.next().await, text("x"));
        }
        assert_eq!(lines.next().await, Err(Error::BodyTimeout), "a pause");

        let (mut client, mut lines) = arriving(&options, &uploads).await;
        send(&mut client, &[b"y".repeat(1_000), b"\n".to_vec()].concat()).await;
        assert_eq!(lines.next().await, text(&"y".repeat(1_000)));
        let crawl = tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                send(&mut client, b"z\n").await;
            }
        });
        let mut read = 0;
        let ended = loop {
            match lines.next().await {
                Ok(Some(_)) => read += 1,
                ended => break ended,
            }
        };
        crawl.abort();
        assert_eq!(ended, Err(Error::BodyTimeout), "two bytes a second");
        assert!((10..=30).contains(&read), "{read}: not for long, whatever came before");
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_waits_for_a_crawling_client_loses_nothing() {
        // Far more is due than comes, so every chunk after the grace period is late.
        let options =
            Options { body_rate_min: 1_000, body_grace_ms: 3_000, body_stall_ms: 2_500, ..Options::default() };
        let (mut client, mut lines) = arriving(&options, &uploads(|_| {}).await).await;
        let expected: Vec<_> = (0..40).map(|n| format!("line number {n}")).collect();
        let body = expected.iter().map(|line| format!("{line}\n")).collect::<String>();
        tokio::spawn(async move {
            // Lines are cut anywhere. Some pauses alone are too long.
            for (n, part) in body.as_bytes().chunks(7).enumerate() {
                tokio::time::sleep(Duration::from_millis(if n % 5 == 0 { 3_000 } else { 1_300 })).await;
                send(&mut client, part).await;
            }
            send(&mut client, b"").await;
        });
        let (mut read, mut excused) = (Vec::new(), 0);
        loop {
            match lines.next().await {
                Ok(Some(Line::Text(text))) => read.push(String::from_utf8(text.to_vec()).expect("UTF-8")),
                Ok(None) => break,
                Err(Error::BodyTimeout) => excused += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(read, expected);
        assert!(excused > 40, "{excused}: it was hardly late");
    }
}
