//! The program as a shell calls it: standard output is data, standard error is for people, and the exit status says how
//! it ended.

mod backup;
mod bulk;
mod get;
mod local;
mod memory;
mod origin;
mod put;
mod retries;
mod stores;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{ChildStderr, Command, Output, Stdio};

/// The program, without the settings of this process and without its cache of hashes: the home of the tester is not
/// touched.
fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_progimage"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PROGIMAGE_")) {
        command.env_remove(name);
    }
    // Loopback is asked for directly, whatever the machine's proxy.
    command.env("NO_PROXY", "127.0.0.1").env("XDG_CACHE_HOME", "/dev/null");
    command
}

/// The output and the status of a run.
struct Ran {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Ran { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ran {
    /// Asserts the status, and returns the run.
    fn with(self, status: i32) -> Ran {
        assert_eq!(self.status, Some(status), "{}{}", self.stdout, self.stderr);
        assert!(!self.stderr.contains('\x1b') && !self.stdout.contains('\x1b'), "control codes in a pipe");
        self
    }

    /// Lines of standard output, sorted.
    fn lines(&self) -> Vec<&str> {
        let mut lines: Vec<&str> = self.stdout.lines().collect();
        lines.sort_unstable();
        lines
    }

    /// Standard output as lines of JSON.
    fn json(&self) -> Vec<serde_json::Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }
}

fn run(arguments: &[&str]) -> Ran {
    program(arguments).output().expect("it ends").into()
}

/// Runs the program with `input` on its standard input.
fn piped(command: &mut Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().expect("it starts");
    // A program that refuses its arguments does not read.
    let _ = child.stdin.take().expect("piped").write_all(input);
    child.wait_with_output().expect("it ends")
}

/// A folder that is removed after the test; in memory where possible.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

fn text(path: &std::path::Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The address in the JSON log of a server that listens on a free port; `None` where the log ends before.
pub fn address_in(log: ChildStderr) -> Option<String> {
    let mut log = BufReader::new(log);
    let address = (&mut log).lines().map_while(Result::ok).find_map(|line| {
        let line: serde_json::Value = serde_json::from_str(&line).ok()?;
        Some(line["fields"]["address"].as_str()?.to_owned())
    });
    // The log is read on, so that the server can go on to write.
    std::thread::spawn(move || log.read_to_end(&mut Vec::new()));
    address
}
