//! Why a request failed, shaped by what a command can do: ask again, give the item up, or stop. Asks nothing itself.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};
use serde_json::Value;

use crate::cli::exit::{Exit, Failure};

/// The most bytes of a problem that are read.
const PROBLEM_BYTES_MAX: usize = 64 << 10;
/// The longest `Retry-After` that is followed.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request's own body could not be read.
    #[error("{0}")]
    Body(io::Error),
    /// There was no answer, or only a part of one.
    #[error("{0}")]
    Transport(String),
    /// The answer is an error.
    #[error("{0}")]
    Answer(Problem),
}

/// An error of the server.
#[derive(Debug)]
pub struct Problem {
    /// The status of the answer.
    pub status: StatusCode,
    /// The last part of `type`; empty if the answer is not from this program.
    pub kind: String,
    /// The URL without its query.
    url: String,
    text: String,
    retry_after: Option<Duration>,
}

impl Error {
    /// The wait before the request may be repeated; `None`: never; `Some(None)`: any.
    pub fn retry_after(&self) -> Option<Option<Duration>> {
        match self {
            Error::Body(_) => None,
            Error::Transport(_) => Some(None),
            Error::Answer(problem) => match problem.status {
                // Without `Retry-After`, this program expects the error to stay, such as a read-only store.
                StatusCode::SERVICE_UNAVAILABLE if !problem.kind.is_empty() => problem.retry_after.map(Some),
                StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Some(problem.retry_after),
                // From a proxy whose server is gone.
                StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => Some(None),
                _ => None,
            },
        }
    }

    /// The exit status if every further request would fail, too, so that the command stops; `None`: only this request
    /// failed.
    pub fn ends(&self) -> Option<Exit> {
        match self {
            Error::Body(_) => None,
            Error::Transport(_) => Some(Exit::Unreached),
            Error::Answer(problem) => match problem.status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                    Some(Exit::Refused)
                }
                StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::GATEWAY_TIMEOUT
                | StatusCode::INSUFFICIENT_STORAGE => Some(Exit::Unreached),
                _ => None,
            },
        }
    }

    /// Whether the problem is of this kind.
    pub fn is(&self, kind: &str) -> bool {
        matches!(self, Error::Answer(problem) if problem.kind == kind)
    }
}

/// The failure of a command, where no item is at fault.
impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::new(error.ends().unwrap_or(Exit::Failed), error)
    }
}

impl Problem {
    /// Reads the problem of an answer that is an error.
    pub(super) async fn read(mut response: Response) -> Problem {
        let (status, mut body) = (response.status(), Vec::new());
        let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let retry_after = seconds.map(|seconds| Duration::from_secs(seconds).min(RETRY_AFTER_MAX));
        while let Ok(Some(chunk)) = response.chunk().await
            && body.len() < PROBLEM_BYTES_MAX
        {
            body.extend_from_slice(&chunk);
        }
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        let member = |name: &str| problem[name].as_str().unwrap_or_default();
        let kind = member("type").strip_prefix("/problems/").unwrap_or_default().to_owned();
        let mut url = response.url().clone();
        url.set_query(None);
        Problem { status, kind, url: url.into(), text: member("detail").to_owned(), retry_after }
    }

    /// The problem of a successful answer that makes no sense.
    pub fn unreadable(text: &str) -> Problem {
        Problem {
            status: StatusCode::OK,
            kind: String::new(),
            url: String::new(),
            text: text.to_owned(),
            retry_after: None,
        }
    }

    /// Whether the URL may be wrong: the answer is not from this program, or not from one of its paths.
    fn is_strange(&self) -> bool {
        !self.url.is_empty() && ["", "not-found"].contains(&self.kind.as_str())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_strange() {
            write!(f, "{}: ", self.url)?;
        }
        match self.text.as_str() {
            "" => write!(f, "the server answered {}", self.status),
            text => write!(f, "{} ({})", text.trim_end_matches('.'), self.status.as_u16()),
        }
    }
}

/// The text of the innermost cause: reqwest's own text says little. It shows neither user nor key.
pub(super) fn causes(error: &reqwest::Error) -> String {
    let mut cause: Option<&dyn std::error::Error> = error.source();
    let mut text = String::new();
    while let Some(inner) = cause {
        // The innermost text is the most precise.
        text = inner.to_string();
        cause = inner.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}
