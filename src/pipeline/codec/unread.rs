//! [`named`]: formats that are known and not read, by their first bytes, so that an answer can name them. It is asked only
//! about bytes that no codec recognises.

/// A format that is not read.
struct Unread {
    /// Name for people.
    name: &'static str,
    /// Bytes that a file has at these places.
    magic: &'static [(usize, &'static [u8])],
}

/// Formats by signature; the first that fits is it.
static UNREAD: &[Unread] = &[
    of("JPEG XL", &[(0, b"\xff\x0a")]),
    of("JPEG XL", &[(0, b"\0\0\0\x0cJXL \r\n\x87\n")]),
    of("JPEG 2000", &[(0, b"\0\0\0\x0cjP  \r\n\x87\n")]),
    of("JPEG 2000", &[(0, b"\xff\x4f\xff\x51")]),
    of("JPEG XR", &[(0, b"II\xbc\x01")]),
    of("PDF", &[(0, b"%PDF-")]),
    of("EPS or PostScript", &[(0, b"%!PS")]),
    of("EPS or PostScript", &[(0, b"\xc5\xd0\xd3\xc6")]),
    of("Photoshop (PSD)", &[(0, b"8BPS")]),
    of("GIMP (XCF)", &[(0, b"gimp xcf")]),
    of("Apple icon (ICNS)", &[(0, b"icns")]),
    of("WMF", &[(0, b"\xd7\xcd\xc6\x9a")]),
    of("WMF", &[(0, b"\x01\0\x09\0\0\x03")]),
    of("EMF", &[(0, b"\x01\0\0\0"), (40, b" EMF")]),
    of("DjVu", &[(0, b"AT&TFORM")]),
    of("FITS", &[(0, b"SIMPLE  =")]),
    of("DICOM", &[(128, b"DICM")]),
    of("Sun raster", &[(0, b"\x59\xa6\x6a\x95")]),
    of("SGI", &[(0, b"\x01\xda\0")]),
    of("SGI", &[(0, b"\x01\xda\x01")]),
    of("XPM", &[(0, b"/* XPM */")]),
    of("XBM", &[(0, b"#define ")]),
    of("PFM", &[(0, b"PF\n")]),
    of("PFM", &[(0, b"Pf\n")]),
    of("PCX", &[(0, b"\x0a"), (2, b"\x01\x01")]),
    of("PCX", &[(0, b"\x0a\x05\x01\x08")]),
    of("BPG", &[(0, b"BPG\xfb")]),
    of("FLIF", &[(0, b"FLIF")]),
    of("KTX texture", &[(0, b"\xabKTX ")]),
    of("animated cursor (ANI)", &[(0, b"RIFF"), (8, b"ACON")]),
    of("AVI video", &[(0, b"RIFF"), (8, b"AVI ")]),
    of("Matroska or WebM video", &[(0, b"\x1a\x45\xdf\xa3")]),
    of("MPEG video", &[(0, b"\0\0\x01\xba")]),
    of("MPEG video", &[(0, b"\0\0\x01\xb3")]),
    of("Flash video", &[(0, b"FLV\x01")]),
    of("Ogg", &[(0, b"OggS")]),
    of("MNG", &[(0, b"\x8aMNG\r\n\x1a\n")]),
    of("JNG", &[(0, b"\x8bJNG\r\n\x1a\n")]),
    of("camera RAW (Canon CR2)", &[(0, b"II*\0"), (8, b"CR")]),
    of("camera RAW (Canon CR3)", &[(4, b"ftypcrx ")]),
    of("camera RAW (Canon CRW)", &[(0, b"II\x1a\0\0\0HEAPCCDR")]),
    of("camera RAW (Fujifilm RAF)", &[(0, b"FUJIFILMCCD-RAW")]),
    of("camera RAW (Olympus ORF)", &[(0, b"IIRO")]),
    of("camera RAW (Olympus ORF)", &[(0, b"IIRS")]),
    of("camera RAW (Olympus ORF)", &[(0, b"MMOR")]),
    of("camera RAW (Panasonic RW2)", &[(0, b"IIU\0")]),
    of("camera RAW (Minolta MRW)", &[(0, b"\0MRM")]),
    of("camera RAW (Sigma X3F)", &[(0, b"FOVb")]),
    of("HEIC", &[(4, b"ftyphei")]),
    of("HEIC", &[(4, b"ftyphev")]),
    of("HEIC", &[(4, b"ftypmif1")]),
    of("HEIC", &[(4, b"ftypmsf1")]),
    of("QuickTime video", &[(4, b"ftypqt")]),
    of("QuickTime video", &[(4, b"moov")]),
    of("MP4 video", &[(4, b"ftyp")]),
    of("ZIP or an office document", &[(0, b"PK\x03\x04")]),
    of("gzip, such as SVGZ", &[(0, b"\x1f\x8b")]),
];

