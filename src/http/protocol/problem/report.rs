//! The report of an error, to the client and to the log.

use hyper::StatusCode;

use super::Problem;
use crate::http::error::Error;
use crate::http::protocol::problem;
use crate::{jobs, store};

/// Logs an error by its severity, and returns the problem that the client sees.
pub(in crate::http) fn report(error: &Error, request_id: Option<&str>) -> Problem {
    let problem = problem::of(error);
    match severity(error, problem.status()) {
        Severity::Fault => tracing::error!(%error, request_id, "a request failed"),
        Severity::Trouble => tracing::warn!(%error, request_id, "a request failed"),
        Severity::Refusal => tracing::debug!(%error, request_id, "a request was refused"),
    }
    problem
}

/// The severity of an error in the log.
#[derive(Debug, PartialEq, Eq)]
enum Severity {
    /// An operator must look: a bug of the server, or lost bytes.
    Fault,
    /// The store has a fault that concerns every request.
    Trouble,
    /// A mistake of the client, or a bound that was reached. These are counted at `/metrics`; under load they are far
    /// too many for a log.
    Refusal,
}

fn severity(error: &Error, status: StatusCode) -> Severity {
    match error {
        Error::OfRemote { error, .. } => severity(error, status),
        Error::Store(store::Error::Corrupt(_)) => Severity::Fault,
        Error::Store(store::Error::Full | store::Error::ReadOnly | store::Error::Unavailable(_)) => Severity::Trouble,
        Error::Jobs(jobs::Error::Database(_)) => Severity::Trouble,
        _ if status == StatusCode::INTERNAL_SERVER_ERROR => Severity::Fault,
        _ => Severity::Refusal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::pipeline;

    #[test]
    fn only_what_somebody_must_look_at_is_an_error_in_the_log() {
        let check =
            |error: Error, expected| assert_eq!(severity(&error, problem::of(&error).status()), expected, "{error}");
        check(Error::Internal, Severity::Fault);
        check(pipeline::Error::Encode { format: "png", reason: String::new() }.into(), Severity::Fault);
        check(store::Error::Corrupt(Digest::of(b"")).into(), Severity::Fault);
        check(store::Error::Full.into(), Severity::Trouble);
        check(store::Error::Unavailable(String::new()).into(), Severity::Trouble);
        check(jobs::Error::Database(String::new()).into(), Severity::Trouble);
        for refusal in [Error::Busy { retry_after_s: 1 }, Error::ListsBusy, Error::Draining, Error::NoRoute] {
            check(refusal, Severity::Refusal);
        }
        check(store::Error::Busy.into(), Severity::Refusal);
    }
}
