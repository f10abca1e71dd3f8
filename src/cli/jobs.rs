//! `progimage jobs`: submits background jobs to a server and follows them: submit, list, status, watch, results,
//! retry, cancel.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use indicatif::HumanDuration;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{self, Body, Client, Error, Lines, Problem};
use super::exit::{self, Exit, Failure, InterruptNote};
use super::output::{self, Output};
use super::progress::Progress;
use super::{bulk, results};
use crate::digest::Digest;

/// The most bytes of the status of one job.
const STATUS_BYTES_MAX: usize = 64 << 10;
/// The most jobs of one list, and their bytes.
const LIST_MAX: u64 = 1_000;
const LIST_BYTES_MAX: usize = 1 << 20;
/// Wait before events that were cut are requested again.
const AGAIN: Duration = Duration::from_secs(1);

pub fn command() -> Command {
    let job =
        || Arg::new("id").value_name("JOB").required(true).value_parser(value_parser!(Digest)).help("Id of the job");
    let json =
        || Arg::new("json").long("json").action(ArgAction::SetTrue).help("Lines of JSON from the server, unchanged");
    let submit = Command::new("submit")
        .about("Submit items as a job and print its id")
        .after_help("Submitting the same items again returns the same job; another --idempotency-key starts a new one.")
        .arg(bulk::items_arg())
        .arg(
            Arg::new("idempotency_key")
                .long("idempotency-key")
                .value_name("KEY")
                .help("Name of the job, for one list of items; a new name starts a new job"),
        )
        .arg(Arg::new("watch").long("watch").action(ArgAction::SetTrue).help("Watch the job until it has ended"))
        .arg(json());
    let list = Command::new("list")
        .about("Print the status of jobs, youngest first")
        .after_help("The server may require a key with the scope admin.")
        .arg(
            Arg::new("limit")
                .long("limit")
                .value_name("N")
                .default_value("100")
                .value_parser(value_parser!(u64).range(1..=LIST_MAX))
                .help("Number of jobs, 1 to 1000"),
        )
        .arg(json());
    let status = Command::new("status")
        .about("Print the status of a job")
        .after_help(
            "Prints `id  state  2 of 3 items done, 1 failed`, and `; waits: store-full` or another reason after that if the \
             state is `waiting`. The exit status is 0 whatever the state.",
        )
        .arg(job())
        .arg(json());
    let watch = Command::new("watch")
        .about("Wait until a job has ended and print its state")
        .after_help("Prints `id  state`. The exit status is 1 if the job was cancelled or some items failed.")
        .arg(job())
        .arg(json());
    let results = Command::new("results")
        .about("Print the results so far, one line for each output of an item")
        .arg(job())
        .arg(results::arg());
    let retry = Command::new("retry")
        .about("Run the failed items of a job that is done again, and print its status")
        .after_help("Prints what `status` prints. `watch` waits for the new end.")
        .arg(job())
        .arg(json());
    let cancel = Command::new("cancel").about("Cancel a job; its results stay").arg(job());
    Command::new("jobs")
        .about("Submit and follow background jobs")
        .subcommand_required(true)
        .subcommands([submit, list, status, watch, results, retry, cancel].map(|command| command.args(client::args())))
        .after_help(format!("`results` names the items of a job that failed.\n\n{}", exit::HELP))
}

pub fn run(matches: &ArgMatches) -> ExitCode {
    let note = InterruptNote::new();
    exit::run_with_note("jobs", &note, async {
        match matches.subcommand() {
            Some(("submit", matches)) => submit(matches, &note).await,
            Some(("list", matches)) => list(matches).await,
            Some(("status", matches)) => status(matches).await,
            Some(("watch", matches)) => watch(matches, &note).await,
            Some(("results", matches)) => results(matches).await,
            Some(("retry", matches)) => retry(matches).await,
            Some(("cancel", matches)) => cancel(matches).await,
            _ => Err(Failure::usage("submit, list, status, watch, results, retry or cancel?")),
        }
    })
}

/// The status of a job, as the server reports it.
#[derive(Deserialize)]
struct JobStatus {
    id: String,
    state: String,
    /// Why it waits.
    reason: Option<String>,
    items: u64,
    done: u64,
    failed: u64,
    started_ms: Option<i64>,
    estimated_end_ms: Option<i64>,
    items_per_second: Option<f64>,
}

impl JobStatus {
    fn read(text: &[u8]) -> Result<JobStatus, Error> {
        serde_json::from_slice(text).map_err(no_job)
    }

    /// The line `id  state  counts`, with the reason why the job waits.
    fn line(&self) -> Vec<u8> {
        let (id, state) = (output::printable(&self.id), output::printable(&self.state));
        format!("{id}  {state}  {}{}", self.counts(), self.waits()).into_bytes()
    }

    /// The text `; waits: store-full`; empty if the job does not wait.
    fn waits(&self) -> String {
        self.reason.as_ref().map(|reason| format!("; waits: {}", output::printable(reason))).unwrap_or_default()
    }

    /// The text `2 of 3 items done, 1 failed`.
    fn counts(&self) -> String {
        let JobStatus { items, done, failed, .. } = self;
        format!("{done} of {} done, {failed} failed", output::counted(*items, "item"))
    }

