//! Removes metadata from a GIF without decompressing it: comments, application extensions other than the number of plays,
//! and any data after its end.

use super::NAME;
use crate::pipeline::Error;
use crate::pipeline::codec::cursor::Cursor;

/// First byte of an image, of an extension, and of the end.
const IMAGE: u8 = 0x2c;
const EXTENSION: u8 = 0x21;
const TRAILER: u8 = 0x3b;

/// Labels of extensions.
const COMMENT: u8 = 0xfe;
const APPLICATION: u8 = 0xff;

/// Applications whose extension is the number of plays.
const LOOPS: [&[u8]; 2] = [b"NETSCAPE2.0", b"ANIMEXTS1.0"];

pub(super) fn strip(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let mut cursor = Cursor::new(NAME, bytes);
    // Signature, and size of the screen.
    cursor.skip(6 + 4)?;
    skip_palette(&mut cursor, 2)?;
    let mut out = bytes[..cursor.position()].to_vec();
    // Each turn consumes bytes, so the loop ends with the file.
    loop {
        let start = cursor.position();
        let is_kept = match cursor.u8()? {
            IMAGE => image(&mut cursor)?,
            EXTENSION => extension(&mut cursor)?,
            TRAILER => {
                out.push(TRAILER);
                return Ok(out);
            }
            _ => return Err(cursor.corrupt("unknown block type")),
        };
        if is_kept {
            out.extend(&bytes[start..cursor.position()]);
        }
    }
}

fn image(cursor: &mut Cursor) -> Result<bool, Error> {
    cursor.skip(8)?;
    skip_palette(cursor, 0)?;
    let _code_size = cursor.u8()?;
    skip_sub_blocks(cursor)?;
    Ok(true)
}

/// Skips an extension; whether it is kept.
fn extension(cursor: &mut Cursor) -> Result<bool, Error> {
    let label = cursor.u8()?;
    let start = cursor.rest();
    skip_sub_blocks(cursor)?;
    Ok(match label {
        COMMENT => false,
        APPLICATION => start.get(1..12).is_some_and(|name| LOOPS.contains(&name)),
        _ => true,
    })
}

/// Skips flags, `between` bytes, and the colour table that the flags announce.
fn skip_palette(cursor: &mut Cursor, between: usize) -> Result<(), Error> {
    let flags = cursor.u8()?;
    let palette = if flags & 0x80 != 0 { 3 << ((flags & 7) + 1) } else { 0 };
    cursor.skip(between + palette)
}

/// Skips data in sub-blocks, with the empty one at their end.
fn skip_sub_blocks(cursor: &mut Cursor) -> Result<(), Error> {
    loop {
        match cursor.u8()? {
            0 => return Ok(()),
            length => cursor.skip(usize::from(length))?,
        }
    }
}
