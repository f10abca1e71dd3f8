//! The accept loop: accepts connections within a bound, continues after errors, and stops without cutting off a
//! request.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::connection;
use crate::http::app::App;
use crate::http::message::options::ms;

/// The size of hyper's buffer for a head, and for what is written before a flush. It exceeds our own bounds on heads,
/// so that a head which is a little too large still gets a whole response.
const BUFFER_BYTES_MAX: usize = 64 << 10;

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
    let places = Arc::new(Semaphore::new(app.options.connections_max));
    let (stop_all, stopping) = watch::channel(false);
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
    // Running requests get the processors for themselves. Jobs go on with the next process.
    app.jobs.stop().await;
    let drained = tokio::time::timeout(ms(app.options.shutdown_ms), stop_all.closed()).await.is_ok();
    if drained { Stopped::Drained } else { Stopped::CutOff }
}

async fn accept_all(
    listener: &TcpListener,
    app: &Arc<App>,
    builder: &http1::Builder,
    places: &Arc<Semaphore>,
    stopping: &watch::Receiver<bool>,
) {
    let mut pause = BACK_OFF.0;
    loop {
        // The permit comes first: connections beyond the bound wait in the kernel, and cost nothing here.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                pause = BACK_OFF.0;
                let (app, builder, stopping) = (app.clone(), builder.clone(), stopping.clone());
                tokio::spawn(async move {
                    let _place = place;
                    run(stream, app, &builder, stopping).await;
                });
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

async fn run(stream: TcpStream, app: Arc<App>, builder: &http1::Builder, stopping: watch::Receiver<bool>) {
    // Otherwise the last segment of a response may wait for an acknowledgement. A socket that refuses still works.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    let _connected = app.metrics.connected();
    // The connection drops its clone once it is told to stop. The one here lives until the connection is over.
    connection::run(stream, app, builder, stopping.clone()).await;
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