    /// The text `22.0/s, 3 minutes left, `, by the server's figures; empty before any item has run.
    fn pace(&self) -> String {
        let rate = self.items_per_second.map(|rate| format!("{rate:.1}/s, ")).unwrap_or_default();
        let left = self.left().map(|left| format!("{:#} left, ", HumanDuration(left))).unwrap_or_default();
        rate + &left
    }

    /// The time left: the same share of the whole time as of the items. Uses no clock, since ours may differ from the
    /// server's.
    fn left(&self) -> Option<Duration> {
        let whole_ms = self.estimated_end_ms?.saturating_sub(self.started_ms?).max(0) as f64;
        let waiting = self.items.saturating_sub(self.done.saturating_add(self.failed));
        Duration::try_from_secs_f64(whole_ms / 1e3 * waiting as f64 / self.items as f64).ok()
    }

    fn exit(&self) -> Exit {
        if self.state == "done" { Exit::of_failed(self.failed) } else { Exit::Failed }
    }
}

fn no_job(_: serde_json::Error) -> Error {
    Error::Answer(Problem::unreadable("the answer is not a job: is this ProgImage?"))
}

async fn submit(matches: &ArgMatches, note: &InterruptNote) -> Result<Exit, Failure> {
    let progress = Progress::reported();
    let client = Client::of(matches, progress.clone())?;
    let items = matches.get_one::<PathBuf>("items").map_or(Path::new("-"), PathBuf::as_path);
    let body = || {
        let body = bulk::body(items)?;
        let key = matches.get_one::<String>("idempotency_key").cloned();
        Ok::<_, Failure>(match key {
            Some(key) => body.with("idempotency-key", key),
            None => body,
        })
    };
    let attempt = async |body: Body| {
        let response = client.ask(Method::POST, "/jobs", body).await?;
        let is_known = response.status() == StatusCode::OK;
        Ok((is_known, client.whole(response, STATUS_BYTES_MAX).await?))
    };
    // Standard input cannot be sent twice, so it is not repeated.
    let (is_known, text) = if items == Path::new("-") {
        attempt(body()?).await?
    } else {
        body()?;
        client
            .repeat(async || attempt(body().map_err(|failure| Error::Body(std::io::Error::other(failure.text)))?).await)
            .await?
    };
    let status = JobStatus::read(&text)?;
    let line = if matches.get_flag("json") { text } else { status.id.clone().into_bytes() };
    if is_known {
        progress.suspend(|| {
            eprintln!("progimage jobs: this job exists already; a new --idempotency-key runs its items again")
        });
    }
    progress.suspend(|| output::print(&[&line, &b"\n"[..]].concat()))?;
    if matches.get_flag("watch") {
        let output = Output::new(matches.get_flag("json"), progress.clone());
        Watched { client: &client, id: &status.id, progress: &progress, note }.follow(output).await
    } else {
        Ok(Exit::Done)
    }
}

/// A list of jobs. Each is kept as the server wrote it.
#[derive(Deserialize)]
struct List {
    jobs: Vec<Box<RawValue>>,
}

async fn list(matches: &ArgMatches) -> Result<Exit, Failure> {
    let limit = matches.get_one("limit").copied().unwrap_or(LIST_MAX);
    let text = read(matches, &format!("/jobs?limit={limit}"), LIST_BYTES_MAX).await?;
    let List { jobs } = serde_json::from_slice(&text).map_err(no_job)?;
    print(matches, jobs.iter().map(|job| job.get().as_bytes()))
}

async fn status(matches: &ArgMatches) -> Result<Exit, Failure> {
    let text = read(matches, &format!("/jobs/{}", id(matches)), STATUS_BYTES_MAX).await?;
    print(matches, [&text[..]])
}

async fn read(matches: &ArgMatches, path: &str, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let client = Client::of(matches, Progress::items())?;
    let answer = client.repeat(async || {
        let response = client.ask(Method::GET, path, Body::none()).await?;
        client.whole(response, bytes_max).await
    });
    Ok(answer.await?)
}

fn print<'a>(matches: &ArgMatches, jobs: impl IntoIterator<Item = &'a [u8]>) -> Result<Exit, Failure> {
    let mut output = Output::new(matches.get_flag("json"), Progress::items());
    for job in jobs {
        let status = JobStatus::read(job)?;
        output.item(|| serde_json::from_slice(job).unwrap_or_default(), || status.line())?;
    }
    output.end("jobs", "")?;
    Ok(Exit::Done)
}

async fn watch(matches: &ArgMatches, note: &InterruptNote) -> Result<Exit, Failure> {
    let progress = Progress::reported();
    let client = Client::of(matches, progress.clone())?;
    let output = Output::new(matches.get_flag("json"), progress.clone());
    Watched { client: &client, id: &id(matches), progress: &progress, note }.follow(output).await
}

fn id(matches: &ArgMatches) -> String {
    matches.get_one::<Digest>("id").map(ToString::to_string).unwrap_or_default()
}

