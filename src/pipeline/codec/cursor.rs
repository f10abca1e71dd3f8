//! [`Cursor`]: reads big- and little-endian fields of a container without ever reading outside it.

use crate::pipeline::Error;

/// A position in some bytes; every read is checked and errs with [`Error::Corrupt`] past the end.
#[derive(Clone, Copy)]
pub struct Cursor<'a> {
    format: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// Starts at the first byte; `format` names the codec in errors.
    pub fn new(format: &'static str, bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { format, bytes, at: 0 }
    }

    /// Bytes before the cursor.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Moves to an absolute position.
    pub fn seek(&mut self, at: usize) -> Result<(), Error> {
        if at > self.bytes.len() {
            return Err(self.corrupt("ends early"));
        }
        self.at = at;
        Ok(())
    }

    /// Bytes after the cursor.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let taken = self.rest().get(..count).ok_or_else(|| self.corrupt("ends early"))?;
        self.at += count;
        Ok(taken)
    }

    /// Passes over `count` bytes.
    pub fn skip(&mut self, count: usize) -> Result<(), Error> {
        self.take(count).map(|_| ())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        Ok(self.take(N)?.try_into().expect("take gives N bytes"))
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    /// Two bytes, big-endian.
    pub fn u16_be(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes, big-endian.
    pub fn u32_be(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_be_bytes)
    }

    /// Two bytes, little-endian.
    pub fn u16_le(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes, little-endian.
    pub fn u32_le(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    /// An [`Error::Corrupt`] of this format.
    pub fn corrupt(&self, reason: &str) -> Error {
        Error::corrupt(self.format, reason)
    }
}
