//! Removes metadata from a JPEG without decoding it: application segments, comments, and any data between segments or
//! after its end.

use std::borrow::Cow;

use super::FORMAT;
use super::container::next_marker;
use crate::pipeline::Error;
use crate::pipeline::codec::cursor::Cursor;

/// Codes of markers: start and end of image, start of scan, comment, application segments.
const SOI: u8 = 0xd8;
const EOI: u8 = 0xd9;
const SOS: u8 = 0xda;
const COM: u8 = 0xfe;

pub(super) fn strip(bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let mut cursor = Cursor::new(FORMAT, bytes);
    if cursor.take(2)? != [0xff, SOI] {
        return Err(cursor.corrupt("missing start of image"));
    }
    let mut out = vec![0xff, SOI];
    // Each turn consumes bytes, so the loop ends with the file.
    loop {
        let marker = next_marker(&mut cursor)?;
        out.extend([0xff, marker]);
        if marker == EOI {
            return Ok(out);
        }
        let length = usize::from(cursor.u16_be()?);
        let payload = cursor.take(length.saturating_sub(2))?;
        let Some(kept) = kept(marker, payload) else {
            out.truncate(out.len() - 2);
            continue;
        };
        out.extend((kept.len() as u16 + 2).to_be_bytes());
        out.extend(&*kept);
        if marker == SOS {
            out.extend(cursor.take(data_length(cursor.rest()))?);
        }
    }
}

/// What is kept of a segment: all that is not of an application, and data on the meaning of colours. JFIF's version and
/// density, without its thumbnail, which may show an older picture; Adobe's transform.
fn kept(marker: u8, payload: &[u8]) -> Option<Cow<'_, [u8]>> {
    match marker {
        0xe0 => Some(Cow::Owned([payload.get(..12).filter(|jfif| jfif.starts_with(b"JFIF\0"))?, &[0, 0]].concat())),
        0xee => Some(Cow::Borrowed(payload.get(..12).filter(|adobe| adobe.starts_with(b"Adobe"))?)),
        COM | 0xe1..=0xef => None,
        _ => Some(Cow::Borrowed(payload)),
    }
}

/// Length of the data up to the next marker other than a stuffed zero or a restart.
fn data_length(bytes: &[u8]) -> usize {
    let ends = |at: &usize| bytes.get(at + 1).is_some_and(|next| !matches!(next, 0 | 0xd0..=0xd7));
    memchr::memchr_iter(0xff, bytes).find(ends).unwrap_or(bytes.len())
}
