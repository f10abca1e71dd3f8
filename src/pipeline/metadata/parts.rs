//! [`without_parts`]: XMP of a JPEG may describe what lies behind the picture in its file, such as a gain map (Google,
//! "Ultra HDR Image Format v1.1": `hdrgm:Version`, and the lengths of the parts in `Container:Directory`). A result has no
//! such parts, and readers that look for them would take other bytes for them.

use memchr::memmem;

/// The element that lists the parts.
const DIRECTORY: &[&[u8]] = &[b"<Container:Directory", b"</Container:Directory>"];
/// The mark of a gain map as an element; as an attribute it has the name [`GAIN_MAP`].
const GAIN_MAP_ELEMENT: &[&[u8]] = &[b"<hdrgm:Version", b"</hdrgm:Version>"];
const GAIN_MAP: &[u8] = b"hdrgm:Version";

/// XMP without the directory of parts and the mark of a gain map.
pub(super) fn without_parts(xmp: Vec<u8>) -> Vec<u8> {
    if memmem::find(&xmp, GAIN_MAP).or_else(|| memmem::find(&xmp, DIRECTORY[0])).is_none() {
        return xmp;
    }
    let end_of = |end: &'static [u8]| move |from: &[u8]| memmem::find(from, end).map(|at| at + end.len());
    let xmp = without(&xmp, DIRECTORY[0], end_of(DIRECTORY[1]));
    let xmp = without(&xmp, GAIN_MAP_ELEMENT[0], end_of(GAIN_MAP_ELEMENT[1]));
    without(&xmp, GAIN_MAP, attribute_bytes)
}

/// Cuts out what begins with `start` and has the length that `length` says, up to the first that has none.
fn without(xmp: &[u8], start: &[u8], length: impl Fn(&[u8]) -> Option<usize>) -> Vec<u8> {
    let (mut kept, mut rest) = (Vec::with_capacity(xmp.len()), xmp);
    while let Some(at) = memmem::find(rest, start) {
        let Some(length) = length(&rest[at..]) else { break };
        kept.extend_from_slice(&rest[..at]);
        rest = &rest[at + length..];
    }
    kept.extend_from_slice(rest);
    kept
}

/// Length of the attribute [`GAIN_MAP`] with its value in quotes.
fn attribute_bytes(from: &[u8]) -> Option<usize> {
    let is_between = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'=');
    let quote_at = GAIN_MAP.len() + from.get(GAIN_MAP.len()..)?.iter().position(|byte| !is_between(byte))?;
    let quote = *from.get(quote_at).filter(|byte| matches!(byte, b'"' | b'\''))?;
    Some(quote_at + 2 + memchr::memchr(quote, &from[quote_at + 1..])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_and_the_rest_stays() {
        let check = |xmp: &str, expected: &str| {
            let got = without_parts(xmp.as_bytes().to_vec());
            assert_eq!(String::from_utf8_lossy(&got), expected);
        };
        check("<a dc:creator='I'/>", "<a dc:creator='I'/>");
        check("<a hdrgm:Version=\"1.0\" b='c'/>", "<a  b='c'/>");
        check("<a hdrgm:Version = '1.0'/>", "<a />");
        check("<a><hdrgm:Version>1.0</hdrgm:Version><b/></a>", "<a><b/></a>");
        check("<a><Container:Directory><li/></Container:Directory><b/></a>", "<a><b/></a>");
        check("<Container:Directory/>", "<Container:Directory/>");
        check("hdrgm:Version", "hdrgm:Version");
        check("hdrgm:Version='1", "hdrgm:Version='1");
    }
}
