//! [`Lines`]: reads an answer line by line. There is no timeout, since results may take long.

use reqwest::Response;

use super::{Client, Error, Problem};

/// The most bytes of one line. An image of 50 MB has 67 MB in base64.
const LINE_BYTES_MAX: usize = 256 << 20;

/// The lines of an answer.
pub struct Lines<'a> {
    client: &'a Client,
    response: Response,
    buffer: Vec<u8>,
    /// The part of the buffer that is known to have no line feed.
    searched: usize,
}

impl<'a> Lines<'a> {
    /// The lines of `response`.
    pub fn new(client: &'a Client, response: Response) -> Lines<'a> {
        Lines { client, response, buffer: Vec::new(), searched: 0 }
    }

    /// The next line, without its line feed. Bytes after the last line feed are dropped: the answer was cut there.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[self.searched..]) {
                let rest = self.buffer.split_off(self.searched + at + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                self.searched = 0;
                line.pop();
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.searched > LINE_BYTES_MAX {
                return Err(Error::Answer(Problem::unreadable("a line of the answer is too long")));
            }
            match self.client.next_whenever(&mut self.response).await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None => return Ok(None),
            }
        }
    }
}