/// A job that is being watched until it has ended.
struct Watched<'a> {
    client: &'a Client,
    id: &'a str,
    progress: &'a Progress,
    note: &'a InterruptNote,
}

impl Watched<'_> {
    /// Waits for the end of the job, and writes it to `output`.
    async fn follow(&self, mut output: Output) -> Result<Exit, Failure> {
        let ended = loop {
            if let Some(ended) = self.client.repeat(async || self.events().await).await? {
                break ended;
            }
            tokio::time::sleep(AGAIN).await;
        };
        let status = JobStatus::read(&ended)?;
        output.item(
            || serde_json::from_slice(&ended).unwrap_or_default(),
            || format!("{}  {}", self.id, status.state).into_bytes(),
        )?;
        output.end("jobs", &output::printable(&format!("{}: {}", status.counts(), status.state)))?;
        Ok(status.exit())
    }

    /// Follows the events to the last one; `None`: the answer was cut after some events, such as by a restart, and is
    /// requested again.
    async fn events(&self) -> Result<Option<Vec<u8>>, Error> {
        let path = format!("/jobs/{}/events", self.id);
        let mut lines = Lines::new(self.client, self.client.ask(Method::GET, &path, Body::none()).await?);
        let (mut is_last, mut seen) = (false, false);
        loop {
            let line = match lines.next().await {
                Ok(Some(line)) => line,
                Err(error) if !seen => return Err(error),
                Ok(None) if !seen => return Err(Error::Transport("the server sends no events of this job".to_owned())),
                Ok(None) | Err(_) => return Ok(None),
            };
            // Server-sent events have a line for the name and a line for the data. Comments are heartbeats.
            if let Some(name) = line.strip_prefix(b"event: ") {
                is_last = name == b"end";
            } else if let Some(data) = line.strip_prefix(b"data: ") {
                self.show(&JobStatus::read(data)?);
                seen = true;
                if is_last {
                    return Ok(Some(data.to_vec()));
                }
            }
        }
    }

    fn show(&self, status: &JobStatus) {
        let JobStatus { items, done, failed, state, .. } = status;
        self.progress.set_total(*items);
        self.progress.set(done.saturating_add(*failed));
        self.progress.message(|| {
            let (pace, state, waits) = (status.pace(), output::printable(state), status.waits());
            format!("{pace}{done} done, {failed} failed, {state}{waits}")
        });
        self.note.get_or_init(|| {
            let id = self.id;
            format!("the job goes on: `progimage jobs watch {id}` watches it, `progimage jobs cancel {id}` cancels it")
        });
    }
}

async fn results(matches: &ArgMatches) -> Result<Exit, Failure> {
    let progress = Progress::items();
    let client = Client::of(matches, progress.clone())?;
    let path = format!("/jobs/{}/results", id(matches));
    let response = client.repeat(async || client.ask(Method::GET, &path, Body::none()).await).await?;
    let counts = results::pass(Lines::new(&client, response), matches, "jobs", &progress).await?;
    Ok(Exit::of_failed(counts.failed))
}

async fn retry(matches: &ArgMatches) -> Result<Exit, Failure> {
    let client = Client::of(matches, Progress::items())?;
    let path = format!("/jobs/{}/retry", id(matches));
    let answer = client.repeat(async || {
        let response = client.ask(Method::POST, &path, Body::none()).await?;
        client.whole(response, STATUS_BYTES_MAX).await
    });
    print(matches, [&answer.await?[..]])
}

async fn cancel(matches: &ArgMatches) -> Result<Exit, Failure> {
    let client = Client::of(matches, Progress::items())?;
    let path = format!("/jobs/{}", id(matches));
    client.repeat(async || client.ask(Method::DELETE, &path, Body::none()).await).await?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_waits_says_why() {
        let line = |more: &str| {
            let text = format!(r#"{{"id": "a", "items": 3, "done": 2, "failed": 1, {more}}}"#);
            String::from_utf8(JobStatus::read(text.as_bytes()).expect("a status").line()).expect("UTF-8")
        };
        assert_eq!(line(r#""state": "running""#), "a  running  2 of 3 items done, 1 failed");
        let waiting = line(r#""state": "waiting", "reason": "store-full""#);
        assert_eq!(waiting, "a  waiting  2 of 3 items done, 1 failed; waits: store-full");
    }

    #[test]
    fn a_job_is_as_fast_as_its_server_says() {
        let pace = |more: &str| {
            let text = format!(r#"{{"id": "a", "state": "running", "items": 40, "done": 9, "failed": 1{more}}}"#);
            JobStatus::read(text.as_bytes()).expect("a status").pace()
        };
        assert_eq!(pace(""), "");
        assert_eq!(pace(r#", "started_ms": 5000, "items_per_second": 0.5"#), "0.5/s, ", "while items are selected");
        let times = r#", "started_ms": 5000, "estimated_end_ms": 85000, "items_per_second": 0.5"#;
        assert_eq!(pace(times), "0.5/s, 60s left, ", "three quarters of 80 s");
        assert_eq!(pace(r#", "started_ms": 5000, "estimated_end_ms": 1, "items_per_second": 0.5"#), "0.5/s, 0s left, ");
    }
}
