//! A client that reads answers strictly and never follows, repeats or repairs anything.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Values of `write_stall_ms` for tests of clients that read late. The server promises an explanation only to a client
/// that is fast enough for this bound. A machine that is too busy for the first one gets the next.
pub const WRITE_STALLS_MS: [u64; 4] = [4_000, 16_000, 64_000, 256_000];

/// A connection.
pub struct Client {
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// The only field of this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut found = self.fields.iter().filter(|(field, _)| field == name);
        let first = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} is there twice");
        first
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The lines of a streamed answer except the last, and the last.
    pub fn lines(&self) -> (Vec<serde_json::Value>, serde_json::Value) {
        assert_eq!((self.status, self.field("content-type")), (200, Some("application/x-ndjson")), "{}", self.text());
        let text = self.text();
        assert!(text.ends_with('\n'), "{text}");
        let mut lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect();
        let last = lines.pop().expect("a last line");
        assert!(last["done"].is_boolean(), "{last}");
        // Lines come in the order in which items end.
        lines.sort_by_key(|line| line["index"].as_u64());
        (lines, last)
    }

    /// Asserts an error of this status and type.
    pub fn assert_problem(&self, status: u16, kind: &str) {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.field("content-type"), Some("application/problem+json"));
        let problem = self.json();
        assert_eq!(problem["type"], format!("/problems/{kind}"), "{problem}");
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        Client::over(TcpStream::connect(address).unwrap())
    }

    pub fn over(stream: TcpStream) -> Client {
        stream.set_nodelay(true).unwrap();
        // With these, a server that never answers fails a test instead of stopping it.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
        Client { stream, buffer: Vec::new() }
    }

    /// Puts back bytes that were read of an answer.
    pub fn before(&mut self, bytes: &[u8]) {
        self.buffer.splice(0..0, bytes.iter().copied());
    }

    /// One request and its answer, on a kept connection.
    pub fn ask(&mut self, method: &str, path: &str, fields: &[&str], body: &[u8]) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n");
        for field in fields {
            head += &format!("{field}\r\n");
        }
        if !body.is_empty() {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        self.write(head.as_bytes());
        self.write(body);
        self.answer(method == "HEAD")
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends a whole request, which asks for `Connection: close`, and reads only then. `None`: the connection was cut.
    /// A server cuts off a client that is slower than its bounds, and then a reset may discard what it has sent (RFC
    /// 9112, 9.6).
    pub fn send_then_read(mut self, request: &[u8]) -> Option<Answer> {
        // The server does not read for most of its bound.
        self.stream.set_write_timeout(Some(Duration::from_secs(600))).unwrap();
        self.stream.write_all(request).ok()?;
        self.stream.read_to_end(&mut self.buffer).ok()?;
        self.buffer.ends_with(b"\r\n0\r\n\r\n").then(|| self.answer(false))
    }

    /// Reads an answer; `head`: to HEAD, without a body.
    pub fn answer(&mut self, head: bool) -> Answer {
        self.try_answer(head).expect("an answer before the connection ends")
    }

    /// `None` when the connection ends without one.
    pub fn try_answer(&mut self, head: bool) -> Option<Answer> {
        let mut answer = self.head()?;
        if !head && answer.status >= 200 && answer.status != 204 && answer.status != 304 {
            if answer.field("transfer-encoding").is_some() {
                while let Some(chunk) = self.chunk().expect("a whole body") {
                    answer.body.extend(chunk);
                }
                return Some(answer);
            }
            let length: usize = answer.field("content-length").expect("a length").parse().unwrap();
            while self.buffer.len() < length {
                assert!(self.fill(), "the body ends after {} of {length} bytes", self.buffer.len());
            }
            answer.body = self.buffer.drain(..length).collect();
        }
        Some(answer)
    }

    /// The next chunk of a chunked body, `None` after the last one; an error when it is cut off.
    pub fn chunk(&mut self) -> Result<Option<Vec<u8>>, String> {
        let digits = self.until(b"\r\n")?;
        let length = usize::from_str_radix(&digits, 16).unwrap_or_else(|error| panic!("{error}: {digits:?}"));
        while self.buffer.len() < length + 2 {
            if !self.fill() {
                return Err("the chunk is cut off".to_owned());
            }
        }
        let chunk: Vec<u8> = self.buffer.drain(..length).collect();
        assert_eq!(self.buffer.drain(..2).collect::<Vec<_>>(), b"\r\n");
        Ok((length > 0).then_some(chunk))
    }

    /// What comes before `end`, which is taken too.
    fn until(&mut self, end: &[u8]) -> Result<String, String> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                let text = self.buffer.drain(..at + end.len()).take(at).collect();
                return Ok(String::from_utf8(text).unwrap());
            }
            if !self.fill() {
                return Err("the body is cut off".to_owned());
            }
        }
    }

    /// An answer without its body; `None` when the connection ends without one.
    pub fn head(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if !self.fill() {
                assert!(self.buffer.is_empty(), "half an answer: {}", String::from_utf8_lossy(&self.buffer));
                return None;
            }
        };
        let text: Vec<u8> = self.buffer.drain(..end).collect();
        let text = String::from_utf8(text).unwrap();
        let mut lines = text.trim_end().split("\r\n");
        let status = lines.next().unwrap().strip_prefix("HTTP/1.").unwrap()[2..5].parse().unwrap();
        let fields = lines
            .map(|line| {
                let (name, value) = line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""));
                (name.to_lowercase(), value.to_owned())
            })
            .collect();
        Some(Answer { status, fields, body: Vec::new() })
    }

    /// Whether the server has ended the connection, with nothing more said.
    pub fn is_closed(&mut self) -> bool {
        self.buffer.is_empty() && !self.fill()
    }

    /// `false` at the end of the connection.
    fn fill(&mut self) -> bool {
        let mut chunk = [0; 64 << 10];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(count) => {
                self.buffer.extend_from_slice(&chunk[..count]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}"),
        }
    }
}
