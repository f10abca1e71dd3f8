//! [`Output`]: one line of data for each item on standard output, as text or JSON, and the failed items on standard
//! error at the end. Chooses no exit status.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde_json::Value;

use super::progress::Progress;

/// The most failed items that are named at the end. The others are counted.
const PROBLEMS_MAX: usize = 1_000;
/// The size at which the buffer is written, even if more data is coming.
const BUFFER_BYTES: usize = 16 << 10;

/// Standard output.
pub struct Output {
    json: bool,
    /// The advice where every failed item is named, however many there are.
    all_named_by: &'static str,
    terminal: bool,
    buffer: Vec<u8>,
    problems: Vec<String>,
    failed: u64,
    progress: Progress,
}

impl Output {
    /// An output of lines of JSON or of text. It hides the bar of `progress` while it writes.
    pub fn new(json: bool, progress: Progress) -> Output {
        let terminal = io::stdout().is_terminal();
        let all_named_by = "--json names each";
        Output { json, all_named_by, terminal, buffer: Vec::new(), problems: Vec::new(), failed: 0, progress }
    }

    /// An output of result lines, which are passed on unchanged. Lines of failed items have a `problem`.
    pub fn results(progress: Progress) -> Output {
        let all_named_by = "the results have a line with a problem for each";
        Output { all_named_by, ..Output::new(false, progress) }
    }

    /// Writes an item that succeeded.
    pub fn item(&mut self, json: impl FnOnce() -> Value, text: impl FnOnce() -> Vec<u8>) -> io::Result<()> {
        let line = if self.json { json().to_string().into_bytes() } else { text() };
        self.line(&line)
    }

    /// Notes an item that failed: written as a line of JSON, or named at the end if the output is text.
    pub fn failed(&mut self, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> io::Result<()> {
        self.failed += 1;
        if self.json {
            let line = json().to_string();
            return self.line(line.as_bytes());
        }
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(text());
        }
        Ok(())
    }

    /// Writes a line as it is.
    pub fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(line);
        self.buffer.push(b'\n');
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes the buffer. Called when the next item is not there yet.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let buffer = std::mem::take(&mut self.buffer);
        // The bar is in the way only if both go to a terminal.
        if self.terminal { self.progress.suspend(|| print(&buffer)) } else { print(&buffer) }
    }

    /// Writes the rest, removes the bar, names the failed items and prints `summary`. Returns the number of failed
    /// items.
    pub fn end(mut self, command: &str, summary: &str) -> io::Result<u64> {
        self.flush()?;
        self.progress.clear();
        for problem in &self.problems {
            eprintln!("progimage {command}: {}", printable(problem));
        }
        let unnamed = self.failed - self.problems.len() as u64;
        if unnamed > 0 && !self.json {
            eprintln!("progimage {command}: and {unnamed} more; {}", self.all_named_by);
        }
        if !summary.is_empty() {
            eprintln!("progimage {command}: {summary}");
        }
        Ok(self.failed)
    }
}

/// Writes data to standard output. Unlike `print!` it returns errors, since a pipe may be closed early.
pub fn print(bytes: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// The line `name  path`, as b3sum and sha256sum write it: line feeds, carriage returns and backslashes in the path are
/// escaped, and the line begins with a backslash then.
pub fn named(name: &str, path: &Path) -> Vec<u8> {
    let bytes = path.as_os_str().as_bytes();
    let escaped = bytes.iter().any(|byte| b"\n\r\\".contains(byte));
    let mut line = Vec::with_capacity(name.len() + bytes.len() + 3);
    line.extend_from_slice(if escaped { b"\\" } else { b"" });
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(b"  ");
    for byte in bytes {
        match byte {
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            b'\\' => line.extend_from_slice(b"\\\\"),
            byte => line.push(*byte),
        }
    }
    line
}

/// Replaces control characters, which could move the cursor of a terminal: file names are not trusted.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().any(char::is_control) {
        text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect::<String>().into()
    } else {
        text.into()
    }
}

/// Adds the path to the `fields` of a file. A path that is not UTF-8 is also given in base64.
pub fn json_of(path: &Path, mut fields: Value) -> Value {
    fields["path"] = path.to_string_lossy().into();
    if path.to_str().is_none() {
        fields["path_base64"] = BASE64.encode(path.as_os_str().as_bytes()).into();
    }
    fields
}

/// A count for people: `1 image`, `2 images`.
pub fn counted(count: u64, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

/// A size for people: `3.1 MB`.
pub fn bytes(count: u64) -> String {
    indicatif::DecimalBytes(count).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_pretend_to_be_another_line() {
        let check = |path: &str, line: &str| assert_eq!(named("id", Path::new(path)), line.as_bytes());
        check("a b", "id  a b");
        check("a\nid  b", "\\id  a\\nid  b");
        check("a\\b\r", "\\id  a\\\\b\\r");
        assert_eq!(printable("a\x1b[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }

    #[test]
    fn one_is_not_many() {
        assert_eq!([0, 1, 2].map(|n| counted(n, "image")), ["0 images", "1 image", "2 images"]);
    }

    #[test]
    fn problems_are_named_up_to_a_bound_and_counted_past_it() {
        let mut output = Output::new(false, Progress::items());
        for n in 0..=PROBLEMS_MAX {
            output.failed(|| Value::Null, || n.to_string()).expect("nothing is written");
        }
        assert_eq!((output.problems.len(), output.failed), (PROBLEMS_MAX, PROBLEMS_MAX as u64 + 1));
    }
}
