//! [`Client`]: one GET with its redirects, or one POST without, within bounds of time and bytes, to checked addresses
//! only. Keeps no connection, sends no cookie and no credential, uses no proxy and decodes no content coding.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, ETAG, HOST, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED, LOCATION, USER_AGENT,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use url::Host;

use super::target::{Rules, Target};
use super::{Error, Options, Resolver, freshness};
use crate::digest::{Digest, Hasher};

/// The most redirects that are followed.
const REDIRECTS_MAX: usize = 3;
/// The most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 4;
/// The most bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 64 << 10;

const AGENT: &str = concat!("progimage/", env!("CARGO_PKG_VERSION"));

const FAILED: Error = Error::failed(None);

/// A guarded HTTP client, shared by all fetches.
pub struct Client {
    pub rules: Rules,
    resolver: Resolver,
    tls: TlsConnector,
    stall: Duration,
    timeout: Duration,
    bytes_max: u64,
    max_age: Duration,
}

/// The answer of an origin.
pub enum Fetched {
    /// New bytes, their digest, and how they may be cached.
    New(Bytes, Digest, CachePolicy),
    /// The cached bytes are still valid.
    NotModified(CachePolicy),
}

/// How an answer may be cached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CachePolicy {
    /// The time without asking again; `None`: it must not be cached.
    pub lifetime: Option<Duration>,
    /// The validators with which to ask again.
    pub validators: Validators,
}

/// The validators of cached bytes, which tell their origin what is known here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validators {
    /// The URL that gave them, after redirects. Elsewhere they mean nothing.
    url: String,
    etag: Option<HeaderValue>,
    last_modified: Option<HeaderValue>,
}

impl Validators {
    /// Whether there is no validator.
    pub fn are_none(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }
}

impl Client {
    pub fn new(options: &Options, resolver: Option<Resolver>) -> Client {
        Client {
            rules: Rules::new(options),
            resolver: resolver.unwrap_or_else(|| system_resolver(options.fetches_max)),
            tls: tls(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }),
            stall: Duration::from_millis(options.stall_ms),
            timeout: Duration::from_millis(options.timeout_ms),
            bytes_max: options.bytes_max,
            max_age: Duration::from_secs(options.max_age_s),
        }
    }

    /// Fetches a target. With `known` validators the origin may answer that the cached bytes are still valid.
    pub async fn get(&self, target: Target, known: Option<&Validators>) -> Result<Fetched, Error> {
        tokio::time::timeout(self.timeout, self.follow(target, known)).await.unwrap_or(Err(Error::TooSlow))
    }

    /// Posts `body` and returns the status of the answer, whose body is not read. A redirect is not followed.
    pub async fn post(
        &self,
        target: &Target,
        fields: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<StatusCode, Error> {
        let mut request = request(target, None)?;
        *request.method_mut() = Method::POST;
        *request.body_mut() = Full::new(body);
        // The body of the answer is not read.
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("*/*"));
        request.headers_mut().extend(fields.iter().cloned());
        let asked = tokio::time::timeout(self.timeout, self.ask(target, request));
        let (response, _connection) = asked.await.unwrap_or(Err(Error::TooSlow))?;
        Ok(response.status())
    }

    async fn follow(&self, mut target: Target, known: Option<&Validators>) -> Result<Fetched, Error> {
        for _ in 0..=REDIRECTS_MAX {
            let known = known.filter(|known| known.url == target.as_str());
            let (response, _connection) = self.ask(&target, request(&target, known)?).await?;
            let Some(location) = redirect(&response) else {
                return self.answer(&target, response, known.is_some()).await;
            };
            target = self.rules.redirected(&target, location.to_str().map_err(|_| FAILED)?)?;
        }
        Err(FAILED)
    }

    /// Sends one request on a connection of its own.
    async fn ask(
        &self,
        target: &Target,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, AbortOnDrop), Error> {
        let stream = self.connect(target).await?;
        if !target.is_secure() {
            return self.exchange(stream, request).await;
        }
        let name = match &target.host {
            Host::Domain(name) => ServerName::try_from(name.clone()).map_err(|_| Error::Refused)?,
            Host::Ipv4(address) => IpAddr::V4(*address).into(),
            Host::Ipv6(address) => IpAddr::V6(*address).into(),
        };
        let stream = self.within(self.tls.connect(name, stream)).await?.map_err(failed("TLS"))?;
        self.exchange(stream, request).await
    }

    /// Connects to an address of the target. All addresses are checked first: a name that mixes public and other
    /// addresses is not trusted.
    async fn connect(&self, target: &Target) -> Result<TcpStream, Error> {
        let addresses = match &target.host {
            Host::Ipv4(address) => vec![IpAddr::V4(*address)],
            Host::Ipv6(address) => vec![IpAddr::V6(*address)],
            Host::Domain(name) => self.within((self.resolver)(name.clone())).await?.map_err(unresolved)?,
        };
        if let Some(address) = addresses.iter().find(|address| !self.rules.permits(**address)) {
            tracing::info!(%address, url = target.as_str(), "a remote URL leads to an address that is not public");
            return Err(Error::Refused);
        }
        let mut failure = Error::Refused;
        for address in addresses.into_iter().take(ADDRESSES_MAX) {
            match self.within(TcpStream::connect(SocketAddr::new(address, target.port))).await? {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = unreached(&error),
            }
        }
        Err(failure)
    }

    async fn exchange<S>(
        &self,
        stream: S,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, AbortOnDrop), Error>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD_BYTES_MAX);
        let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(failed("HTTP"))?;
        let connection = AbortOnDrop(tokio::spawn(connection).abort_handle());
        let response = self.within(sender.send_request(request)).await?.map_err(failed("HTTP"))?;
        Ok((response, connection))
    }

    async fn answer(&self, target: &Target, response: Response<Incoming>, asked: bool) -> Result<Fetched, Error> {
        let (head, body) = response.into_parts();
        let validator = |name: HeaderName| head.headers.get(name).cloned();
        let policy = CachePolicy {
            lifetime: freshness::lifetime(&head.headers, SystemTime::now(), self.max_age),
            validators: Validators {
                url: target.as_str().to_owned(),
                etag: validator(ETAG),
                last_modified: validator(LAST_MODIFIED),
            },
        };
        match head.status {
            StatusCode::NOT_MODIFIED if asked => Ok(Fetched::NotModified(policy)),
            StatusCode::OK if !is_encoded(&head.headers) => {
                let (bytes, digest) = self.read(body).await?;
                Ok(Fetched::New(bytes, digest, policy))
            }
            status => {
                let retry_after_s = freshness::retry_after_s(&head.headers, SystemTime::now());
                Err(Error::Failed { status: Some(status.as_u16()), retry_after_s })
            }
        }
    }

    async fn read(&self, mut body: Incoming) -> Result<(Bytes, Digest), Error> {
        let max = self.bytes_max;
        let declared = hyper::body::Body::size_hint(&body).lower();
        if declared > max {
            return Err(Error::TooLarge { max });
        }
        let (mut bytes, mut hasher) = (Vec::new(), Hasher::default());
        while let Some(frame) = self.within(body.frame()).await? {
            let Ok(chunk) = frame.map_err(failed("body"))?.into_data() else { continue };
            if (bytes.len() + chunk.len()) as u64 > max {
                return Err(Error::TooLarge { max });
            }
            hasher.update(&chunk);
            bytes.extend_from_slice(&chunk);
        }
        Ok((bytes.into(), hasher.digest()))
    }

    async fn within<T>(&self, step: impl Future<Output = T>) -> Result<T, Error> {
        tokio::time::timeout(self.stall, step).await.map_err(|_| Error::TooSlow)
    }
}

