//! pnm.

use super::{Codec, DecodeOptions, Header};
use crate::pipeline::{Error, Picture};

pub(super) static PPM: Codec = Codec {
    name: "ppm",
    extensions: &["ppm"],
    media_type: "image/x-portable-pixmap",
    doc: "",
    revision: 1,
    sniff: |_| false,
    inspect,
    decode,
    encoder: None,
};

pub(super) static PGM: Codec = Codec {
    name: "pgm",
    extensions: &["pgm"],
    media_type: "image/x-portable-graymap",
    doc: "",
    revision: 1,
    sniff: |_| false,
    inspect,
    decode,
    encoder: None,
};

pub(super) static PNM: Codec = Codec {
    name: "pnm",
    extensions: &["pnm"],
    media_type: "image/x-portable-anymap",
    doc: "",
    revision: 1,
    sniff: |_| false,
    inspect,
    decode,
    encoder: None,
};

fn inspect(_bytes: &[u8]) -> Result<Header, Error> {
    Err(Error::UnknownFormat)
}

fn decode(_bytes: &[u8], _options: &DecodeOptions) -> Result<Picture, Error> {
    Err(Error::UnknownFormat)
}
