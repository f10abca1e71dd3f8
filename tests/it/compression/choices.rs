//! Quality, effort, progressive and chroma.

use bytes::Bytes;

use super::{decoded, photo, rendered, samples};

/// Checks that each query gives fewer bytes than the one before.
fn check_shrinking(extension: &str, queries: &[&str]) {
    let source = photo("street.jpg", 320);
    let sizes: Vec<usize> = queries.iter().map(|query| rendered(extension, query, &source).len()).collect();
    assert!(sizes.windows(2).all(|pair| pair[0] > pair[1]), "{extension} {queries:?}: {sizes:?}");
}

#[test]
fn less_quality_is_fewer_bytes() {
    for extension in ["jpg", "webp", "avif"] {
        check_shrinking(extension, &["q=100", "q=90", "q=70", "q=50", "q=20", "q=1"]);
    }
}

#[test]
fn more_effort_is_fewer_bytes() {
    check_shrinking("jpg", &["effort=0", "effort=3", "effort=6", "effort=9"]);
    check_shrinking("png", &["effort=0", "effort=4", "effort=6", "effort=8"]);
    check_shrinking("webp", &["effort=0", "effort=2", "effort=9"]);
    check_shrinking("webp", &["lossless&effort=0", "lossless&effort=2", "lossless&effort=4"]);
}

#[test]
fn without_an_effort_it_is_the_formats_own() {
    let source = photo("toy.jpg", 200);
    for (extension, effort) in [("jpg", 3), ("png", 5), ("webp", 2), ("avif", 0)] {
        let written = rendered(extension, &format!("effort={effort}"), &source);
        assert_eq!(rendered(extension, "", &source), written, "{extension}");
    }
}

/// The first frame header of a JPEG: SOF0 is 0xc0, SOF2, progressive, 0xc2.
fn start_of_frame(jpeg: &[u8]) -> Option<u8> {
    let mut at = 2;
    while jpeg[at..].len() > 4 {
        let (marker, length) = (jpeg[at + 1], usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]])));
        if (0xc0..=0xc2).contains(&marker) {
            return Some(marker);
        }
        at += 2 + length;
    }
    None
}

#[test]
fn a_progressive_jpeg_shows_the_same_picture() {
    let source = photo("street.jpg", 320);
    let sequential = rendered("jpg", "", &source);
    let progressive = rendered("jpg", "progressive", &source);
    assert_eq!(start_of_frame(&sequential), Some(0xc0));
    assert_eq!(start_of_frame(&progressive), Some(0xc2));
    assert_eq!(start_of_frame(&rendered("jpg", "effort=6", &source)), Some(0xc0));
    assert_eq!(start_of_frame(&rendered("jpg", "effort=9", &source)), Some(0xc2));
    assert_eq!(decoded(&sequential), decoded(&progressive));
    assert!(progressive.len() < sequential.len());
}

/// Columns of red and blue, one pixel wide, which differ in chroma alone.
fn stripes() -> Bytes {
    let row = [[255u8, 0, 0], [0, 0, 255]].concat().repeat(32);
    Bytes::from([b"P6 64 64 255\n".as_slice(), &row.repeat(64)].concat())
}

#[test]
fn full_chroma_keeps_the_edges_of_colours() {
    for extension in ["jpg", "avif"] {
        let contrast = |query: &str| {
            let picture = decoded(&rendered(extension, query, &stripes()));
            let pixels = samples(picture.first()).as_chunks::<3>().0;
            let red = |first: usize| pixels.iter().skip(first).step_by(2).map(|pixel| u64::from(pixel[0])).sum::<u64>();
            (red(0) - red(1).min(red(0))) / (pixels.len() as u64 / 2)
        };
        assert!(contrast("q=95&chroma=444") > 200, "{extension}");
        for blurred in ["q=95&chroma=420", "q=95&chroma=422"] {
            assert!(contrast(blurred) < 120, "{extension} {blurred}");
        }
        let source = photo("toy.jpg", 200);
        let [quarter, half, full] =
            ["chroma=420", "chroma=422", "chroma=444"].map(|query| rendered(extension, query, &source).len());
        assert!(quarter < half && half < full, "{extension}: {quarter} {half} {full}");
    }
}

/// Strokes of red, two pixels wide, on white: text as far as chroma is concerned.
fn red_text() -> Bytes {
    let pixel = |at: usize| if at % 128 / 2 % 7 == 1 && at / 128 % 32 < 20 { [255u8, 0, 0] } else { [255; 3] };
    let pixels: Vec<u8> = (33..33 + 128 * 128).flat_map(pixel).collect();
    Bytes::from([b"P6 128 128 255\n".as_slice(), &pixels].concat())
}

/// Mean difference of a render's samples from those of the red text.
fn mean_error(extension: &str, query: &str) -> f64 {
    let (source, result) = (decoded(&red_text()), decoded(&rendered(extension, query, &red_text())));
    let (source, result) = (samples(source.first()), samples(result.first()));
    let sum: u64 = source.iter().zip(result).map(|(one, other)| u64::from(one.abs_diff(*other))).sum();
    sum as f64 / source.len() as f64
}

#[test]
fn coloured_text_keeps_its_chroma_unless_asked_otherwise() {
    for extension in ["jpg", "avif"] {
        for query in ["q=90", "quality=auto"] {
            assert_eq!(
                rendered(extension, query, &red_text()),
                rendered(extension, &format!("{query}&chroma=444"), &red_text()),
                "{extension} {query}"
            );
        }
        let (kept, smeared) = (mean_error(extension, "q=90"), mean_error(extension, "q=90&chroma=420"));
        assert!(2.0 * kept < smeared, "{extension}: {kept} {smeared}");
        let source = photo("toy.jpg", 200);
        assert_eq!(rendered(extension, "", &source), rendered(extension, "chroma=420", &source), "{extension}");
    }
    let (sharp, averaged) = (mean_error("webp", "q=90&chroma=444"), mean_error("webp", "q=90&chroma=420"));
    assert!(sharp < averaged, "webp: {sharp} {averaged}");
}

#[test]
fn a_webp_of_a_graphic_is_exact_where_that_is_not_larger() {
    for query in ["", "q=90", "quality=auto"] {
        assert_eq!(mean_error("webp", query), 0.0, "{query}");
        let (open, lossy) = (rendered("webp", query, &red_text()), format!("chroma=420&{query}"));
        assert!(open.len() <= rendered("webp", &lossy, &red_text()).len(), "{query}");
    }
    assert!(mean_error("webp", "chroma=444") > 0.0, "what is asked for is lossy");
    assert!(mean_error("webp", "max_bytes=100000") > 0.0, "what has a size has a quality");
    let source = photo("toy.jpg", 200);
    assert_eq!(rendered("webp", "", &source), rendered("webp", "chroma=420", &source));
}

/// Rows of two colours: 4:2:2 keeps every row of chroma, 4:2:0 does not.
#[test]
fn half_the_width_keeps_rows() {
    let rows = [[255u8, 0, 0].repeat(64), [0, 0, 255].repeat(64)].concat();
    let source = Bytes::from([b"P6 64 64 255\n".as_slice(), &rows.repeat(32)].concat());
    for extension in ["jpg", "avif"] {
        let red = |query: &str| samples(decoded(&rendered(extension, query, &source)).first())[64 * 3 * 20 + 30];
        assert!(red("q=95&chroma=422") > 200, "{extension}");
        assert!(red("q=95&chroma=420") < 200, "{extension}");
    }
}
