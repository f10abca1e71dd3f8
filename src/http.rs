//! The HTTP server: routes and handlers. This is the only module that names server HTTP types. It is no place for
//! pixels, blobs or caches: handlers are short paragraphs over the layers below.
//!
//! Four rooms that point one way (`tests/it/tidy.rs` checks it). Each may use the rooms below it:
//!
//! | Room | Holds |
//! |---|---|
//! | [`server`] | sockets to requests: [`server::serve`], connections, dispatch |
//! | `routes` | the handlers, one file a path; [`ROUTES`] is the table of them, from which dispatch, 404, 405 with `Allow`, scopes and metric labels follow |
//! | `protocol` | what HTTP means, without the application: access, conditions, formats, errors, responses |
//! | `message` | bytes in and out, without their meaning: bodies, lines, forms, temporary files |
//!
//! In addition there are [`App`], everything that a request can need; `setup`, which makes it; and `Call`, a request on
//! its way through a handler. The rooms below the routes know none of them.
//!
//! A whole server in a few lines, on a free port and over a store in memory:
//!
//! ```
//! use std::io::{self, Read, Write};
//! use std::net::{SocketAddr, TcpStream};
//!
//! use progimage::digest::Digest;
//! use progimage::http::server::{Stopped, serve};
//! use progimage::http::{App, Settings};
//! use progimage::store;
//!
//! /// Sends a request and reads the response to its end.
//! fn ask(address: SocketAddr, line: &str, body: &[u8]) -> io::Result<Vec<u8>> {
//!     let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
//!     let mut stream = TcpStream::connect(address)?;
//!     stream.write_all(&[head.as_bytes(), body].concat())?;
//!     let mut response = Vec::new();
//!     stream.read_to_end(&mut response)?;
//!     Ok(response)
//! }
//!
//! let image = b"P6 1 1 255\n\xff\x00\x00";
//! let runtime = tokio::runtime::Runtime::new()?;
//! let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
//! let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
//! let address = listener.local_addr()?;
//! let server = runtime.spawn(async {
//!     let store = store::open("memory:", &store::Options::default()).await.expect("memory is always there");
//!     let app = App::new(store, Settings::default());
//!     serve(listener, app, async { _ = stopped.await }).await
//! });
//!
//! assert!(ask(address, "POST /images", image)?.starts_with(b"HTTP/1.1 201 "));
//! let png = ask(address, &format!("GET /images/{}.png", Digest::of(image)), b"")?;
//! assert!(png.windows(4).any(|bytes| bytes == b"\x89PNG"));
//! _ = stop.send(());
//! assert_eq!(runtime.block_on(server)?, Stopped::Drained);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod app;
mod call;
mod error;
mod message;
mod protocol;
mod routes;
pub mod server;
mod setup;
mod table;

pub use crate::pipeline::Presets;
pub use app::{App, Settings};
pub use message::options::Options;
pub use protocol::metrics::describe as describe_metrics;
pub use protocol::{auth, sign};
pub use table::{ROUTES, Route};
