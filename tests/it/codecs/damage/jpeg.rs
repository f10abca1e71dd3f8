//! Damaged JPEG files.

use progimage::pipeline::codec::{DecodeOptions, sniff};
use progimage::pipeline::{Deadline, Error, Limits, Missing, Picture, Size};

use super::super::{decode, decode_tolerantly, pixel, psnr};
use crate::fixtures::read;

fn assert_shown(name: &str, bytes: &[u8], whole: &Picture) -> Picture {
    assert!(matches!(decode(bytes), Err(Error::Corrupt { .. })), "{name}");
    let shown = decode_tolerantly(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!((shown.first().shape(), shown.missing), (whole.first().shape(), Some(Missing::Pixels)), "{name}");
    shown
}

#[test]
fn a_jpeg_cut_in_its_only_scan_ends_in_gray() {
    for name in ["baseline_420.jpg", "baseline_444.jpg", "gray.jpg"] {
        let bytes = read(name);
        let whole = decode(&bytes).expect("valid");
        let scan = bytes.windows(2).rposition(|marker| marker == [0xff, 0xda]).expect("a scan");
        let shown = assert_shown(name, &bytes[..scan + (bytes.len() - scan) * 3 / 4], &whole);
        let Size { w, h } = whole.first().size();
        assert_eq!(pixel(shown.first(), 0, 0), pixel(whole.first(), 0, 0), "{name}");
        let last = pixel(shown.first(), w - 1, h - 1);
        assert!(last.iter().all(|sample| sample.abs_diff(128) <= 1), "{name}: {last:?}");
    }
}

#[test]
fn a_progressive_jpeg_cut_in_its_last_scan_is_shown_nearly_as_it_was() {
    let bytes = read("progressive.jpg");
    let whole = decode(&bytes).expect("valid");
    let last = bytes.windows(2).rposition(|marker| marker == [0xff, 0xda]).expect("a scan");
    for cut in [last + 12, (last + bytes.len()) / 2, last + 1, last] {
        let shown = assert_shown("progressive.jpg", &bytes[..cut], &whole);
        let psnr = psnr(shown.first(), whole.first());
        assert!(psnr > 25.0, "{psnr:.1} dB when cut at {cut}");
    }
}

#[test]
fn a_progressive_jpeg_without_its_end_marker_is_whole() {
    for name in ["progressive.jpg", "baseline_420.jpg"] {
        let bytes = read(name);
        assert_eq!(bytes[bytes.len() - 2..], [0xff, 0xd9]);
        assert!(decode(&bytes[..bytes.len() - 2]) == decode(&bytes), "{name}");
    }
}

#[test]
fn a_part_is_shown_at_every_scale() {
    let (limits, deadline) = (Limits::default(), Deadline::default());
    for name in ["baseline_420.jpg", "progressive.jpg"] {
        let bytes = read(name);
        let cut = &bytes[..bytes.len() * 3 / 4];
        let at_least = Some(Size::new(5, 5));
        let options = DecodeOptions { at_least, tolerant: true, ..DecodeOptions::new(&limits, &deadline) };
        let shown = (sniff(cut).expect("known").decode)(cut, &options).expect("a part");
        assert_eq!(shown.missing, Some(Missing::Pixels), "{name}");
        assert!(shown.first().size().w < decode(&bytes).expect("valid").first().size().w, "{name}");
    }
}

#[test]
fn a_jpeg_without_any_scan_is_refused_in_any_case() {
    let bytes = read("baseline_420.jpg");
    let scan = bytes.windows(2).position(|marker| marker == [0xff, 0xda]).expect("a scan");
    assert!(decode_tolerantly(&bytes[..scan]).is_err());
}
