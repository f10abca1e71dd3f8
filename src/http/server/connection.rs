//! One connection: hyper over a socket, with the timeouts that hyper lacks.
//!
//! hyper's own header timeout also runs while a kept connection is idle, and arms a timer for each request. A client
//! that stops reading is never looked at again. So an [`Activity`] records what the socket does (a few stores a
//! request), and one lazy timer for each connection compares it with the bounds.
//!
//! A response that is being sent takes memory, so one byte now and then is not enough. From the moment a client falls
//! behind until it has caught up, it must keep a rate.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::Instant;

use super::places::Place;
use super::service::Service;
use crate::http::app::App;
use crate::http::message::activity::Activity;
use crate::http::message::options::Options;

/// A socket that records its reads and writes in its [`Activity`].
struct Socket {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buf);
        if buf.filled().len() > before {
            self.activity.arrived(&buf.filled()[before..]);
        }
        result
    }
}

impl Socket {
    fn wrote(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &result {
            Poll::Pending => self.activity.stalled(),
            Poll::Ready(Ok(bytes)) => self.activity.written(*bytes),
            // The connection is over.
            Poll::Ready(Err(_)) => {}
        }
        result
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper flushes after it has written all that it had.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.activity.caught_up();
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// How a connection ended.
enum End {
    Done,
    /// hyper refused what it read, and has answered if it could.
    Refused,
    TimedOut,
}

/// Serves one connection to its end. When `stop` turns true, or its place is needed, the connection ends after the
/// current request.
pub(in crate::http) async fn run(
    stream: TcpStream,
    app: Arc<App>,
    builder: &http1::Builder,
    stop: watch::Receiver<bool>,
    place: &Arc<Place>,
) {
    let activity = place.activity();
    let io = TokioIo::new(Socket { stream, activity: activity.clone() });
    let mut connection = builder.serve_connection(io, Service::new(app.clone(), place.clone()));
    let end = drive(&mut connection, place, &app.options, stop).await;
    let lingers = match end {
        End::Done => activity.unread(),
        End::Refused => true,
        End::TimedOut => false,
    };
    if lingers {
        let mut socket = connection.into_parts().io.into_inner();
        tokio::select! {
            () = linger(&mut socket.stream, &app.options) => {}
            () = place.is_needed() => {}
        }
    }
}

type Connection = http1::Connection<TokioIo<Socket>, Service>;

async fn drive(connection: &mut Connection, place: &Place, options: &Options, mut stop: watch::Receiver<bool>) -> End {
    let activity = place.activity();
    let (mut stopped, mut is_needed) = (false, false);
    let stopping = async move { stop.wait_for(|stop| *stop).await.is_ok() };
    let needed = place.is_needed();
    tokio::pin!(stopping, needed);
    let timer = tokio::time::sleep_until(activity.deadline(options));
    tokio::pin!(timer);
    poll_fn(|context| {
        if let Poll::Ready(result) = Pin::new(&mut *connection).poll(context) {
            return Poll::Ready(if result.is_ok() { End::Done } else { End::Refused });
        }
        // This follows the poll above, so that a request which had arrived before the signal is answered.
        if is_needed && activity.idle_since().is_some() {
            return Poll::Ready(End::TimedOut);
        }
        is_needed = is_needed || needed.as_mut().poll(context).is_ready();
        if !stopped && (is_needed || stopping.as_mut().poll(context).is_ready()) {
            stopped = true;
            Pin::new(&mut *connection).graceful_shutdown();
            context.waker().wake_by_ref();
        }
        loop {
            let due = activity.deadline(options);
            if due < timer.deadline() {
                timer.as_mut().reset(due);
            }
            if timer.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            if due <= Instant::now() {
                return Poll::Ready(End::TimedOut);
            }
            timer.as_mut().reset(due);
        }
    })
    .await
}

/// Ends the response, then reads what the client still sends, within bounds. A socket that is closed with unread input is
/// reset, and a reset destroys the response that is on its way. A client whose response was cut learns it at once.
async fn linger(stream: &mut TcpStream, options: &Options) {
    if stream.shutdown().await.is_err() {
        return;
    }
    let drain = async {
        let mut scratch = vec![0; 64 << 10];
        let mut left = options.linger_bytes_max;
        while left > 0 {
            match stream.read(&mut scratch).await {
                Ok(0) | Err(_) => return,
                Ok(count) => left = left.saturating_sub(count as u64),
            }
        }
    };
    // The socket is closed next, whether the client has ended or not.
    let _ = tokio::time::timeout(Duration::from_millis(options.linger_ms), drain).await;
}
