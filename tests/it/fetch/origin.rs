//! An origin server that answers with prepared bytes and counts its clients.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use tokio::net::TcpSocket;

/// A server on a thread, for as long as the tests run.
pub struct Origin {
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
}

impl Origin {
    /// Answers each request by its head, and then closes the connection. After an empty answer, or one that begins with
    /// `HANG`, the connection stays open until the client closes it.
    pub fn start(ip: &str, answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Origin {
        Origin::on(TcpListener::bind((ip, 0)).unwrap(), answer)
    }

    pub fn on(listener: TcpListener, answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Origin {
        let address = listener.local_addr().unwrap();
        let (heads, connections) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(0)));
        let (noted, counted, answer) = (heads.clone(), connections.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                *counted.lock().unwrap() += 1;
                let (noted, answer) = (noted.clone(), answer.clone());
                thread::spawn(move || serve(stream, &noted, &*answer));
            }
        });
        Origin { address, heads, connections }
    }

    /// The heads of all requests so far.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    pub fn requests(&self) -> usize {
        self.heads.lock().unwrap().len()
    }

    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// A port that refuses connections while the socket lives: it is bound, so no other test can take it, and does not
/// listen.
pub fn refusing(ip: &str) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(ip.parse().unwrap(), 0)).unwrap();
    socket
}

/// Sockets on these addresses with one port in common. Other tests hold ports too: where one is taken, another is
/// tried.
pub fn listeners<const N: usize>(ips: [&str; N]) -> [TcpListener; N] {
    let free = || TcpListener::bind((ips[0], 0)).unwrap();
    let attempt = |first: TcpListener| {
        let port = first.local_addr().unwrap().port();
        let others = ips[1..].iter().map(|ip| TcpListener::bind((*ip, port)));
        match std::iter::once(Ok(first)).chain(others).collect::<io::Result<Vec<TcpListener>>>() {
            Ok(all) => Some(all.try_into().unwrap()),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => None,
            Err(error) => panic!("{ips:?}: {error}"),
        }
    };
    (0..100).find_map(|_| attempt(free())).expect("a port that is free on every address")
}

fn serve(mut stream: TcpStream, noted: &Mutex<Vec<String>>, answer: &dyn Fn(&str) -> Vec<u8>) {
    let mut head = Vec::new();
    let mut chunk = [0; 4096];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut chunk) {
            Ok(count) if count > 0 => head.extend_from_slice(&chunk[..count]),
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    noted.lock().unwrap().push(head.clone());
    let bytes = answer(&head);
    let (hangs, bytes) = match bytes.strip_prefix(b"HANG") {
        Some(rest) => (true, rest),
        None => (bytes.is_empty(), bytes.as_slice()),
    };
    // A client may leave before it has read everything.
    _ = stream.write_all(bytes);
    while hangs && stream.read(&mut chunk).is_ok_and(|count| count > 0) {}
}

/// A 200 with these field lines.
pub fn ok(fields: &[&str], body: &[u8]) -> Vec<u8> {
    answer("200 OK", fields, body)
}

pub fn answer(status: &str, fields: &[&str], body: &[u8]) -> Vec<u8> {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let head = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

pub fn redirect(location: &str) -> Vec<u8> {
    answer("302 Found", &[&format!("Location: {location}")], b"")
}
