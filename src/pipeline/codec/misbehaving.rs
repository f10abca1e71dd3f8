//! A format for tests alone: a decoder that does what its file says, and should not.

use std::fs::File;
use std::net::UdpSocket;
use std::process::Command;
use std::thread;

use super::{Codec, DecodeOptions, Header};
use crate::pipeline::{Channels, Error, Orientation, Picture, Raster, Samples, Size};

const MAGIC: &[u8] = b"misbehave: ";

/// The row. Files are the magic, and a word that says what to do.
pub static CODEC: Codec = Codec {
    name: "misbehaving",
    extensions: &[],
    media_type: "image/x-misbehaving",
    doc: "",
    revision: 1,
    sniff: |bytes| bytes.starts_with(MAGIC),
    inspect: |_| {
        let size = Size::new(2, 1);
        let orientation = Orientation::NoTransforms;
        Ok(Header {
            size,
            orientation,
            frames: 1,
            pages: Vec::new(),
            density: None,
            channels: Channels::Gray,
            bits: 8,
            icc: false,
            working_bytes: 0,
        })
    },
    shrinks: None,
    metadata: None,
    decode,
    encoder: None,
};

fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<Picture, Error> {
    match &bytes[MAGIC.len()..] {
        [b'n', b'o', b't', ..] => {}
        b"abort" => std::process::abort(),
        b"recurse" => _ = endless(0),
        b"loop" => loop {
            std::hint::spin_loop();
        },
        b"wait" => while options.deadline.check().is_ok() {},
        b"block" => loop {
            thread::park();
        },
        // A reply of its own: the next ones come one too late.
        b"speak" => _ = rustix::io::write(std::io::stdin(), b"\x09\0\0\0\"Decoded\""),
        b"allocate" => _ = allocated(),
        b"keep" => std::mem::forget(vec![1u8; 80 << 20]),
        b"panic" => panic!("expected by the test"),
        b"open" => return told(File::open("/proc/self/environ")),
        b"create" => return told(File::create("/tmp/progimage-misbehaving")),
        b"connect" => return told(UdpSocket::bind("127.0.0.1:0")),
        b"run" => return told(Command::new("/bin/true").spawn()),
        b"thread" => return told(thread::Builder::new().spawn(|| ())),
        _ => return Err(Error::corrupt("misbehaving", "an unknown word")),
    }
    options.deadline.check()?;
    let raster = Raster::new(Size::new(2, 1), Channels::Gray, Samples::U8(vec![0, 255]));
    Ok(Picture::still(raster))
}

/// Whether it was done, as an error that a test can read.
fn told<T>(done: std::io::Result<T>) -> Result<Picture, Error> {
    Err(Error::corrupt("misbehaving", done.map_or_else(|error| error.kind().to_string(), |_| "done".to_owned())))
}

#[expect(unconditional_recursion, reason = "it is to overflow the stack")]
fn endless(depth: u64) -> u64 {
    let page = std::hint::black_box([depth; 512]);
    endless(depth + 1) + page[7]
}

/// Memory until there is none.
fn allocated() -> usize {
    let mut all = Vec::new();
    loop {
        all.push(std::hint::black_box(vec![1u8; 16 << 20]));
    }
}
