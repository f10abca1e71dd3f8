//! A JPEG with a gain map: the picture for ordinary displays, segments that point at the map, and behind the end of the
//! picture the map, a JPEG of its own (Google, "Ultra HDR Image Format v1.1"; CIPA DC-007, "Multi-Picture Format"; ISO
//! 21496-1). The picture is shown; nothing in a result points at a map that is not there.

use bytes::Bytes;
use progimage::pipeline::codec::{self, DecodeOptions, by_extension};
use progimage::pipeline::{Channels, Deadline, Images, Limits, Picture, Pipeline, Raster, Samples, Size};

use crate::fixtures::pattern::encode;

const XMP: &str = r#"<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description dc:creator="A" hdrgm:Version="1.0">
<Container:Directory><rdf:Seq><rdf:li><Container:Item Item:Semantic="GainMap" Item:Length="999"/></rdf:li></rdf:Seq></Container:Directory>
</rdf:Description></rdf:RDF></x:xmpmeta>"#;
const MAP_XMP: &str = r#"<rdf:Description hdrgm:Version="1.0" hdrgm:GainMapMax="2.0" hdrgm:HDRCapacityMax="2.0"/>"#;
const XMP_NAME: &str = "http://ns.adobe.com/xap/1.0/\0";
/// What only a file with a map may say.
const MARKS: [&str; 4] = ["hdrgm:Version", "Container:Directory", "MPF\0", "21496"];

fn jpeg(size: Size, color: [u8; 3]) -> Vec<u8> {
    let samples = color.repeat(size.pixels() as usize);
    encode("jpeg", &Picture::still(Raster::new(size, Channels::Rgb, Samples::U8(samples))), None, false)
}

/// The file with application segments behind that of JFIF.
fn with_segments(file: &[u8], segments: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let at = 4 + usize::from(u16::from_be_bytes([file[4], file[5]]));
    let segment =
        |(marker, body): &(u8, Vec<u8>)| [&[0xff, *marker], &(body.len() as u16 + 2).to_be_bytes()[..], body].concat();
    let segments: Vec<u8> = segments.iter().flat_map(segment).collect();
    [&file[..at], &segments, &file[at..]].concat()
}

fn xmp(text: &str) -> (u8, Vec<u8>) {
    (0xe1, [XMP_NAME, text].concat().into_bytes())
}

/// The picture with its segments, without the map.
fn base() -> Vec<u8> {
    let mpf = [b"MPF\0MM\0\x2a\0\0\0\x08".as_slice(), &[0, 0, 0, 0, 0, 0]].concat();
    let iso = b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0".to_vec();
    with_segments(&jpeg(Size::new(48, 32), [200, 60, 20]), &[xmp(XMP), (0xe2, mpf), (0xe2, iso)])
}

/// A map of another size, which is turned.
fn map() -> Vec<u8> {
    let turned = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
    with_segments(&jpeg(Size::new(12, 8), [90; 3]), &[(0xe1, turned), xmp(MAP_XMP)])
}

fn render(extension: &str, query: &str, source: &[u8]) -> Bytes {
    let query: Vec<_> =
        query.split('&').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect();
    let pipeline = Pipeline::from_query(by_extension(extension).expect(extension), &query).expect("valid");
    let source = Bytes::copy_from_slice(source);
    let output = pipeline.run(&source, &Images::new(), &Limits::default(), &Deadline::default());
    output.unwrap_or_else(|error| panic!("{extension} {query:?}: {error}")).bytes
}

fn decode(bytes: &[u8]) -> Picture {
    let (limits, deadline) = (Limits::default(), Deadline::default());
    (codec::sniff(bytes).expect("known").decode)(bytes, &DecodeOptions::new(&limits, &deadline)).expect("decodes")
}

fn says(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[test]
fn the_picture_is_shown_whatever_lies_behind_it() {
    let map = map();
    for behind in [map.as_slice(), &map[..map.len() / 2], &map[..2], &map.repeat(3), &[0xff; 9]] {
        let file = [&base(), behind].concat();
        let header = (codec::sniff(&file).expect("known").inspect)(&file).expect("read");
        assert_eq!((header.size, header.frames, header.page_count()), (Size::new(48, 32), 1, 1));
        assert_eq!(header.orientation, progimage::pipeline::Orientation::NoTransforms);
        assert_eq!(decode(&file), decode(&base()));
        assert_eq!(render("png", "w=24", &file), render("png", "w=24", &base()));
    }
}

#[test]
fn a_result_points_at_no_map() {
    let file = [base(), map()].concat();
    assert!(MARKS.iter().all(|mark| says(&file, mark)));
    for query in ["metadata=strip", "never_larger=true&q=100", "metadata=copyright", "metadata=all&q=90"] {
        for extension in ["jpg", "png", "webp", "avif", "tiff"] {
            if extension != "jpg" && query.contains("never_larger") {
                continue;
            }
            let result = render(extension, query, &file);
            let left: Vec<_> = MARKS.iter().filter(|mark| says(&result, mark)).collect();
            assert!(left.is_empty(), "{extension} {query}: {left:?}");
            assert_eq!(decode(&result).first().size(), Size::new(48, 32));
        }
    }
    assert!(says(&render("jpg", "metadata=all&q=90", &file), "dc:creator=\"A\""), "the rest of XMP stays");
    let stripped = render("jpg", "metadata=strip", &file);
    assert_eq!(stripped, render("jpg", "metadata=strip", &jpeg(Size::new(48, 32), [200, 60, 20])));
}

#[test]
fn the_stored_file_keeps_its_map() {
    let file = [base(), map()].concat();
    assert_eq!(render("jpg", "", &file), file);
}
