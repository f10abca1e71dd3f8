//! [`Camera`]: the most requested EXIF fields, as numbers and text. Lengths are bounded regardless of the block.

use serde::Serialize;

use super::exif::{Exif, Field, tag};

/// Characters after which a text is cut.
const TEXT_CHARS_MAX: usize = 256;

/// Camera data of a picture: time, place, exposure and author.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Camera {
    /// Camera manufacturer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub make: Option<String>,
    /// Camera model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Lens model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lens: Option<String>,
    /// Software that wrote the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub software: Option<String>,
    /// Time of capture in ISO 8601, with the offset if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken: Option<String>,
    /// Exposure time in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exposure_s: Option<f64>,
    /// F-number: focal length divided by aperture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub f_number: Option<f64>,
    /// ISO sensitivity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iso: Option<u32>,
    /// Focal length in millimetres; actual, not the 35 mm equivalent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub focal_length_mm: Option<f64>,
    /// Photographer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub artist: Option<String>,
    /// Copyright notice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copyright: Option<String>,
    /// Place of capture; personal data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gps: Option<Position>,
}

/// A position in degrees (WGS 84).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Position {
    /// Latitude, -90..=90; north is positive.
    pub latitude: f64,
    /// Longitude, -180..=180; east is positive.
    pub longitude: f64,
}

impl Camera {
    /// Reads an EXIF block; `None` if it holds none of these fields.
    pub fn read(block: &[u8], bytes_max: usize) -> Option<Camera> {
        let exif = Exif::read(block, bytes_max, named, named)?;
        let camera = Camera {
            make: text(&exif.main, tag::MAKE),
            model: text(&exif.main, tag::MODEL),
            lens: text(&exif.exif, tag::LENS),
            software: text(&exif.main, tag::SOFTWARE),
            taken: taken(&exif.exif),
            exposure_s: fraction(&exif.exif, tag::EXPOSURE_TIME, 0),
            f_number: fraction(&exif.exif, tag::F_NUMBER, 0),
            iso: integer(&exif.exif, tag::ISO),
            focal_length_mm: fraction(&exif.exif, tag::FOCAL_LENGTH, 0),
            artist: text(&exif.main, tag::ARTIST),
            copyright: text(&exif.main, tag::COPYRIGHT),
            gps: position(&exif.gps),
        };
        (camera != Camera::default()).then_some(camera)
    }
}

fn named(tag: u16) -> bool {
    use tag::{
        ARTIST, COPYRIGHT, EXIF, EXPOSURE_TIME, F_NUMBER, FOCAL_LENGTH, GPS, ISO, LENS, MAKE, MODEL, SOFTWARE, TAKEN,
        TAKEN_OFFSET,
    };
    matches!(tag, ARTIST | COPYRIGHT | EXIF | EXPOSURE_TIME | F_NUMBER | FOCAL_LENGTH | GPS | ISO | LENS)
        || matches!(tag, MAKE | MODEL | SOFTWARE | TAKEN | TAKEN_OFFSET)
}

fn bytes<'a>(fields: &'a [Field], tag: u16, kinds: &[u16]) -> Option<&'a [u8]> {
    let field = fields.iter().find(|field| field.tag == tag)?;
    kinds.contains(&field.kind).then_some(&*field.bytes)
}

/// A text field up to the first zero, trimmed; invalid UTF-8 is replaced.
fn text(fields: &[Field], tag: u16) -> Option<String> {
    let bytes = bytes(fields, tag, &[2])?.split(|byte| *byte == 0).next()?;
    let bytes = &bytes[..bytes.len().min(4 * TEXT_CHARS_MAX)];
    let text: String = String::from_utf8_lossy(bytes).trim().chars().take(TEXT_CHARS_MAX).collect();
    (!text.is_empty()).then_some(text)
}

fn integer(fields: &[Field], tag: u16) -> Option<u32> {
    let short = bytes(fields, tag, &[3]).and_then(|bytes| bytes.first_chunk()).map(|two| u16::from_le_bytes(*two));
    let long = || bytes(fields, tag, &[4])?.first_chunk().map(|four| u32::from_le_bytes(*four));
    short.map(u32::from).or_else(long)
}

/// The unsigned fraction at index `place`.
fn fraction(fields: &[Field], tag: u16, place: usize) -> Option<f64> {
    let (fractions, _) = bytes(fields, tag, &[5])?.as_chunks::<8>();
    let [a, b, c, d, e, f, g, h] = *fractions.get(place)?;
    let (over, under) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    (under > 0).then(|| f64::from(over) / f64::from(under))
}

