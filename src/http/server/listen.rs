//! The accept loop: accepts connections within a bound, continues after errors, and stops without cutting off a
//! request.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

use super::connection;
use super::places::{Place, Places};
use crate::http::app::App;
use crate::http::message::options::ms;

/// The size of hyper's buffer for a head, and for what is written before a flush. It exceeds our own bounds on heads,
/// so that a head which is a little too large still gets a whole response.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// Bytes of a response that the kernel holds unsent. Those that are on their way do not count, so this is no bound on
/// the rate.
const UNSENT_BYTES_MAX: u32 = 128 << 10;

/// The first and the longest pause after an accept failed for lack of descriptors or memory.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Every running request was answered.
    Drained,
    /// Some requests were not answered within `shutdown_ms`.
    CutOff,
}

/// Serves `app` on `listener` until `stop` is ready, then lets running requests end.
pub async fn serve(listener: TcpListener, app: Arc<App>, stop: impl Future<Output = ()>) -> Stopped {
    let places = Places::new(&app.options);
    let (stop_all, stopping) = watch::channel(false);
    keep_little_unsent(&listener);
    let mut builder = http1::Builder::new();
    // The `Activity` of a connection does what hyper's timers do, and more.
    builder.header_read_timeout(None).max_buf_size(BUFFER_BYTES_MAX);
    let accepting = accept_all(&listener, &app, &builder, &places, &stopping);
    tokio::select! {
        () = stop => {}
        () = accepting => {}
    }
    app.draining.send_replace(true);
    drop(listener);
    // When no connection is left, no receiver is left.
    drop(stopping);
    stop_all.send_replace(true);
    let end = Instant::now() + ms(app.options.shutdown_ms);
    // Running requests get the processors for themselves. Jobs go on with the next process.
    app.jobs.stop().await;
    let drained = tokio::time::timeout_at(end, stop_all.closed()).await.is_ok();
    if drained { Stopped::Drained } else { Stopped::CutOff }
}

/// Bounds what the kernel holds unsent for each connection that will be accepted. Otherwise it takes megabytes at once,
/// and room is reported only when a third of them is gone. To us a client that reads slowly and steadily then takes
/// nothing for minutes.
fn keep_little_unsent(listener: &TcpListener) {
    if let Err(error) = socket2::SockRef::from(listener).set_tcp_notsent_lowat(UNSENT_BYTES_MAX) {
        tracing::debug!(%error, "cannot set TCP_NOTSENT_LOWAT");
    }
}

async fn accept_all(
    listener: &TcpListener,
    app: &Arc<App>,
    builder: &http1::Builder,
    places: &Arc<Places>,
    stopping: &watch::Receiver<bool>,
) {
    let mut pause = BACK_OFF.0;
    loop {
        let room = places.room().await;
        match listener.accept().await {
            Ok((stream, address)) => {
                pause = BACK_OFF.0;
                let place = places.enter(address.ip(), room);
                let (app, builder, stopping) = (app.clone(), builder.clone(), stopping.clone());
                tokio::spawn(async move { run(stream, app, &builder, stopping, &place).await });
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; will try again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(BACK_OFF.1);
            }
        }
    }
}

async fn run(
    stream: TcpStream,
    app: Arc<App>,
    builder: &http1::Builder,
    stopping: watch::Receiver<bool>,
    place: &Arc<Place>,
) {
    // Otherwise the last segment of a response may wait for an acknowledgement. A socket that refuses still works.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let _connected = app.metrics.connected();
    // The connection drops its clone once it is told to stop. The one here lives until the connection is over.
    connection::run(stream, app, builder, stopping.clone(), place).await;
}

/// Whether the error concerns only the connection that was being accepted (accept(2), "Error handling").
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, NetworkDown, TimedOut};
    use io::ErrorKind::{HostUnreachable, NetworkUnreachable};
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | Interrupted
            | NetworkDown
            | TimedOut
            | HostUnreachable
            | NetworkUnreachable
    )
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[tokio::test]
    async fn a_client_that_reads_a_little_is_seen_to_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        keep_little_unsent(&listener);
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        // The kernel of a client with a large buffer reports nothing until a part of it is free.
        socket.set_recv_buffer_size(64 << 10).expect("a size");
        socket.connect(&listener.local_addr().expect("bound").into()).expect("connected");
        let (stream, _) = listener.accept().await.expect("a connection");
        let (chunk, mut sent) = (vec![0; 64 << 10], 0);
        while let Ok(count) = stream.try_write(&chunk) {
            sent += count;
        }
        // Without the bound it would be some megabytes, and room for more is reported when a third of them is gone.
        assert!(sent < 1 << 20, "{sent}");
        let mut client = std::net::TcpStream::from(socket);
        client.read_exact(&mut vec![0; sent]).expect("more was sent");
        let writable = tokio::time::timeout(Duration::from_secs(60), stream.writable());
        assert!(matches!(writable.await, Ok(Ok(()))));
    }
}
