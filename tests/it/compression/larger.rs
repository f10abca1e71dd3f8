//! `never_larger`: the source's own data where that is smaller, without its metadata.

use bytes::Bytes;

use super::{decoded, photo, rendered};
use crate::fixtures;
use progimage::pipeline::codec;

/// Small files of each format, harder compressed than by default.
fn hard(extension: &str) -> Bytes {
    let query = match extension {
        "png" => "effort=8",
        _ => "q=10&effort=6",
    };
    rendered(extension, query, &photo("toy.jpg", 200))
}

#[test]
fn what_was_smaller_stays_as_it_was() {
    for extension in ["jpg", "png", "webp"] {
        let source = hard(extension);
        assert!(rendered(extension, "metadata=none", &source).len() > source.len());
        assert_eq!(rendered(extension, "never_larger", &source), source, "{extension}");
        let smaller = match extension {
            "png" => "colors=8&never_larger",
            _ => "q=3&never_larger",
        };
        assert!(rendered(extension, smaller, &source).len() < source.len(), "{extension}");
    }
}

#[test]
fn another_picture_or_format_is_encoded() {
    let source = hard("jpg");
    for query in ["flip=h", "w=199", "w=300&enlarge"] {
        let with = format!("{query}&never_larger");
        assert_eq!(rendered("jpg", &with, &source), rendered("jpg", query, &source), "{query}");
    }
    assert_eq!(rendered("webp", "never_larger", &source), rendered("webp", "", &source));
    for name in ["orientation_6.jpg", "icc_swapped.jpg", "cmyk_adobe.jpg"] {
        let source = Bytes::from(fixtures::read(name));
        let plain = rendered("jpg", "q=100", &source);
        assert!(plain.len() > source.len() || name != "orientation_6.jpg", "{name} would be kept");
        assert_eq!(rendered("jpg", "q=100&never_larger", &source), plain, "{name}");
    }
}

/// Content of segments, chunks and tails that must not be in a result.
const SECRET: &[u8] = b"51 degrees north";

fn holds_secret(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|window| window == SECRET)
}

#[test]
fn metadata_of_the_source_is_left_out() {
    let jpeg = hard("jpg");
    let segment = |marker: u8| [&[0xff, marker, 0, SECRET.len() as u8 + 2], SECRET].concat();
    // JFIF's own segment may hold a thumbnail of 2 x 3 pixels.
    let jfif = [b"\xff\xe0\0\x22JFIF\0\x01\x02\x01\0\x48\0\x48\x02\x03".as_slice(), SECRET, &SECRET[..2]].concat();
    let jpeg = [&jpeg[..2], &jfif, &segment(0xe1), &segment(0xfe), &segment(0xed), &jpeg[2..], SECRET].concat();
    let png = hard("png");
    let chunk = |name: &[u8; 4]| {
        let body = [name.as_slice(), SECRET].concat();
        let mut checksum = flate2::Crc::new();
        checksum.update(&body);
        [&(SECRET.len() as u32).to_be_bytes()[..], &body, &checksum.sum().to_be_bytes()].concat()
    };
    let png = [&png[..33], &chunk(b"tEXt"), &chunk(b"eXIf"), &png[33..], SECRET].concat();
    let webp = hard("webp");
    let extra = |name: &[u8; 4]| [name.as_slice(), &(SECRET.len() as u32).to_le_bytes(), SECRET].concat();
    let size = decoded(&webp).first().size();
    let mut header = b"VP8X\x0a\0\0\0\x0c\0\0\0".to_vec();
    header.extend(&(size.w - 1).to_le_bytes()[..3]);
    header.extend(&(size.h - 1).to_le_bytes()[..3]);
    let body = [b"WEBP", header.as_slice(), &webp[12..], &extra(b"EXIF"), &extra(b"XMP ")].concat();
    let webp = [b"RIFF".as_slice(), &(body.len() as u32).to_le_bytes(), &body, SECRET].concat();
    for (extension, source) in [("jpg", jpeg), ("png", png), ("webp", webp)] {
        let source = Bytes::from(source);
        let kept = rendered(extension, "never_larger", &source);
        assert!(holds_secret(&source) && !holds_secret(&kept), "{extension}");
        assert!(kept.len() < rendered(extension, "metadata=none", &source).len(), "{extension}: it was encoded");
        assert_eq!(decoded(&kept).frames, decoded(&source).frames, "{extension}");
        assert!((codec::sniff(&kept).expect("known").inspect)(&kept).is_ok());
    }
}

/// The source's own data without its metadata.
const STRIPPED: &str = "metadata=strip";

#[test]
fn data_stay_as_they_are_only_where_nothing_else_changes() {
    for name in ["baseline_444.jpg", "rgb_8bit.png", "animated.png", "alpha.webp", "disposal_keep.gif", "alpha.avif"] {
        let source = Bytes::from(fixtures::read(name));
        let extension = name.rsplit_once('.').expect("an extension").1;
        let stripped = rendered(extension, STRIPPED, &source);
        assert_eq!(decoded(&stripped), decoded(&source), "{name}");
        assert!(stripped.len() <= source.len(), "{name}");
        // Any other parameter asks for a render, also one at its default.
        for query in ["metadata=strip&effort=4", "metadata=strip&frame=0", "metadata=strip&flip=h"] {
            assert_eq!(
                rendered(extension, query, &source),
                rendered(extension, &query.replace("strip", "none"), &source),
                "{name} {query}"
            );
        }
    }
    for name in
        ["orientation_6.jpg", "icc_swapped.jpg", "cmyk_adobe.jpg", "cicp_display_p3.png", "cicp_display_p3.avif"]
    {
        let source = Bytes::from(fixtures::read(name));
        let extension = name.rsplit_once('.').expect("an extension").1;
        assert_eq!(rendered(extension, STRIPPED, &source), rendered(extension, "metadata=none", &source), "{name}");
    }
    let photo = photo("toy.jpg", 200);
    assert_eq!(rendered("webp", STRIPPED, &photo), rendered("webp", "", &photo));
    assert_eq!(rendered("ppm", STRIPPED, &photo), rendered("ppm", "metadata=none", &photo));
}

/// A PNG says in chunks that it would look different without them.
#[test]
fn colours_that_samples_alone_do_not_have_are_not_lost() {
    for name in ["gama_alone.png", "cicp_display_p3.png"] {
        let strip = codec::by_name("png").and_then(|png| png.encoder?.strip).expect("a stripper");
        assert!(strip(&fixtures::read(name)).is_err(), "{name}");
    }
}

/// Every fixture, whole, cut short and with a bit flipped, through each stripper: no panic, and the same pixels.
#[test]
fn stripping_keeps_every_pixel() {
    for (name, bytes) in fixtures::sources() {
        let Ok(codec) = codec::sniff(&bytes) else { continue };
        let Some(strip) = codec.encoder.as_ref().and_then(|encoder| encoder.strip) else { continue };
        for end in 0..bytes.len() {
            let _ = strip(&bytes[..end]);
            let mut flipped = bytes.clone();
            flipped[end] ^= 1 << (end % 8);
            let _ = strip(&flipped);
        }
        if let Ok(stripped) = strip(&bytes) {
            assert_eq!(decoded(&stripped).frames, decoded(&bytes).frames, "{name}");
        }
    }
}
