//! [`Target`]: a URL whose text passes the [`Rules`]. Addresses are checked once they are known, in [`super::client`].

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use url::{Host, Position, Url};

use super::{Error, Options, address};

/// The longest URL, also in redirects.
const URL_BYTES_MAX: usize = 8 << 10;

const NOT_A_URL: Error =
    Error::Url { allowed: "an absolute http or https URL of at most 8192 bytes, without user or password" };

/// A pattern for hosts: `example.com`, `*.example.com` (every name below it, not itself), `192.0.2.1`, or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern {
    below: bool,
    /// The host as a parsed URL has it: lower case, IDNA, addresses in one spelling. Empty: any host.
    host: String,
}

impl HostPattern {
    fn matches(&self, host: &str) -> bool {
        if !self.below {
            return host == self.host;
        }
        self.host.is_empty() || host.strip_suffix(&self.host).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
    }
}

impl FromStr for HostPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<HostPattern, String> {
        let mistake = || format!("{text:?}; allowed: a host such as example.com, *.example.com, or *");
        if text == "*" {
            return Ok(HostPattern { below: true, host: String::new() });
        }
        let (below, name) = text.strip_prefix("*.").map_or((false, text), |name| (true, name));
        let host = Host::parse(name).map_err(|_| mistake())?;
        if name.contains('*') || (below && !matches!(host, Host::Domain(_))) {
            return Err(mistake());
        }
        Ok(HostPattern { below, host: host.to_string() })
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.below, self.host.as_str()) {
            (true, "") => f.write_str("*"),
            (true, host) => write!(f, "*.{host}"),
            (false, host) => f.write_str(host),
        }
    }
}

/// The target of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    url: Url,
    /// The host: a name, or an address if the URL has one.
    pub host: Host<String>,
    /// The port.
    pub port: u16,
}

impl Target {
    /// Whether the scheme is https.
    pub fn is_secure(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// The whole URL in its canonical spelling, without the fragment.
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// The value of the field `Host`.
    pub fn authority(&self) -> &str {
        &self.url[Position::BeforeHost..Position::AfterPort]
    }

    /// The target in the request line.
    pub fn path_and_query(&self) -> &str {
        &self.url[Position::BeforePath..Position::AfterQuery]
    }
}

/// Rules for what may be fetched.
pub struct Rules {
    allow: Vec<HostPattern>,
    ports: Vec<u16>,
    private_allow: Vec<IpNet>,
}

impl Rules {
    /// The rules of these settings.
    pub fn new(options: &Options) -> Rules {
        let Options { allow, ports, private_allow, .. } = options.clone();
        Rules { allow, ports, private_allow }
    }

    /// Whether no host is allowed.
    pub fn are_off(&self) -> bool {
        self.allow.is_empty()
    }

    /// Reads a URL that a client wrote.
    pub fn target(&self, text: &str) -> Result<Target, Error> {
        if self.are_off() {
            return Err(Error::Off);
        }
        if text.len() > URL_BYTES_MAX {
            return Err(NOT_A_URL);
        }
        self.check(Url::parse(text).map_err(|_| NOT_A_URL)?)
    }

    /// Reads the `Location` of an answer to `from`. Every mistake is [`Error::Refused`], as if the target could not be
    /// reached.
    pub fn redirected(&self, from: &Target, location: &str) -> Result<Target, Error> {
        let url = from.url.join(location).map_err(|_| Error::failed(None))?;
        let target = self.check(url).map_err(|_| Error::Refused)?;
        if from.is_secure() && !target.is_secure() { Err(Error::Refused) } else { Ok(target) }
    }

    fn check(&self, mut url: Url) -> Result<Target, Error> {
        url.set_fragment(None);
        let is_web = matches!(url.scheme(), "http" | "https");
        if !is_web || !url.username().is_empty() || url.password().is_some() || url.as_str().len() > URL_BYTES_MAX {
            return Err(NOT_A_URL);
        }
        let (Some(host), Some(port)) = (url.host().map(|host| host.to_owned()), url.port_or_known_default()) else {
            return Err(NOT_A_URL);
        };
        let name = host.to_string();
        if !self.ports.contains(&port) || !self.allow.iter().any(|pattern| pattern.matches(&name)) {
            return Err(Error::Refused);
        }
        Ok(Target { url, host, port })
    }

    /// Whether a connection to this address is allowed.
    pub fn permits(&self, address: IpAddr) -> bool {
        address::is_public(address) || self.private_allow.iter().any(|network| network.contains(&address))
    }
}
