//! TLS: which certificates are trusted, and that https never becomes http. What needs no TLS is tested from outside, in
//! `tests/it/fetch`.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::*;

const AUTHORITY: &[u8] = include_bytes!("../../../fixtures/tls/ca.der");
const LEAF: &[u8] = include_bytes!("../../../fixtures/tls/leaf.der");
const LEAF_KEY: &[u8] = include_bytes!("../../../fixtures/tls/leaf-key.der");

/// An origin for `good.test` that answers `/to?<location>` with a redirect and everything else with `good`; its port.
async fn origin() -> u16 {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring knows these versions")
        .with_no_client_auth()
        .with_single_cert(vec![CertificateDer::from(LEAF)], PrivatePkcs8KeyDer::from(LEAF_KEY).into())
        .expect("a good certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that does not trust us goes away.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = vec![0; 4096];
            let count = stream.read(&mut head).await.unwrap_or_default();
            let head = String::from_utf8_lossy(&head[..count]).into_owned();
            let location = head.strip_prefix("GET /to?").and_then(|rest| rest.split(' ').next());
            let answer = match location {
                Some(location) => format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"),
                None => "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood".to_owned(),
            };
            stream.write_all(answer.as_bytes()).await.expect("the client listens");
            stream.shutdown().await.expect("the client listens");
        }
    });
    port
}

fn client(port: u16, authority: Option<&'static [u8]>) -> Client {
    let options = Options {
        allow: vec!["*".parse().expect("a pattern")],
        ports: vec![port],
        private_allow: vec!["127.0.0.1/32".parse().expect("a network")],
        ..Options::default()
    };
    let resolver: Resolver = Arc::new(|_| async { Ok(vec![IpAddr::from([127, 0, 0, 1])]) }.boxed());
    let mut client = Client::new(&options, Some(resolver));
    if let Some(authority) = authority {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(authority)).expect("a good certificate");
        client.tls = tls(roots);
    }
    client
}

async fn get(client: &Client, url: &str) -> Result<Bytes, Error> {
    match client.get(client.rules.target(url)?, None).await? {
        Fetched::New(bytes, ..) => Ok(bytes),
        Fetched::NotModified(_) => unreachable!("nothing was known"),
    }
}

#[tokio::test]
async fn certificates_must_be_trusted_and_of_the_host() {
    let port = origin().await;
    let trusting = client(port, Some(AUTHORITY));
    assert_eq!(get(&trusting, &format!("https://good.test:{port}/")).await, Ok("good".into()));
    for host in ["other.test", "sub.good.test", "127.0.0.1"] {
        assert_eq!(get(&trusting, &format!("https://{host}:{port}/")).await, Err(FAILED), "{host}");
    }
    assert_eq!(get(&client(port, None), &format!("https://good.test:{port}/")).await, Err(FAILED));
}

#[tokio::test]
async fn https_never_becomes_http() {
    let port = origin().await;
    let client = client(port, Some(AUTHORITY));
    let to = |location: &str| format!("https://good.test:{port}/to?{location}");
    for location in [format!("http://good.test:{port}/"), format!("HTTP://good.test:{port}/")] {
        assert_eq!(get(&client, &to(&location)).await, Err(Error::Refused), "{location}");
    }
    for location in [format!("https://good.test:{port}/"), "/".to_owned(), format!("//good.test:{port}/")] {
        assert_eq!(get(&client, &to(&location)).await, Ok("good".into()), "{location}");
    }
}
