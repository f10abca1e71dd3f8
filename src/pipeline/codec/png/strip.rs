//! Removes metadata from a PNG without inflating it: only chunks for pixels and frames are kept, and no data after
//! the end.

use super::FORMAT;
use super::container::SIGNATURE;
use crate::pipeline::Error;
use crate::pipeline::codec::cursor::Cursor;

const KEPT: &[&[u8; 4]] = &[b"IHDR", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"IDAT", b"fdAT", b"IEND"];

pub(super) fn strip(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    /// Bytes of a chunk around its payload: length, name, checksum.
    const FRAME: usize = 12;
    let mut cursor = Cursor::new(FORMAT, bytes);
    let mut out = cursor.take(SIGNATURE.len())?.to_vec();
    // Each turn consumes bytes, so the loop ends with the file.
    loop {
        let chunk = cursor.rest();
        let length = cursor.u32_be()? as usize;
        let name = cursor.take(4)?;
        cursor.skip(length)?;
        cursor.skip(4)?;
        if KEPT.iter().any(|kept| *kept == name) {
            out.extend(&chunk[..length + FRAME]);
        }
        if name == b"IEND" {
            return Ok(out);
        }
    }
}
