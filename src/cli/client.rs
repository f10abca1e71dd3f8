//! [`Client`]: the HTTP client of the command line, with one server, a key, kept connections and retries. Knows no
//! command.
//!
//! [`crate::fetch`] calls unknown servers for unknown clients. This client calls the server that its user named, so it
//! may use any address, and the proxies of the environment.

mod body;
mod error;
mod lines;

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::builder::NonEmptyStringValueParser;
use clap::{Arg, ArgMatches, value_parser};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

pub use body::Body;
pub use error::{Error, Problem};
pub use lines::Lines;

use super::exit::Failure;
use super::progress::Progress;

const AGENT: &str = concat!("progimage/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle time after which a connection is probed. It is closed if there is no answer for as long again.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// The longest time without a byte of the request or the answer.
const STALL: Duration = Duration::from_secs(120);
/// The wait between two attempts, doubled each time up to the maximum.
const DELAY_MIN: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(3);

/// A client of one server.
pub struct Client {
    http: reqwest::Client,
    /// The URL of the server, without a slash at the end.
    base: String,
    patience: Duration,
    reached: AtomicBool,
    progress: Progress,
}

/// The flags of all commands that use a server.
pub fn args() -> [Arg; 4] {
    [
        Arg::new("server")
            .long("server")
            .value_name("URL")
            .env("PROGIMAGE_SERVER")
            .default_value("http://127.0.0.1:8080")
            .value_parser(NonEmptyStringValueParser::new())
            .help("URL of the server, with http:// or https://"),
        Arg::new("key")
            .long("key")
            .value_name("SECRET")
            .env("PROGIMAGE_KEY")
            .hide_env_values(true)
            .help("Key to send; the variable hides it from other users of this machine"),
        Arg::new("ca_file")
            .long("ca-file")
            .value_name("FILE")
            .env("PROGIMAGE_CA_FILE")
            .help("Certificates (PEM) to trust in addition to Mozilla's list"),
        Arg::new("retry_s")
            .long("retry-s")
            .value_name("SECONDS")
            .default_value("30")
            .value_parser(value_parser!(u64))
            .help("Time to retry a server that was reached and is gone or busy; 0: never"),
    ]
}

impl Client {
    /// A client with the flags of [`args`]. `progress` shows when it waits for the server.
    pub fn of(matches: &ArgMatches, progress: Progress) -> Result<Client, Failure> {
        let text = |name: &str| matches.get_one::<String>(name).map(String::as_str).filter(|text| !text.is_empty());
        let base = base(text("server").unwrap_or_default())?;
        let mut headers = HeaderMap::new();
        if let Some(key) = text("key") {
            // The message does not show the key.
            let mut value = HeaderValue::try_from(format!("Bearer {key}"))
                .map_err(|_| Failure::usage("--key: a key has only visible ASCII characters"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(text("ca_file").map(Path::new))?)
            .user_agent(AGENT)
            .default_headers(headers)
            // A redirect would send the key to another server.
            .redirect(reqwest::redirect::Policy::none())
            // Our own retries open the file anew.
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_keepalive(KEEP_ALIVE)
            .tcp_user_timeout(2 * KEEP_ALIVE)
            .build()
            .map_err(Failure::usage)?;
        let patience = Duration::from_secs(matches.get_one::<u64>("retry_s").copied().unwrap_or(0));
        Ok(Client { http, base, patience, reached: AtomicBool::new(false), progress })
    }

    /// Sends one request, and returns the head of its answer if that is a success.
    pub async fn ask(&self, method: Method, path: &str, body: Body) -> Result<Response, Error> {
        let mut request = self.http.request(method, format!("{}{path}", self.base)).header(ACCEPT, "*/*");
        if let Some(media_type) = body.media_type {
            request = request.header(CONTENT_TYPE, media_type);
        }
        if let Some(len) = body.len {
            request = request.header(CONTENT_LENGTH, len);
        }
        if let Some((name, value)) = body.field {
            request = request.header(name, value);
        }
        let Body { sent, inner, .. } = body;
        let answer = tokio::select! {
            answer = request.body(inner).send() => answer,
            () = sent.stalled(STALL) => return Err(Error::Transport(self.at("no answer"))),
        };
        // An answer that comes before the end of the body is valid, too.
        let response = match (answer, sent.failure()) {
            (Ok(response), None) => response,
            (_, Some(failure)) => return Err(Error::Body(failure)),
            (Err(error), None) => return Err(Error::Transport(self.at(&error::causes(&error)))),
        };
        self.reached.store(true, Ordering::Relaxed);
        if response.status().is_success() { Ok(response) } else { Err(Error::Answer(Problem::read(response).await)) }
    }

    /// The next bytes of an answer; `None`: its end.
    pub async fn next(&self, response: &mut Response) -> Result<Option<Bytes>, Error> {
        let chunk = tokio::time::timeout(STALL, self.next_whenever(response)).await;
        chunk.unwrap_or_else(|_| Err(Error::Transport(self.at("the answer stopped"))))
    }

    /// The next bytes of an answer that may pause for as long as the connection lives; `None`: its end.
    pub async fn next_whenever(&self, response: &mut Response) -> Result<Option<Bytes>, Error> {
        response.chunk().await.map_err(|error| Error::Transport(self.at(&error::causes(&error))))
    }

    /// The whole body of an answer, at most `bytes_max`.
    pub async fn whole(&self, mut response: Response, bytes_max: usize) -> Result<Vec<u8>, Error> {
        let mut whole = Vec::new();
        while let Some(chunk) = self.next(&mut response).await? {
            if whole.len() + chunk.len() > bytes_max {
                return Err(Error::Answer(Problem::unreadable("the answer is longer than expected")));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole)
    }

    /// Runs `attempt`, which must be safe to repeat, until it succeeds, fails for good, or the retry time ends.
    ///
    /// There is no retry before the server was reached once: most likely its address is wrong.
    pub async fn repeat<T>(&self, attempt: impl AsyncFn() -> Result<T, Error>) -> Result<T, Error> {
        let (mut first_failure, mut delay) = (None, DELAY_MIN);
        loop {
            let error = match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let Some(asked) = error.retry_after() else { return Err(error) };
            let left = self.patience.saturating_sub(first_failure.get_or_insert_with(Instant::now).elapsed());
            // No attempt before the time that the server asked for. Otherwise, the last attempt is at the end of the
            // retry time.
            let wait = asked.unwrap_or(delay.min(left)).max(DELAY_MIN).mul_f64(1.0 + jitter());
            let in_time = asked.map_or(!left.is_zero(), |_| wait <= left);
            if !self.reached.load(Ordering::Relaxed) || !in_time {
                return Err(error);
            }
            self.progress.message(|| "waiting for the server".to_owned());
            tokio::time::sleep(wait).await;
            delay = (delay * 2).min(DELAY_MAX);
        }
    }

    fn at(&self, what: &str) -> String {
        format!("{}: {what}", self.base)
    }
}

/// A random share of up to a quarter, so that uploads that failed together are not retried together.
fn jitter() -> f64 {
    (RandomState::new().hash_one(0) % 256) as f64 / 1024.0
}

fn base(text: &str) -> Result<String, Failure> {
    // The text is not shown, since it may hold a password.
    let wrong = |why: &str| {
        let examples = "http://127.0.0.1:8080 or https://images.example";
        Failure::usage(format!("--server: {why}; expected a URL such as {examples}"))
    };
    if !text.contains("://") {
        return Err(wrong("neither http:// nor https:// is before its name"));
    }
    let url = url::Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
    if !["http", "https"].contains(&url.scheme()) || !url.has_host() {
        return Err(wrong("no http or https URL"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("it has more than scheme, host, port and path"));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// The TLS settings: Mozilla's list and the certificates of `ca_file`; ring, as everywhere in this program.
fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, Failure> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = ca_file {
        let wrong = |error: &dyn std::fmt::Display| Failure::usage(format!("--ca-file: {}: {error}", path.display()));
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
            let certificate = certificate.map_err(|error| wrong(&error))?;
            roots.add(certificate).map_err(|error| wrong(&error))?;
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(Failure::usage)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_its_url() {
        let good = |text: &str| base(text).expect(text);
        assert_eq!(good("http://127.0.0.1:8080"), "http://127.0.0.1:8080");
        assert_eq!(good("https://Images.example/at/"), "https://images.example/at");
        for bad in ["127.0.0.1:8080", "localhost:8080", "images.example", "user:secret@a", "/", ""] {
            let failure = base(bad).expect_err(bad);
            assert!(failure.text.contains("neither http:// nor https://"), "{}", failure.text);
            assert!(!failure.text.contains("secret"), "{}", failure.text);
        }
        for bad in ["ftp://a", "http://user:secret@a", "http://a/?b", "http://", "http://a:99999"] {
            let failure = base(bad).expect_err(bad);
            assert!(failure.text.contains("--server") && !failure.text.contains("secret"), "{}", failure.text);
        }
    }
}
