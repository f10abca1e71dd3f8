//! More clients than places: which connections go, and who gets through even so.

use std::net::SocketAddr;
use std::time::Duration;

use crate::http::client::{Answer, Client};
use crate::http::{Server, ppm, runtime};

/// A client with a request under way: the server waits for its body.
fn at_work(mut client: Client, length: usize) -> Client {
    let head = format!("POST /images HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n");
    client.write(head.as_bytes());
    assert_eq!(client.answer(false).status, 100);
    client
}

/// A connection from another address of this machine.
fn connect_from(server: &Server, address: [u8; 4]) -> Client {
    let stream = runtime().block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from((address, 0))).unwrap();
        socket.connect(server.address).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    Client::over(stream)
}

/// A server for so many connections, all of which may be of one address.
fn bounded(connections_max: usize) -> Server {
    Server::with(|settings| {
        settings.http.connections_max = connections_max;
        settings.http.connections_per_address_max = 1_000;
    })
}

fn assert_busy(answer: &Answer, limit: &str) {
    answer.assert_problem(503, "busy");
    assert_eq!(answer.json()["limit"], limit);
    assert_eq!((answer.field("retry-after"), answer.field("connection")), (Some("1"), Some("close")));
}

#[test]
fn silent_connections_shut_no_one_out() {
    let server = Server::with(|settings| settings.http.connections_max = 50);
    let mut silent: Vec<Client> = (0..60).map(|_| server.connect()).collect();
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.get("/images").status, 200);
    assert!(silent.iter_mut().take(10).all(Client::is_closed), "the oldest have gone");
}

#[test]
fn the_connection_that_was_idle_longest_goes() {
    let server = bounded(2);
    let (mut first, mut second) = (server.connect(), server.connect());
    for client in [&mut first, &mut second] {
        assert_eq!(client.ask("GET", "/images", &[], b"").status, 200);
    }
    // Longer than the unit of the server's clock.
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(first.ask("GET", "/images", &[], b"").status, 200);
    let mut third = server.connect();
    assert_eq!(third.ask("GET", "/images", &[], b"").status, 200);
    assert!(second.is_closed());
    assert_eq!(first.ask("GET", "/images", &[], b"").status, 200);
}

#[test]
fn while_every_place_is_at_work_health_is_answered_and_nothing_else() {
    let server = bounded(2);
    let image = ppm(4, 4, [1, 2, 3]);
    let mut busy: Vec<Client> = (0..2).map(|_| at_work(server.connect(), image.len())).collect();
    for path in ["/healthz", "/readyz"] {
        let mut probe = server.connect();
        let answer = probe.ask("GET", path, &[], b"");
        assert_eq!((answer.status, answer.field("connection")), (200, Some("close")), "{path}");
        assert!(probe.is_closed());
    }
    assert_busy(&server.get("/images"), "connections_max");
    assert_busy(&server.send("POST", "/images", &[], &image), "connections_max");
    // More silent connections than there are spare places: the oldest of them make room for a probe.
    let _silent: Vec<Client> = (0..40).map(|_| server.connect()).collect();
    assert_eq!(server.get("/healthz").status, 200);
    busy[0].write(&image);
    assert_eq!(busy[0].answer(false).status, 201);
    assert_eq!(server.get("/images").status, 200, "its place is free for another");
    busy[1].write(&image);
    assert_eq!(busy[1].answer(false).status, 200, "who is at work is never cut off");
}

#[test]
fn one_address_takes_no_more_than_its_share() {
    let server = Server::with(|settings| settings.http.connections_max = 4);
    let image = ppm(4, 4, [3, 2, 1]);
    let mut busy: Vec<Client> = (0..2).map(|_| at_work(server.connect(), image.len())).collect();
    assert_busy(&server.get("/images"), "connections_per_address_max");
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(connect_from(&server, [127, 0, 0, 2]).ask("GET", "/images", &[], b"").status, 200);
    busy[0].write(&image);
    assert_eq!(busy[0].answer(false).status, 201);
    assert_eq!(server.get("/images").status, 200);
}

#[test]
fn declared_lengths_keep_no_other_upload_out() {
    let server = Server::with(|settings| settings.store.uploads_bytes_max = 1 << 20);
    let _silent: Vec<Client> = (0..20).map(|_| at_work(server.connect(), 900 << 10)).collect();
    let image = ppm(300, 300, [5, 6, 7]);
    assert_eq!(server.send("POST", "/images", &[], &image).status, 201);
    assert_eq!(server.send("POST", "/process.png", &[], &image).status, 200);
}