/// Ends the task of a connection together with its fetch.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn request(target: &Target, known: Option<&Validators>) -> Result<Request<Full<Bytes>>, Error> {
    let unwritable = || Error::Url { allowed: "a URL of visible ASCII characters" };
    let mut request = Request::get(target.path_and_query())
        .header(HOST, target.authority())
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "image/*, */*;q=0.1")
        .header(ACCEPT_ENCODING, "identity")
        .body(Full::default())
        .map_err(|_| unwritable())?;
    let fields = known.map(|known| [(IF_NONE_MATCH, &known.etag), (IF_MODIFIED_SINCE, &known.last_modified)]);
    for (name, value) in fields.into_iter().flatten() {
        if let Some(value) = value {
            request.headers_mut().insert(name, value.clone());
        }
    }
    Ok(request)
}

fn redirect(response: &Response<Incoming>) -> Option<&HeaderValue> {
    let redirects = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    response.headers().get(LOCATION).filter(|_| redirects)
}

fn is_encoded(headers: &hyper::HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Logs the cause of a failure, which the client does not see.
fn failed<E: std::fmt::Display>(step: &'static str) -> impl Fn(E) -> Error {
    move |error| {
        tracing::debug!(step, %error, "a remote exchange failed");
        FAILED
    }
}

/// The error of a name that cannot be looked up. Reported like a forbidden address, so that retry timing does not
/// reveal which internal names exist.
fn unresolved(error: io::Error) -> Error {
    tracing::debug!(step = "lookup", %error, "a remote server cannot be reached");
    Error::Refused
}

fn unreached(error: &io::Error) -> Error {
    tracing::debug!(step = "connection", %error, "a remote server cannot be reached");
    Error::Unreached
}

fn tls(roots: RootCertStore) -> TlsConnector {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring knows these versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}

/// The resolver of the operating system. A lookup cannot be cancelled, so its permit is held until it ends.
fn system_resolver(lookups_max: usize) -> Resolver {
    let permits = Arc::new(Semaphore::new(lookups_max));
    Arc::new(move |host| {
        let permits = permits.clone();
        async move {
            let permit = permits.acquire_owned().await.map_err(io::Error::other)?;
            let lookup = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                Ok((host.as_str(), 0).to_socket_addrs()?.map(|address| address.ip()).collect())
            });
            lookup.await.map_err(io::Error::other)?
        }
        .boxed()
    })
}

#[cfg(test)]
mod tests;
