//! [`Hooks`]: tells other servers that something has happened, under the guard that holds for sources, by a list of hosts of its
//! own. What is told is not here.

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use super::client::Client;
use super::{Error, Options};

/// A client that only tells.
pub struct Hooks {
    client: Client,
}

impl Hooks {
    /// Hosts, ports and times are those of `options`.
    pub fn new(options: &Options) -> Hooks {
        Hooks { client: Client::new(options, None) }
    }

    /// Whether no host is allowed.
    pub fn are_off(&self) -> bool {
        self.client.rules.are_off()
    }

    /// Whether this URL may be told anything, as far as it can be read off it.
    pub fn check(&self, url: &str) -> Result<(), Error> {
        self.client.rules.target(url).map(drop)
    }

    /// Posts JSON, with one further field; an answer other than 2xx is an error.
    pub async fn post(&self, url: &str, field: (&'static str, String), body: Bytes) -> Result<(), Error> {
        let target = self.client.rules.target(url)?;
        let (name, value) = field;
        let value = HeaderValue::try_from(value).map_err(|_| Error::Failed { status: None })?;
        let fields =
            [(CONTENT_TYPE, HeaderValue::from_static("application/json")), (HeaderName::from_static(name), value)];
        let status = self.client.post(&target, &fields, body).await?;
        if status.is_success() { Ok(()) } else { Err(Error::Failed { status: Some(status.as_u16()) }) }
    }
}
