//! Damaged and odd GIF files.

use progimage::pipeline::{Channels, Error, Missing, Picture, Size};

use super::super::{decode, decode_frames, decode_tolerantly, inspect, pixel};
use crate::fixtures::gif::{gif, gif_frame};
use crate::fixtures::{read, sources};
use progimage::pipeline::Limits;

/// Three frames of one colour each, whose data can be found by their sizes.
fn three() -> Vec<u8> {
    let frame = |color: u8, delay: u16| gif::Frame { delay, ..gif_frame((0, 0), (40, 30), &[color, 4]) };
    gif((40, 30), Some(gif::Repeat::Infinite), &[frame(1, 7), frame(2, 8), frame(3, 9)])
}

/// Places of the image descriptors.
fn frames_at(bytes: &[u8]) -> Vec<usize> {
    let descriptor = [0x2c, 0, 0, 0, 0, 40, 0, 30, 0, 0];
    (0..bytes.len()).filter(|at| bytes[*at..].starts_with(&descriptor)).collect()
}

fn frames(picture: Result<Picture, Error>) -> usize {
    picture.expect("shown").frames.len()
}

#[test]
fn a_gif_without_its_end_is_whole() {
    for (name, bytes) in sources().into_iter().filter(|(name, _)| name.ends_with(".gif")) {
        let whole = decode(&bytes).expect("valid");
        assert_eq!(bytes.last(), Some(&0x3b), "{name}");
        let body = &bytes[..bytes.len() - 1];
        // Without the trailer, without the terminator of the last frame too, and with what comes in its place.
        let ends: [&[u8]; 6] = [b"", b"\0\x3b", b"\0\0\0\x3b", b"\0", b"\xffnonsense", b"\x3b\x2cmore"];
        for (bytes, end) in ends.iter().map(|end| ([body, end].concat(), *end)) {
            assert!(decode(&bytes).as_ref() == Ok(&whole), "{name} {end:?}");
        }
        assert!(decode(&body[..body.len() - 1]).as_ref() == Ok(&whole), "{name} without its terminator");
    }
}

#[test]
fn zeros_between_blocks_are_skipped() {
    let bytes = three();
    let whole = decode(&bytes).expect("valid");
    for at in frames_at(&bytes).into_iter().skip(1) {
        // Before the graphic control block of the frame.
        let (head, tail) = bytes.split_at(at - 8);
        assert!(decode(&[head, &[0, 0], tail].concat()).as_ref() == Ok(&whole), "at {at}");
    }
}

#[test]
fn an_animation_is_shown_up_to_its_last_whole_frame() {
    let bytes = three();
    let whole = decode(&bytes).expect("valid");
    let starts = frames_at(&bytes);
    for (number, start) in starts.iter().enumerate() {
        let cut = &bytes[..start + 20];
        let mut nonsense = bytes.clone();
        nonsense[start + 12..start + 20].fill(0xff);
        for damaged in [cut, &nonsense] {
            let shown = decode(damaged);
            if number == 0 {
                assert!(matches!(shown, Err(Error::Corrupt { .. })), "{shown:?}");
                continue;
            }
            let shown = shown.expect("its first frames are whole");
            assert!(shown.frames == whole.frames[..number]);
            assert_eq!(shown.missing, Some(Missing::Frames));
            // A request for the first frame never fails for a later one.
            let first = decode_frames(damaged, &Limits::default(), 1).expect("whole");
            assert_eq!((first.frames.len(), first.missing), (1, None));
        }
    }
}

#[test]
fn what_there_is_of_a_cut_gif_is_shown_where_that_is_wanted() {
    let bytes = three();
    let whole = decode_tolerantly(&bytes).expect("valid");
    assert!(decode(&bytes).as_ref() == Ok(&whole) && whole.missing.is_none());
    let second = frames_at(&bytes)[1];
    let cut = decode_tolerantly(&bytes[..second + 40]).expect("a part");
    assert_eq!((cut.frames.len(), cut.missing), (2, Some(Missing::Pixels)));
    assert!(cut.frames[0] == whole.frames[0]);
    let at = |x, y| pixel(&cut.frames[1].raster, x, y);
    assert_eq!(at(0, 0), pixel(&whole.frames[1].raster, 0, 0), "its first row is there");
    assert_eq!(at(39, 29), pixel(&whole.frames[0].raster, 39, 29), "below it is what was there before");
    // A later frame is shown after one that is damaged.
    let mut damaged = bytes.clone();
    damaged[second + 40..second + 44].fill(0xff);
    let damaged = decode_tolerantly(&damaged).expect("parts");
    assert_eq!((damaged.frames.len(), damaged.missing), (3, Some(Missing::Pixels)));
    assert!(damaged.frames[2] == whole.frames[2]);
}

#[test]
fn what_a_cut_still_lacks_is_gray_or_transparent() {
    for (name, rest) in [("still.gif", vec![128; 3]), ("transparent.gif", vec![0; 4])] {
        let bytes = read(name);
        let whole = decode(&bytes).expect("valid");
        let cut = &bytes[..bytes.len() - 20];
        assert!(decode(cut).is_err(), "{name}");
        let shown = decode_tolerantly(cut).expect("a part");
        assert_eq!(shown.missing, Some(Missing::Pixels), "{name}");
        assert_eq!(pixel(shown.first(), 3, 0), pixel(whole.first(), 3, 0), "{name}");
        assert_eq!(pixel(shown.first(), 13, 10), rest, "{name}");
    }
    // The first passes of an interlaced picture show all of it.
    let bytes = read("interlaced.gif");
    let shown = decode_tolerantly(&bytes[..bytes.len() - 20]).expect("a part");
    assert_ne!(pixel(shown.first(), 13, 10), vec![128; 3]);
}

