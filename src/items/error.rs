//! [`Error`]: why an item, or one of its outputs, failed. `http::protocol::problem` chooses the statuses.

use crate::{fetch, pipeline, renditions, store};

/// Why an item or an output failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// An error of the store, the pipeline or the render. A wrong member is [`pipeline::Error::Invalid`], with its path.
    #[error(transparent)]
    Renditions(#[from] renditions::Error),
    /// An error of the fetch of a remote source.
    #[error(transparent)]
    Fetch(#[from] fetch::Error),
}

impl From<pipeline::Error> for Error {
    fn from(error: pipeline::Error) -> Error {
        Error::Renditions(error.into())
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Error {
        Error::Renditions(error.into())
    }
}

impl Error {
    /// The state of the whole store that made the item fail, if it was one: [`store::Error::ReadOnly`],
    /// [`store::Error::Full`] or [`store::Error::Unavailable`].
    pub fn store_state(&self) -> Option<&store::Error> {
        match self {
            Error::Renditions(renditions::Error::Store(
                error @ (store::Error::ReadOnly | store::Error::Full | store::Error::Unavailable(_)),
            )) => Some(error),
            _ => None,
        }
    }

    /// Whether the item may succeed when it is run again later.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Renditions(renditions::Error::Busy { .. }) => true,
            Error::Renditions(renditions::Error::Panicked) => false,
            Error::Renditions(renditions::Error::Store(error)) => store_is_transient(error),
            Error::Renditions(renditions::Error::Pipeline(error)) => *error == pipeline::Error::Cancelled,
            Error::Fetch(error) => fetch_is_transient(error),
        }
    }
}

fn store_is_transient(error: &store::Error) -> bool {
    match error {
        store::Error::Busy | store::Error::Full | store::Error::ReadOnly | store::Error::Unavailable(_) => true,
        store::Error::NotFound | store::Error::Corrupt(_) | store::Error::Mismatch { .. } => false,
        store::Error::TooLarge { .. } => false,
    }
}

fn fetch_is_transient(error: &fetch::Error) -> bool {
    match error {
        fetch::Error::Busy | fetch::Error::TooSlow | fetch::Error::Failed { status: None, .. } => true,
        // An origin that restarts refuses connections for a while.
        fetch::Error::Unreached => true,
        // RFC 6585 and RFC 9110: too many requests, and errors of the server.
        fetch::Error::Failed { status: Some(status), .. } => *status == 429 || *status >= 500,
        fetch::Error::Refused | fetch::Error::Off => false,
        fetch::Error::Url { .. } | fetch::Error::TooLarge { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_time_may_heal_is_tried_again() {
        let check = |error: Error, expected| assert_eq!(error.is_transient(), expected, "{error}");
        check(renditions::Error::Busy { retry_after_s: 1 }.into(), true);
        check(renditions::Error::Panicked.into(), false);
        check(store::Error::Unavailable(String::new()).into(), true);
        check(store::Error::ReadOnly.into(), true);
        check(store::Error::NotFound.into(), false);
        check(pipeline::Error::Timeout.into(), false);
        check(fetch::Error::TooSlow.into(), true);
        check(fetch::Error::Unreached.into(), true);
        check(fetch::Error::Refused.into(), false);
        for (status, expected) in [(404, false), (429, true), (499, false), (500, true)] {
            check(fetch::Error::failed(Some(status)).into(), expected);
        }
    }
}