/// Time in ISO 8601, from fields such as `2024:05:06 07:08:09` and `+02:00`.
fn taken(exif: &[Field]) -> Option<String> {
    let time = text(exif, tag::TAKEN).filter(|time| like(time, "0000:00:00 00:00:00"))?;
    let number = |from: usize, to: usize| time[from..to].parse::<u32>().unwrap_or(0);
    let valid = (1..=12).contains(&number(5, 7))
        && (1..=31).contains(&number(8, 10))
        && number(11, 13) < 24
        && number(14, 16) < 60
        && number(17, 19) <= 60;
    let offset = text(exif, tag::TAKEN_OFFSET).filter(|offset| like(offset, "+00:00") || like(offset, "-00:00"));
    let (date, time) = (time[..10].replace(':', "-"), &time[11..]);
    valid.then(|| format!("{date}T{time}{}", offset.unwrap_or_default()))
}

/// Whether `text` has digits where `pattern` has `0`, and equal characters elsewhere.
fn like(text: &str, pattern: &str) -> bool {
    let alike = |(byte, wanted): (u8, u8)| if wanted == b'0' { byte.is_ascii_digit() } else { byte == wanted };
    text.len() == pattern.len() && text.bytes().zip(pattern.bytes()).all(alike)
}

/// Position from degrees, minutes, seconds and hemisphere of both angles.
fn position(gps: &[Field]) -> Option<Position> {
    let degrees = |tag: u16, [plus, minus]: [&str; 2], max: f64| {
        let half = text(gps, tag)?;
        let sign = if half == plus {
            1.0
        } else if half == minus {
            -1.0
        } else {
            return None;
        };
        let part = |place| fraction(gps, tag + 1, place);
        let angle = part(0)? + part(1).unwrap_or(0.0) / 60.0 + part(2).unwrap_or(0.0) / 3600.0;
        // A hundredth of an arc second is 30 cm; seven decimals are 1 cm.
        let angle = (sign * angle * 1e7).round() / 1e7;
        (angle.abs() <= max).then_some(angle)
    };
    Some(Position { latitude: degrees(1, ["N", "S"], 90.0)?, longitude: degrees(3, ["E", "W"], 180.0)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(tag: u16, kind: u16, bytes: &[u8]) -> Field<'_> {
        Field { tag, kind, bytes: bytes.into() }
    }

    fn fractions(parts: &[(u32, u32)]) -> Vec<u8> {
        parts.iter().flat_map(|(over, under)| [over.to_le_bytes(), under.to_le_bytes()].concat()).collect()
    }

    #[test]
    fn times_are_iso_8601_or_absent() {
        let check = |time: &str, offset: &str, expected: Option<&str>| {
            let fields = [field(tag::TAKEN, 2, time.as_bytes()), field(tag::TAKEN_OFFSET, 2, offset.as_bytes())];
            assert_eq!(taken(&fields).as_deref(), expected, "{time} {offset}");
        };
        check("2024:05:06 07:08:09\0", "+02:00\0", Some("2024-05-06T07:08:09+02:00"));
        check("2024:05:06 07:08:09", "", Some("2024-05-06T07:08:09"));
        check("2024:05:06 07:08:09", "Europe", Some("2024-05-06T07:08:09"));
        check("2024-05-06 07:08:09", "", None);
        check("    :  :     :  :  ", "", None);
        check("2024:13:06 07:08:09", "", None);
        check("2024:05:06 24:08:09", "", None);
        check("2024:05:0\u{e9} 07:08:0", "", None);
    }

    #[test]
    fn places_have_signs_and_bounds() {
        let check = |south: &str, latitude: &[(u32, u32)], expected: Option<f64>| {
            let (latitude, longitude) = (fractions(latitude), fractions(&[(13, 1)]));
            let gps =
                [field(1, 2, south.as_bytes()), field(2, 5, &latitude), field(3, 2, b"W\0"), field(4, 5, &longitude)];
            let found = position(&gps);
            assert_eq!(found.map(|place| place.latitude), expected, "{south} {latitude:?}");
            assert!(found.is_none_or(|place| place.longitude == -13.0));
        };
        check("N\0", &[(48, 1), (12, 1), (3060, 100)], Some(48.2085));
        check("S\0", &[(33, 1), (30, 1), (0, 1)], Some(-33.5));
        check("N\0", &[(90, 1), (0, 1), (0, 1)], Some(90.0));
        check("N\0", &[(90, 1), (0, 1), (1, 1)], None);
        check("N\0", &[(1, 0)], None);
        check("X\0", &[(1, 1)], None);
    }

    #[test]
    fn texts_are_cut_at_their_longest() {
        let check = |bytes: &[u8], expected: Option<&str>| {
            assert_eq!(text(&[field(1, 2, bytes)], 1).as_deref(), expected);
        };
        check(b" Canon \0\0", Some("Canon"));
        check(b"a\0b\0", Some("a"));
        check(b"\0\0", None);
        check(&[b'x'; TEXT_CHARS_MAX + 1], Some(&"x".repeat(TEXT_CHARS_MAX)));
        check(&[0xff; 3], Some("\u{fffd}\u{fffd}\u{fffd}"));
    }
}