const fn of(name: &'static str, magic: &'static [(usize, &'static [u8])]) -> Unread {
    Unread { name, magic }
}

/// Bytes in which a document's first element is searched.
const TEXT_BYTES: usize = 4096;

/// Name of the format, if it is one that is known and not read.
pub(super) fn named(bytes: &[u8]) -> Option<&'static str> {
    let has = |(at, magic): &(usize, &[u8])| bytes.get(*at..).is_some_and(|rest| rest.starts_with(magic));
    let found = UNREAD.iter().find(|format| format.magic.iter().all(has)).map(|format| format.name);
    found.or_else(|| of_text(&bytes[..bytes.len().min(TEXT_BYTES)]))
}

/// Name of a document in a language of tags, after its byte order mark, declarations and comments.
fn of_text(bytes: &[u8]) -> Option<&'static str> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    if !text.starts_with(b"<") {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    let within = |name: &[u8]| memchr::memmem::find(&lower, name);
    match (within(b"<svg"), within(b"<html").or(within(b"<!doctype html"))) {
        (Some(svg), Some(html)) if html < svg => Some("HTML"),
        (Some(_), _) => Some("SVG"),
        (None, Some(_)) => Some("HTML"),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CODECS, sniff};
    use super::*;
    use crate::pipeline::Error;

    #[test]
    fn a_known_format_is_named_and_no_codec_takes_it() {
        let check = |bytes: &[u8], name| {
            assert_eq!(sniff(bytes), Err(Error::UnreadFormat { name }), "{}", bytes.escape_ascii());
        };
        check(b"II*\0\x10\0\0\0CR\x02\0", "camera RAW (Canon CR2)");
        check(b"\x8aMNG\r\n\x1a\n", "MNG");
        for Unread { name, magic } in UNREAD {
            let mut bytes = vec![b' '; 200];
            magic.iter().for_each(|(at, magic)| bytes[*at..at + magic.len()].copy_from_slice(magic));
            if !magic.iter().any(|(at, magic)| *at == 4 && *magic == b"ftyp") {
                check(&bytes, name);
            }
        }
        check(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC");
        check(b"\0\0\0\x18ftypisom\0\0\0\0mp42", "MP4 video");
        check(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG");
        check(b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- by hand -->\n<!DOCTYPE svg PUBLIC '...'>\n<svg/>", "SVG");
        check(b" <!DOCTYPE html><html><body><svg/></body></html>", "HTML");
        for bytes in [b"".as_slice(), b"hello", b"<?xml version='1.0'?><rss/>", b"\0\0\0"] {
            assert_eq!(sniff(bytes), Err(Error::UnknownFormat));
        }
    }

    #[test]
    fn the_answer_names_what_is_read() {
        let sentence = Error::UnreadFormat { name: "HEIC" }.to_string();
        assert!(sentence.starts_with("HEIC is not read here; readable: jpeg, png, "), "{sentence}");
        assert!(CODECS.iter().all(|codec| sentence.contains(codec.name)), "{sentence}");
    }
}
