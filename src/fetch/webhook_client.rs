//! [`WebhookClient`]: posts JSON to other servers, under the same guard as remote sources, with a list of hosts of its
//! own. The layer above decides what is posted.

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};

use super::client::Client;
use super::{Error, Options};

/// A client that calls webhooks.
pub struct WebhookClient {
    client: Client,
}

impl WebhookClient {
    /// A client with the hosts, ports and times of `options`.
    pub fn new(options: &Options) -> WebhookClient {
        WebhookClient { client: Client::new(options, None) }
    }

    /// Checks whether this URL may be called, as far as its text shows.
    pub fn check(&self, url: &str) -> Result<(), Error> {
        self.client.rules.target(url).map(drop)
    }

    /// Posts JSON, with one further header field. An answer other than 2xx is an error.
    pub async fn post(&self, url: &str, field: (&'static str, String), body: Bytes) -> Result<(), Error> {
        let target = self.client.rules.target(url)?;
        let (name, value) = field;
        let value = HeaderValue::try_from(value).map_err(|_| Error::failed(None))?;
        let fields =
            [(CONTENT_TYPE, HeaderValue::from_static("application/json")), (HeaderName::from_static(name), value)];
        let status = self.client.post(&target, &fields, body).await?;
        if status.is_success() { Ok(()) } else { Err(Error::failed(Some(status.as_u16()))) }
    }
}
