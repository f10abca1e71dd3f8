//! Removes metadata from a WebP without decoding it: only chunks for pixels and frames are kept.

use super::NAME;
use crate::pipeline::Error;
use crate::pipeline::codec::cursor::Cursor;

const KEPT: &[&[u8; 4]] = &[b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF"];

/// Flags of EXIF and XMP in the extended header.
const METADATA: u8 = 0x08 | 0x04;

pub(super) fn strip(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let mut cursor = Cursor::new(NAME, bytes);
    cursor.skip(4)?;
    let length = cursor.u32_le()? as usize;
    let mut cursor = Cursor::new(NAME, cursor.take(length)?);
    let mut body = cursor.take(4)?.to_vec();
    while cursor.rest().len() >= 8 {
        let chunk = cursor.rest();
        let name = cursor.take(4)?;
        let length = cursor.u32_le()? as usize;
        cursor.skip(length)?;
        // Chunks are padded to even lengths; some writers leave out the padding of the last.
        let padded = 8 + length + cursor.take((length % 2).min(cursor.rest().len()))?.len();
        if !KEPT.iter().any(|kept| *kept == name) {
            continue;
        }
        let start = body.len();
        body.extend(&chunk[..padded]);
        if name == b"VP8X" && length > 0 {
            body[start + 8] &= !METADATA;
        }
    }
    let too_long = |_| cursor.corrupt("file of 4 GiB or more");
    let length = u32::try_from(body.len()).map_err(too_long)?;
    Ok([b"RIFF".as_slice(), &length.to_le_bytes(), &body].concat())
}