#[test]
fn of_two_control_blocks_the_last_holds() {
    let transparent = gif::Frame { transparent: Some(2), delay: 3, ..gif_frame((0, 0), (14, 11), &[1, 2, 3]) };
    let bytes = gif((14, 11), None, &[transparent]);
    let control = bytes.windows(3).position(|bytes| bytes == [0x21, 0xf9, 4]).expect("it is transparent");
    assert_eq!(inspect(&bytes).expect("valid").channels, Channels::Rgba);
    let opaque = [0x21, 0xf9, 4, 0, 9, 0, 0, 0];
    let (head, tail) = bytes.split_at(control + 8);
    let two = [head, &opaque, tail].concat();
    assert_eq!(inspect(&two).expect("valid").channels, Channels::Rgb);
    assert_eq!(pixel(decode(&two).expect("valid").first(), 3, 0), [0, 255, 0]);
    let comment = [0x21, 0xfe, 2, b'h', b'i', 0];
    let apart = [head, &comment, tail].concat();
    assert_eq!(decode(&apart), decode(&bytes), "what comes between does not matter");
}

#[test]
fn a_screen_smaller_than_the_first_frame_takes_its_size() {
    let frame = gif_frame((2, 3), (16, 12), &[1, 2, 3]);
    let second = gif_frame((0, 0), (20, 20), &[4]);
    let check = |screen: (u16, u16), expected: (u32, u32), channels: Channels| {
        let mut bytes = gif((9, 9), None, &[frame.clone(), second.clone()]);
        bytes[6..8].copy_from_slice(&screen.0.to_le_bytes());
        bytes[8..10].copy_from_slice(&screen.1.to_le_bytes());
        let header = inspect(&bytes).expect("described");
        assert_eq!((header.size, header.channels), (Size::new(expected.0, expected.1), channels), "{screen:?}");
        let picture = decode(&bytes).expect("shown");
        assert_eq!(picture.first().size(), header.size, "{screen:?}");
        assert_eq!(picture.frames.len(), 2);
        picture
    };
    let shown = check((0, 0), (16, 12), Channels::Rgb);
    assert_eq!(pixel(shown.first(), 0, 0), [255, 0, 0], "it begins at the edge");
    check((10, 10), (16, 12), Channels::Rgb);
    check((0, 12), (16, 12), Channels::Rgba);
    check((16, 15), (16, 15), Channels::Rgba);
    check((30, 8), (30, 12), Channels::Rgba);
}

#[test]
fn a_gif_without_colours_is_gray() {
    let mut bytes = Vec::new();
    let mut encoder = gif::Encoder::new(&mut bytes, 9, 4, &[]).expect("no palette");
    let frame = gif::Frame { palette: Some(vec![0; 3 * 256]), ..gif_frame((0, 0), (9, 4), &[7, 200, 255]) };
    encoder.write_frame(&frame).expect("written");
    drop(encoder);
    // The crate writes a table for all frames, and this frame's own.
    let table = 3 << ((bytes[10] & 7) + 1);
    bytes[10] = 0;
    bytes.drain(13..13 + table);
    let descriptor =
        bytes.windows(10).position(|bytes| bytes == [0x2c, 0, 0, 0, 0, 9, 0, 4, 0, 0x87]).expect("a frame");
    bytes[descriptor + 9] = 0;
    bytes.drain(descriptor + 10..descriptor + 10 + 3 * 256);
    let shown = decode(&bytes).expect("shown");
    assert_eq!([0, 3, 6].map(|x| pixel(shown.first(), x, 0)[0]), [7, 200, 255]);
}

#[test]
fn a_cut_before_the_data_of_a_frame_is_told() {
    let bytes = three();
    let last = frames_at(&bytes)[2];
    // With its control block, but for a cut at the end of the second frame, which no reader can tell from a whole file.
    for cut in last - 7..last + 10 {
        for shown in [decode(&bytes[..cut]), decode_tolerantly(&bytes[..cut])] {
            let shown = shown.expect("two frames are whole");
            assert_eq!((shown.frames.len(), shown.missing), (2, Some(Missing::Frames)), "{cut} of {last}");
        }
    }
    assert_eq!(decode(&bytes[..bytes.len() - 1]).expect("whole").missing, None);
}

#[test]
fn a_first_frame_shows_whatever_comes_after_it() {
    let bytes = three();
    let first = decode_frames(&bytes, &Limits::default(), 1).expect("valid");
    for cut in frames_at(&bytes)[1] - 8..bytes.len() {
        let shown = decode_frames(&bytes[..cut], &Limits::default(), 1).expect("its first frame is whole");
        assert!(shown.first() == first.first() && shown.missing.is_none(), "{cut}");
        assert!((1..=3).contains(&frames(decode(&bytes[..cut]))), "{cut}");
        assert!((1..=3).contains(&frames(decode_tolerantly(&bytes[..cut]))), "{cut}");
    }
}
