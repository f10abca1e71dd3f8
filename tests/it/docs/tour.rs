//! The commands of the documents: the files that they name exist, and the README's tour works as pasted against a
//! server of its own. Skipped by name where bash or curl is missing, unless `PROGIMAGE_TEST_EXTERNAL=1` says that they
//! must be there.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use progimage::digest::Digest;

use super::{DOCUMENTS, read, root};
use crate::cli::address_in;
use crate::fixtures::photo;

const BINARY: &str = env!("CARGO_BIN_EXE_progimage");

/// The address of the server in the documents.
const SERVER: &str = "localhost:8080";
const PROGRAM: &str = "target/release/progimage";

/// Folders of the repository that commands name files in.
const FOLDERS: &[&str] = &["benches/", "fixtures/", "src/", "tests/"];

/// The blocks of shell commands of a text.
fn blocks(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n```sh\n").skip(1).filter_map(|rest| rest.split_once("\n```")).map(|(block, _)| block)
}

#[test]
fn commands_name_files_that_are_there() {
    for (document, _) in DOCUMENTS {
        let text = read(document);
        let commands = blocks(&text).collect::<Vec<_>>().join("\n");
        let words = commands.split(|letter: char| letter.is_whitespace() || "@='\";()".contains(letter));
        for word in words.filter(|word| FOLDERS.iter().any(|folder| word.starts_with(folder))) {
            assert!(root().join(word).exists(), "{document}: {word}");
        }
    }
}

#[test]
fn the_readme_knows_the_id_of_its_photograph() {
    let id = Digest::of(&photo("toy.jpg")).to_string();
    assert!(read("README.md").contains(&format!("id={id}")), "toy.jpg is {id}");
}

/// The program on a free port and a data folder; killed when dropped.
struct Server(Child, String);

impl Server {
    fn start(data: &Path) -> Server {
        let mut command = Command::new(BINARY);
        command.args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--data"]).arg(data);
        // Next to the other tests the machine is never idle, and not always fast.
        command.env("PROGIMAGE_BULK_IDLE", "false").env("PROGIMAGE_RENDER_TIMEOUT_MS", "300000");
        command.env("PROGIMAGE_QUEUE_TIMEOUT_MS", "300000");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let address = address_in(child.stderr.take().expect("a pipe"));
        Server(child, address.expect("it listens"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Whether a program is missing; panics where it is required.
fn is_missing(program: &str) -> bool {
    let missing = Command::new(program).arg("--version").stdout(Stdio::null()).status().is_err();
    let required = std::env::var_os("PROGIMAGE_TEST_EXTERNAL").is_some_and(|value| value == "1");
    assert!(!(missing && required), "PROGIMAGE_TEST_EXTERNAL=1 but {program} is missing");
    if missing {
        println!("skipped the README's tour: {program} is not installed");
    }
    missing
}

/// Runs the commands in the repository as one shell, which ends at the first that fails.
fn run(commands: &str, server: &Server, scratch: &Path) -> Output {
    let commands = commands.replace(SERVER, &server.1).replace(PROGRAM, BINARY);
    // An error's status ends the shell.
    std::fs::write(scratch.join(".curlrc"), "fail\nshow-error\n").expect("it is writable");
    let mut shell = Command::new("bash");
    shell.args(["-e", "-o", "pipefail", "-c", &commands]).current_dir(root()).stdin(Stdio::null());
    shell.env("CURL_HOME", scratch).env("TMPDIR", scratch).env("XDG_CACHE_HOME", scratch).env("NO_PROXY", "*");
    shell.output().expect("bash runs")
}

/// The statuses that comments of the commands promise, in brackets.
fn promised(commands: &str) -> Vec<&str> {
    let comments = commands.lines().filter(|line| line.starts_with("# "));
    let words = comments.filter_map(|line| line.split_once('(')?.1.split_once(')')).map(|(word, _)| word);
    words.filter(|word| word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit())).collect()
}

/// The statuses in what `curl -i` printed.
fn answered(output: &str) -> Vec<&str> {
    let lines = output.lines().filter_map(|line| line.split_once("HTTP/1.1 ")).map(|(_, status)| &status[..3]);
    lines.filter(|status| *status != "100").collect()
}

/// The output of the commands, which must all succeed against a server of their own; `None`: they cannot be run here.
fn output(commands: &str) -> Option<String> {
    if is_missing("bash") || is_missing("curl") {
        return None;
    }
    let scratch = tempfile::tempdir().expect("a folder");
    let server = Server::start(&scratch.path().join("data"));
    let output = run(commands, &server, scratch.path());
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    Some(text.into_owned())
}

#[test]
fn the_tour_works_as_pasted() {
    let readme = read("README.md");
    let (_, tour) = readme.split_once("\n## A tour").expect("a tour");
    let commands: String = blocks(tour.split("\n## ").next().expect("its section")).collect();
    assert!(!promised(&commands).is_empty());
    if let Some(text) = output(&commands) {
        assert_eq!(answered(&text), promised(&commands), "{text}");
    }
}

#[test]
fn the_examples_of_the_http_reference_work_as_pasted() {
    let text = read("src/http/README.md");
    // Others start a server with settings of their own, or ask for hosts of other people.
    let commands: Vec<&str> = blocks(&text).filter(|block| !block.contains(PROGRAM)).collect();
    assert!(commands.len() >= 5);
    if let Some(text) = output(&commands.join("\n")) {
        assert!(text.contains("\"done\":true,\"failed\":0") && !text.contains("problem"), "{text}");
    }
}
