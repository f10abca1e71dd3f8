//! [`Cursor`]: reads big- and little-endian fields of a container, never outside it.

use crate::pipeline::Error;

/// A position in a byte slice. Every read is checked and errs with [`Error::Corrupt`] past the end.
///
/// ```
/// use progimage::pipeline::codec::cursor::Cursor;
/// let mut cursor = Cursor::new("png", b"\x00\x00\x00\x0dIHDR");
/// assert_eq!(cursor.u32_be()?, 13);
/// assert_eq!(cursor.take(4)?, b"IHDR");
/// assert_eq!(cursor.u8().unwrap_err().to_string(), "corrupt png: truncated file");
/// # Ok::<(), progimage::pipeline::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Cursor<'a> {
    format: &'static str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor at the first byte; `format` names the codec in errors.
    pub fn new(format: &'static str, bytes: &'a [u8]) -> Cursor<'a> {
        Cursor { format, bytes, at: 0 }
    }

    /// Number of bytes before the cursor.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Moves to an absolute position.
    pub fn seek(&mut self, at: usize) -> Result<(), Error> {
        if at > self.bytes.len() {
            return Err(self.corrupt("truncated file"));
        }
        self.at = at;
        Ok(())
    }

    /// Bytes from the cursor on.
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Reads the next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let taken = self.rest().get(..count).ok_or_else(|| self.corrupt("truncated file"))?;
        self.at += count;
        Ok(taken)
    }

    /// Skips `count` bytes.
    pub fn skip(&mut self, count: usize) -> Result<(), Error> {
        self.take(count).map(|_| ())
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        Ok(self.take(N)?.try_into().expect("take gives N bytes"))
    }

    /// Reads one byte.
    pub fn u8(&mut self) -> Result<u8, Error> {
        Ok(self.array::<1>()?[0])
    }

    /// Reads two bytes, big-endian.
    pub fn u16_be(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    /// Reads four bytes, big-endian.
    pub fn u32_be(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_be_bytes)
    }

    /// Reads two bytes, little-endian.
    pub fn u16_le(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_le_bytes)
    }

    /// Reads four bytes, little-endian.
    pub fn u32_le(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    /// An [`Error::Corrupt`] of this cursor's format.
    pub fn corrupt(&self, reason: &str) -> Error {
        Error::corrupt(self.format, reason)
    }
}
