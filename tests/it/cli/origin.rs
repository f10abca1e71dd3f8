//! A server that answers as a test wants: one thread, whole requests in, whole answers out. It ends with the test's
//! process.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request: method and path, and the body.
pub struct Asked {
    pub line: String,
    pub body: Vec<u8>,
}

/// An answer: status, further header lines, body. With a field `X-Cut` only half of the body is sent; `None`: nothing
/// is.
pub type Said = Option<(u16, &'static str, Vec<u8>)>;

/// One answer at a time, over all connections.
type Answers = Mutex<dyn FnMut(&Asked) -> Said + Send>;

/// Starts a server; its URL.
pub fn start(mut answer: impl FnMut(&Asked) -> Said + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer: Arc<Answers> = Arc::new(Mutex::new(move |asked: &Asked| answer(asked)));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || drop(serve(stream.unwrap(), &*answer)));
        }
    });
    url
}

fn serve(stream: TcpStream, answer: &Answers) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    while let Some(asked) = request(&mut reader)? {
        let Some((status, fields, body)) = answer.lock().unwrap()(&asked) else { return Ok(()) };
        write!(writer, "HTTP/1.1 {status} Said\r\nContent-Length: {}\r\n{fields}\r\n", body.len())?;
        if fields.contains("X-Cut") {
            return writer.write_all(&body[..body.len() / 2]);
        }
        writer.write_all(&body)?;
    }
    Ok(())
}

fn request(reader: &mut impl BufRead) -> std::io::Result<Option<Asked>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let (mut length, mut chunked) = (0, false);
    loop {
        let mut field = String::new();
        reader.read_line(&mut field)?;
        let field = field.trim_end().to_ascii_lowercase();
        if field.is_empty() {
            break;
        }
        if let Some(value) = field.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        chunked |= field == "transfer-encoding: chunked";
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    while chunked {
        let mut size = String::new();
        reader.read_line(&mut size)?;
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
        let start = body.len();
        body.resize(start + size + 2, 0);
        reader.read_exact(&mut body[start..])?;
        body.truncate(start + size);
        chunked = size > 0;
    }
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    Ok(Some(Asked { line, body }))
}
